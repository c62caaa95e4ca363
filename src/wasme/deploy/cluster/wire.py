"""Requests on the wire: time limits, connections that are kept, and patience with a server that is away for a moment.

Bytes in, bytes out, over httpx2. The Kubernetes clients for Python stand on such a client too, and add typed models,
which would drop every field that they do not know, but neither patience nor the whole of kubeconfig.
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from wasme.deploy.cluster.answers import Answer, Asking
from wasme.deploy.cluster.lost import Lost, told
from wasme.errors import ClusterError

if TYPE_CHECKING:
    import httpx2

    from wasme.deploy.cluster.forward import Stream

log = logging.getLogger(__name__)

PATIENCE = 30.0  # seconds in which a request is tried again
FIRST = 3.0  # seconds, instead of them, for a server that was never reached
WAIT = 0.1  # seconds before the second try, doubled each time
ATTEMPT = 15.0  # seconds one try may take, the whole answer included
CONNECT = 5.0  # seconds
# A list page of 500 pods is about 10 MB; nothing that wasme asks for comes near this.
LARGEST = 256 << 20
# Answers that say "later". 500 is among them because a server whose storage restarts says it.
LATER = frozenset({429, 500, 502, 503, 504})
# Different warnings of a server, some of which name what is written, after which each may be told once more.
WARNINGS = 1000


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    ``again`` says what may be tried again: "always" where doing it twice is doing it once (reads, server-side apply,
    deletes, updates guarded by a resourceVersion), "unsent" where only a request that the server never saw may be sent
    once more.

    Attributes:
        accept: the form that is wanted; "" for plain JSON.
        patience: seconds in which it is tried again; None for the wire's.
        check: called just before each try; what it raises ends the request.
    """

    method: str
    path: str
    asking: Asking
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    again: str = "always"
    accept: str = ""
    patience: float | None = None
    check: Callable[[], None] | None = None


class Wire:
    """One API server's connections, shared by threads."""

    def __init__(
        self, client: httpx2.Client, *, server_name: str = "", patience: float = PATIENCE, attempt: float = ATTEMPT
    ) -> None:
        self._client = client
        # A server may stand below a path, as Rancher's do.
        self._below = client.base_url.raw_path.decode("ascii").rstrip("/")
        # The name for TLS where it is another than the address's: tls-server-name.
        self._extensions = {"sni_hostname": server_name} if server_name else {}
        self.patience = patience
        self.attempt = attempt
        # By the monotonic clock: when a request was last not answered, and since when nobody has had a good answer.
        self._trouble = -PATIENCE
        self._down: float | None = None
        self._told = False
        self._met = False
        self._warned: set[str] = set()
        self._answers: Counter[tuple[str, int]] = Counter()
        self._watches: set[socket.socket] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    @property
    def answers(self) -> dict[tuple[str, int], int]:
        """How many answers of each status came to each verb; those to watches are not counted."""
        with self._lock:
            return dict(self._answers)

    @property
    def troubled(self) -> bool:
        """Whether the server was away a moment ago: then it may still be reading its rules, and refuse wrongly."""
        return time.monotonic() - self._trouble < 10

    def send(self, ask: Ask) -> Answer:
        """The answer, whatever its status, after as many tries as the patience allows.

        Raises:
            ClusterUnreachable: no answer came.
            ClusterError: the answer is too large to be one.
        """
        began = time.monotonic()
        patience = self.patience if ask.patience is None else ask.patience
        wait = WAIT
        unsure = False
        while True:
            answer: Answer | None = None
            problem: Lost | None = None
            try:
                answer = self._once(ask, min(self.attempt, max(1.0, began + patience - time.monotonic())))
            except Lost as lost:
                problem = lost
            self._note(answer, problem)
            if answer is not None and not self._again(ask, answer):
                return replace(answer, unsure=True) if unsure else answer
            unsure = unsure or (problem.sent if problem else answer is not None and answer.status >= 500)
            pause = wait * (0.5 + random.random())  # noqa: S311  (spreads clients; nothing secret)
            if answer is not None:
                pause = max(pause, _seconds(answer.headers.get("retry-after", "")))
            final = problem is not None and (problem.final or (problem.sent and ask.again != "always"))
            if final or time.monotonic() + pause >= self._until(began, patience, problem):
                if problem is not None:
                    raise problem.told from problem.__cause__
                assert answer is not None
                return answer
            why = problem.told.message if problem else f"HTTP {answer.status if answer else 0}"
            # One line for an outage, however many requests wait for its end.
            loud = wait > 0.5 and not self._told
            self._told = self._told or loud
            log.log(logging.WARNING if loud else logging.DEBUG, "trying again", extra={"fields": {"because": why}})
            time.sleep(pause)
            wait = min(wait * 2, 3.2)

    def _request(self, ask: Ask, seconds: float, headers: Mapping[str, str] | None = None) -> httpx2.Request:
        """A request that the prepared client sends.

        The server's address is parsed once and what is asked for goes as the target: the HTTP client takes an address
        apart letter by letter, three times, which was a third of what a request cost here.
        """
        import httpx2

        target = f"{self._below}{ask.path}?{urlencode(ask.query)}" if ask.query else f"{self._below}{ask.path}"
        timeout = httpx2.Timeout(seconds, connect=min(CONNECT, seconds)).as_dict()
        request = httpx2.Request(
            ask.method,
            self._client.base_url,
            headers=self._client.headers,
            content=ask.body,
            extensions={**self._extensions, "timeout": timeout, "target": target.encode("ascii")},
        )
        if ask.body is not None:
            request.headers["Content-Type"] = ask.content_type
        if ask.accept:
            request.headers["Accept"] = ask.accept
        if headers:
            request.headers.update(headers)
        return request

    def _note(self, answer: Answer | None, problem: Lost | None) -> None:
        now = time.monotonic()
        if problem is not None:
            self._trouble = now
        if answer is not None:
            self._met = True
        if answer is not None and answer.status not in LATER:
            self._down, self._told = None, False
        elif self._down is None:
            self._down = now

    def _until(self, began: float, patience: float, problem: Lost | None) -> float:
        """Until when to try on.

        While the server is away for all, patience is counted once and not for each of a thousand requests. And an
        address where nobody has answered yet may simply be wrong.
        """
        if problem is not None and not problem.sent and not self._met:
            return began + min(patience, FIRST)
        down = self._down
        return min(began, down) + patience if down is not None else began + patience

    def _again(self, ask: Ask, answer: Answer) -> bool:
        if answer.status == 429:
            return True
        if answer.status in LATER:
            # Who is hasty looks again anyway, and a webhook that is away is away for one kind, and often for long.
            if ask.patience is not None and b"failed calling webhook" in answer.body:
                return False
            # A schema that does not fit is a 500 of server-side apply; it is never different the next time.
            return ask.again == "always" and b"typed patch object" not in answer.body
        # Just after its start a server has not read its roles yet, and refuses wrongly: `User "x" cannot patch …`.
        return answer.status == 403 and self.troubled and b" cannot " in answer.body

    def _once(self, ask: Ask, seconds: float) -> Answer:
        until = time.monotonic() + seconds
        request = self._request(ask, seconds)
        if ask.check is not None:
            ask.check()
            request.extensions["trace"] = _before_sending(ask.check)
        with told(ask.asking):
            response = self._client.send(request, stream=True, follow_redirects=False)
            try:
                body = _whole(response, ask, until)
            finally:
                response.close()
        with self._lock:
            self._answers[ask.asking.verb, response.status_code] += 1
        self._warn(response.headers.get("warning", ""))
        return Answer(response.status_code, response.headers, body)

    @contextlib.contextmanager
    def lines(self, ask: Ask, seconds: float) -> Iterator[tuple[Answer | None, Iterator[bytes]]]:
        """A watch: the lines as they come, for at most ``seconds`` of silence.

        Gives the whole answer instead where the status is not 200.

        Raises:
            ClusterUnreachable: the connection is lost; not tried again here.
        """
        request = self._request(ask, seconds)
        answered = False
        try:
            with told(ask.asking):
                response = self._client.send(request, stream=True, follow_redirects=False)
                answered = True
                try:
                    if response.status_code == 200:
                        with self._watched(response):
                            yield None, _lines(_chunks(response))
                    else:
                        yield (
                            Answer(
                                response.status_code,
                                response.headers,
                                _whole(response, ask, time.monotonic() + ATTEMPT),
                            ),
                            iter(()),
                        )
                finally:
                    response.close()
        except Lost as lost:
            # An answer is cut or falls silent for many reasons; of a server that is away the next request tells.
            if not answered:
                self._trouble = time.monotonic()
            raise lost.told from lost.__cause__

    @contextlib.contextmanager
    def _watched(self, response: httpx2.Response) -> Iterator[None]:
        stream = response.extensions.get("network_stream")
        found = stream.get_extra_info("socket") if stream is not None else None
        if not isinstance(found, socket.socket):
            yield
            return
        with self._lock:
            self._watches.add(found)
        try:
            yield
        finally:
            with self._lock:
                self._watches.discard(found)

    def hang_up(self) -> None:
        """End the watches that are under way: who reads from one finds it lost, at once.

        Nothing is closed, which would give its number to another connection while somebody reads from it.
        """
        with self._lock:
            for each in self._watches:
                with contextlib.suppress(OSError):
                    # Not TLS' own, which would change what the reader uses.
                    socket.socket.shutdown(each, socket.SHUT_RDWR)

    @contextlib.contextmanager
    def upgraded(
        self, ask: Ask, headers: Mapping[str, str], seconds: float
    ) -> Iterator[tuple[Answer | None, Stream | None]]:
        """A connection that changes its protocol: what carries it from there on, or the whole answer of a refusal.

        Raises:
            ClusterUnreachable: the connection is lost; not tried again here.
        """
        request = self._request(ask, seconds, headers)
        try:
            with told(ask.asking):
                response = self._client.send(request, stream=True, follow_redirects=False)
                try:
                    if response.status_code == 101:
                        yield None, response.extensions["network_stream"]
                    else:
                        yield (
                            Answer(
                                response.status_code,
                                response.headers,
                                _whole(response, ask, time.monotonic() + ATTEMPT),
                            ),
                            None,
                        )
                finally:
                    response.close()
        except Lost as lost:
            raise lost.told from lost.__cause__

    def _warn(self, header: str) -> None:
        """Tell the server's warnings (RFC 9111: 299 - "text"), each once."""
        if not header:
            return
        text = header.partition('"')[2].rpartition('"')[0] or header
        with self._lock:
            new = text not in self._warned
            if new and len(self._warned) >= WARNINGS:
                self._warned.clear()
            self._warned.add(text)
        if new:
            log.warning("the API server warns", extra={"fields": {"warning": text[:500]}})


def _before_sending(check: Callable[[], None]) -> Callable[[str, Mapping[str, object]], None]:
    """Checks again when a connection was got, which may have taken seconds, and before the last bytes go: a request
    that is cut before its body is none."""

    def trace(event: str, _: Mapping[str, object]) -> None:
        if event.endswith(("send_request_headers.started", "send_request_body.started")):
            check()

    return trace


def _chunks(response: httpx2.Response) -> Iterator[bytes]:
    """The body as it comes: what decodes it is passed by where nothing is encoded, which is a fifth of the work."""
    return response.iter_bytes() if "content-encoding" in response.headers else response.iter_raw()


def _whole(response: httpx2.Response, ask: Ask, until: float) -> bytes:
    """The body of an answer, within bounds of size and time."""
    import httpx2

    parts: list[bytes] = []
    size = 0
    for part in _chunks(response):
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise ClusterError(f"{ask.asking}: {ask.asking.server} sends an answer without an end")
        if time.monotonic() > until:
            raise httpx2.ReadTimeout("the whole answer took too long")
    return b"".join(parts)


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
