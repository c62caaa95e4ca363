"""Following changes: through cut connections, to the deadline, and with a server that sends junk."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.unit.deploy.cluster.scripted import Handler, opened, page, scripted, status
from wasme.deploy.cluster.kinds import CONFIG_MAP
from wasme.errors import ClusterError


def _events(*events: object) -> Callable[[Handler, int], None]:
    """A list that is empty, and watches that send these, one of each per request."""
    import json

    watches = iter(events)

    def answer(ask: Handler, _: int) -> None:
        if "watch=true" not in ask.path:
            ask.give(200, page([]))
            return
        event = next(watches, None)
        if event is None:
            time.sleep(60)
            return
        body = event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n"
        ask.send_response(200)
        ask.end_headers()
        ask.wfile.write(body)
        ask.cut()

    return answer


def _change(name: str, version: str, change: str = "ADDED") -> dict[str, object]:
    return {"type": change, "object": {"metadata": {"name": name, "namespace": "n", "resourceVersion": version}}}


def test_a_watch_goes_on() -> None:
    """Cut connections, bookmarks, half lines: the watch goes on from where it was, without a change lost or twice."""
    script = _events(
        _change("a", "6"), {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}},
        b'{"type": "ADDED", "object": {"metadata"', _change("b", "10"), _change("b", "11", "DELETED"),
    )  # fmt: skip
    with scripted(script) as server, opened(server.url) as cluster:
        seen = [
            (change, obj["metadata"]["name"]) for change, obj in cluster.watch(CONFIG_MAP, "n", since="5", seconds=6)
        ]
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "b")]
    froms = [path.partition("resourceVersion=")[2].partition("&")[0] for path in server.paths]
    assert froms == ["5", "6", "9", "9", "10", "11"]
    assert all("allowWatchBookmarks=true" in path and "timeoutSeconds=" in path for path in server.paths)


def test_a_watch_ends_in_time() -> None:
    """Whatever the server does, the iteration ends at its deadline."""
    with scripted(_events()) as server, opened(server.url) as cluster:
        began = time.monotonic()
        assert list(cluster.watch(CONFIG_MAP, "n", seconds=0.5)) == []
        assert 0.4 < time.monotonic() - began < 20


@pytest.mark.parametrize("ends", ["gone", "at once"])
def test_a_watch_that_gets_nowhere_does_not_race(ends: str) -> None:
    """A server that forgets every place, or ends every watch at once, is not asked in a tight circle."""

    def answer(ask: Handler, _: int) -> None:
        if "watch=true" not in ask.path:
            ask.give(200, page([]))
        elif ends == "gone":
            ask.give(200, {"type": "ERROR", "object": status(410, "too old resource version")})
        else:
            ask.give(200, b"")

    with scripted(answer) as server, opened(server.url) as cluster:
        assert list(cluster.watch(CONFIG_MAP, "n", seconds=2)) == []
    assert len(server.asked) < 30


@pytest.mark.parametrize("junk", [b"junk\n", b"{}\n", b'{"type": 1, "object": 2}\n', b"<html>\n", b"[]\n"])
def test_a_watch_of_junk_is_told(junk: bytes) -> None:
    """Changes that are none are one line of error."""
    with (
        scripted(_events(junk)) as server,
        opened(server.url) as cluster,
        pytest.raises(ClusterError, match=r"watch ConfigMap n: .* cannot be read"),
    ):
        list(cluster.watch(CONFIG_MAP, "n", seconds=30))
