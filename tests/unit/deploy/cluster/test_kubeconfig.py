"""kubeconfig files: kubectl's rules, and one clear line where they lead nowhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from wasme.deploy.cluster import kubeconfig
from wasme.deploy.cluster.connect import open_cluster
from wasme.deploy.cluster.kinds import NODE
from wasme.deploy.cluster.kubeconfig import find, in_cluster
from wasme.errors import ClusterUnreachable


def _config(folder: Path, name: str, **parts: Any) -> Path:
    """A kubeconfig of one cluster, user and context, all of one name; keywords replace what stands in it."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example:6443"}}],
        "users": [{"name": name, "user": {"token": f"token-of-{name}"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"ns-{name}"}}],
        **parts,
    }
    file.write_text(json.dumps(content))
    return file


def test_the_flag_names_the_only_file(tmp_path: Path) -> None:
    """--kubeconfig wins over $KUBECONFIG, and nothing of the other file counts."""
    one, two = _config(tmp_path, "one"), _config(tmp_path, "two")
    access = find(one, "", {"KUBECONFIG": str(two)})
    assert (access.server, access.token, access.namespace) == ("https://one.example:6443", "token-of-one", "ns-one")
    with pytest.raises(ClusterUnreachable, match="has no context two") as refused:
        find(one, "two", {"KUBECONFIG": str(two)})
    assert refused.value.hint == "it has: one"


def test_several_files_are_one(tmp_path: Path) -> None:
    """$KUBECONFIG names several: the first that names a thing wins, files that are missing are passed over."""
    one = _config(tmp_path, "one")
    two = _config(
        tmp_path,
        "two",
        clusters=[
            {"name": "one", "cluster": {"server": "https://wrong.example"}},
            {"name": "two", "cluster": {"server": "https://two.example:6443"}},
        ],
        contexts=[{"name": "mixed", "context": {"cluster": "two", "user": "one"}}],
    )
    environ = {"KUBECONFIG": f"{tmp_path}/missing:{one}::{two}"}
    assert find(None, "", environ).server == "https://one.example:6443"
    mixed = find(None, "mixed", environ)
    assert (mixed.server, mixed.token, mixed.namespace) == ("https://two.example:6443", "token-of-one", "default")


def test_files_count_from_where_they_are_named(tmp_path: Path) -> None:
    """Relative paths of certificates, token files and plugins are relative to the file that names them."""
    one = _config(tmp_path / "a", "one", **{"current-context": ""})
    entry = {"client-certificate": "keys/c.pem", "client-key": "keys/k.pem", "tokenFile": "keys/token"}
    two = _config(
        tmp_path / "b",
        "two",
        clusters=[{"name": "two", "cluster": {"server": "https://x", "certificate-authority": "keys/ca.pem"}}],
        users=[{"name": "two", "user": {**entry, "exec": {"command": "./bin/login", "args": ["a"]}}}],
    )
    keys = tmp_path / "b" / "keys"
    keys.mkdir()
    for name in ("c.pem", "k.pem", "ca.pem"):
        (keys / name).write_text(name)
    access = find(None, "", {"KUBECONFIG": f"{one}:{two}"})
    assert (access.ca, access.certificate, access.key) == (b"ca.pem", b"c.pem", b"k.pem")
    assert access.token_file == keys / "token"
    assert access.plugin is not None
    assert Path(access.plugin.command) == tmp_path / "b" / "bin" / "login"


def test_data_wins_over_files(tmp_path: Path) -> None:
    """`…-data` is taken before the file of the same name, which need not be there."""
    data = base64.b64encode(b"PEM").decode()
    file = _config(
        tmp_path,
        "one",
        clusters=[
            {
                "name": "one",
                "cluster": {"server": "https://x", "certificate-authority": "no", "certificate-authority-data": data},
            }
        ],
    )
    assert find(file, "", {}).ca == b"PEM"


def test_everything_a_cluster_can_say(tmp_path: Path) -> None:
    """insecure-skip-tls-verify, tls-server-name, proxy-url, impersonation and basic authentication are read."""
    file = _config(
        tmp_path,
        "one",
        clusters=[
            {
                "name": "one",
                "cluster": {
                    "server": "https://x/",
                    "insecure-skip-tls-verify": True,
                    "tls-server-name": "inside",
                    "proxy-url": "http://proxy:3128",
                },
            }
        ],
        users=[
            {
                "name": "one",
                "user": {
                    "username": "u",
                    "password": "p",
                    "as": "jane",
                    "as-groups": ["a", "b"],
                    "as-user-extra": {"scopes": ["view"]},
                },
            }
        ],
    )
    access = find(file, "", {})
    assert (access.server, access.insecure, access.server_name, access.proxy) == (
        "https://x",
        True,
        "inside",
        "http://proxy:3128",
    )
    assert (access.username, access.password) == ("u", "p")
    assert access.impersonate == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-scopes", "view"),
    )


def _account(folder: Path) -> Path:
    folder.mkdir()
    for name, text in {"token": "tok", "ca.crt": "CA", "namespace": "inside\n"}.items():
        (folder / name).write_text(text)
    return folder


def test_inside_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pod the service account is used, as the original did: only while $KUBECONFIG is not set."""
    account = _account(tmp_path / "account")
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443", "HOME": str(tmp_path)}
    access = in_cluster(environ, account)
    assert access is not None
    assert (access.server, access.namespace, access.ca) == ("https://10.0.0.1:443", "inside", b"CA")
    assert access.token_file == account / "token", "the file is read again: kubelets renew it"
    six = in_cluster({**environ, "KUBERNETES_SERVICE_HOST": "fd00::1"}, account)
    assert six is not None
    assert six.server == "https://[fd00::1]:443"
    assert in_cluster({}, account) is None
    monkeypatch.setattr(kubeconfig.in_cluster, "__defaults__", (account,))
    home = _config(tmp_path / ".kube", "config")
    assert find(None, "", environ).context == "in-cluster"
    assert find(None, "", {**environ, "KUBECONFIG": str(home)}).context == "config"
    assert find(None, "config", environ).context == "config", "a context is asked for: only a file has one"


def test_home(tmp_path: Path) -> None:
    """Without $KUBECONFIG and outside of a pod it is ~/.kube/config."""
    _config(tmp_path / ".kube", "config")
    assert find(None, "", {"HOME": str(tmp_path)}).context == "config"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [", "is no YAML (line "),
        ("just words", "is no kubeconfig"),
        ("[1, 2]", "is no kubeconfig"),
        ("\x00", "is no YAML"),
        ("", "names no current context"),
        ("current-context: x", "has no context x"),
        ("clusters: words", "clusters is no list"),
        ("clusters: [words]", "an entry of clusters has no name"),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c}}], clusters: [{name: c, cluster: [1]}]}",
            "cluster c: Expected `object`, got `array`",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],"
            " clusters: [{name: c, cluster: {server: 'https://c'}}], users: [{name: u, user: {token: 12345}}]}",
            "user u: Expected `str | null`, got `int` - at `$.token`",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c}}]}",
            "names the cluster c, which is not there",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],"
            " clusters: [{name: c, cluster: {server: 'https://c'}}]}",
            "names the user u, who is not there",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c}}],"
            " clusters: [{name: c, cluster: {server: c}}]}",
            "has no server address",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c}}], clusters:"
            " [{name: c, cluster: {server: 'https://c', certificate-authority: nowhere.pem}}]}",
            "cannot read the certificate-authority of c",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c}}], clusters:"
            " [{name: c, cluster: {server: 'https://c', certificate-authority-data: abc}}]}",
            "certificate-authority-data of c is no base64",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],"
            " clusters: [{name: c, cluster: {server: 'https://c'}}],"
            " users: [{name: u, user: {auth-provider: {name: gcp}}}]}",
            "has an auth-provider, which Kubernetes took out in 1.26",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],"
            " clusters: [{name: c, cluster: {server: 'https://c'}}], users: [{name: u, user: {exec: {args: [a]}}}]}",
            "names no command",
        ),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, content: str, said: str) -> None:
    """Each fault of a file is one line that names the file and says what to do."""
    file = tmp_path / "kubeconfig"
    file.write_text(content)
    with pytest.raises(ClusterUnreachable) as refused:
        find(file, "", {})
    assert said in refused.value.message
    assert str(tmp_path) in refused.value.message
    assert "\n" not in refused.value.message
    assert refused.value.hint


def test_no_file_at_all(tmp_path: Path) -> None:
    """Nothing to talk to, a file that is not there, a folder: told with the name."""
    with pytest.raises(ClusterUnreachable, match=r"\$KUBECONFIG is not set and .*/\.kube/config does not exist"):
        find(None, "", {"HOME": str(tmp_path)})
    with pytest.raises(ClusterUnreachable, match=r"no such kubeconfig: /no/a, /no/b \(\$KUBECONFIG\)"):
        find(None, "", {"KUBECONFIG": "/no/a:/no/b"})
    with pytest.raises(ClusterUnreachable, match="cannot read the kubeconfig, /no/c: no such file"):
        find(Path("/no/c"), "", {})
    with pytest.raises(ClusterUnreachable, match="is a directory"):
        find(tmp_path, "", {})


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """Neither the repr of an access nor the error for broken YAML shows a token."""
    file = _config(tmp_path, "one", users=[{"name": "one", "user": {"token": "geheim", "password": "geheim"}}])
    assert "geheim" not in repr(find(file, "", {}))
    file.write_text("users: [{name: a, user: {token: geheim}, : ]]]")
    with pytest.raises(ClusterUnreachable) as refused:
        find(file, "", {})
    assert "geheim" not in refused.value.message


FIELDS = {
    "cluster": ["server", "certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify",
                "tls-server-name", "proxy-url"],
    "user": ["token", "tokenFile", "username", "password", "client-certificate", "client-certificate-data",
             "client-key", "client-key-data", "exec", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra"],
    "context": ["cluster", "user", "namespace"],
}  # fmt: skip
JUNK: list[Any] = [
    None, 0, "", [], {}, "x", [1], [None], {"a": 1}, True, {"a": ["b\n"]}, ["a\n"], "é\n", "é", "\x00", "/", "a b",
    "http://[::1", "https://é..b", "https://\u00ad.x", "https://\u2260.x",
    "https://xn--0", "https://%zz:1", "http://.", {"command": "x", "env": [{}]},
    {"command": "x\x00"}, {"command": "x", "args": 1}, {"command": "x", "env": [{"name": "=", "value": "\x00"}]},
]  # fmt: skip


@pytest.mark.parametrize(("part", "field"), [(part, field) for part, fields in FIELDS.items() for field in fields])
def test_any_value_is_taken_or_told(tmp_path: Path, part: str, field: str) -> None:
    """Whatever stands in a field, it opens connections or is one line of error."""
    for junk in JUNK:
        entries: dict[str, dict[str, Any]] = {
            "cluster": {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True},
            "user": {},
            "context": {"cluster": "one", "user": "one"},
        }
        entries[part][field] = junk
        file = _config(tmp_path, "one", **{f"{name}s": [{"name": "one", name: entries[name]}] for name in entries})
        try:
            with open_cluster(find(file, "", {}), patience=0.01) as cluster:
                cluster.get(NODE, "x")
        except ClusterUnreachable as error:
            assert "\n" not in error.message + str(error.hint)  # noqa: PT017
