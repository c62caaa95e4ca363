"""The way to a server: patience, time limits, servers that lie, and nothing secret in a message."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest

from tests.unit.deploy.cluster.scripted import OBJECT, Handler, opened, page, scripted, status
from wasme import __version__
from wasme.deploy.cluster import parallel, wire
from wasme.deploy.cluster.kinds import CONFIG_MAP, NODE
from wasme.errors import ClusterError, ClusterForbidden, ClusterUnreachable, Conflict


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "WAIT", 0.02)


def test_who_asks() -> None:
    """Every request says wasme and its version, and carries the token."""
    with scripted(lambda ask, _: ask.give(200, OBJECT)) as server, opened(server.url, token="secret-1") as cluster:
        cluster.get(CONFIG_MAP, "x", "n")
    (_, _, headers) = server.asked[0]
    assert headers["User-Agent"] == f"wasme/{__version__}"
    assert headers["Authorization"] == "Bearer secret-1"


@pytest.mark.parametrize("trouble", ["503", "429", "500", "cut", "silent cut", "half"])
def test_a_server_that_is_away_is_asked_again(trouble: str) -> None:
    """Reads, applies, updates and deletes go on through lost connections and 429/5xx."""

    def answer(ask: Handler, number: int) -> None:
        if number % 3 == 2:
            ask.give(200, OBJECT)
        elif trouble == "cut":
            ask.cut(b"HTTP/1.1 200 OK\r\nContent-Le")
        elif trouble == "silent cut":
            ask.cut()
        elif trouble == "half":
            ask.cut(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"a"')
        else:
            ask.give(int(trouble), status(int(trouble), "not now"))

    with scripted(answer) as server, opened(server.url) as cluster:
        assert cluster.get(CONFIG_MAP, "x", "n") == OBJECT
        assert cluster.apply(OBJECT) == OBJECT
        assert cluster.replace(OBJECT) == OBJECT
        assert cluster.patch(CONFIG_MAP, "x", "n", {"data": {}}) == OBJECT
        assert cluster.delete(CONFIG_MAP, "x", "n")
    assert len(server.asked) == 15


@pytest.mark.parametrize("trouble", ["503", "cut"])
def test_what_would_be_done_twice_is_not(trouble: str) -> None:
    """A create under a name that the server makes, and a patch that may add to a list, are sent once."""

    def answer(ask: Handler, _: int) -> None:
        if trouble == "cut":
            ask.cut()
        else:
            ask.give(503, status(503, "not now"))

    nameless = {**OBJECT, "metadata": {"generateName": "x-", "namespace": "n"}}
    with scripted(answer) as server, opened(server.url) as cluster:
        with pytest.raises(ClusterUnreachable):
            cluster.create(nameless)
        with pytest.raises(ClusterUnreachable):
            cluster.patch(CONFIG_MAP, "x", "n", [{"op": "add", "path": "/a/-", "value": 1}])
    assert len(server.asked) == 2


def test_a_create_whose_answer_was_lost() -> None:
    """Created and cut: the second try finds it, and it is ours; somebody else's of that name is a Conflict."""
    owner = "wasme"

    def answer(ask: Handler, _: int) -> None:
        mine = {"manager": owner, "operation": "Update"}
        if ask.command == "GET":
            ask.give(200, {**OBJECT, "metadata": {"name": "x", "uid": "1", "managedFields": [mine]}})
        elif [method for method, _, _ in server.asked].count("POST") == 1:
            ask.cut()
        else:
            ask.give(409, {**status(409, "exists", name="x"), "reason": "AlreadyExists"})

    with scripted(answer) as server, opened(server.url) as cluster:
        assert cluster.create(OBJECT)["metadata"]["uid"] == "1"
        with pytest.raises(Conflict, match="it exists already"):
            cluster.create(OBJECT)
        assert [method for method, _, _ in server.asked] == ["POST", "POST", "GET", "POST"]
    owner = "somebody"
    with scripted(answer) as server, opened(server.url) as cluster, pytest.raises(Conflict, match="it exists already"):
        cluster.create(OBJECT)


def test_a_delete_whose_answer_was_lost() -> None:
    """Deleted and cut: the second try finds nothing, and it was deleted all the same."""

    def answer(ask: Handler, number: int) -> None:
        if number:
            ask.give(404, status(404, "gone", name="x", kind="configmaps"))
        else:
            ask.cut()

    with scripted(answer) as server, opened(server.url) as cluster:
        assert cluster.delete(CONFIG_MAP, "x", "n")
        assert not cluster.delete(CONFIG_MAP, "x", "n")


def test_retry_after_is_heeded() -> None:
    """A 429 with Retry-After is asked again after that time, creates included: nothing was done."""
    times: list[float] = []

    def answer(ask: Handler, number: int) -> None:
        times.append(time.monotonic())
        if number:
            ask.give(200, OBJECT)
        else:
            ask.give(429, status(429), Retry_After="1")

    with scripted(answer) as server, opened(server.url) as cluster:
        cluster.create(OBJECT)
    assert 1 <= times[1] - times[0] < 15


def test_patience_ends_once_for_all(caplog: pytest.LogCaptureFixture) -> None:
    """A server that stays away costs its patience once, not once for each of many objects; one line tells of it."""
    healthy = True

    def answer(ask: Handler, _: int) -> None:
        if healthy:
            ask.give(200, OBJECT)
        else:
            ask.cut()

    with scripted(answer) as server, opened(server.url, patience=1.5) as cluster:
        cluster.get(CONFIG_MAP, "x", "n")
        healthy = False
        began = time.monotonic()
        outcomes = parallel(lambda _: cluster.get(CONFIG_MAP, "x", "n"), range(60), 4)
        assert len(outcomes.failures) == 60
        assert 1 < time.monotonic() - began < 15  # for each it would be half a minute
    warned = [each for each in caplog.records if each.levelname == "WARNING" and each.getMessage() == "trying again"]
    assert len(warned) == 1


def test_an_address_where_nobody_is_costs_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was never reached is not waited for half a minute."""
    monkeypatch.setattr(wire, "FIRST", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with opened(url, patience=30) as cluster, pytest.raises(ClusterUnreachable) as failed:
            cluster.get(CONFIG_MAP, "x", "n")
    assert time.monotonic() - began < 15
    assert failed.value.message == f"read ConfigMap n/x: cannot reach the API server {url}: connection refused"
    with opened("http://no-such-host.invalid:1", patience=1) as cluster, pytest.raises(ClusterUnreachable) as failed:
        cluster.get(CONFIG_MAP, "x", "n")
    assert "cannot reach the API server http://no-such-host.invalid:1: " in failed.value.message


def test_time_limits() -> None:
    """A server that is silent, and one that sends a byte now and then, both end in time."""

    def answer(ask: Handler, number: int) -> None:
        ask.send_response(200)
        ask.send_header("Content-Length", "1000")
        ask.end_headers()
        for _ in range(300):
            time.sleep(0.1)
            if number % 2:
                ask.wfile.write(b"[")

    for _ in range(2):
        with scripted(answer) as server, opened(server.url, patience=1) as cluster:
            cluster._wire.attempt = 0.6
            began = time.monotonic()
            with pytest.raises(ClusterUnreachable, match="no answer in time"):
                cluster.get(CONFIG_MAP, "x", "n")
            assert time.monotonic() - began < 15


LIES: dict[str, Callable[[Handler, int], None]] = {
    "a web page": lambda ask, _: ask.give(200, b"<!DOCTYPE html><html>log in</html>", "text/html"),
    "half of JSON": lambda ask, _: ask.give(200, b'{"items": [{"kind"'),
    "nothing": lambda ask, _: ask.give(200, b""),
    "no list": lambda ask, _: ask.give(200, OBJECT),
    "items that are none": lambda ask, _: ask.give(200, page(["x"])),
    "pages without end": lambda ask, number: ask.give(200, page([OBJECT], str(number))),
    "the same page": lambda ask, _: ask.give(200, page([OBJECT], "same")),
    "empty pages": lambda ask, number: ask.give(200, page([], str(number))),
    "elsewhere": lambda ask, _: ask.give(302, b"", Location="http://127.0.0.1:1/"),
    "a foreign 404": lambda ask, _: ask.give(404, b"<html>nginx</html>", "text/html"),
    "words": lambda ask, _: ask.give(200, b"hello", "text/plain"),
    "bytes": lambda ask, _: ask.give(200, b"\x1f\x8b\x00junk", Content_Encoding="gzip"),
    "always gone": lambda ask, number: (
        ask.give(200, page([OBJECT], "t")) if number % 2 == 0 else ask.give(410, status(410, "expired"))
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_gets_one_line(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a server sends, a list ends, with one line of error that names what was asked."""
    monkeypatch.setattr("wasme.deploy.cluster.lists.MOST", 20)
    with (
        scripted(LIES[lie]) as server,
        opened(server.url, patience=0.5, token="geheim") as cluster,
        pytest.raises(ClusterError) as failed,
    ):
        cluster.list(CONFIG_MAP, "n")
    assert "list ConfigMap n: " in failed.value.message
    assert "\n" not in failed.value.message
    assert "geheim" not in failed.value.message
    assert len(server.asked) < 50


def test_an_answer_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that does not stop is stopped."""
    monkeypatch.setattr(wire, "LARGEST", 1 << 20)
    with (
        scripted(lambda ask, _: ask.give(200, b" " * (2 << 20))) as server,
        opened(server.url) as cluster,
        pytest.raises(ClusterError, match="sends an answer without an end"),
    ):
        cluster.get(CONFIG_MAP, "x", "n")


def test_a_list_that_expires_begins_anew() -> None:
    """410 in the middle of a list: what came before is thrown away and the list is read from the start."""

    def answer(ask: Handler, number: int) -> None:
        if "continue=" not in ask.path:
            ask.give(200, page([{"metadata": {"name": f"first-{number}"}}], f"t{number}"))
        elif number == 1:
            ask.give(410, status(410, "The provided continue parameter is too old"))
        else:
            ask.give(200, page([{"metadata": {"name": "second"}}], version="9"))

    with scripted(answer) as server, opened(server.url) as cluster:
        listing = cluster.listing(CONFIG_MAP, "n", labels="a in (b,c)", fields="metadata.name=x")
    assert [each["metadata"]["name"] for each in listing.items] == ["first-2", "second"]
    assert listing.items[0]["kind"] == "ConfigMap"
    assert listing.resource_version == "9"
    assert "labelSelector=a+in+%28b%2Cc%29" in server.paths[0].replace("%20", "+")
    assert "limit=500" in server.paths[0]


def test_403_after_a_restart_is_asked_again() -> None:
    """A server that has just started refuses rights that it has not read yet; later 403s are final."""

    def answer(ask: Handler, number: int) -> None:
        if number == 0:
            ask.cut()
        elif number < 3:
            ask.give(403, status(403, 'pods is forbidden: User "u" cannot get resource "pods"'))
        else:
            ask.give(200, OBJECT)

    with scripted(answer) as server, opened(server.url) as cluster:
        assert cluster.get(CONFIG_MAP, "x", "n") == OBJECT
    with (
        scripted(lambda ask, _: ask.give(403, status(403, 'User "u" cannot get resource "pods"'))) as server,
        opened(server.url) as cluster,
        pytest.raises(ClusterForbidden),
    ):
        cluster.get(CONFIG_MAP, "x", "n")
    assert len(server.asked) == 1


@pytest.mark.parametrize("end", ["cut", "reset", "silent", "ended", "unanswered"])
def test_a_watch_that_ends_is_no_sign_of_a_restart(end: str) -> None:
    """Watches are short, and end, are cut or fall silent all the time: a 403 after one is meant, and told at once. Only
    one that nobody answered is a sign that the server is away."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    over = threading.Event()

    def answer(ask: Handler, number: int) -> None:
        if number:
            ask.give(403, status(403, 'configmaps "x" is forbidden: User "u" cannot get resource "configmaps"'))
        elif end == "reset":
            ask.wfile.write(head)
            ask.wfile.flush()
            ask.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ask.cut()
        elif end == "silent":
            ask.wfile.write(head)
            ask.wfile.flush()
            over.wait(60)
        elif end == "ended":
            ask.wfile.write(head + b"0\r\n\r\n")  # and the connection stays
        else:
            ask.cut({"cut": head + b"5\r\n{}", "unanswered": b""}[end])

    with scripted(answer) as server, opened(server.url) as cluster:
        watch = cluster.changes(CONFIG_MAP, "n", since="1", window=1.0, silence=1.0)
        if end == "ended":
            assert list(watch) == []
        else:
            with pytest.raises(ClusterUnreachable):
                list(watch)
        over.set()
        assert cluster.troubled is (end == "unanswered")
        cluster._wire.patience = 0.2
        with pytest.raises(ClusterForbidden):
            cluster.get(CONFIG_MAP, "x", "n")
    assert (len(server.asked) == 2) is (end != "unanswered")


def test_a_patch_that_does_not_fit_is_not_tried_again() -> None:
    """The 500 of a schema that does not fit is told at once."""
    told = status(500, "failed to create typed patch object (n/x; /v1): .datax: field not declared in schema")
    with (
        scripted(lambda ask, _: ask.give(500, told)) as server,
        opened(server.url) as cluster,
        pytest.raises(ClusterError, match="field not declared in schema"),
    ):
        cluster.apply(OBJECT)
    assert len(server.asked) == 1


def test_connections_are_kept_and_shared() -> None:
    """16 threads use 16 connections for any number of requests."""
    clients: set[int] = set()
    lock = threading.Lock()

    def answer(ask: Handler, _: int) -> None:
        with lock:
            clients.add(ask.client_address[1])
        ask.give(200, OBJECT)

    with scripted(answer) as server, opened(server.url) as cluster:
        parallel(lambda _: cluster.get(CONFIG_MAP, "x", "n"), range(400), 16).require()
    assert len(clients) <= 16


def test_warnings_of_the_server_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A Warning header is told, each text once."""
    warning = '299 - "v1beta1 is deprecated"'
    with scripted(lambda ask, _: ask.give(200, OBJECT, Warning=warning)) as server, opened(server.url) as cluster:
        cluster.get(CONFIG_MAP, "x", "n")
        cluster.get(CONFIG_MAP, "y", "n")
    (record,) = [each for each in caplog.records if "warns" in each.getMessage()]
    assert record.fields == {"warning": "v1beta1 is deprecated"}  # type: ignore[attr-defined]


def test_many_warnings_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings that each name another object take no more memory than so many of them."""
    monkeypatch.setattr(wire, "WARNINGS", 10)
    with (
        scripted(lambda ask, number: ask.give(200, OBJECT, Warning=f'299 - "object {number}"')) as server,
        opened(server.url) as cluster,
    ):
        for _ in range(25):
            cluster.get(CONFIG_MAP, "x", "n")
        assert len(cluster._wire._warned) <= 10


def test_names_cannot_leave_their_path() -> None:
    """A name is one word of a path, whatever is in it."""
    with scripted(lambda ask, _: ask.give(404, status(404, name="x"))) as server, opened(server.url) as cluster:
        assert cluster.get(CONFIG_MAP, "../secrets/x?y#z", "a/b") is None
        assert cluster.get(NODE, "n1", "ignored") is None
    assert server.paths == ["/api/v1/namespaces/a%2Fb/configmaps/..%2Fsecrets%2Fx%3Fy%23z", "/api/v1/nodes/n1"]


def test_a_server_below_a_path() -> None:
    """A server address may have a path, as Rancher's have."""
    with scripted(lambda ask, _: ask.give(200, OBJECT)) as server, opened(server.url + "/k8s/clusters/c-1") as cluster:
        cluster.get(CONFIG_MAP, "x", "n")
    assert server.paths == ["/k8s/clusters/c-1/api/v1/namespaces/n/configmaps/x"]


def test_what_cannot_be_written_is_told_before() -> None:
    """An object without name, namespace or version is refused without a request."""
    with scripted(lambda ask, _: ask.give(200, OBJECT)) as server, opened(server.url) as cluster:
        with pytest.raises(ClusterError, match="ConfigMap without a name"):
            cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "n"}})
        with pytest.raises(ClusterError, match="ConfigMap x names no namespace"):
            cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})
        with pytest.raises(ValueError, match="resourceVersion"):
            cluster.replace({**OBJECT, "metadata": {"name": "x", "namespace": "n"}})
    assert server.asked == []


def test_a_conflict_is_no_trouble() -> None:
    """409 is told at once, and not tried again here: the caller reads and decides."""
    with (
        scripted(lambda ask, _: ask.give(409, status(409, "modified"))) as server,
        opened(server.url) as cluster,
        pytest.raises(Conflict),
    ):
        cluster.replace(OBJECT)
    assert len(server.asked) == 1
