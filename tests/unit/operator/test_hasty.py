"""What a worker asks for of an API server that is away is given up soon, so that no few keys hold all workers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.unit.deploy.cluster.scripted import opened, scripted, status
from tests.unit.operator.test_resource import fdep
from wasme.errors import ClusterUnreachable
from wasme.operator import daemon
from wasme.operator.daemon import Operator
from wasme.operator.nodecache import sharing
from wasme.operator.options import Options
from wasme.operator.resources.resource import read


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    """One whose API server is away, and whose connection would have five seconds of patience."""
    for module in (daemon, sharing):
        monkeypatch.setattr(module, "HASTY", 0.4)
    with scripted(lambda ask, _: ask.give(503, status(503, "later"))) as server, opened(server.url) as cluster:
        yield Operator(cluster, Options(port=0, elect=False))


def test_a_pull_secret_for_the_agents(operator: Operator) -> None:
    """Sharing one is given up soon; the list, which a thread of its own writes, keeps its patience."""
    wanted = read(fdep({"pullSecret": "creds"}))
    begun = time.monotonic()
    with pytest.raises(ClusterUnreachable):
        operator._holding._sharing.share(wanted)
    assert time.monotonic() - begun < 4
    assert operator._holding.commits._cluster._patience is None


def test_a_pull_secret_for_a_look_up(operator: Operator) -> None:
    """Reading one is given up soon."""
    begun = time.monotonic()
    with pytest.raises(ClusterUnreachable):
        operator._images._secrets.identity("shop", "creds", ("reg.example",), age=0.0)
    assert time.monotonic() - begun < 4
