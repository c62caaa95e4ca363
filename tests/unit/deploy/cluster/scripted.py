"""A server on loopback that answers as a test says, also as no API server would."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.access import Access
from wasme.deploy.cluster.connect import open_cluster

OBJECT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n", "resourceVersion": "7"}}


@dataclass
class Scripted:
    """Answers by a function, and what was asked."""

    url: str
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _ in self.asked]


class Handler(http.server.BaseHTTPRequestHandler):
    """One request; the script writes the answer with these."""

    protocol_version = "HTTP/1.1"
    body: bytes = b""

    def give(self, status: int, content: Any, kind: str = "application/json", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def cut(self, after: bytes = b"") -> None:
        """End the connection in the middle."""
        self.wfile.write(after)
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def scripted(answer: Callable[[Handler, int], None], tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """A server: ``answer(handler, n)`` writes the answer to the n-th request (from 0)."""
    lock = threading.Lock()

    class Script(Handler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.body = self.rfile.read(length)
            with lock:
                number = len(server.asked)
                server.asked.append((self.command, self.path, dict(self.headers.items())))
            with contextlib.suppress(OSError):
                answer(self, number)

        do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = do_CONNECT = _do  # noqa: N815

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Script, bind_and_activate=True)
    listener.daemon_threads = True
    listener.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls is not None:
        listener.socket = tls.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    server = Scripted(f"{'https' if tls else 'http'}://127.0.0.1:{listener.server_port}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join(5)


def status(code: int, message: str = "", **details: Any) -> dict[str, Any]:
    """A Status object."""
    return {"kind": "Status", "apiVersion": "v1", "code": code, "message": message, "details": details}


def page(items: list[object], token: str = "", version: str = "5") -> dict[str, object]:
    return {"kind": "ConfigMapList", "items": items, "metadata": {"resourceVersion": version, "continue": token}}


def opened(url: str, patience: float = 5.0, **more: str) -> Cluster:
    return open_cluster(Access(server=url, **more), patience=patience)  # type: ignore[arg-type]
