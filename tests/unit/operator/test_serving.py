"""Probes and metrics, and clients that want to hold them up."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator

import pytest

from wasme.errors import ClusterError
from wasme.operator.serving import Health, Serving


class State:
    """What the probes are told."""

    alive = ready = ""


@pytest.fixture
def state() -> State:
    """All is well."""
    return State()


@pytest.fixture
def serving(state: State, request: pytest.FixtureRequest) -> Iterator[Serving]:
    """Eight connections at most, a second each or as long as the test says."""
    health = Health(lambda: state.alive, lambda: state.ready, lambda: b"a 1\n")
    made = Serving("127.0.0.1", 0, health, most=8, seconds=getattr(request, "param", 1.0))
    made.start()
    yield made
    made.stop()


def ask(serving: Serving, path: str, method: str = "GET") -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers["Content-Type"]
    finally:
        connection.close()


def test_pages(serving: Serving, state: State) -> None:
    """Health says ok or what is wrong; metrics have Prometheus' type; there is nothing else, and no other method."""
    assert ask(serving, "/healthz")[:2] == ask(serving, "/readyz?verbose")[:2] == (200, b"ok\n")
    state.alive = "a worker is stuck"
    assert ask(serving, "/healthz")[:2] == (503, b"a worker is stuck\n")
    assert ask(serving, "/readyz")[0] == 200
    assert ask(serving, "/metrics") == (200, b"a 1\n", "text/plain; version=0.0.4; charset=utf-8")
    assert ask(serving, "/metrics", "HEAD")[:2] == (200, b"")
    assert ask(serving, "/secrets")[0] == 404
    assert ask(serving, "/healthz", "POST")[0] == 501


@pytest.mark.parametrize("serving", [4.0], indirect=True)
def test_a_crowd_that_says_nothing(serving: Serving) -> None:
    """Thirty connections on which nothing comes: the kubelet is answered at once all the same, and they are ended."""
    crowd = [socket.create_connection(("127.0.0.1", serving.port)) for _ in range(30)]
    try:
        for _ in range(5):
            begun = time.monotonic()
            assert ask(serving, "/healthz")[0] == 200
            assert time.monotonic() - begun < 3.5
        for each in crowd:
            each.settimeout(30)
            assert each.recv(1) == b""
    finally:
        for each in crowd:
            each.close()


def test_one_that_drips(serving: Serving) -> None:
    """A client that sends a byte now and then is cut off when its time is over, however steadily it drips."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", serving.port)) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        with contextlib.suppress(OSError):
            while time.monotonic() - begun < 10:
                client.sendall(b"X")
                time.sleep(0.05)
    assert time.monotonic() - begun < 9.0


def test_a_port_that_is_taken(serving: Serving) -> None:
    """The error names the port, and the flag that chooses another."""
    health = Health(str, str, bytes)
    with pytest.raises(ClusterError, match=f"cannot listen on 127.0.0.1:{serving.port}") as found:
        Serving("127.0.0.1", serving.port, health)
    assert "--metrics-port" in (found.value.hint or "")
    with pytest.raises(ClusterError, match=r"cannot listen on 192\.0\.2\.1"):
        Serving("192.0.2.1", 0, health)
