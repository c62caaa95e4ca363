"""Who we are to the server: certificates, tokens, programs that give them."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wasme.deploy.cluster.access import Access, Plugin
from wasme.errors import ClusterForbidden, ClusterUnreachable

if TYPE_CHECKING:
    import httpx2

PLUGIN_SECONDS = 120.0  # a plugin may open a browser and wait for its user


def tls(access: Access) -> ssl.SSLContext:
    """The TLS settings of an access: whom to trust, and the client's certificate.

    Raises:
        ClusterUnreachable: a certificate or key that cannot be read.
    """
    if access.insecure or access.server.startswith("http:"):
        # Nobody's word is asked for: the system's authorities are not even read, which takes longer than a request.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        try:
            context = ssl.create_default_context(cadata=access.ca.decode("ascii") if access.ca else None)
        except (ssl.SSLError, ValueError) as error:
            raise ClusterUnreachable(
                f"{access.origin}: the certificate-authority of the cluster is no PEM certificate",
                hint="mend the kubeconfig",
            ) from error
        # Clusters' own authorities often lack what Python 3.13 insists on; kubectl takes them.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if access.certificate or access.key:
        if not (access.certificate and access.key):
            missing = "client-key" if access.certificate else "client-certificate"
            raise ClusterUnreachable(
                f"{access.origin}: the user {access.user} has no {missing}", hint="mend the kubeconfig"
            )
        present(context, access.certificate, access.key, f"{access.origin}: the user {access.user}")
    return context


def present(context: ssl.SSLContext, certificate: bytes, key: bytes, where: str) -> None:
    """Have new connections of a context show a client certificate (PEM).

    Raises:
        ClusterUnreachable: it cannot be used.
    """
    # ssl reads them from files only; the file is ours alone and gone after the call.
    handle, name = tempfile.mkstemp(prefix="wasme-")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(certificate.rstrip(b"\n") + b"\n" + key)
        context.load_cert_chain(path, password=_no_password)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise ClusterUnreachable(
            f"{where}: the client certificate and key cannot be used (not PEM, encrypted, or not of one pair)",
            hint="mend the kubeconfig, or log in to the cluster again",
        ) from error
    finally:
        path.unlink(missing_ok=True)


def _no_password() -> str:
    raise ValueError("an encrypted key")


def login(access: Access, context: ssl.SSLContext) -> httpx2.Auth | None:
    """What puts the user's credentials on each request; None where the certificate is all.

    Raises:
        ClusterUnreachable: credentials that cannot be sent.
    """
    import httpx2

    class Bearer(httpx2.Auth):
        """A bearer token from somewhere, asked for again once when the server does not take it."""

        def __init__(self, source: _Source) -> None:
            self._source = source

        def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
            token = self._source.token()
            if token:
                request.headers["Authorization"] = f"Bearer {token}"
            response = yield request
            if response.status_code == 401:
                token = self._source.renewed(token)
                if token:
                    request.headers["Authorization"] = f"Bearer {token}"
                    yield request

    if access.token_file is not None:
        return Bearer(_File(access.token_file))
    if access.token:
        return Bearer(_Fixed(checked(access.token, f"{access.origin}: the user {access.user}")))
    if access.plugin is not None:
        return Bearer(_Program(access.plugin, access, context))
    if access.username:
        return httpx2.BasicAuth(access.username, access.password)
    return None


def checked(token: str, where: str) -> str:
    """A token that can stand in a header; the HTTP library would quote another one in its error."""
    if not token or any(not 0x21 <= ord(each) <= 0x7E for each in token):
        raise ClusterUnreachable(
            f"{where}: the token is empty, or holds characters that no token has", hint="log in to the cluster again"
        )
    return token


class _Source(Protocol):
    """Where a token comes from."""

    def token(self) -> str:
        """The token to show; "" for none."""
        ...

    def renewed(self, refused: str) -> str:
        """The one to show after this was refused; "" where there is no other."""
        ...


class _Fixed:
    """A token that stays."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self) -> str:
        return self._token

    def renewed(self, refused: str) -> str:  # noqa: ARG002  (there is no other)
        return ""


class _File:
    """A token that somebody writes anew from time to time; read again when it is refused."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = ""

    def token(self) -> str:
        return self._token or self.renewed("")

    def renewed(self, refused: str) -> str:  # noqa: ARG002  (a file is read again whatever was refused)
        try:
            self._token = checked(self._path.read_text(encoding="ascii", errors="replace").strip(), str(self._path))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "no such name"
            raise ClusterUnreachable(
                f"cannot read the token file {' '.join(str(self._path).split())}: {why.lower()}",
                hint="log in to the cluster again",
            ) from error
        return self._token


class _Program:
    """A credential plugin (https://kubernetes.io/docs/reference/config-api/client-authentication.v1/)."""

    def __init__(self, plugin: Plugin, access: Access, context: ssl.SSLContext) -> None:
        self._plugin, self._access, self._context = plugin, access, context
        self._lock = threading.Lock()
        self._token: str | None = None

    def token(self) -> str:
        with self._lock:
            if self._token is None:
                self._token = self._run()
            return self._token

    def renewed(self, refused: str) -> str:
        with self._lock:
            # Another thread may have renewed it meanwhile: plugins are slow and some ask a person.
            if self._token is None or self._token == refused:
                self._token = self._run()
            return self._token

    def _run(self) -> str:
        plugin, access = self._plugin, self._access
        command = " ".join(plugin.command.split())
        where = f"{access.origin}: the credential plugin {command} of the user {access.user}"
        if plugin.api_version.rpartition("/")[2] not in {"v1", "v1beta1", "v1alpha1"}:
            raise ClusterUnreachable(
                f"{where} speaks {plugin.api_version}, which is not known", hint="mend the kubeconfig"
            )
        spec: dict[str, Any] = {"interactive": os.isatty(0)}
        if plugin.provide_cluster_info:
            import base64

            spec["cluster"] = {
                "server": access.server,
                **({"tls-server-name": access.server_name} if access.server_name else {}),
                **({"insecure-skip-tls-verify": True} if access.insecure else {}),
                **({"certificate-authority-data": base64.b64encode(access.ca).decode()} if access.ca else {}),
            }
        told = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
        env = {**os.environ, **plugin.env, "KUBERNETES_EXEC_INFO": json.dumps(told)}
        try:
            done = subprocess.run(
                [plugin.command, *plugin.args],
                env=env,
                stdin=None if os.isatty(0) else subprocess.DEVNULL,
                capture_output=True,
                timeout=PLUGIN_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise ClusterUnreachable(
                f"{where} is not on this machine",
                hint=" ".join(plugin.install_hint.split()) or f"install {command}",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ClusterUnreachable(
                f"{where} did not end within {PLUGIN_SECONDS:.0f} s", hint="run it by hand"
            ) from error
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "its name or environment is none"
            raise ClusterUnreachable(f"{where} cannot be run: {why.lower()}", hint="run it by hand") from error
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise ClusterForbidden(
                f"{where} failed with exit code {done.returncode}" + (f": {said[-1][:300]}" if said else ""),
                hint="log in to the cluster again with its own tool",
            )
        return self._taken(done.stdout, where)

    def _taken(self, output: bytes, where: str) -> str:
        # Nothing of the output goes into a message: it is the secret.
        try:
            status = json.loads(output)["status"]
            token, certificate, key = (
                status.get(each) or "" for each in ("token", "clientCertificateData", "clientKeyData")
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ClusterUnreachable(f"{where} gave no ExecCredential with a status", hint="run it by hand") from error
        if certificate and key:
            present(self._context, certificate.encode(), key.encode(), where)
        elif not token:
            raise ClusterUnreachable(f"{where} gave neither a token nor a certificate", hint="run it by hand")
        return checked(token, where) if token else ""
