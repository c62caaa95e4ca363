"""What who runs for long asks of a cluster: metadata alone, short watches, guarded writes, little patience."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.unit.deploy.cluster.scripted import OBJECT, Handler, opened, page, scripted, status
from wasme.deploy.cluster.kinds import CONFIG_MAP, DEPLOYMENT
from wasme.deploy.cluster.watch import Gone
from wasme.errors import ClusterUnreachable, Conflict, LeadershipLost

PARTIAL = {
    "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
    "metadata": {"name": "web", "namespace": "n", "resourceVersion": "6"},
}  # fmt: skip


def _watch(ask: Handler, *events: Any, then: float = 0.0) -> None:
    import json

    ask.send_response(200)
    ask.end_headers()
    for event in events:
        ask.wfile.write(json.dumps(event).encode() + b"\n")
    ask.wfile.flush()
    time.sleep(then)
    ask.cut()


def test_metadata_alone_is_asked_for() -> None:
    """Lists and watches of metadata say so in Accept, their objects say what they are; others ask for plain JSON."""

    def answer(ask: Handler, _: int) -> None:
        if "watch=true" in ask.path:
            _watch(ask, {"type": "ADDED", "object": PARTIAL})
        else:
            ask.give(200, page([PARTIAL]))

    with scripted(answer) as server, opened(server.url) as cluster:
        (listed,) = cluster.list(DEPLOYMENT, "n", metadata=True)
        ((_, watched),) = cluster.changes(DEPLOYMENT, "n", since="5", window=1, metadata=True)
        cluster.list(CONFIG_MAP, "n")
    assert (
        (listed["apiVersion"], listed["kind"]) == (watched["apiVersion"], watched["kind"]) == ("apps/v1", "Deployment")
    )
    accepted = [headers["Accept"].partition(",")[0] for _, _, headers in server.asked]
    assert accepted == [
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        "application/json",
    ]


def test_pages_come_one_by_one() -> None:
    """The second page is asked for when the first was read; a forgotten moment begins the list again, and says so."""

    def answer(ask: Handler, number: int) -> None:
        match number:
            case 0:
                ask.give(200, page([OBJECT], "more"))
            case 1:
                ask.give(410, status(410, "expired"))
            case 2:
                ask.give(200, page([OBJECT, OBJECT], "more", "9"))
            case _:
                ask.give(200, page([OBJECT], version="9"))

    with scripted(answer) as server, opened(server.url) as cluster:
        pages = cluster.pages(CONFIG_MAP, "n", limit=2)
        first = next(pages)
        assert (len(server.asked), first.first, len(list(first.items))) == (1, True, 1)
        rest = [(each.first, each.resource_version, len(list(each.items))) for each in pages]
    assert rest == [(True, "9", 2), (False, "9", 1)]
    assert all("limit=2" in path for path in server.paths)


def test_what_is_known_is_not_read() -> None:
    """A change of an object that somebody knows is passed over, unread; a deletion and a bookmark never."""
    lines = [
        {"type": "ADDED", "object": OBJECT},
        {"type": "MODIFIED", "object": {**OBJECT, "data": "other"}},
        {"type": "DELETED", "object": OBJECT},
        {"type": "BOOKMARK", "object": OBJECT},
    ]
    asked: list[tuple[str, str, str]] = []

    def known(*what: str) -> bool:
        asked.append(what)  # type: ignore[arg-type]
        return len(asked) == 1

    with scripted(lambda ask, _: _watch(ask, *lines)) as server, opened(server.url) as cluster:
        told = [change for change, _ in cluster.changes(CONFIG_MAP, "n", since="5", window=1.0, known=known)]
    meta = OBJECT["metadata"]
    assert told == ["MODIFIED", "DELETED", "BOOKMARK"]
    assert asked == [(meta.get("namespace", ""), meta["name"], meta["resourceVersion"])] * 2


def test_a_frozen_watch_is_given_up() -> None:
    """A connection on which nothing comes is given up a second after its window; what is forgotten is told."""

    def answer(ask: Handler, number: int) -> None:
        if number:
            ask.give(410, status(410, "too old"))
        else:
            _watch(ask, {"type": "ADDED", "object": OBJECT}, {"type": "BOOKMARK", "object": OBJECT}, then=60)

    with scripted(answer) as server, opened(server.url) as cluster:
        seen: list[str] = []
        began = time.monotonic()
        with pytest.raises(ClusterUnreachable, match=r"watch ConfigMap n: .*no answer in time"):
            seen.extend(change for change, _ in cluster.changes(CONFIG_MAP, "n", since="5", window=1.0))
        assert 1.8 < time.monotonic() - began < 20
        with pytest.raises(Gone):
            list(cluster.changes(CONFIG_MAP, "n", since="5", window=1.0))
    assert "timeoutSeconds=1" in server.paths[0]


def test_a_followed_kind_with_a_window_passes_over_a_frozen_watch() -> None:
    """`watch` with a window of one second tells a change that a frozen connection kept back soon after."""

    def answer(ask: Handler, number: int) -> None:
        if number == 0:
            _watch(ask, then=90)
        else:
            _watch(ask, {"type": "ADDED", "object": OBJECT}, then=1)

    with scripted(answer) as server, opened(server.url) as cluster:
        began = time.monotonic()
        for change, _ in cluster.watch(CONFIG_MAP, "n", since="5", seconds=90, window=1.0):
            assert change == "ADDED"
            break
        assert time.monotonic() - began < 30


def test_only_the_status_is_replaced() -> None:
    """The status goes to its own path, guarded by the version; without one nothing is sent."""

    def answer(ask: Handler, number: int) -> None:
        if number:
            ask.give(409, status(409, "the object has been modified"))
        else:
            ask.give(200, OBJECT)

    with scripted(answer) as server, opened(server.url) as cluster:
        assert cluster.replace_status(OBJECT) == OBJECT
        with pytest.raises(Conflict, match="update the status of ConfigMap n/x"):
            cluster.replace_status(OBJECT)
        with pytest.raises(ValueError, match="resourceVersion"):
            cluster.replace_status({**OBJECT, "metadata": {"name": "x", "namespace": "n"}})
    assert [(method, path.partition("?")[0]) for method, path, _ in server.asked] == [
        ("PUT", "/api/v1/namespaces/n/configmaps/x/status")
    ] * 2


def test_each_write_is_guarded() -> None:
    """Every method that changes something asks first and sends nothing where it may not; reading, and reviews, may."""
    may = True

    def check() -> None:
        if not may:
            raise LeadershipLost("not now")

    with scripted(lambda ask, _: ask.give(200, OBJECT)) as server, opened(server.url) as cluster:
        guarded = cluster.guarded(check)
        writes = [
            lambda: guarded.apply(OBJECT),
            lambda: guarded.settle({**OBJECT, "data": {"a": "1"}}, OBJECT),
            lambda: guarded.create(OBJECT),
            lambda: guarded.replace(OBJECT),
            lambda: guarded.replace_status(OBJECT),
            lambda: guarded.patch(CONFIG_MAP, "x", "n", {"data": {}}),
            lambda: guarded.delete(CONFIG_MAP, "x", "n"),
        ]
        for write in writes:
            write()
        assert len(server.asked) == len(writes)
        may = False
        for write in writes:
            with pytest.raises(LeadershipLost):
                write()
        assert len(server.asked) == len(writes)
        guarded.get(CONFIG_MAP, "x", "n")
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {},
            "spec": {},
        }
        guarded.create(review)
        cluster.apply(OBJECT)
        assert guarded.served() is cluster.served()


def test_the_guard_is_asked_before_each_try_and_just_before_it_goes() -> None:
    """A second try is not sent after the right is gone; nor a first one for which a connection took too long."""
    asked: list[int] = []

    def check() -> None:
        asked.append(len(server.asked))
        if server.asked:
            raise LeadershipLost("not now")

    with scripted(lambda ask, _: ask.give(503, status(503, "later"))) as server, opened(server.url) as cluster:
        with pytest.raises(LeadershipLost):
            cluster.guarded(check).apply(OBJECT)
        assert len(server.asked) == 1
        assert asked == [0, 0, 0, 1], "before the try, before its headers, before its body; before the next try"

    last = threading.Event()

    def only_once() -> None:
        if last.is_set():
            raise LeadershipLost("not now")
        last.set()

    with scripted(lambda ask, _: ask.give(200, OBJECT)) as server, opened(server.url) as cluster:
        with pytest.raises(LeadershipLost):
            cluster.guarded(only_once).apply(OBJECT)
        assert server.asked == []
        assert cluster.apply(OBJECT) == OBJECT, "the connections are none the worse"


def test_little_patience() -> None:
    """A hasty view gives up early, and leaves the others their patience."""
    with scripted(lambda ask, _: ask.give(503, status(503, "later"))) as server, opened(server.url, 4) as cluster:
        began = time.monotonic()
        with pytest.raises(ClusterUnreachable):
            cluster.hasty(0.5).get(CONFIG_MAP, "x", "n")
        assert time.monotonic() - began < 3.5
        assert len(server.asked) > 1
        with pytest.raises(ClusterUnreachable):
            cluster.get(CONFIG_MAP, "x", "n")
        assert time.monotonic() - began > 1.2
