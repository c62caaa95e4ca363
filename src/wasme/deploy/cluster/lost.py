"""What goes wrong on the way to a server, as one line: refused, cut, silent, or a certificate that is not trusted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from wasme.deploy.cluster.answers import Asking
from wasme.errors import ClusterUnreachable


class Lost(Exception):
    """No answer. ``sent``: the server may have seen the request. ``final``: another try cannot help."""

    def __init__(self, told: ClusterUnreachable, *, sent: bool, final: bool = False) -> None:
        super().__init__(told.message)
        self.told, self.sent, self.final = told, sent, final


@contextlib.contextmanager
def told(asking: Asking) -> Iterator[None]:
    """Turn what the HTTP client raises into one line."""
    import httpx2

    try:
        yield
    except httpx2.ConnectError as error:
        refused = _certificate(error, asking)
        if refused:
            raise Lost(refused, sent=False, final=True) from error
        raise Lost(_unreachable(asking, _reason(error)), sent=False) from error
    except httpx2.ConnectTimeout as error:
        raise Lost(_unreachable(asking, "no connection in time"), sent=False) from error
    except httpx2.PoolTimeout as error:
        raise Lost(_unreachable(asking, "all connections are busy"), sent=False) from error
    except httpx2.TimeoutException as error:
        raise Lost(_unreachable(asking, "no answer in time"), sent=True) from error
    except httpx2.ProxyError as error:
        raise Lost(_unreachable(asking, f"the proxy says: {_reason(error)}"), sent=False) from error
    except httpx2.UnsupportedProtocol as error:
        raise Lost(_unreachable(asking, "its address is no http(s) URL"), sent=False, final=True) from error
    except httpx2.DecodingError as error:
        raise Lost(_unreachable(asking, "the answer cannot be unpacked"), sent=True) from error
    except httpx2.LocalProtocolError as error:
        # Its text quotes headers.
        raise Lost(_unreachable(asking, "the request cannot be sent"), sent=False, final=True) from error
    except httpx2.TransportError as error:
        raise Lost(_unreachable(asking, _reason(error) or "the connection was cut"), sent=True) from error


def _unreachable(asking: Asking, why: str) -> ClusterUnreachable:
    return ClusterUnreachable(
        f"{asking}: cannot reach the API server {asking.server}: {why}",
        hint="is the cluster running, and is this the right context? (kubectl config get-contexts)",
    )


def _certificate(error: BaseException, asking: Asking) -> ClusterUnreachable | None:
    """The error for a certificate that is refused; None where the trouble is another."""
    import ssl

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        text = str(error)
        if "SSL" not in text and "CERTIFICATE" not in text:
            return None
    else:
        text = str(cause)
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = cause.verify_message
        hint = "give its certificate authority in the kubeconfig (certificate-authority)"
        if "expired" in why:
            hint = "the certificate of the server must be renewed; is this machine's clock right?"
        elif "ostname mismatch" in why or "IP address mismatch" in why:
            hint = "use the name that the certificate is for, or set tls-server-name in the kubeconfig"
        return ClusterUnreachable(f"{asking}: the certificate of {asking.server} is refused: {why}", hint=hint)
    if "WRONG_VERSION_NUMBER" in text:
        return ClusterUnreachable(
            f"{asking}: {asking.server} does not speak TLS", hint="is it an http:// address, or the wrong port?"
        )
    return ClusterUnreachable(
        f"{asking}: no TLS connection to {asking.server}: {text[:200]}",
        hint="check the certificates in the kubeconfig",
    )


def _reason(error: BaseException) -> str:
    """The system's word for it, without Python's decoration."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split())[:200].lower()
