"""What answers at the admin port, when it is not Envoy."""

from __future__ import annotations

import socket
import threading

import pytest

from wasme.envoy.address import Address
from wasme.envoy.process import _first_listener, _get

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def asked(answer: bytes) -> tuple[int, bytes]:
    """What a request to a server that says this, and closes, is taken for."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            return _get(Address("127.0.0.1", server.getsockname()[1]), "/ready")
        finally:
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [CHUNKED + b"zz\r\nx", CHUNKED + b"-5\r\nx", b"HTTP/1.1 " + b"9" * 5000 + b" OK\r\n\r\n", b"SSH-2.0-x\r\n", b""],
    ids=["chunks of no size", "of a negative one", "no status", "no HTTP", "nothing"],
)
def test_nobody_answers(answer: bytes) -> None:
    """Anything but HTTP counts as no answer, and is no error: Envoy may still come up."""
    assert asked(answer) == (0, b"")


def test_envoys_own_answer() -> None:
    """In chunks, and with a length."""
    assert asked(CHUNKED + b"4\r\nLIVE\r\n1\r\n\n\r\n0\r\n\r\n") == (200, b"LIVE\n")
    assert asked(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 1\r\n\r\nx") == (503, b"x")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"7", b'{"listener_statuses":7}', b'{"listener_statuses":[7]}', b"[" * 100_000,
        b'{"listener_statuses":[{"local_address":7}]}',
        b'{"listener_statuses":[{"local_address":{"socket_address":{"x":1}}}]}',
    ],
)  # fmt: skip
def test_no_listener(body: bytes) -> None:
    """A list of listeners that is none names none."""
    assert _first_listener(body) is None
