"""Requests on the wire: time limits, connections that are kept, and patience with a server that is away for a moment.

lightkube prepares the client; requests go to that client directly: bytes in, bytes out. lightkube's typed models would
drop every field that they do not know.
"""

from __future__ import annotations

import contextlib
import logging
import random
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wasme.deploy.cluster.answers import Answer, Asking
from wasme.errors import ClusterError, ClusterUnreachable

if TYPE_CHECKING:
    import httpx2

    from wasme.deploy.cluster.forward import Stream

log = logging.getLogger(__name__)

PATIENCE = 30.0  # seconds in which a request is tried again
ATTEMPT = 15.0  # seconds one try may take, the whole answer included
CONNECT = 5.0  # seconds
# A list page of 500 pods is about 10 MB; nothing that wasme asks for comes near this.
LARGEST = 256 << 20
# Answers that say "later". 500 is among them because a server whose storage restarts says it.
LATER = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    ``again`` says what may be tried again: "always" where doing it twice is doing it once (reads, server-side apply,
    deletes, updates guarded by a resourceVersion), "unsent" where only a request that the server never saw may be sent
    once more.
    """

    method: str
    path: str
    asking: Asking
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    again: str = "always"


class Wire:
    """One API server's connections, shared by threads."""

    def __init__(
        self, client: httpx2.Client, *, server_name: str = "", patience: float = PATIENCE, attempt: float = ATTEMPT
    ) -> None:
        self._client = client
        # The name for TLS where it is another than the address's: tls-server-name.
        self._extensions = {"sni_hostname": server_name} if server_name else None
        self.patience = patience
        self.attempt = attempt
        self._trouble = -PATIENCE  # when a connection was last lost, by the monotonic clock
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    @property
    def troubled(self) -> bool:
        """Whether the server was away a moment ago: then it may still be reading its rules, and refuse wrongly."""
        return time.monotonic() - self._trouble < 10

    def send(self, ask: Ask) -> Answer:
        """The answer, whatever its status, after as many tries as 30 seconds allow.

        Raises:
            ClusterUnreachable: no answer came.
            ClusterError: the answer is too large to be one.
        """
        until = time.monotonic() + self.patience
        wait = 0.1
        while True:
            answer: Answer | None = None
            problem: ClusterUnreachable | None = None
            sent = True
            try:
                answer = self._once(ask, min(self.attempt, max(1.0, until - time.monotonic())))
            except _Lost as lost:
                self._trouble = time.monotonic()
                problem, sent = lost.told, lost.sent
                if lost.final:
                    raise lost.told from lost.__cause__
            if answer is not None and not self._again(ask, answer):
                return answer
            pause = wait * (0.5 + random.random())  # noqa: S311  (spreads clients; nothing secret)
            if answer is not None:
                pause = max(pause, _seconds(answer.headers.get("retry-after", "")))
            if time.monotonic() + pause >= until or (problem and sent and ask.again != "always"):
                if problem:
                    raise problem
                assert answer is not None
                return answer
            log.debug(
                "trying again",
                extra={
                    "fields": {
                        "request": f"{ask.method} {ask.path}",
                        "seconds": round(pause, 2),
                        "because": problem.message if problem else f"HTTP {answer.status if answer else 0}",
                    }
                },
            )
            time.sleep(pause)
            wait = min(wait * 2, 3.0)

    def _again(self, ask: Ask, answer: Answer) -> bool:
        if answer.status == 429:
            return True
        if answer.status in LATER:
            # A schema that does not fit is a 500 of server-side apply; it is never different the next time.
            return ask.again == "always" and b"typed patch object" not in answer.body
        # Just after its start a server may not have read its roles yet.
        return answer.status == 403 and self.troubled and b"RBAC: " in answer.body

    def _once(self, ask: Ask, seconds: float) -> Answer:
        import httpx2

        until = time.monotonic() + seconds
        headers = {"Content-Type": ask.content_type} if ask.body is not None else {}
        request = self._client.build_request(
            ask.method,
            ask.path,
            params=ask.query or None,
            content=ask.body,
            headers=headers,
            timeout=httpx2.Timeout(seconds, connect=min(CONNECT, seconds)),
            extensions=self._extensions,
        )
        with _told(ask.asking):
            response = self._client.send(request, stream=True, follow_redirects=False)
            try:
                parts: list[bytes] = []
                size = 0
                for part in response.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > LARGEST:
                        raise ClusterError(f"{ask.asking}: {ask.asking.server} sends an answer without an end")
                    if time.monotonic() > until:
                        raise httpx2.ReadTimeout("the whole answer took too long")
            finally:
                response.close()
        self._warn(response.headers.get("warning", ""))
        return Answer(response.status_code, response.headers, b"".join(parts))

    @contextlib.contextmanager
    def lines(self, ask: Ask, seconds: float) -> Iterator[tuple[Answer | None, Iterator[bytes]]]:
        """A watch: the lines as they come, for at most ``seconds`` of silence.

        Gives the whole answer instead where the status is not 200.

        Raises:
            ClusterUnreachable: the connection is lost; not tried again here.
        """
        import httpx2

        request = self._client.build_request(
            ask.method,
            ask.path,
            params=ask.query or None,
            timeout=httpx2.Timeout(seconds, connect=CONNECT),
            extensions=self._extensions,
        )
        try:
            with _told(ask.asking):
                response = self._client.send(request, stream=True, follow_redirects=False)
                try:
                    if response.status_code == 200:
                        yield None, _lines(response.iter_bytes())
                    else:
                        yield Answer(response.status_code, response.headers, response.read()[:LARGEST]), iter(())
                finally:
                    response.close()
        except _Lost as lost:
            self._trouble = time.monotonic()
            raise lost.told from lost.__cause__

    @contextlib.contextmanager
    def upgraded(
        self, ask: Ask, headers: Mapping[str, str], seconds: float
    ) -> Iterator[tuple[Answer | None, Stream | None]]:
        """A connection that changes its protocol: what carries it from there on, or the whole answer of a refusal.

        Raises:
            ClusterUnreachable: the connection is lost; not tried again here.
        """
        import httpx2

        request = self._client.build_request(
            ask.method,
            ask.path,
            params=ask.query or None,
            headers=dict(headers),
            timeout=httpx2.Timeout(seconds, connect=CONNECT),
            extensions=self._extensions,
        )
        try:
            with _told(ask.asking):
                response = self._client.send(request, stream=True, follow_redirects=False)
                try:
                    if response.status_code == 101:
                        yield None, response.extensions["network_stream"]
                    else:
                        yield Answer(response.status_code, response.headers, response.read()[:LARGEST]), None
                finally:
                    response.close()
        except _Lost as lost:
            raise lost.told from lost.__cause__

    def _warn(self, header: str) -> None:
        """Tell the server's warnings (RFC 9111: 299 - "text"), each once."""
        if not header:
            return
        text = header.partition('"')[2].rpartition('"')[0] or header
        with self._lock:
            new = text not in self._warned
            self._warned.add(text)
        if new:
            log.warning("the API server warns", extra={"fields": {"warning": text[:500]}})


class _Lost(Exception):
    """No answer. ``sent``: the server may have seen the request. ``final``: another try cannot help."""

    def __init__(self, told: ClusterUnreachable, *, sent: bool, final: bool = False) -> None:
        super().__init__(told.message)
        self.told, self.sent, self.final = told, sent, final


@contextlib.contextmanager
def _told(asking: Asking) -> Iterator[None]:
    """Turn what the HTTP client raises into one line."""
    import httpx2

    try:
        yield
    except httpx2.ConnectError as error:
        refused = _certificate(error, asking)
        if refused:
            raise _Lost(refused, sent=False, final=True) from error
        raise _Lost(_unreachable(asking, _reason(error)), sent=False) from error
    except httpx2.ConnectTimeout as error:
        raise _Lost(_unreachable(asking, "no connection in time"), sent=False) from error
    except httpx2.PoolTimeout as error:
        raise _Lost(_unreachable(asking, "all connections are busy"), sent=False) from error
    except httpx2.TimeoutException as error:
        raise _Lost(_unreachable(asking, "no answer in time"), sent=True) from error
    except httpx2.ProxyError as error:
        raise _Lost(_unreachable(asking, f"the proxy says: {_reason(error)}"), sent=False) from error
    except httpx2.UnsupportedProtocol as error:
        raise _Lost(_unreachable(asking, "its address is no http(s) URL"), sent=False, final=True) from error
    except httpx2.DecodingError as error:
        raise _Lost(_unreachable(asking, "the answer cannot be unpacked"), sent=True) from error
    except httpx2.LocalProtocolError as error:
        # Its text quotes headers.
        raise _Lost(_unreachable(asking, "the request cannot be sent"), sent=False, final=True) from error
    except httpx2.TransportError as error:
        raise _Lost(_unreachable(asking, _reason(error) or "the connection was cut"), sent=True) from error


def _unreachable(asking: Asking, why: str) -> ClusterUnreachable:
    return ClusterUnreachable(
        f"{asking}: cannot reach the API server {asking.server}: {why}",
        hint="is the cluster running, and is this the right context? (kubectl config get-contexts)",
    )


def _certificate(error: BaseException, asking: Asking) -> ClusterUnreachable | None:
    """The error for a certificate that is refused; None where the trouble is another."""
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


def _seconds(header: str) -> float:
    """Retry-After in seconds; 0 where there is none, at most the patience."""
    try:
        return min(max(float(header), 0.0), PATIENCE)
    except ValueError:
        return 0.0


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines of a stream; a last line that is cut is not one."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        if len(held) > LARGEST:
            raise ClusterError("a watch sends a line without an end")
        while (end := held.find(b"\n")) >= 0:
            line = bytes(held[:end])
            del held[: end + 1]
            if line.strip():
                yield line
