"""The control plane of a cluster that somebody else runs: $WASME_TEST_KUBECONFIG names its kubeconfig.

It must be a cluster for tests. What is done to namespaces, nodes, roles and caches there is what the tests do to a
server of their own; CRDs and node caches that no test has made are neither replaced nor deleted.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane

_NAMED = os.environ.get("WASME_TEST_KUBECONFIG", "")
NAMED = Path(_NAMED).absolute() if _NAMED else None
"""The kubeconfig; read before a test gets a HOME and a folder of its own."""
_WHOSE = "needs a control plane of the tests' own, and $WASME_TEST_KUBECONFIG names another"


class ExternalPlane(ControlPlane):
    """A control plane that is reached by a kubeconfig, and neither started nor stopped.

    Args:
        kubeconfig: one file, whose current context is used: a server with https, and a user with a token, a file of
            one, or a certificate.
        folder: for files of the tests.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._beside = kubeconfig.parent
        self._folder = folder
        cluster, self._user, namespace = _current(yaml.safe_load(kubeconfig.read_text()), kubeconfig)
        self.url = str(cluster.get("server", "")).rstrip("/")
        if not self.url.startswith("https://") or cluster.get("insecure-skip-tls-verify"):
            pytest.skip(f"needs a server with a certificate that is checked: {kubeconfig} has {self.url}")
        self.ca = self._file("ca.crt", cluster, "certificate-authority")
        self._token = self._user.get("token") or self._read(self._user.get("tokenFile")).decode().strip()
        certificate = None
        if not self._token:
            certificate = (self._file("client.crt", self._user, "client-certificate"),
                           self._file("client.key", self._user, "client-key"))  # fmt: skip
            self._user = {"client-certificate": str(certificate[0]), "client-key": str(certificate[1])}
        else:
            self._user = {"token": self._token}
        self.kubeconfig = folder / "kubeconfig"
        self._write_kubeconfig(self.kubeconfig, self._user, namespace)
        self.api = Api(self.url, self.ca, self._token, certificate)
        self.served: dict[str, object] = {}
        self.caches = {each["metadata"]["uid"] for each in self.api.list("/apis/apps/v1/daemonsets")}
        """DaemonSets that were there before the tests."""

    @property
    def token(self) -> str:  # type: ignore[override]
        """The administrator's token; the test is skipped where it is a certificate."""
        return self._token or pytest.skip("needs a kubeconfig with a token: $WASME_TEST_KUBECONFIG has a certificate")

    def kubeconfig_for(self, user: str, *groups: str, namespace: str = "") -> Path:
        """As of a server of the tests' own; the administrator impersonates the user."""
        file = self._folder / f"kubeconfig-{user}"
        impersonated: dict[str, Any] = {**self._user, "as": user, **({"as-groups": list(groups)} if groups else {})}
        self._write_kubeconfig(file, impersonated, namespace)
        return file

    def start(self) -> None:
        """It runs; what does not answer fails the test."""
        assert self.version

    def close(self) -> None:
        """It goes on running."""

    def require_own(self) -> NoReturn:
        _skip("stop it")

    def stop(self) -> NoReturn:
        _skip("stop it")

    def kill(self) -> NoReturn:
        _skip("kill it")

    def pause(self) -> NoReturn:
        _skip("let it stand still")

    def resume(self) -> NoReturn:
        _skip("let it stand still")

    def controllers(self) -> NoReturn:  # type: ignore[override]
        _skip("start its controllers")

    def compact(self) -> NoReturn:
        _skip("let its etcd forget")

    def backup(self) -> NoReturn:
        _skip("put its etcd back")

    def mark(self) -> NoReturn:
        _skip("read its audit log")

    def audit(self, since: int = 0, *, agent: str = "wasme/") -> NoReturn:
        _skip("read its audit log")

    def log(self, name: str = "kube-apiserver") -> NoReturn:
        _skip("read its log")

    def __getattr__(self, name: str) -> NoReturn:
        if name in ("audit_log", "_ca_key", "_sign", "_etcd_port", "_port", "_processes"):
            _skip(f"have its {name.strip('_').replace('_', ' ')}")
        raise AttributeError(name)

    def _file(self, name: str, entry: dict[str, Any], key: str) -> Path:
        """A file that a kubeconfig names or holds, as one of the tests' own."""
        data = entry.get(f"{key}-data")
        content = base64.b64decode(data) if data else self._read(entry.get(key))
        if not content:
            pytest.skip(f"needs a kubeconfig with {key}: $WASME_TEST_KUBECONFIG has none")
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path

    def _read(self, path: str | None) -> bytes:
        """A file that a kubeconfig names, relative to its own place."""
        return (self._beside / path).read_bytes() if path else b""


def _skip(what: str) -> NoReturn:
    pytest.skip(f"{_WHOSE}: no test can {what}")


def _current(config: Any, path: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Cluster, user and namespace of the current context."""
    try:
        named = {kind: {each["name"]: each for each in config.get(kind) or ()}
                 for kind in ("contexts", "clusters", "users")}  # fmt: skip
        context = named["contexts"][config["current-context"]]["context"]
        cluster, user = named["clusters"][context["cluster"]]["cluster"], named["users"][context["user"]]["user"]
    except (KeyError, TypeError, AttributeError) as error:
        pytest.fail(f"$WASME_TEST_KUBECONFIG: {path} has no current context that is whole: {json.dumps(str(error))}")
    return cluster, user, context.get("namespace", "")
