"""What nodes told that are gone goes with the next installation, or little by little with deployments."""

import pytest

from tests.kubernetes.node_cache.reading import Cache
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.statuses import forget_gone, holdings
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.connect import connect


@pytest.fixture
def cache(api, cluster, namespace):
    """An installed cache whose agents are this test."""
    cache = Cache(api, namespace)
    ensure(cluster, cache.options)
    return cache


class Joining:
    """A cluster where something happens after the first list, or the first list of a kind."""

    def __init__(self, cluster, then, after=None):
        self._cluster, self._then, self._after = cluster, then, after

    def __getattr__(self, name):
        return getattr(self._cluster, name)

    def list(self, kind, *args, **settings):
        found = self._cluster.list(kind, *args, **settings)
        if self._then and self._after in (None, kind):
            then, self._then = self._then, None
            then()
        return found


def test_a_node_that_joins_meanwhile_is_not_gone(cluster, cache, nodes):
    """[was: nodes read first, so that one which joined before statuses were read counted as gone]"""
    nodes("n-1")
    cache.tell("n-1")
    cache.tell("n-gone")

    def join():
        nodes("n-new")
        cache.tell("n-new")

    assert forget_gone(Joining(cluster, join), cache.options) == ["n-gone"]
    assert set(holdings(cluster, cache.options)) == {"n-1", "n-new"}


def test_a_node_that_is_back_tells_anew(cluster, cache, nodes):
    """A node that comes back while its old status is about to go keeps what it has told since."""
    nodes("n-1")
    cache.tell("n-1")
    cache.tell("n-back")

    def come_back():
        nodes("n-back")
        cache.tell("n-back", ready=("apps", "more"))

    assert forget_gone(Joining(cluster, come_back, kinds.NODE), cache.options) == []
    assert set(holdings(cluster, cache.options)) == {"n-1", "n-back"}


def test_each_deployment_forgets_some(cluster, control_plane, cache, nodes):
    """Of nodes that have not followed the list of images a deployment asks for a few, and forgets those that are gone.

    Clusters whose nodes come and go, and where nobody installs again, gather no statuses. Who may not read nodes is not
    kept from deploying.
    """
    nodes("n-1", "n-slow")
    cache.tell("n-1")
    cache.tell("n-slow", observed="1")
    for number in range(30):
        cache.tell(f"gone-{number:02}", observed="1")
    left = []
    for _ in range(3):
        mark = control_plane.mark()
        ensure(cluster, cache.options)
        asked = [event for event in control_plane.audit(mark) if "/api/v1/nodes" in event["requestURI"]]
        assert len(asked) <= 20
        left.append(len(holdings(cluster, cache.options)))
    assert 12 <= left[0] <= 13
    assert left[1:] == [2, 2]
    assert len(asked) == 1  # the slow one; those that follow are not asked for
    cache.tell("n-lost", observed="1")
    with connect(control_plane.kubeconfig_for("nobody-here")) as own:
        assert forget_gone(own, cache.options) == []
