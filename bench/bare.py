"""A client that sends writes to an API server over some connections and checks nothing but the status: the peer."""

from __future__ import annotations

import http.client
import json
import queue
import ssl
import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tests.kubernetes.cluster.api import place
from tests.kubernetes.cluster.control_plane import ControlPlane

CONNECTIONS = 16
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON = "application/json"


class Write(NamedTuple):
    """One request that changes something."""

    method: str
    path: str
    body: bytes
    kind: str = JSON


def creates(objects: Iterable[dict[str, Any]]) -> list[Write]:
    """What makes new objects."""
    return [Write("POST", place(each).rpartition("/")[0], json.dumps(each).encode()) for each in objects]


def send(plane: ControlPlane, writes: Sequence[Write]) -> None:
    """All of them, in order, over as many connections as wasme has."""
    waiting: queue.SimpleQueue[Write] = queue.SimpleQueue()
    for each in writes:
        waiting.put(each)
    failed: list[str] = []

    def work() -> None:
        context = ssl.create_default_context(cafile=str(plane.ca))
        connection = http.client.HTTPSConnection(plane.url.partition("//")[2], context=context, timeout=60)
        while True:
            try:
                each = waiting.get_nowait()
            except queue.Empty:
                connection.close()
                return
            headers = {"Authorization": f"Bearer {plane.token}", "Content-Type": each.kind}
            connection.request(each.method, each.path, each.body, headers)
            answer = connection.getresponse()
            told = answer.read()
            if answer.status >= 300:
                failed.append(told.decode(errors="replace")[:300])

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise SystemExit(f"{len(failed)} of {len(writes)} writes were refused: {failed[0]}")
