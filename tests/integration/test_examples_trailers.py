"""Example `body`, where trailers end a message and no body callback tells: in every language, on the real Envoy."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.examples import LANGUAGES, Examples
from wasme.envoy.process import Envoy

TYPES = "type.googleapis.com/envoy.extensions"
TRAILERS = {"http_protocol_options": {"enable_trailers": True}}
HEAD = b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"


def chunked(*pieces: bytes) -> bytes:
    """A body in pieces, with a trailer."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nx-end: here\r\n\r\n"


def unchunked(message: bytes) -> bytes:
    """A message's body, and its trailers as they came."""
    rest = message.partition(b"\r\n\r\n")[2]
    body = b""
    while not rest.startswith(b"0\r\n"):
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + 2 :]
    return body + rest[3:]


def received(connection: socket.socket) -> bytes:
    """One whole message that ends with trailers."""
    data = b""
    while not (b"\r\n0\r\n" in data and data.endswith(b"\r\n\r\n")):
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return data


@contextmanager
def upstream(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A service that answers one request; its port, and what came."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                requests.append(received(connection))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], requests
        thread.join()


def bootstrap(module: Path, root_id: str, port: int) -> dict[str, Any]:
    """One listener with the filter, one cluster; both let trailers through."""

    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    vm = {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(module)}}}
    config = {"name": "f", "root_id": root_id, "vm_config": vm}
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        **TRAILERS,
        "route_config": {
            "virtual_hosts": [
                {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}
            ]
        },
        "http_filters": [
            {"name": "wasm", "typed_config": {"@type": f"{TYPES}.filters.http.wasm.v3.Wasm", "config": config}},
            {"name": "router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}},
        ],
    }
    chains = [{"filters": [{"name": "m", "typed_config": manager}]}]
    options = {
        "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": TRAILERS,
    }
    cluster = {
        "name": "c",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {
            "cluster_name": "c",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}],
        },
    }
    return {
        "admin": {"address": address(0)},
        "static_resources": {
            "listeners": [{"name": "l", "address": address(0), "filter_chains": chains}],
            "clusters": [cluster],
        },
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_bodies_that_end_with_trailers(examples: Examples, envoy_binary: Path, tmp_path: Path, language: str) -> None:
    """A request and a response that end with trailers are rewritten whole, and their trailers stay."""
    built = examples.built(language, "body")
    config, admin = tmp_path / "envoy.json", tmp_path / "admin"
    with upstream(b"HTTP/1.1 200 OK\r\n" + HEAD + chunked(b"well, he", b"llo!")) as (port, requests):
        config.write_text(json.dumps(bootstrap(built.module, built.root_id, port)))
        words = ["--disable-hot-restart", "--concurrency", "1", "-l", "error", "--admin-address-path", str(admin)]
        envoy = Envoy([str(envoy_binary), "-c", str(config), *words], admin_file=admin)
        try:
            ready = envoy.wait_ready(30)
            assert ready is not None
            assert ready.url is not None
            host, _, number = ready.url.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(number.rstrip("/")))) as client:
                client.settimeout(10)
                client.sendall(b"POST / HTTP/1.1\r\nhost: a\r\n" + HEAD + chunked(b"one hel", b"lo and hello tw", b"o"))
                answer = received(client)
        finally:
            envoy.stop()
    assert unchunked(requests[0]) == b"one good day and good day two" + b"x-end: here\r\n\r\n"
    assert unchunked(answer) == b"well, good day!" + b"x-end: here\r\n\r\n"
