"""Ways to the API server."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from wasme.cache import access
from wasme.errors import ClusterUnreachable


def config(user: dict[str, Any], **cluster: Any) -> dict[str, Any]:
    return {
        "current-context": "here",
        "contexts": [{"name": "other", "context": {}}, {"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/k8s/", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_pod(tmp_path: Path) -> None:
    """In a pod it is the account's files, and the token is read from its file each time."""
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert access.in_cluster(environment, tmp_path) is None
    (tmp_path / "token").write_text("one\n")
    found = access.in_cluster(environment, tmp_path)
    assert found is not None
    assert (found.host, found.port, found.ca, found.bearer) == ("fd00::1", 443, tmp_path / "ca.crt", "one")
    (tmp_path / "token").write_text("two")
    assert found.bearer == "two"
    (tmp_path / "token").unlink()
    with pytest.raises(ClusterUnreachable, match="token"):
        _ = found.bearer
    assert access.in_cluster({}, tmp_path) is None


def test_file(tmp_path: Path) -> None:
    """The current context of a file counts; file names in it are relative to it; secrets do not show."""
    data = {"certificate-authority": "ca.pem", "tls-server-name": "api"}
    found = access.from_file(write(tmp_path / "config", config({"token": "s3cret"}, **data)))
    assert (found.host, found.port, found.prefix, found.tls) == ("10.0.0.1", 6443, "/k8s", True)
    assert (found.ca, found.server_name, found.bearer) == (tmp_path / "ca.pem", "api", "s3cret")
    assert "s3cret" not in repr(found)


def test_yaml(tmp_path: Path) -> None:
    """A kubeconfig is YAML."""
    import yaml

    (tmp_path / "config").write_text(yaml.safe_dump(config({"tokenFile": "t"})))
    (tmp_path / "t").write_text("x")
    assert access.from_file(tmp_path / "config").bearer == "x"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no kubeconfig"),
        ("[1]", "holds no keys"),
        ("{a: [", "not YAML"),
        (json.dumps({**config({}), "current-context": "gone"}), "no context 'gone'"),
        (json.dumps(config({"exec": {"command": "aws"}})), "another program"),
        (json.dumps(config({}, server="nowhere")), "is no URL"),
        (json.dumps(config({}, server="https://x:99999")), "no kubeconfig"),
        (json.dumps(config({"client-certificate-data": "%%%"})), "no kubeconfig"),
        (json.dumps({**config({}), "users": [7]}), "no kubeconfig"),
        (json.dumps({**config({}), "clusters": "x"}), "no kubeconfig"),
        (json.dumps(config({}, **{"certificate-authority-data": base64.b64encode(b"\xff").decode()})), "no kubeconfig"),
    ],
)
def test_file_that_cannot_be_used(tmp_path: Path, content: str, told: str) -> None:
    """Whatever is wrong with the file is told in one line."""
    (tmp_path / "config").write_text(content)
    with pytest.raises(ClusterUnreachable, match=told):
        access.from_file(tmp_path / "config")


def test_certificates_that_are_none(tmp_path: Path) -> None:
    """An authority or a client certificate that cannot be read is told, without its content."""
    with pytest.raises(ClusterUnreachable, match="certificates cannot be used"):
        access.from_file(write(tmp_path / "a", config({}, **{"certificate-authority": "gone.pem"}))).context()
    user = {"client-certificate-data": base64.b64encode(b"a").decode(), "client-key-data": "aGVsbG8="}
    with pytest.raises(ClusterUnreachable, match="certificates cannot be used") as caught:
        access.from_file(write(tmp_path / "b", config(user))).context()
    assert "hello" not in str(caught.value)


def test_order(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was named, else $KUBECONFIG, else ~/.kube/config, else nothing; a named one must be there."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert access.find() is None
    (home / ".kube").mkdir()
    write(home / ".kube" / "config", config({"token": "usual"}))
    assert access.find() == access.from_file(home / ".kube" / "config")
    write(tmp_path / "env", config({"token": "environment"}))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'gone'}:{tmp_path / 'env'}")
    found = access.find()
    assert found is not None
    assert found.bearer == "environment"
    assert access.find(write(tmp_path / "named", config({"token": "named"}))).bearer == "named"  # type: ignore[union-attr]
    with pytest.raises(ClusterUnreachable, match="no such file"):
        access.find(tmp_path / "gone")
