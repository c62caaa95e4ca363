"""The authorisation service of the auth example: a real HTTP server on loopback.

``GET /auth`` answers ``ok`` where the header ``userId`` is ``admin``, and ``fail`` where it is not, always with status
200: the filter decides by the body. ``GET /requests`` says how many times it was asked, so that whoever watches can
tell an answer of the service's from one that the filter gave alone. It ends with its standard input, so it cannot
outlive whoever started it, unless it is told to (``--stay``).
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = itertools.count(1)
    count = 0

    def do_GET(self) -> None:
        """Answer one question."""
        if self.path == "/auth":
            type(self).count = next(self.asked)
            self._answer(200, "ok" if self.headers.get("userId") == "admin" else "fail")
        elif self.path == "/":
            self._answer(200, "GET /auth: ok for userId admin. GET /requests: how often it was asked.")
        elif self.path == "/requests":
            self._answer(200, str(self.count))
        else:
            self._answer(404, "not here")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silence: the demo shows the count instead."""


def main() -> None:
    """Serve on a free port of loopback, print it, and stop at the end of standard input."""
    parser = argparse.ArgumentParser(description="The authorisation service of the auth example.")
    parser.add_argument("--stay", action="store_true", help="do not stop at the end of standard input")
    stay = parser.parse_args().stay
    # Also where Ctrl-C is ignored by whoever started it, as a shell's background jobs do.
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    if not stay:
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
