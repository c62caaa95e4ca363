"""The Rust examples in the real Envoy: what their scenarios, which all languages share, do not reach."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fixtures.examples import Examples
from tests.fixtures.proxies import Echo, Proxy, running

EDITIONS = ("rust", "rust-0.1")


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with Echo().serving() as service:
        yield service


@pytest.fixture(scope="module", params=EDITIONS)
def body(
    request: pytest.FixtureRequest,
    examples: Examples,
    echo: Echo,
    envoy_binary: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    module = examples.built(request.param, "body").module
    clusters = {"plain": echo.port}
    with running(envoy_binary, tmp_path_factory.mktemp("body"), module, root_id="body", clusters=clusters) as proxy:
        yield proxy


def test_trailers_end_a_request_body(body: Proxy, echo: Echo) -> None:
    """A request's body that ends with trailers is rewritten too."""
    with socket.create_connection(("127.0.0.1", body.ports["http"]), 20) as client:
        head = "POST /trailers-behind HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n"
        client.sendall(f"{head}6\r\nhello,\r\n".encode())
        time.sleep(0.05)
        client.sendall(b"6\r\n hello\r\n0\r\nx-sum: 1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert echo.asked[-1][2] == "good day, good day"
    assert "proxy_on_request_trailers" in body.text()


def test_trailers_end_a_response_body(body: Proxy) -> None:
    """A response's body that ends with trailers is rewritten too."""
    reply = body.ask("/trailers", body="and hello", content_encoding="zstd")
    assert (reply.status, reply.body) == (200, "and good day")
    assert "proxy_on_response_trailers" in body.text()


def test_bodies_need_not_be_text(body: Proxy) -> None:
    """Bytes that are no UTF-8, and zeros, stay as they are around the words."""
    connection = http.client.HTTPConnection("127.0.0.1", body.ports["http"], timeout=20)
    connection.request("POST", "/", body=b"\xff\x00hello\xc3\x00hell\xfeo")
    assert connection.getresponse().read() == b"\xff\x00good day\xc3\x00hell\xfeo"
    connection.close()


class Moody:
    """A service that says ok; it breaks off in the middle where the user is called so, and tells HEAD a length only."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection = self.socket.accept()[0]
            except OSError:
                return
            with connection:
                asked = connection.recv(65536)
                length = 100 if b"userid: break" in asked else 2
                connection.sendall(
                    f"HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\nok".encode()
                )


@pytest.mark.parametrize("edition", EDITIONS)
def test_auth_outlives_trouble(examples: Examples, envoy_binary: Path, tmp_path: Path, edition: str) -> None:
    """A user id that is no UTF-8, and a service that breaks off, are answered with 403, and the filter goes on."""
    built = examples.built(edition, "auth")
    service = Moody()
    config, clusters = '{"cluster": "moody"}', {"moody": service.port, "plain": service.port}
    with running(
        envoy_binary, tmp_path, built.module, root_id=built.root_id, config=config, clusters=clusters
    ) as proxy:
        for user, status in ((b"admin", 200), (b"\xff\xfe", 403), (b"admin", 200), (b"break", 403), (b"admin", 200)):
            with socket.create_connection(("127.0.0.1", proxy.ports["http"]), 20) as client:
                client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nuserid: " + user + b"\r\n\r\n")
                assert client.recv(100).startswith(f"HTTP/1.1 {status}".encode()), user
    service.socket.close()


@pytest.mark.parametrize("edition", EDITIONS)
def test_an_answer_to_head_keeps_its_length(
    examples: Examples, envoy_binary: Path, tmp_path: Path, edition: str
) -> None:
    """An answer without a body, which tells the length of the one that GET would get, tells it still."""
    module, service = examples.built(edition, "body").module, Moody()
    with running(envoy_binary, tmp_path, module, root_id="body", clusters={"plain": service.port}) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.ports["http"], timeout=20)
        connection.request("HEAD", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["content-length"]) == (200, "2")
        connection.close()
    service.socket.close()


@pytest.mark.parametrize("edition", EDITIONS)
def test_workers_count_together(examples: Examples, envoy_binary: Path, tmp_path: Path, edition: str) -> None:
    """Three workers at once take their requests from one window: none is counted twice or not at all."""
    module = examples.built(edition, "rate-limit").module
    config = '{"requests": 600, "milliseconds": 60000}'
    with running(
        envoy_binary, tmp_path, module, root_id="rate_limit", config=config, workers=3, log_level="wasm:warn"
    ) as proxy:

        def ask(_: int) -> list[str]:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.ports["http"], timeout=20)
            left = []
            for _ in range(100):
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                left.append("none" if answer.status == 429 else answer.headers["x-ratelimit-remaining"])
            connection.close()
            return left

        with ThreadPoolExecutor(max_workers=8) as pool:
            seen = [each for answers in pool.map(ask, range(8)) for each in answers]
    assert sorted(int(each) for each in seen if each != "none") == list(range(600))
    assert seen.count("none") == 200


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_window_begins_with_its_first_request(
    examples: Examples, envoy_binary: Path, tmp_path: Path, edition: str
) -> None:
    """However long nobody came, a window is whole for who comes then; `retry-after` is the rest of it, rounded up."""
    module = examples.built(edition, "rate-limit").module
    config = '{"requests": 1, "milliseconds": 1500}'
    for number in range(10):
        folder = tmp_path / str(number)
        with running(envoy_binary, folder, module, root_id="rate_limit", config=config, log_level="wasm:warn") as proxy:
            replies = proxy.ask_in_one_window()
            if replies is None:
                continue
            first, second, third = replies
            assert first.status != 429
            assert (second.status, second.headers["retry-after"]) == (429, "2")
            assert (third.status, third.headers["retry-after"]) == (429, "1")
            time.sleep(1)
            assert proxy.ask("/").status != 429
            return
    pytest.fail("this machine was held up each time")
