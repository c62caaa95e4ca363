"""What went wrong with a connection, in words."""

from __future__ import annotations

import socket
import sys

from wasme.errors import NotARegistry, RegistryError, Unreachable
from wasme.registry.guards import printable
from wasme.registry.origin import Origin
from wasme.registry.wire import Garbled, TunnelRefused


class ConnectionLost(Unreachable):
    """A connection broke, or stalled, in the middle: asking again may help."""

    stalled = False


class SpeaksTls(Unreachable):
    """Plain http was spoken to a port that wants TLS."""


def addresses(origin: Origin) -> list[str]:
    """What a server's name stands for now; OSError where it stands for nothing."""
    return [str(each[4][0]) for each in socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)]


def explain(error: Exception, origin: Origin) -> RegistryError:
    """The error of wasme's for one of a socket's, of TLS or of HTTP parsing."""
    where = origin.netloc
    if isinstance(error, RegistryError):
        return error
    ssl = sys.modules.get("ssl")  # not loaded: then it is no error of TLS
    if ssl is not None and isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, where)
    if ssl is not None and isinstance(error, ssl.SSLError):
        return _tls(error, where)
    if isinstance(error, socket.gaierror | UnicodeError):
        reason = str(getattr(error, "strerror", None) or "not a host name").lower()
        return Unreachable(
            f"no such host: {origin.host} ({reason})",
            hint="check the registry's name, and the network's name resolution",
        )
    if isinstance(error, TimeoutError):
        lost = ConnectionLost(f"{where} did not answer in time", hint="is it reachable from here, is a proxy needed?")
        lost.stalled = True
        return lost
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(f"{where} refused the connection", hint="is the registry running, is the port right?")
    if isinstance(error, ConnectionError):
        return ConnectionLost(f"the connection to {where} broke off")
    if isinstance(error, Garbled):
        if error.beginning.startswith(b"\x15\x03"):
            return SpeaksTls(f"{where} speaks https, not plain http", hint="leave out --plain-http")
        return NotARegistry(f"{where} does not speak HTTP", hint="is the port right?")
    if isinstance(error, TunnelRefused):
        return Unreachable(
            f"the proxy refused to connect to {where}: {printable(error.status, 100)}",
            hint="check https_proxy and no_proxy, and the user and password in them",
        )
    if isinstance(error, OSError):
        text = str(error)
        return Unreachable(f"no connection to {where}: {error.strerror or text[:200]}")
    return NotARegistry(f"{where} cannot be asked: {type(error).__name__}")


def _certificate(error: Exception, where: str) -> Unreachable:
    code = getattr(error, "verify_code", 0)
    reason = str(getattr(error, "verify_message", "") or "not accepted")
    if code in (18, 19):
        what, hint = "is self-signed", "add its authority to the system's store or SSL_CERT_FILE, or use --insecure"
    elif code == 10:
        what, hint = "has expired", "check this machine's clock, or ask the registry's keeper to renew it"
    elif code in (62, 64):
        what, hint = f"is for another name ({reason})", "use the name that the certificate is for"
    elif code in (2, 20, 21):
        what, hint = (
            "comes from an authority unknown to this machine",
            "add that authority to the system's store or SSL_CERT_FILE, or use --insecure",
        )
    else:
        what, hint = f"is not accepted: {reason}", "--insecure takes any certificate"
    return Unreachable(f"the TLS certificate of {where} {what}", hint=hint)


def _tls(error: Exception, where: str) -> RegistryError:
    reason = str(getattr(error, "reason", "") or "")
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"):
        return Unreachable(
            f"{where} does not speak TLS",
            hint="if it serves plain http, say so: --plain-http (never over a foreign network)",
        )
    if "EOF" in reason or "EOF" in str(error):
        return ConnectionLost(f"the TLS connection to {where} broke off")
    return Unreachable(f"no TLS connection to {where}: {reason.replace('_', ' ').lower() or 'failed'}")
