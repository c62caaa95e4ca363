"""Who we are to a server, and whom we trust: certificates, tokens, plugins, proxies; on real TLS connections."""

from __future__ import annotations

import datetime
import json
import ssl
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from tests.unit.deploy.cluster.scripted import Handler, scripted, status
from wasme.deploy.cluster import connect, parallel
from wasme.deploy.cluster.access import Access, Plugin
from wasme.deploy.cluster.connect import open_cluster, shown
from wasme.deploy.cluster.kinds import CONFIG_MAP
from wasme.errors import ClusterForbidden, ClusterUnreachable

OBJECT = {"kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n"}}


def _well(ask: Handler, _: int) -> None:
    ask.give(200, OBJECT)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    return _context(authority, "127.0.0.1", "localhost")


def _context(authority: trustme.CA, *names: str, **settings: datetime.datetime) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **settings).configure_cert(context)
    return context


def _get(access: Access) -> None:
    with open_cluster(access, patience=1) as cluster:
        assert cluster.get(CONFIG_MAP, "x", "n") == OBJECT


def _pem(authority: trustme.CA) -> bytes:
    return authority.cert_pem.bytes()


def test_the_cluster_names_its_authority(authority: trustme.CA, tls: ssl.SSLContext) -> None:
    """The kubeconfig's authority is trusted, and no other; insecure-skip-tls-verify trusts anybody."""
    with scripted(_well, tls) as server:
        _get(Access(server.url, ca=_pem(authority)))
        _get(Access(server.url, insecure=True))
        for other in (None, _pem(trustme.CA())):
            with pytest.raises(ClusterUnreachable) as refused:
                _get(Access(server.url, ca=other))
            assert f"the certificate of {server.url} is refused: " in refused.value.message
            assert refused.value.hint is not None
            assert "certificate-authority" in refused.value.hint


def test_expired_and_foreign_names(authority: trustme.CA) -> None:
    """An expired certificate and one for another name are told apart; tls-server-name names the right one."""
    past = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    expired = _context(authority, "127.0.0.1", not_before=past, not_after=past + datetime.timedelta(days=1))
    with scripted(_well, expired) as server, pytest.raises(ClusterUnreachable) as refused:
        _get(Access(server.url, ca=_pem(authority)))
    assert "is refused: certificate has expired" in refused.value.message
    assert refused.value.hint is not None
    assert "renewed" in refused.value.hint
    with scripted(_well, _context(authority, "cluster.inside")) as server:
        with pytest.raises(ClusterUnreachable) as refused:
            _get(Access(server.url, ca=_pem(authority)))
        assert refused.value.hint is not None
        assert "tls-server-name" in refused.value.hint
        _get(Access(server.url, ca=_pem(authority), server_name="cluster.inside"))


def test_no_tls_where_it_is_meant() -> None:
    """https to a port that speaks plain HTTP is told as such."""
    with scripted(_well) as server, pytest.raises(ClusterUnreachable, match="does not speak TLS"):
        _get(Access(server.url.replace("http:", "https:")))


def test_a_client_certificate(authority: trustme.CA, tls: ssl.SSLContext) -> None:
    """A certificate and key of the user are shown; a server that wants one is told to have refused."""
    users = trustme.CA()
    jane = users.issue_cert("jane")
    users.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    certificate = b"".join(each.bytes() for each in jane.cert_chain_pems)
    with scripted(_well, tls) as server:
        access = Access(server.url, ca=_pem(authority), certificate=certificate, key=jane.private_key_pem.bytes())
        _get(access)
        with pytest.raises(ClusterUnreachable, match=r"no TLS connection|cut|reset"):
            _get(replace(access, certificate=None, key=None))


def test_certificates_that_cannot_be_used(authority: trustme.CA) -> None:
    """Junk, half a pair, a pair that is none, an encrypted key: one line each, and nothing of the key in it."""
    from cryptography.hazmat.primitives import serialization

    one, two = authority.issue_cert("a"), authority.issue_cert("b")
    certificate, key = one.cert_chain_pems[0].bytes(), one.private_key_pem.bytes()
    loaded = serialization.load_pem_private_key(key, None)
    encrypted = loaded.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    base = Access("https://127.0.0.1:1", user="jane", origin="config")
    for access, said in (
        (replace(base, ca=b"junk"), "certificate-authority of the cluster is no PEM"),
        (replace(base, ca=b"\xff\xfe"), "certificate-authority of the cluster is no PEM"),
        (replace(base, certificate=certificate), "the user jane has no client-key"),
        (replace(base, key=key), "the user jane has no client-certificate"),
        (replace(base, certificate=b"junk", key=key), "client certificate and key cannot be used"),
        (replace(base, certificate=certificate, key=two.private_key_pem.bytes()), "cannot be used"),
        (replace(base, certificate=certificate, key=encrypted), "cannot be used"),
    ):
        with pytest.raises(ClusterUnreachable) as refused:
            open_cluster(access)
        assert said in refused.value.message
        assert "\n" not in refused.value.message
        assert "PRIVATE" not in refused.value.message


def test_no_key_stays_on_disk(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that ssl needs for a moment is gone afterwards."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one = authority.issue_cert("a")
    access = Access("https://127.0.0.1:1", certificate=one.cert_chain_pems[0].bytes(), key=one.private_key_pem.bytes())
    open_cluster(access).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("token", ["geheim\nX: y", "geheim ", "gehe\x00im", "geheimé", "\n"])
def test_tokens_that_cannot_be_sent(token: str) -> None:
    """A token that would break a header is refused without being shown."""
    with pytest.raises(ClusterUnreachable, match="holds characters that no token has") as refused:
        open_cluster(Access("https://x", token=token))
    assert "gehe" not in refused.value.message


def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    """A kubelet renews tokens: one that is refused is read again, once."""
    file = tmp_path / "token"
    file.write_text("old\n")

    def answer(ask: Handler, _: int) -> None:
        if ask.headers["Authorization"] == "Bearer new":
            ask.give(200, OBJECT)
        else:
            ask.give(401, status(401, "Unauthorized"))

    with scripted(answer) as server:
        with open_cluster(Access(server.url, token_file=file, user="pod", origin="inside")) as cluster:
            with pytest.raises(ClusterForbidden) as refused:
                cluster.get(CONFIG_MAP, "x", "n")
            assert (
                f"does not accept these credentials: the user pod of inside (token file {file})"
                in refused.value.message
            )
            file.write_text("new")
            assert cluster.get(CONFIG_MAP, "x", "n") == OBJECT
        file.unlink()
        with pytest.raises(ClusterUnreachable, match="cannot read the token file"):
            _get(Access(server.url, token_file=file))


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    """A credential plugin that counts its runs and keeps what it was told."""
    script = tmp_path / "plugin.py"
    script.write_text(
        "import json, os, sys, pathlib\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "runs = len(list(here.glob('run-*'))) + 1\n"
        "(here / f'run-{runs}').write_text(os.environ['KUBERNETES_EXEC_INFO'] + os.environ.get('EXTRA', ''))\n"
        "said = os.environ.get('SAID') or json.dumps({'apiVersion': 'client.authentication.k8s.io/v1',\n"
        "    'kind': 'ExecCredential', 'status': {'token': f'token-{runs}'}})\n"
        "print(said)\n"
        "print('log in first', file=sys.stderr)\n"
        "sys.exit(int(os.environ.get('CODE', '0')))\n"
    )
    return Plugin(sys.executable, (str(script), str(tmp_path)), {}, "client.authentication.k8s.io/v1")


def test_a_plugin_gives_the_token(plugin: Plugin, tmp_path: Path, authority: trustme.CA) -> None:
    """A plugin runs once for many threads, again when its token is refused, and learns of the cluster if it asks."""
    refused: set[str] = set()

    def answer(ask: Handler, _: int) -> None:
        token = ask.headers["Authorization"]
        if token in refused:
            ask.give(401, status(401, "Unauthorized"))
        else:
            ask.give(200, OBJECT)

    told = replace(plugin, env={"EXTRA": "!"}, provide_cluster_info=True)
    with scripted(answer) as server:
        access = Access(server.url, plugin=told, ca=_pem(authority), user="jane", origin="config")
        with open_cluster(access) as cluster:
            parallel(lambda _: cluster.get(CONFIG_MAP, "x", "n"), range(32), 8).require()
            assert [each.name for each in tmp_path.glob("run-*")] == ["run-1"]
            refused.add("Bearer token-1")
            parallel(lambda _: cluster.get(CONFIG_MAP, "x", "n"), range(32), 8).require()
    assert sorted(each.name for each in tmp_path.glob("run-*")) == ["run-1", "run-2"]
    text = (tmp_path / "run-1").read_text()
    assert text.endswith("!")
    info = json.loads(text[:-1])
    assert (info["kind"], info["apiVersion"]) == ("ExecCredential", "client.authentication.k8s.io/v1")
    assert info["spec"]["cluster"]["server"] == server.url
    assert info["spec"]["cluster"]["certificate-authority-data"]


def test_a_plugin_gives_a_certificate(plugin: Plugin, authority: trustme.CA, tls: ssl.SSLContext) -> None:
    """A plugin may give a client certificate in place of a token."""
    users = trustme.CA()
    users.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    jane = users.issue_cert("jane")
    given = {
        "clientCertificateData": "".join(each.bytes().decode() for each in jane.cert_chain_pems),
        "clientKeyData": jane.private_key_pem.bytes().decode(),
    }
    said = replace(plugin, env={"SAID": json.dumps({"status": given})})
    with scripted(_well, tls) as server:
        _get(Access(server.url, ca=_pem(authority), plugin=said))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command": "/no/such/plugin", "install_hint": "brew install\nit"}, "is not on this machine"),
        ({"env": {"CODE": "3"}}, "failed with exit code 3: log in first"),
        ({"env": {"SAID": "geheim"}}, "gave no ExecCredential"),
        ({"env": {"SAID": '{"status": {"geheim": 1}}'}}, "gave neither a token nor a certificate"),
        ({"env": {"SAID": '{"status": {"token": "geheim\\nx"}}'}}, "holds characters that no token has"),
        ({"env": {"SAID": "[]"}}, "gave no ExecCredential"),
        ({"api_version": "client.authentication.k8s.io/v9"}, "speaks client.authentication.k8s.io/v9"),
    ],
)
def test_plugins_that_fail(plugin: Plugin, change: dict[str, object], said: str) -> None:
    """A plugin that is missing, fails or gives nonsense is one line; what it gave is not shown."""
    broken = replace(plugin, **change)  # type: ignore[arg-type]
    access = Access("http://127.0.0.1:1", plugin=broken, user="jane", origin="config")
    with open_cluster(access) as cluster, pytest.raises((ClusterUnreachable, ClusterForbidden)) as failed:
        cluster.get(CONFIG_MAP, "x", "n")
    assert said in failed.value.message
    assert "\n" not in failed.value.message
    assert "\n" not in (failed.value.hint or "")
    assert "geheim" not in failed.value.message


def test_headers_of_impersonation_and_basic(tmp_path: Path) -> None:
    """Impersonation headers are sent, several groups too, and basic authentication."""
    with scripted(_well) as server:
        groups = (("Impersonate-User", "jane"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"))
        seen: list[list[str]] = []

        def answer(ask: Handler, _: int) -> None:
            seen.append(ask.headers.get_all("Impersonate-Group") or [])
            ask.give(200, OBJECT)

        _get(Access(server.url, username="u", password="p"))
        assert server.asked[0][2]["Authorization"] == "Basic dTpw"
    with scripted(answer) as server:
        _get(Access(server.url, impersonate=groups))
        assert server.asked[0][2]["Impersonate-User"] == "jane"
    assert seen == [["a", "b"]]


def test_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """proxy-url of the cluster, else the environment's proxy unless NO_PROXY says no; a broken one is told."""
    with scripted(_well) as proxy:
        _get(Access("http://cluster.invalid:6443", proxy=proxy.url))
        monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
        _get(Access("http://cluster.invalid:6443"))
        assert proxy.paths == ["http://cluster.invalid:6443/api/v1/namespaces/n/configmaps/x"] * 2
        monkeypatch.setenv("no_proxy", "127.0.0.1,.invalid")
        with pytest.raises(ClusterUnreachable):
            _get(Access("http://cluster.invalid:6443"))
        with scripted(_well) as server:
            _get(Access(server.url))
        assert len(proxy.asked) == 2
    with pytest.raises(ClusterUnreachable, match="the proxy for http://x cannot be used"):
        _get(Access("http://x", proxy="ftp://geheim@x"))
    for proxy_url in ("socks5://127.0.0.1:1", "ftp://geheim@x", "http://geheim@"):
        monkeypatch.setenv("https_proxy", proxy_url)
        with pytest.raises(ClusterUnreachable, match="the proxy for https://x cannot be used") as refused:
            _get(Access("https://x"))
        assert "geheim" not in refused.value.message
    with scripted(lambda ask, _: ask.give(407, b"")) as proxy, pytest.raises(ClusterUnreachable, match="407"):
        _get(Access("https://cluster.invalid", proxy=proxy.url))


@pytest.mark.parametrize(
    ("server", "told"),
    [
        ("https://user:geheim@host:6443/path?token=geheim", "https://host:6443"),
        ("https://[fd00::1]:6443", "https://[fd00::1]:6443"),
        ("https://host", "https://host"),
        ("https://host:port", "https://host"),
    ],
)
def test_addresses_are_shown_without_secrets(server: str, told: str) -> None:
    """What messages call a server holds no user, password or query."""
    assert shown(server) == told


@pytest.mark.parametrize("server", ["https://", "https://host:port", "https://host:99999", "https://[", "http://a b/"])
def test_addresses_that_are_none(server: str, tmp_path: Path) -> None:
    """A server address that cannot be one is told, not thrown."""
    file = tmp_path / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "current-context": "a",
                "clusters": [{"name": "a", "cluster": {"server": server}}],
                "contexts": [{"name": "a", "context": {"cluster": "a"}}],
            }
        )
    )
    with pytest.raises(ClusterUnreachable, match="the cluster a has no server address") as refused:
        connect(file)
    assert "\n" not in refused.value.message
