"""The way to a registry: TLS, proxies, the registry map."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures import faulty, proxying
from tests.fixtures.faulty import Registry
from tests.fixtures.registries import QUICK, Certificates, DockerRegistry, Run, filter_image, push_one
from wasme.errors import Unreachable
from wasme.image.layouts import Draft
from wasme.image.reference import Reference
from wasme.image.store import open_store
from wasme.registry import transfer
from wasme.registry.credentials import Keychain
from wasme.registry.session import Session
from wasme.registry.transport import ConnectionOptions, Request


def test_tls_by_the_system_store(
    tls_registry: DockerRegistry, certificates: Certificates, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry on localhost that wants TLS gets it, trusted through SSL_CERT_FILE; plain http is never sent on."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    run("login", "-s", tls_registry.host, "-u", "scout", "-p", "s3cret")
    push_one(run, tls_registry.host)


def test_an_unknown_authority_is_told(tls_registry: DockerRegistry, run: Run) -> None:
    """Without its authority: no push, and the way out is named."""
    result = push_one(run, tls_registry.host, "-u", "scout", "-p", "s3cret", ok=False)
    assert f"the TLS certificate of {tls_registry.host}" in result.stderr
    assert "--insecure" in result.stderr


def test_insecure_takes_any_certificate_for_this_session_only(tls_registry: DockerRegistry, run: Run) -> None:
    """[BUG] the original's --insecure changed the whole process; here the next session checks again."""
    push_one(run, tls_registry.host, "-u", "scout", "-p", "s3cret", "--insecure")
    with pytest.raises(Unreachable, match="TLS certificate"):
        Session(QUICK).call(tls_registry.host, Request("GET", "/v2/"), what="looking", expect=(200,))


def test_plain_http_is_never_assumed_for_other_hosts(docker_registry: DockerRegistry) -> None:
    """Https to a port that speaks plain http is told with --plain-http, and nothing is sent in plain."""
    port = docker_registry.host.rpartition(":")[2]
    session = Session(QUICK, registry_map={"registry.example": f"https://127.0.0.1:{port}"})
    with pytest.raises(Unreachable, match="does not speak TLS") as caught:
        session.call("registry.example", Request("GET", "/v2/"), what="looking", expect=(200,))
    assert "--plain-http" in str(caught.value.hint)


@pytest.fixture
def bad_tls(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """Start a TLS port whose certificate is ``self-signed``, ``expired`` or for ``another`` name."""
    import trustme

    authority = trustme.CA()
    listeners: list[socket.socket] = []

    def start(kind: str) -> int:
        past = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
        issuer = trustme.CA() if kind == "self-signed" else authority
        leaf = (
            issuer.issue_cert("localhost", not_before=past, not_after=past + datetime.timedelta(days=1))
            if kind == "expired"
            else issuer.issue_cert("other.example" if kind == "another" else "localhost")
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(client, server_side=True).close()
                except OSError:
                    client.close()

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])

    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    ("kind", "words"),
    [("self-signed", "authority unknown|self-signed"), ("expired", "has expired"), ("another", "for another name")],
)
def test_bad_certificates_in_words(
    bad_tls: Callable[[str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    """Each fault of a certificate has its own words."""
    port = bad_tls(kind)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    session = Session(QUICK, registry_map={"r.example": f"https://localhost:{port}"})
    with pytest.raises(Unreachable, match=words):
        session.call("r.example", Request("GET", "/v2/"), what="looking", expect=(200,))


# Proxies and the registry map.


def test_http_proxy_is_used(
    faulty_registry: Registry, holds_image: Callable[..., Draft], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain http goes through http_proxy in absolute form, with the proxy's own password."""
    holds_image(faulty_registry, "a/b", "v1")
    monkeypatch.setenv("http_proxy", f"http://user:pa%40ss@{faulty_registry.host}")
    session = Session(ConnectionOptions(plain_http=True, retry=QUICK.retry))
    transfer.pull(open_store(), Reference.parse("registry.example/a/b:v1"), session)
    assert faulty_registry.requests[0].headers["host"] == "registry.example"
    assert faulty_registry.requests[0].headers["proxy-authorization"] == faulty.basic("user", "pa@ss")


def test_https_proxy_is_a_tunnel(
    tls_registry: DockerRegistry, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Https goes through CONNECT, and TLS is checked against the registry's own name."""
    port = int(tls_registry.host.rpartition(":")[2])
    proxy = proxying.Proxy(("127.0.0.1", port), password="pw")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    monkeypatch.setenv("https_proxy", f"http://user:pw@127.0.0.1:{proxy.port}")
    session = Session(QUICK, Keychain("scout", "s3cret"), {"r.example": "https://registry.example"})
    # The tunnel leads to a certificate for localhost, which is not registry.example.
    with pytest.raises(Unreachable, match="another name"):
        session.call("r.example", Request("GET", "/v2/"), what="looking", expect=(200,))
    assert [each.rpartition("/")[0] for each in proxy.asked] == ["CONNECT registry.example:443 HTTP"]
    insecure = Session(
        ConnectionOptions(insecure=True), Keychain("scout", "s3cret"), {"r.example": "https://registry.example"}
    )
    insecure.call("r.example", Request("GET", "/v2/"), what="looking", expect=(200,)).drain()
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(Unreachable, match=r"the proxy refused .*407"):
        Session(QUICK).call("x.example", Request("GET", "/v2/"), what="looking", expect=(200,))
    proxy.close()


def test_the_registry_map_leads_a_name(docker_registry: DockerRegistry, run: Run, home: Path, tmp_path: Path) -> None:
    """The name as typed stays the name; the traffic goes to HOST/PREFIX; by flag and by config.yaml."""
    reference = Reference.parse("webassemblyhub.io/scout/mapped:v1")
    open_store().add(reference, filter_image())
    pushed = run("push", str(reference), "--registry-map", f"webassemblyhub.io={docker_registry.host}/hub")
    assert f'msg="Pushed {reference}"' in pushed.stderr
    (home / ".wasme" / "config.yaml").write_text(f"registryMap:\n  webassemblyhub.io: {docker_registry.host}/hub\n")
    run("pull", str(reference), "--store", tmp_path / "a")
    run("pull", f"{docker_registry.host}/hub/scout/mapped:v1", "--store", tmp_path / "b")
    assert [entry.name for entry in open_store(tmp_path / "a").entries()] == [reference.name]


def test_the_hub_that_closed(run: Run) -> None:
    """webassemblyhub.io without a map: that it closed, and the line to add."""
    for command in (["pull", "webassemblyhub.io/a/b:v1"], ["login", "-u", "a", "-p", "b"], ["list", "--published"]):
        result = run(*command, ok=False)
        assert "webassemblyhub.io has closed" in result.stderr
        assert "registryMap: {webassemblyhub.io: HOST[/PREFIX]}" in result.stderr


def test_the_default_server_is_read_when_it_is_asked_for(
    login_registry: DockerRegistry, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WASM_IMAGE_REGISTRY replaces webassemblyhub.io where no server is named."""
    monkeypatch.setenv("WASM_IMAGE_REGISTRY", login_registry.host)
    run("login", "-u", "scout", "-p", "s3cret")
    file = home / ".wasme" / "credentials.json"
    assert list(json.loads(file.read_text())["auths"]) == [login_registry.host]
    run("logout")
    assert json.loads(file.read_text())["auths"] == {}


# In words.
