"""The AssemblyScript examples in the real Envoy: what their scenarios, which all languages share, do not reach."""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fixtures.proxies import Echo, Proxy, running
from wasme.wasm import check
from wasme.wasm.module import parse

Compile = Callable[..., Path]
EXAMPLES = ("add-header", "auth", "body", "metrics", "rate-limit")


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with Echo().serving() as service:
        yield service


@pytest.fixture(scope="module")
def body(
    compiled: Compile, echo: Echo, envoy_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("body")
    with running(envoy_binary, folder, compiled("body"), root_id="body", clusters={"plain": echo.port}) as proxy:
        yield proxy


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_export_what_they_need(compiled: Compile, example: str) -> None:
    """An example makes no warning, has no function without use, and exports a timer only where there is one."""
    module = parse(compiled(example).read_bytes())
    assert not [each for each in check.check(module) if each.severity in ("error", "warning")]
    assert bool(module.export("proxy_on_tick")) == (example == "rate-limit")
    assert bool(module.export("proxy_on_http_call_response")) == (example == "auth")
    assert ("proxy_define_metric" in {each.name for each in module.imports}) == (example == "metrics")


def test_trailers_end_a_request_body(body: Proxy, echo: Echo) -> None:
    """A request's body that ends with trailers is rewritten too, and the trailers follow it."""
    with socket.create_connection(("127.0.0.1", body.ports["http"]), 20) as client:
        head = "POST /trailers-behind HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n"
        client.sendall(f"{head}6\r\nhello,\r\n".encode())
        time.sleep(0.05)
        client.sendall(b"6\r\n hello\r\n0\r\nx-sum: 1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert echo.asked[-1][2] == "good day, good day"
    assert "env.proxy_remove_header_map_value" in body.text()
    assert "proxy_on_request_trailers" in body.text()


def test_trailers_end_a_response_body(body: Proxy, echo: Echo) -> None:
    """A response's body that ends with trailers is rewritten too."""
    reply = body.ask("/trailers", body="and hello", content_encoding="zstd")
    assert echo.asked[-1][2] == "and hello"
    assert (reply.status, reply.body) == (200, "and good day")
    assert "proxy_on_response_trailers" in body.text()


def test_bodies_need_not_be_text(body: Proxy, echo: Echo) -> None:
    """Bytes that are no UTF-8, and zeros, stay as they are around the words."""
    connection = http.client.HTTPConnection("127.0.0.1", body.ports["http"], timeout=20)
    connection.request("POST", "/", body=b"\xff\x00hello\xc3\x00hell\xfeo")
    assert connection.getresponse().read() == b"\xff\x00good day\xc3\x00hell\xfeo"
    connection.close()


def test_identity_is_no_encoding(body: Proxy) -> None:
    """A body whose content-encoding is identity is rewritten."""
    assert body.ask("/", body="hello", content_encoding="identity").body == "good day"


@pytest.mark.parametrize("status", ["/created", "/auth"])
def test_only_200_lets_through(compiled: Compile, echo: Echo, envoy_binary: Path, tmp_path: Path, status: str) -> None:
    """An answer that says ok with another status than 200 lets nobody through, and its words stay inside."""
    config = f'{{"cluster": "plain", "path": "{status}"}}'
    clusters = {"plain": echo.port}
    with running(envoy_binary, tmp_path, compiled("auth"), root_id="auth", config=config, clusters=clusters) as proxy:
        reply = proxy.ask("/", userId="admin")
    assert (reply.status, reply.body) == ((403, "fail") if status == "/created" else (200, reply.body))


def test_many_requests_at_once(compiled: Compile, envoy_binary: Path, tmp_path: Path) -> None:
    """With more requests under way than the table of contexts has rows, each gets the answer to its own call."""
    count = 400
    service = socket.create_server(("127.0.0.1", 0), backlog=count)
    clusters = {"plain": service.getsockname()[1]}
    with (
        contextlib.ExitStack() as sockets,
        running(
            envoy_binary, tmp_path, compiled("auth"), root_id="auth", config='{"cluster": "plain"}', clusters=clusters,
            log_level="wasm:warn",
        ) as proxy,
    ):  # fmt: skip
        sockets.enter_context(service)
        service.settimeout(20)
        clients = []
        for number in range(count):
            clients.append(
                sockets.enter_context(socket.create_connection(("127.0.0.1", proxy.ports["http"]), timeout=20))
            )
            clients[-1].sendall(f"GET / HTTP/1.1\r\nhost: a\r\nuserid: {number}\r\n\r\n".encode())
        calls = []
        for _ in range(count):
            call = sockets.enter_context(service.accept()[0])
            number = int(_until_blank(call).partition(b"userid: ")[2].split()[0])
            calls.append((number, call))
        random.Random(7).shuffle(calls)
        for number, call in calls:
            answer = f"not {number:03}"
            call.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {len(answer)}\r\n\r\n{answer}".encode())
        for number, client in enumerate(clients):
            head = _until_blank(client)
            assert head.startswith(b"HTTP/1.1 403")
            body = head.partition(b"\r\n\r\n")[2] or client.recv(100)
            assert body == f"not {number:03}".encode()


def test_workers_count_together(compiled: Compile, envoy_binary: Path, tmp_path: Path) -> None:
    """Three workers at once take their requests from one window: none is counted twice or not at all."""
    config = '{"requests": 6000, "milliseconds": 60000}'
    with running(
        envoy_binary, tmp_path, compiled("rate-limit"), root_id="rate_limit", config=config, workers=3,
        log_level="wasm:warn",
    ) as proxy:  # fmt: skip

        def ask(_: int) -> bytes:
            """Many requests in one go; there is no service, so Envoy answers what goes through."""
            said = b""
            with socket.create_connection(("127.0.0.1", proxy.ports["http"]), 20) as client:
                client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 499)
                client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                while part := client.recv(1 << 16):
                    said += part
            return said

        with ThreadPoolExecutor(12) as pool:
            said = b"".join(pool.map(ask, range(12)))
    assert sorted(map(int, re.findall(rb"x-ratelimit-remaining: (\d+)", said))) == list(range(6000))


def test_a_window_begins_with_its_first_request(
    compiled: Compile, echo: Echo, envoy_binary: Path, tmp_path: Path
) -> None:
    """However long nobody came, a window is whole for who comes then; `retry-after` is the rest of it, rounded up."""
    config = '{"requests": 1, "milliseconds": 1500}'
    for number in range(10):
        with running(
            envoy_binary, tmp_path / str(number), compiled("rate-limit"), root_id="rate_limit", config=config,
            clusters={"plain": echo.port}, log_level="wasm:info",
        ) as proxy:  # fmt: skip
            replies = proxy.ask_in_one_window()
            if replies is None:
                continue
            first, second, third = replies
            assert first.status == 200
            assert (second.status, second.headers["retry-after"]) == (429, "2")
            assert (third.status, third.headers["retry-after"]) == (429, "1")
            _until(lambda proxy=proxy: proxy.ask("/").status == 200)  # type: ignore[misc]
            return
    pytest.fail("this machine was held up each time")


@pytest.mark.parametrize(
    "config",
    [
        "[]",
        '{"requests": "3"}',
        '{"requests": 1.5}',
        '{"milliseconds": 0}',
        '{"milliseconds": -5}',
        '{"requests": null}',
    ],
)
def test_rates_that_are_none(compiled: Compile, envoy_binary: Path, tmp_path: Path, config: str) -> None:
    """A rate that is not whole and at least 1 is refused with one line that says so."""
    with pytest.raises(AssertionError, match="are whole and at least 1"):
        running(envoy_binary, tmp_path, compiled("rate-limit"), root_id="rate_limit", config=config).__enter__()


def test_requests_that_break_off_are_finished(compiled: Compile, envoy_binary: Path, tmp_path: Path) -> None:
    """A client that goes away, and one whose request is none, leave nothing in flight."""
    silent = socket.create_server(("127.0.0.1", 0))
    clusters = {"plain": silent.getsockname()[1]}
    with (
        silent,
        running(envoy_binary, tmp_path, compiled("metrics"), root_id="metrics", clusters=clusters) as proxy,
    ):

        def in_flight() -> str:
            return proxy.admin("/stats?filter=wasmcustom.filter.in_flight").strip().rpartition(" ")[2]

        with socket.create_connection(("127.0.0.1", proxy.ports["http"]), 20) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            _until(lambda: in_flight() == "1")
        _until(lambda: in_flight() == "0")
        with socket.create_connection(("127.0.0.1", proxy.ports["http"]), 20) as client:
            client.sendall(b"no request at all\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400")
        assert in_flight() == "0"


@pytest.mark.parametrize(
    ("example", "config"),
    [("auth", '{"cluster": "plain"}'), ("body", ""), ("rate-limit", '{"requests": 3000}'), ("metrics", "")],
)
def test_memory_stays_flat(
    compiled: Compile, echo: Echo, envoy_binary: Path, tmp_path: Path, example: str, config: str
) -> None:
    """Thousands of requests leave no memory behind, in the module and in Envoy."""
    with running(
        envoy_binary, tmp_path, compiled(example), root_id=example.replace("-", "_"), config=config,
        clusters={"plain": echo.port}, log_level="wasm:warn",
    ) as proxy:  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", proxy.ports["http"], timeout=20)

        def ask(count: int) -> int:
            for _ in range(count):
                connection.request("POST", "/", body="hello " * 200, headers={"userId": "admin"})
                connection.getresponse().read()
            return proxy.resident()

        before = ask(1500)
        after = ask(4000)
        connection.close()
    assert after - before < 2_000_000


def _until_blank(connection: socket.socket) -> bytes:
    """What comes up to the end of a message's head, and perhaps more."""
    said = b""
    while b"\r\n\r\n" not in said:
        part = connection.recv(4096)
        assert part, said
        said += part
    return said


def _until(true: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)
