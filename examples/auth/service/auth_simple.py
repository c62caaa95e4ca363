"""Says who may: GET /auth answers ``ok`` to ``userId: admin``, and ``fail`` to everybody else, always with status 200.

The filter decides by the body. HEAD answers as GET would, without the body. It needs nothing but Python.
"""

import argparse
import contextlib
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Auth(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "auth-simple"
    sys_version = ""
    timeout = 60  # seconds that an idle connection may take

    def do_GET(self) -> None:
        """Answer a question."""
        known = {"/auth": "ok" if self.headers.get("userId") == "admin" else "fail", "/healthz": "ok"}
        text = known.get(self.path)
        body = (text or "not here").encode()
        self.send_response(200 if text else 404)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Answer as GET would."""
        self.do_GET()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="0.0.0.0", help="a container serves its whole network")  # noqa: S104
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    arguments = parser.parse_args()
    server = ThreadingHTTPServer((arguments.host, arguments.port), Auth)
    server.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print(f"serving on {server.server_address[0]}:{server.server_port}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
