"""What a hub has acknowledged it serves: after kill -9, beside others pushing the same, on a full disk, attacked."""

import hashlib
import json
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

from tests.fixtures.hubs import Hub

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def push_blob(hub: Hub, repository: str, content: bytes, user: tuple[str, str] | None = None) -> int:
    return hub.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest(content)}", content, user=user).status


def push_image(hub: Hub, repository: str, tag: str, layer: bytes) -> bytes:
    assert push_blob(hub, repository, layer) == 201
    manifest = json.dumps(
        {"schemaVersion": 2, "layers": [], "config": {"mediaType": "a/b", "digest": digest(layer), "size": len(layer)}}
    ).encode()
    answer = hub.ask("PUT", f"/v2/{repository}/manifests/{tag}", manifest, headers={"Content-Type": MANIFEST_TYPE})
    assert answer.status == 201, answer
    return manifest


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
                except OSError:
                    return
                count += 1

        threads = [threading.Thread(target=push, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0.05, 0.3))
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
    assert open_hub.ask("PATCH", place, content[there:], headers=rest).status == 202
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
    deleted = 0
    for _ in range(rounds):
        ended = threading.Event()

        def come_and_go(content: bytes, over: threading.Event = ended) -> int:
            count = 0
            while not over.is_set():
                try:
                    push_blob(hub, "demo/crash", content)
                    count += hub.ask("DELETE", f"/v2/demo/crash/blobs/{digest(content)}").status == 202
                except (OSError, HTTPException):
                    break
            return count

        with ThreadPoolExecutor(3) as pool:
            work = [pool.submit(come_and_go, content) for content in contents]
            time.sleep(rng.uniform(0.05, 0.3))
            hub.stop(signal.SIGKILL)
            ended.set()
            deleted += sum(each.result() for each in work)
        assert_every_row_has_its_file(hub, f"seed {seed}")
        hub.start()
    assert deleted > 0
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


@pytest.mark.parametrize(
    "path",
    [
        "/v2/..%2f..%2fetc/manifests/passwd",
        "/v2/demo/x/manifests/..%2f..%2f..%2fhub.db",
        "/v2/demo/x/blobs/sha256:..%2f..%2f..%2fhub.db",
        "/v2/demo/x/blobs/..%2f..%2fhub.db",
        "/v2/demo/x/blobs/uploads/..%2f..%2fhub.db",
        "/v2/demo%00/x/manifests/v1",
        "/v2/demo/x/manifests/v1%00",
        "/v2/d%C3%A9mo/x/manifests/v1",
        "/v2/%ff%fe/manifests/v1",
        "/v2/demo/x/manifests/v1%0d%0aX-Evil:%201",
        "/v2/demo/../demo/x/manifests/v1",
        "/v2//manifests/v1",
        "/api/repositories/..%2f..%2f/tags",
        "/api/repositories/%27%20OR%201=1--/tags",
        "/../../etc/passwd",
        "/v2/" + "a/" * 2000 + "manifests/v1",
    ],
)  # fmt: skip
def test_hostile_paths_find_nothing(open_hub: Hub, path: str) -> None:
    """Traversal, NUL, foreign letters, header injection: 400 or 404, for reading and for writing, and no crash."""
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "POST"):
        answer = open_hub.ask(method, path, b"{}" if method in ("PUT", "PATCH", "POST") else None)
        assert answer.status in (400, 404, 405), (method, answer)
        assert "x-evil" not in answer.headers
    assert open_hub.ask("GET", "/healthz").status == 200
    assert not [line for line in open_hub.log if "a bug in the hub" in line]
    assert list((open_hub.data / "blobs").rglob("*")) == []


def test_a_slow_sender_does_not_hold_up_others(open_hub: Hub) -> None:
    """Fifty uploads that trickle, and a pull is answered at once."""
    push_image(open_hub, "demo/x", "v1", b"layer")
    host, port = open_hub.host.split(":")
    lines = []
    try:
        for _ in range(50):
            place = open_hub.ask("POST", "/v2/demo/x/blobs/uploads/").headers["location"]
            line = socket.create_connection((host, int(port)))
            line.sendall(f"PATCH {place} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nabc".encode())
            lines.append(line)
        begun = time.monotonic()
        for _ in range(20):
            assert open_hub.ask("GET", "/v2/demo/x/manifests/v1").status == 200
        assert time.monotonic() - begun < 5
    finally:
        for line in lines:
            line.close()


def test_who_may_not_push_does_not_hold_a_connection(hub: Hub) -> None:
    """A body that comes at the pace of a slow push: the 401 is there within seconds, and the line is closed."""
    host, port = hub.host.split(":")
    with socket.create_connection((host, int(port)), timeout=0.2) as line:
        head = "POST /v2/demo/x/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n"
        line.sendall(head.encode())
        begun = time.monotonic()
        answer, closed = b"", False
        while not closed and time.monotonic() - begun < 15:
            try:
                line.sendall(b"a" * 200)
                received = line.recv(65536)
                answer, closed = answer + received, not received
            except TimeoutError:
                pass
            except OSError:
                closed = True
        assert answer.startswith(b"HTTP/1.1 401")
        assert closed
        assert time.monotonic() - begun < 10


HOSTILE = [
    "http://[",
    "[",
    "]",
    "[::1",
    "\x80",
    "\xff\xfe",
    ":",
    "::::",
    "-",
    ",",
    ";",
    "=",
    "\t",
    "a" * 5000,
    "9" * 5000,
]


@pytest.mark.parametrize(
    "name",
    ["Host", "Origin", "Referer", "Forwarded", "X-Forwarded-For", "Authorization", "Range", "If-Range", "If-None-Match",
     "Content-Range", "Content-Type", "Cookie"],
)  # fmt: skip
def test_no_header_is_a_bug(start_hub: Callable[..., Hub], name: str) -> None:
    """Whatever stands in a header, for reading and for writing: an answer below 500, and no traceback in the log."""
    hub = start_hub("--open", "--trusted-proxy", "127.0.0.1")
    push_image(hub, "demo/x", "v1", b"layer")
    place = hub.ask("POST", "/v2/demo/x/blobs/uploads/").headers["location"]
    requests = [("GET", f"/v2/demo/x/blobs/{digest(b'layer')}", None), ("GET", "/v2/demo/x/tags/list", None),
                ("GET", "/", None), ("PATCH", place, b"x"), ("PUT", "/v2/demo/x/manifests/v2", b"{}")]  # fmt: skip
    for value in HOSTILE:
        for method, path, body in requests:
            answer = hub.ask(method, path, body, headers={name: value})
            assert 200 <= answer.status < 500, (method, path, value, answer)
    assert not [line for line in hub.log if "a bug in the hub" in line]


def test_a_web_page_of_another_name_reads_nothing(start_hub: Callable[..., Hub]) -> None:
    """A hub on loopback is asked under a name that was made to resolve to it: 421 for every path."""
    hub = start_hub()
    for path in ("/", "/v2/", "/v2/_catalog", "/v2/demo/x/tags/list", "/api/v1/search?q=", "/metrics", "/healthz"):
        answer = hub.ask("GET", path, headers={"Host": "evil.example:5000"})
        assert (answer.status, answer.code) == (421, "DENIED"), path
    assert hub.ask("GET", "/", headers={"Host": "LOCALHOST:5000"}).status == 200
    behind_a_proxy = start_hub("--trusted-proxy", "127.0.0.1")
    assert behind_a_proxy.ask("GET", "/", headers={"Host": "hub.example"}).status == 200


def test_what_users_push_never_runs_in_a_browser(open_hub: Hub) -> None:
    """A blob of HTML is an attachment of octets; a manifest of type text/html is not taken."""
    page = b"<script>alert(1)</script>"
    assert push_blob(open_hub, "demo/x", page) == 201
    headers = open_hub.ask("GET", f"/v2/demo/x/blobs/{digest(page)}").headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"] == "attachment"
    assert "sandbox" in headers["content-security-policy"]
    manifest = json.dumps({"schemaVersion": 2, "layers": [], "annotations": {"x": page.decode()}}).encode()
    answer = open_hub.ask("PUT", "/v2/demo/x/manifests/v1", manifest, headers={"Content-Type": "text/html"})
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


def test_mount_does_not_tell_of_blobs_elsewhere_in_a_private_hub(start_hub: Callable[..., Hub]) -> None:
    """Nothing of a private hub is seen without an account, whatever is asked."""
    hub = start_hub("--private")
    user = hub.add_user("demo", "secret")
    assert push_blob(hub, "demo/x", b"content", user) == 201
    for path in (f"/v2/demo/x/blobs/{digest(b'content')}", "/v2/demo/x/tags/list", "/v2/_catalog", "/api/projects",
                 "/api/v1/search?q=demo", "/api/search?q=demo", "/", "/metrics"):  # fmt: skip
        assert hub.ask("GET", path).status == 401, path
        assert hub.ask("GET", path, user=user).status == 200, path
    assert hub.ask("GET", "/healthz").status == 200


def test_guessing_passwords_is_stopped_by_every_worker(start_hub: Callable[..., Hub]) -> None:
    """Ten wrong ones, through two workers, then 429 with Retry-After even for the right one."""
    hub = start_hub("--workers", "2")
    hub.add_user("demo", "secret")
    other = hub.add_user("other", "secret")
    answers = [hub.ask("GET", "/v2/", user=("demo", f"guess{number}")) for number in range(10)]
    assert [answer.status for answer in answers] == [401] * 10
    answer = hub.ask("GET", "/v2/", user=("demo", "secret"))
    assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
    assert 0 < int(answer.headers["retry-after"]) <= 300
    assert hub.ask("GET", "/v2/", user=other).status == 200
    assert "wasme_hub_failed_logins_total 10" in hub.ask("GET", "/metrics", user=other).body.decode()


def test_guesses_are_counted_for_the_client_behind_a_known_proxy(start_hub: Callable[..., Hub]) -> None:
    """One client's guesses do not shut out the others that come through the same proxy; without it, headers lie."""
    hub = start_hub("--trusted-proxy", "127.0.0.1")
    user = hub.add_user("demo", "secret")
    guesser = {"X-Forwarded-For": "198.51.100.1"}
    for number in range(10):
        hub.ask("GET", "/v2/", user=("demo", f"guess{number}"), headers=guesser)
    assert hub.ask("GET", "/v2/", user=user, headers=guesser).status == 429
    assert hub.ask("GET", "/v2/", user=user, headers={"X-Forwarded-For": "198.51.100.2"}).status == 200
    hub = start_hub()
    user = hub.add_user("demo", "secret")
    for number in range(10):
        spoofed = {"X-Forwarded-For": f"198.51.100.{number}"}
        hub.ask("GET", "/v2/", user=("demo", f"guess{number}"), headers=spoofed)
    assert hub.ask("GET", "/v2/", user=user).status == 429


def test_accounts_change_while_the_hub_runs(hub: Hub, run: Callable[..., object]) -> None:
    """A removed account is out with the next request, though its password was just verified."""
    user = hub.add_user("demo", "secret")
    assert push_blob(hub, "demo/x", b"content", user) == 201
    run("hub", "user", "remove", "demo", "--data", hub.data)
    assert push_blob(hub, "demo/x", b"content2", user) == 401


def test_admins_push_everywhere_and_users_below_their_name(hub: Hub) -> None:
    """The message of the refusal names the place; nothing of it is stored."""
    admin = hub.add_user("root", "toor", "--admin")
    user = hub.add_user("demo", "secret")
    assert push_blob(hub, "anything", b"x", admin) == 201
    answer = hub.ask("POST", "/v2/other/x/blobs/uploads/", user=user)
    assert (answer.status, answer.code, answer.json["errors"][0]["detail"]["namespace"]) == (403, "DENIED", "demo")
    for method, path in (
        ("PUT", "/v2/anything/manifests/v1"),
        ("DELETE", "/v2/anything/manifests/v1"),
        ("DELETE", f"/v2/anything/blobs/{digest(b'x')}"),
        ("POST", f"/v2/other/x/blobs/uploads/?mount={digest(b'x')}&from=anything"),
    ):
        assert hub.ask(method, path, user=user).status == 403
    mounted = hub.ask("POST", f"/v2/demo/x/blobs/uploads/?mount={digest(b'x')}&from=anything", user=user)
    assert mounted.status == 201
