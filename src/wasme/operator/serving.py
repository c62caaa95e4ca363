"""/healthz, /readyz and /metrics, for the kubelet and Prometheus, and for nobody who wants to hold them up.

Each connection is one question, has ten seconds in all, and a thread as long. There are at most so many; one more costs
the oldest its place, so a crowd of slow clients never keeps the kubelet out.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from wasme.errors import ClusterError

log = logging.getLogger(__name__)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MOST = 64
_SECONDS = 10.0
_SILENCE = 5.0


class Health(NamedTuple):
    """What the probes ask: functions that give "" if all is well, or what is wrong; and the metrics' text."""

    alive: Callable[[], str]
    ready: Callable[[], str]
    metrics: Callable[[], bytes]


class Serving:
    """Serves in threads of its own.

    Args:
        address: of this machine; "" is all of its addresses.
        port: 0 takes a free one.
        health: who answers.
        most: connections at a time.
        seconds: that a connection may take.

    Raises:
        ClusterError: somebody else listens there, or the address is not this machine's.
    """

    def __init__(
        self, address: str, port: int, health: Health, *, most: int = _MOST, seconds: float = _SECONDS
    ) -> None:
        try:
            listening = _listen(address, port)
        except (OSError, OverflowError) as error:
            why = (getattr(error, "strerror", None) or str(error)).lower()
            raise ClusterError(
                f"cannot listen on {address}:{port}: {why}", hint="choose another --metrics-port; 0 serves nothing"
            ) from None
        self._server = _Server(listening, health, most, seconds)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="serving", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Close all connections."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(5)
        self._server.close()


def _listen(address: str, port: int) -> socket.socket:
    if address:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family, backlog=128)
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    return socket.create_server(("", port), family=family, backlog=128, dualstack_ipv6=both)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, health: Health, most: int, seconds: float) -> None:
        self.health = health
        self._most = most
        self._seconds = seconds
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        # The base class binds one family only, and asks a name server for the machine's name.
        self.socket.close()
        self.socket = listening
        self.server_address = listening.getsockname()
        self.server_name, self.server_port = "", listening.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._open) >= self._most:
                _end(next(iter(self._open)))  # the oldest; its thread sees the end and goes
                self._open.pop(next(iter(self._open)))
            self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Between connections, and five times a second: end those whose time is over."""
        old = time.monotonic() - self._seconds
        with self._lock:
            for each in [each for each, since in self._open.items() if since < old]:
                _end(each)
                self._open.pop(each)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        log.debug("a connection for metrics ended early", exc_info=True)

    def close(self) -> None:
        self.server_close()
        with self._lock:
            for each in self._open:
                _end(each)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SILENCE
    server_version = "wasme"
    sys_version = ""

    def do_GET(self) -> None:
        health = self.server.health
        path = self.path.partition("?")[0]
        if path in ("/healthz", "/livez", "/readyz"):
            wrong = health.ready() if path == "/readyz" else health.alive()
            self._say(503 if wrong else 200, f"{wrong or 'ok'}\n".encode())
        elif path == "/metrics":
            self._say(200, health.metrics(), METRICS_TYPE)
        else:
            self._say(404, b"here are /healthz, /readyz and /metrics\n")

    do_HEAD = do_GET  # noqa: N815  (the base class calls it so)

    def _say(self, status: int, content: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: probes come every few seconds."""
