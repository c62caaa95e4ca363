"""A hub attacked: hostile paths, headers and senders, web pages, guessed passwords; and who may do what."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.fixtures.hubs import Hub, digest, push_blob, push_image


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
        assert time.monotonic() - begun < 20
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
        while not closed and time.monotonic() - begun < 30:
            try:
                with suppress(OSError):  # closed already, perhaps: what was said before that can still be read
                    line.sendall(b"a" * 200)
                received = line.recv(65536)
                answer, closed = answer + received, not received
            except TimeoutError:
                pass
            except OSError:
                closed = True
        assert answer.startswith(b"HTTP/1.1 401")
        assert closed
        assert time.monotonic() - begun < 25  # at this pace the body would take two hours


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


def test_guesses_are_counted_over_ipv6(start_hub: Callable[..., Hub]) -> None:
    """From the addresses of one /64 as from one address; and a hub on ::1 knows who connects."""
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    hub = start_hub("--listen", "[::1]:0", "--trusted-proxy", "::1")
    user = hub.add_user("demo", "secret")
    for number in range(10):
        hub.ask("GET", "/v2/", user=("demo", f"guess{number}"), headers={"X-Forwarded-For": f"2001:db8::{number}"})
    assert hub.ask("GET", "/v2/", user=user, headers={"X-Forwarded-For": "2001:db8::f00"}).status == 429
    assert hub.ask("GET", "/v2/", user=user, headers={"X-Forwarded-For": "2001:db8:1::1"}).status == 200
    assert hub.logged("2001:db8::9")
    hub = start_hub("--listen", "[::1]:0")
    hub.add_user("demo", "secret")
    for number in range(10):
        assert hub.ask("GET", "/v2/", user=("demo", f"guess{number}")).status == 401
    assert hub.ask("GET", "/v2/", user=user).status == 429


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


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
