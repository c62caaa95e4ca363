"""The node cache's HTTP side: what is asked by digest and by name, by many, slowly, and by strangers."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures import faulty, modules
from tests.fixtures.agents import Agent, soon
from tests.fixtures.registries import filter_image
from wasme.image.layouts import Draft

Start = Callable[..., Agent]
Put = Callable[..., Draft]
SIZE = 20_000
CONTENT = modules.sized(SIZE)


@pytest.fixture(scope="module")
def registry() -> Iterator[faulty.Registry]:
    """A registry with one image, for all tests that change neither it nor the agent."""
    registry = faulty.Registry()
    draft = filter_image(SIZE)
    contents = []
    for descriptor, opener in draft.blobs[:-1]:
        with opener(0) as stream:
            contents.append(stream.read(descriptor.size))
    registry.put_image("demo/auth", "v1", *contents, manifest=draft.manifest, media_type=draft.descriptor.media_type)
    yield registry
    registry.close()


@pytest.fixture(scope="module")
def served(registry: faulty.Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Agent, str]]:
    """An agent with one module, and the path of that."""
    folder = tmp_path_factory.mktemp("served")
    ref = f"{registry.host}/demo/auth:v1"
    agent = Agent("served", folder / "node", ref, "--disable-kube", environment={"HOME": str(folder)})
    yield agent, "/" + hashlib.sha256(CONTENT).hexdigest()
    agent.stop()


@contextmanager
def connected(agent: Agent) -> Iterator[socket.socket]:
    host, _, port = agent.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        yield sock


def said(sock: socket.socket, request: bytes) -> bytes:
    """All that comes back until the connection ends."""
    sock.sendall(request)
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_head(served: tuple[Agent, str]) -> None:
    """HEAD has the length, and no body."""
    agent, path = served
    status, headers, body = agent.get(path, "HEAD")
    assert (status, headers["content-length"], body) == (200, str(SIZE), b"")
    status, headers, body = agent.get("/" + "0" * 64, "HEAD")
    assert (status, body) == (404, b"")


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=100-199", 100, 200), ("bytes=19000-", 19_000, SIZE), ("bytes=-500", SIZE - 500, SIZE),
     ("bytes=5-99999999", 5, SIZE), ("bytes=-99999999", 0, SIZE)],
)  # fmt: skip
def test_range(served: tuple[Agent, str], wanted: str, start: int, end: int) -> None:
    """A range gives these bytes and no others."""
    agent, path = served
    status, headers, body = agent.get(path, range=wanted)
    assert (status, body) == (206, CONTENT[start:end])
    assert headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("wanted", "status"),
    [("bytes=20000-", 416), ("bytes=-0", 416), ("bytes=7-3", 200), ("lines=1-2", 200), ("bytes=0-1,5-6", 200),
     ("bytes=-", 200)],
)  # fmt: skip
def test_range_that_is_none(served: tuple[Agent, str], wanted: str, status: int) -> None:
    """A range beyond the end is refused with the size; one that is no single range is passed over."""
    agent, path = served
    found, headers, body = agent.get(path, range=wanted)
    assert found == status
    if status == 416:
        assert headers["content-range"] == f"bytes */{SIZE}"
    else:
        assert body == CONTENT


def test_conditions(served: tuple[Agent, str]) -> None:
    """An entity tag that is known is not sent again; a range of another entity is the whole."""
    agent, path = served
    etag = f'"sha256:{path[1:]}"'
    status, headers, body = agent.get(path, if_none_match=etag)
    assert (status, headers["etag"], body) == (304, etag, b"")
    assert agent.get(path, if_none_match=f'"x", W/{etag}')[0] == 304
    assert agent.get(path, if_none_match='"other"')[0] == 200
    assert agent.get(path, if_modified_since="Sat, 01 Jan 2000 00:00:00 GMT")[0] == 304
    assert agent.get(path, range="bytes=0-9", if_range=etag)[0] == 206
    assert agent.get(path, range="bytes=0-9", if_range='"other"')[0] == 200


def test_date_says_nothing_of_a_name(served: tuple[Agent, str], registry: faulty.Registry) -> None:
    """All modules have one date, so a name, which may move on, is never "not modified" by it."""
    agent, _ = served
    path = f"/{registry.host}/demo/auth:v1"
    assert agent.get(path, if_modified_since="Sat, 01 Jan 2000 00:00:00 GMT")[0] == 200


def test_what_is_not_here(served: tuple[Agent, str]) -> None:
    """64 characters are a digest, hex or not; unknown ones are 404, and no registry is asked."""
    agent, path = served
    for last in ("0" * 64, "z" * 64, path[1:].upper()):
        assert agent.get(f"/{last}")[0] == 404
    assert agent.get("/NO//reference")[0] == 400
    status, headers, _ = agent.get(path, "POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "request_",
    [b"hello\r\n\r\n", b"GET / HTTP/3.0\r\n\r\n", b"GET nothing HTTP/1.1\r\n\r\n", b"GET /%ff%fe HTTP/1.1\r\n\r\n",
     b"GET /\x00 HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"G=T / HTTP/1.1\r\n: x\r\n\r\n",
     b"GET /%0d%0aX: HTTP/1.1\r\n\r\n"],
)  # fmt: skip
def test_no_http(served: tuple[Agent, str], request_: bytes) -> None:
    """What is no request is refused, and ends that connection alone."""
    agent, path = served
    with connected(agent) as sock:
        assert said(sock, request_).startswith(b"HTTP/1.1 400 ")
    assert agent.get(path)[0] == 200
    assert not any("Traceback" in line for line in agent.log)


def test_endless_head(served: tuple[Agent, str]) -> None:
    """A head without end is refused before it is kept."""
    agent, _ = served
    with connected(agent) as sock:
        answer = said(sock, b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_connection_is_kept(served: tuple[Agent, str]) -> None:
    """Requests that follow each other, even sent together, are answered on one connection; HTTP/1.0 ends it."""
    agent, path = served
    one = f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    last = f"HEAD {path} HTTP/1.0\r\n\r\n".encode()
    with connected(agent) as sock:
        assert said(sock, one + one + last).count(b"HTTP/1.1 200 OK") == 3


def test_slow_clients_hold_nobody_up(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """[BUG] 200 clients that read nothing of 8 MB cost no thread each, and a quick one is served among them; SIGTERM
    still ends the agent within seconds, and no blob was streamed from the registry again.
    """
    size = 8_000_000
    module = holds_image(faulty_registry, "demo/big", "v1", size).module.digest
    agent = start_agent(f"{faulty_registry.host}/demo/big:v1")
    path = "/" + module.removeprefix("sha256:")
    host, _, port = agent.url.removeprefix("http://").partition(":")
    slow = []
    try:
        for _ in range(200):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect((host, int(port)))
            sock.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            slow.append(sock)
        begun = time.monotonic()
        assert len(agent.get(path)[2]) == size
        assert agent.get("/healthz")[0] == 200
        assert time.monotonic() - begun < 15
        assert len(list(Path(f"/proc/{agent.pid}/task").iterdir())) < 20
        begun = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - begun < 15
    finally:
        for sock in slow:
            sock.close()
    assert len(faulty_registry.lines("GET .*/blobs/")) == 1


def test_clients_that_go_away(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """Clients that hang up in the middle, politely or not, leave no open file and no word in the log."""
    module = holds_image(faulty_registry, "demo/big", "v1", 4_000_000).module
    agent = start_agent(f"{faulty_registry.host}/demo/big:v1")
    agent.get(f"/{module.hex}")
    handles = Path(f"/proc/{agent.pid}/fd")
    before, lines = len(list(handles.iterdir())), len(agent.log)
    for number in range(60):
        with connected(agent) as sock:
            sock.sendall(f"GET /{module.hex} HTTP/1.1\r\n\r\n".encode()[: None if number % 3 else 20])
            if number % 3:
                sock.recv(10_000 * (number % 5))
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert soon(lambda: len(list(handles.iterdir())) <= before)
    assert agent.log[lines:] == []


def test_crowd_does_not_hide_the_probes(served: tuple[Agent, str]) -> None:
    """With more connections than it takes, modules are refused with 503 and the probes are answered all the same."""
    agent, path = served
    host, _, port = agent.url.removeprefix("http://").partition(":")
    idle = []
    try:
        idle.extend(socket.create_connection((host, int(port)), timeout=5) for _ in range(520))
        assert soon(lambda: agent.get(path)[0] == 503)
        assert agent.get("/healthz")[0] == 200
        assert agent.get("/metrics")[0] == 200
    finally:
        for sock in idle:
            sock.close()
    assert soon(lambda: agent.get(path)[0] == 200)


def test_name_on_demand(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, tmp_path: Path) -> None:
    """An image that is not on the list is pulled for who asks, once for twenty who ask at once."""
    (tmp_path / "none").write_text("")
    agent = start_agent("--ref-file", tmp_path / "none")
    module = holds_image(faulty_registry, "demo/auth", "v1", 3_000_000).module.digest
    path = f"/{faulty_registry.host}/demo/auth:v1"
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: agent.get(path), range(20)))
    assert {(status, headers["etag"]) for status, headers, _ in answers} == {(200, f'"{module}"')}
    assert all(body == modules.sized(3_000_000) for _, _, body in answers)
    assert sum(module in line for line in faulty_registry.lines("GET .*/blobs/")) == 1
    missing = agent.get(f"/{faulty_registry.host}/demo/none:v1")
    assert missing[0] == 400
    assert b"manifest unknown" in missing[2]
    assert b"Traceback" not in missing[2]


def test_no_credentials_for_strangers(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, tmp_path: Path
) -> None:
    """What is not on the list is asked for as nobody, unless the agent was told otherwise."""
    holds_image(faulty_registry, "demo/private", "v1")
    faulty_registry.auth = "basic"
    (tmp_path / "none").write_text("")
    path = f"/{faulty_registry.host}/demo/private:v1"
    words = ("--ref-file", tmp_path / "none", "-u", "scout", "-p", "s3cret")
    status, _, body = start_agent(*words).get(path)
    assert status == 400
    assert b"s3cret" not in body
    assert all(seen.authorization is None for seen in faulty_registry.requests)
    assert start_agent(*words, "--on-demand", "credentials").get(path)[0] == 200
    faulty_registry.heal()
    assert start_agent(*words, "--on-demand", "off").get(path)[0] == 400
    assert not faulty_registry.requests


def test_strangers_are_bounded(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, tmp_path: Path
) -> None:
    """A few pulls for strangers run at a time, others are asked to come back; what is on the list is not held up."""
    gate = threading.Event()
    holds_image(faulty_registry, "demo/listed", "v1")

    def stall(handler: faulty.Handler) -> None:
        gate.wait(90)
        handler.answer(404)

    faulty_registry.fault("HEAD /v2/slow", stall)
    file = tmp_path / "images.txt"
    file.write_text("")
    agent = start_agent("--ref-file", file)
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(agent.get, f"/{faulty_registry.host}/slow/{number}:v1") for number in range(12)]
        assert soon(lambda: sum(each.done() for each in asked) == 8)
        refused = [each.result() for each in asked if each.done()]
        assert {status for status, _, _ in refused} == {503}
        assert refused[0][1]["retry-after"] == "5"
        file.write_text(f"{faulty_registry.host}/demo/listed:v1")
        assert soon(lambda: 'images{state="held"} 1' in agent.get("/metrics")[2].decode())
        gate.set()
    assert agent.get("/healthz")[0] == 200


def test_no_room_for_strangers(
    start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put, tmp_path: Path
) -> None:
    """What strangers ask for never makes the folder grow beyond its size; what is on the list always comes."""
    holds_image(faulty_registry, "demo/listed", "v1", 60_000)
    holds_image(faulty_registry, "demo/other", "v1", 30_000)
    agent = start_agent(f"{faulty_registry.host}/demo/listed:v1", "--max-size", "50kB")
    status, _, body = agent.get(f"/{faulty_registry.host}/demo/other:v1")
    assert (status, b"no room" in body) == (503, True)


def test_address_in_use(start_agent: Start, served: tuple[Agent, str]) -> None:
    """A port that somebody has is told in words."""
    agent, _ = served
    port = agent.url.rpartition(":")[2]
    other = start_agent("--ref-file", agent.directory / "none", "--port", port)
    assert other.wait() == 1
    told = "\n".join(other.log)
    assert "cannot listen on" in told
    assert "choose another --port" in told
