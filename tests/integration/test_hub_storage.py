"""What a hub has acknowledged it serves: after kill -9, beside others pushing the same, on a full disk."""

import os
import random
import resource
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.fixtures.agents import soon
from tests.fixtures.hubs import Hub, digest, push_blob, push_image


def blob_file(hub: Hub, named: str) -> Path:
    algorithm, _, name = named.partition(":")
    return hub.data / "blobs" / algorithm / name[:2] / name


def assert_every_row_has_its_file(hub: Hub, note: str = "") -> None:
    """Look past the hub: at its database and its folder."""
    with closing(sqlite3.connect(hub.data / "hub.db")) as connection:
        rows = connection.execute("SELECT digest, size FROM blobs").fetchall()
    for name, size in rows:
        content = blob_file(hub, name).read_bytes()
        assert (digest(content), len(content)) == (name, size), note


@pytest.mark.parametrize("rounds", [6, pytest.param(150, marks=pytest.mark.soak)])
def test_killed_at_any_moment_it_serves_what_it_acknowledged(start_hub: Callable[..., Hub], rounds: int) -> None:
    """kill -9 amid pushes, again and again: it starts at once, nothing acknowledged is missing, no file is half."""
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    hub = start_hub("--open")
    acknowledged: dict[str, bytes] = {}
    for round_number in range(rounds):
        ended = threading.Event()

        def push(number: int, first: int = round_number, over: threading.Event = ended) -> None:
            count = 0
            while not over.is_set():
                name = f"v{first}-{number}-{count}"
                try:
                    acknowledged[name] = push_image(hub, "demo/crash", name, os.urandom(60_000))
                except (OSError, HTTPException):
                    return
                count += 1

        threads = [threading.Thread(target=push, args=(number,)) for number in range(3)]
        before = len(acknowledged)
        for thread in threads:
            thread.start()
        assert soon(lambda number=before: len(acknowledged) > number + 1)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.3))
        hub.stop(signal.SIGKILL)
        ended.set()
        for thread in threads:
            thread.join()
        hub.start()
        tags = set(hub.ask("GET", "/v2/demo/crash/tags/list").json["tags"]) if acknowledged else set()
        assert set(acknowledged) <= tags, f"seed {seed}"
    assert len(acknowledged) > 6
    for tag in hub.ask("GET", "/v2/demo/crash/tags/list").json["tags"]:
        manifest = hub.ask("GET", f"/v2/demo/crash/manifests/{tag}")
        assert manifest.body == acknowledged.get(tag, manifest.body)
        layer = manifest.json["config"]["digest"]
        assert digest(hub.ask("GET", f"/v2/demo/crash/blobs/{layer}").body) == layer, f"seed {seed}"
    for path in (hub.data / "blobs").rglob("*"):
        assert path.is_dir() or digest(path.read_bytes()) == f"sha256:{path.name}", f"seed {seed}"


def test_an_upload_goes_on_after_kill_9(start_hub: Callable[..., Hub]) -> None:
    """The bytes that arrived are still there; the client asks how many, and sends the rest."""
    hub = start_hub("--open")
    content = os.urandom(400_000)
    place = hub.ask("POST", "/v2/demo/x/blobs/uploads/").headers["location"]
    assert hub.ask("PATCH", place, content[:250_000], headers={"Content-Range": "0-249999"}).status == 202
    hub.stop(signal.SIGKILL)
    hub.start()
    status = hub.ask("GET", place)
    assert (status.status, status.headers["range"]) == (204, "0-249999")
    assert hub.ask("PATCH", place, content[250_000:], headers={"Content-Range": "250000-399999"}).status == 202
    assert hub.ask("PUT", f"{place}?digest={digest(content)}").status == 201
    assert hub.ask("GET", f"/v2/demo/x/blobs/{digest(content)}").body == content


def test_a_cut_chunk_keeps_what_arrived(open_hub: Hub) -> None:
    """The connection breaks in the middle of a chunk: no blob, and the status says where to go on."""
    content = os.urandom(3_000_000)
    place = open_hub.ask("POST", "/v2/demo/x/blobs/uploads/").headers["location"]
    host, port = open_hub.host.split(":")
    with socket.create_connection((host, int(port))) as line:
        head = f"PATCH {place} HTTP/1.1\r\nHost: {open_hub.host}\r\nContent-Length: {len(content)}\r\n\r\n"
        line.sendall(head.encode() + content[:2_000_000])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        there = int(open_hub.ask("GET", place).headers["range"].partition("-")[2]) + 1
        if there == 2_000_000:
            break
        time.sleep(0.02)
    assert there == 2_000_000
    rest = {"Content-Range": f"{there}-{len(content) - 1}"}
    # 409 until the hub has noticed that nobody writes any more.
    assert soon(lambda: open_hub.ask("PATCH", place, content[there:], headers=rest).status == 202)
    assert open_hub.ask("PUT", f"{place}?digest={digest(content)}").status == 201


def test_the_same_blob_pushed_by_many_at_once(start_hub: Callable[..., Hub]) -> None:
    """The original sends its config twice at the same time; here eight send a megabyte, through two workers."""
    hub = start_hub("--open", "--workers", "2")
    content = os.urandom(1_000_000)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: push_blob(hub, "demo/x", content), range(8))) == {201}
    assert hub.ask("GET", f"/v2/demo/x/blobs/{digest(content)}").body == content
    assert list((hub.data / "uploads").iterdir()) == []
    (only,) = [path for path in (hub.data / "blobs").rglob("*") if path.is_file()]
    assert only.stat().st_mode & 0o777 == 0o640


def test_deleting_and_pushing_the_same_blob_at_once_never_loses_it(start_hub: Callable[..., Hub]) -> None:
    """Whoever is last decides; a repository that lists the blob can serve it."""
    hub = start_hub("--open", "--workers", "2")
    content = os.urandom(1000)
    path = f"/v2/demo/x/blobs/{digest(content)}"

    def work(number: int) -> None:
        for _ in range(15):
            if number % 2:
                push_blob(hub, f"demo/x{number}", content)
            else:
                hub.ask("DELETE", f"/v2/demo/x{number + 1}/blobs/{digest(content)}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    for repository in ("demo/x1", "demo/x3"):
        answer = hub.ask("GET", path.replace("demo/x", repository))
        if answer.status == 200:
            assert answer.body == content
        else:
            assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
    assert_every_row_has_its_file(hub)
    assert push_blob(hub, "demo/x", content) == 201
    assert hub.ask("GET", path).body == content
    assert blob_file(hub, digest(content)).read_bytes() == content


@pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.soak)])
def test_killed_amid_deletions_no_blob_is_listed_without_its_file(start_hub: Callable[..., Hub], rounds: int) -> None:
    """kill -9 while blobs come and go, again and again: what the database knows lies on the disk, whole."""
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    hub = start_hub("--open")
    contents = [os.urandom(2000) for _ in range(3)]
    deleted: list[int] = []
    for _ in range(rounds):
        ended = threading.Event()

        def come_and_go(content: bytes, over: threading.Event = ended) -> None:
            while not over.is_set():
                try:
                    push_blob(hub, "demo/crash", content)
                    deleted.append(hub.ask("DELETE", f"/v2/demo/crash/blobs/{digest(content)}").status)
                except (OSError, HTTPException):
                    break

        before = len(deleted)
        with ThreadPoolExecutor(3) as pool:
            work = [pool.submit(come_and_go, content) for content in contents]
            soon(lambda number=before: len(deleted) > number)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.3))
            hub.stop(signal.SIGKILL)
            ended.set()
            for each in work:
                each.result()
        assert_every_row_has_its_file(hub, f"seed {seed}")
        hub.start()
    assert 202 in deleted
    for content in contents:
        assert push_blob(hub, "demo/crash", content) == 201
        assert hub.ask("GET", f"/v2/demo/crash/blobs/{digest(content)}").body == content


@pytest.mark.parametrize("size", [100, 600_000])
def test_a_blob_whose_file_is_lost_is_told_and_healed_by_a_push(open_hub: Hub, size: int) -> None:
    """A small one, which the hub remembers, and a large one: 404 in the API's shape, so that clients push it again."""
    content = os.urandom(size)
    path = f"/v2/demo/x/blobs/{digest(content)}"
    assert push_blob(open_hub, "demo/x", content) == 201
    assert open_hub.ask("GET", path).body == content
    blob_file(open_hub, digest(content)).unlink()
    assert open_hub.ask("HEAD", path).status == 404
    for headers in ({}, {"Range": "bytes=0-9"}, {"If-None-Match": f'"{digest(content)}"'}):
        answer = open_hub.ask("GET", path, headers=headers)
        assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
    assert open_hub.logged("a blob's file is missing")
    assert push_blob(open_hub, "demo/x", content) == 201
    assert open_hub.ask("HEAD", path).status == 200
    assert open_hub.ask("GET", path).body == content


def test_a_full_disk_is_told_and_nothing_half_is_kept(open_hub: Hub) -> None:
    """A file may not grow past 3 MB here: 507, the chunk is taken back, and the hub goes on serving."""
    kept = os.urandom(1_000_000)
    assert push_blob(open_hub, "demo/x", kept) == 201
    content = os.urandom(6_000_000)
    place = open_hub.ask("POST", "/v2/demo/x/blobs/uploads/").headers["location"]
    assert open_hub.ask("PATCH", place, content[:500_000]).status == 202
    before = resource.prlimit(open_hub.workers[0], resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
    answer = open_hub.ask("PATCH", place, content[500_000:])
    assert (answer.status, "disk is full" in answer.body.decode()) == (507, True)
    assert open_hub.ask("GET", place).headers["range"] == "0-499999"
    assert push_blob(open_hub, "demo/x", content) == 507
    assert open_hub.ask("GET", f"/v2/demo/x/blobs/{digest(kept)}").body == kept
    resource.prlimit(open_hub.workers[0], resource.RLIMIT_FSIZE, before)
    assert open_hub.ask("PATCH", place, content[500_000:]).status == 202
    assert open_hub.ask("PUT", f"{place}?digest={digest(content)}").status == 201
    assert len(list((open_hub.data / "uploads").iterdir())) == 0
