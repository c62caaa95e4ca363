"""How the agent reaches its API server: as the pod it runs in, or by a kubeconfig file."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from wasme.errors import ClusterUnreachable

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Access(msgspec.Struct, frozen=True):
    """Where the server is and who the agent is there.

    Attributes:
        host, port, prefix: of the server's URL.
        tls: False for plain http.
        ca, ca_data: the authority, as a file or as PEM text; the system's where both are empty.
        insecure: accept any certificate.
        server_name: whom the certificate must name, if not ``host``.
        token, token_file: a bearer token; the file is read again, since such tokens are short-lived.
        certificate, key: PEM files of a client certificate.
        certificate_data, key_data: the same as bytes.
        source: where this was found, for messages.
    """

    host: str
    port: int
    prefix: str = ""
    tls: bool = True
    ca: Path | None = None
    ca_data: str = ""
    insecure: bool = False
    server_name: str = ""
    token: str = ""
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    certificate_data: bytes = b""
    key_data: bytes = b""
    source: str = ""

    def __repr__(self) -> str:
        return f"Access({self.host}:{self.port}, from {self.source})"

    @property
    def bearer(self) -> str:
        """The token to send now; "" without one.

        Raises:
            ClusterUnreachable: its file cannot be read.
        """
        if self.token_file is None:
            return self.token
        try:
            return self.token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ClusterUnreachable(
                f"the token of the API server cannot be read: {self.token_file}: {reason}"
            ) from None

    def context(self) -> ssl.SSLContext | None:
        """TLS as the server wants it; None for plain http.

        Raises:
            ClusterUnreachable: an authority or a certificate cannot be read.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None, cadata=self.ca_data or None)
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.certificate_data or self.key_data:
                with tempfile.NamedTemporaryFile() as file:  # OpenSSL takes client certificates from files only; 0600
                    file.write(self._pem(self.certificate_data, self.certificate))
                    file.write(b"\n" + self._pem(self.key_data, self.key))
                    file.flush()
                    context.load_cert_chain(file.name)
            elif self.certificate:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ClusterUnreachable(f"{self.source}: the certificates cannot be used: {error}") from None
        return context

    @staticmethod
    def _pem(data: bytes, file: Path | None) -> bytes:
        return data or (file.read_bytes() if file else b"")


def find(kubeconfig: Path | None = None) -> Access | None:
    """How to reach the API server; None where nothing says so.

    Args:
        kubeconfig: the file that was named; None looks for the pod's account, ``$KUBECONFIG``, ``~/.kube/config``.

    Raises:
        ClusterUnreachable: the file is there and cannot be used, or was named and is not there.
    """
    if kubeconfig is not None:
        return from_file(kubeconfig)
    inside = in_cluster(os.environ)
    if inside is not None:
        return inside
    for name in os.environ.get("KUBECONFIG", "").split(os.pathsep):
        if name and Path(name).exists():
            return from_file(Path(name))
    usual = Path.home() / ".kube" / "config"
    return from_file(usual) if usual.exists() else None


def in_cluster(environment: Mapping[str, str], account: Path = ACCOUNT) -> Access | None:
    """The pod's own account; None outside a cluster."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port.isdigit() or not (account / "token").exists():
        return None
    return Access(
        host=host, port=int(port), ca=account / "ca.crt", token_file=account / "token", source="the pod's account"
    )


def from_file(path: Path) -> Access:
    """The current context of a kubeconfig.

    Raises:
        ClusterUnreachable: it cannot be read, or wants a way to log in that needs another program.
    """
    try:
        content = _parse(path.read_bytes())
        context = _named(content, "contexts", content.get("current-context"), "context")
        cluster = _named(content, "clusters", context.get("cluster"), "cluster")
        user = _named(content, "users", context.get("user"), "user")
        return _access(path, cluster, user)
    except OSError as error:
        raise ClusterUnreachable(f"{path} cannot be read: {(error.strerror or 'error').lower()}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ClusterUnreachable(f"{path} is no kubeconfig with a current context: {error}") from None


def _access(path: Path, cluster: dict[str, Any], user: dict[str, Any]) -> Access:
    url = urlsplit(cluster["server"])
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"its server {cluster['server']!r} is no URL")
    if any(user.get(name) for name in ("exec", "auth-provider")):
        raise ClusterUnreachable(
            f"{path}: its user logs in through another program, which the node cache does not run",
            hint="give it a token or a client certificate",
        )

    def file(value: Any) -> Path | None:
        return path.parent / value if value else None

    def data(value: Any) -> bytes:
        return base64.b64decode(value, validate=True) if value else b""

    return Access(
        host=url.hostname,
        port=url.port or (443 if url.scheme == "https" else 80),
        prefix=url.path.rstrip("/"),
        tls=url.scheme == "https",
        ca=file(cluster.get("certificate-authority")),
        ca_data=data(cluster.get("certificate-authority-data")).decode(),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=cluster.get("tls-server-name") or "",
        token=user.get("token") or "",
        token_file=file(user.get("tokenFile")),
        certificate=file(user.get("client-certificate")),
        key=file(user.get("client-key")),
        certificate_data=data(user.get("client-certificate-data")),
        key_data=data(user.get("client-key-data")),
        source=str(path),
    )


def _parse(raw: bytes) -> dict[str, Any]:
    content: Any
    try:
        content = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        import yaml

        try:
            content = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
        except (yaml.YAMLError, RecursionError):
            raise ValueError("it is not YAML") from None
    if not isinstance(content, dict):
        raise TypeError("it holds no keys")
    return content


def _named(content: dict[str, Any], key: str, name: Any, inside: str) -> dict[str, Any]:
    for entry in content.get(key) or []:
        if entry.get("name") == name:
            found = entry[inside]
            if isinstance(found, dict):
                return found
    raise ValueError(f"it has no {inside} {str(name)[:100]!r}")
