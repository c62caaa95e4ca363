"""Pods, and nodes, that appear while a deployment waits; what agents tell is written by the test."""

import time

import pytest

from tests.kubernetes.node_cache.reading import Cache, grant
from wasme.deploy.cache import protocol
from wasme.deploy.cache.holding import hold
from wasme.deploy.cache.protocol import FilterLine, ImageStatus
from wasme.deploy.cache.registration import register, wanted
from wasme.deploy.cache.waiting import Progress
from wasme.deploy.cluster.connect import connect
from wasme.errors import CacheError

LINE = FilterLine("apps", "test", "filter/image:v1", "sha256:" + "a" * 64, "sha256:" + "b" * 64)
HELD = ImageStatus(LINE.ref, LINE.manifest, LINE.module, 3, True)


@pytest.fixture
def cache(api, namespace):
    """A cache whose agents are this test."""
    return Cache(api, namespace)


@pytest.fixture
def workload(namespace, bookinfo):
    """A workload of the sample, and the selectors of its pods."""
    made = bookinfo(namespace)["productpage-v1"]
    return made, [(namespace, made["spec"]["selector"])]


def test_a_pod_that_starts_elsewhere_meanwhile(cluster, cache, nodes, pods, workload):
    """A pod that comes to another node during the wait is waited for too, before the filter's object may appear."""
    nodes("n-1", "n-2")
    mine, selectors = workload
    pods(mine, "n-1")
    seen, told = [], []

    def tell(progress):
        seen.append(progress)
        if progress == Progress(0, 1):
            pods(mine, "n-2")
            cache.tell("n-1", HELD)
        if progress == Progress(1, 2):
            told.append(cache.later(0.5, "n-2", HELD))

    begun = time.monotonic()
    hold(cluster, cache.options, [LINE], selectors, 30, tell)
    assert seen == [Progress(0, 1), Progress(1, 1), Progress(0, 2), Progress(1, 2), Progress(2, 2)]
    assert 0.5 < time.monotonic() - begun < 20
    told[0].join()


def test_a_late_node_that_never_holds_it(cluster, cache, nodes, pods, workload):
    """A node that came late is waited for no longer than the timeout as a whole, named, and all is put back."""
    nodes("n-1", "n-2")
    mine, selectors = workload
    pods(mine, "n-1")

    def tell(progress):
        if progress == Progress(0, 1):
            pods(mine, "n-2")
            cache.later(3, "n-1", HELD)

    begun = time.monotonic()
    with pytest.raises(CacheError) as caught:
        hold(cluster, cache.options, [LINE], selectors, 6, tell)
    assert time.monotonic() - begun < 8.5, "the late one is given no time of its own"
    assert "timed out after 6s (last err: 1 of 2 nodes does not hold image" in caught.value.message
    assert "n-2: its agent has told nothing yet" in caught.value.message
    assert wanted(cluster, cache.options) == protocol.Wanted()


def test_a_line_left_pending_is_so_again(cluster, cache, nodes, pods, workload):
    """What a deployment that died left pending is pending again after one that failed: no gate is closed for it."""
    nodes("n-1", "n-2")
    mine, selectors = workload
    pods(mine, "n-1")
    register(cluster, cache.options, [LINE])
    cache.tell("n-1", HELD)
    with pytest.raises(CacheError, match="timed out after 500ms"):
        hold(cluster, cache.options, [LINE], selectors, 0.5, lambda _: pods(mine, "n-2"))
    assert wanted(cluster, cache.options).filters == (LINE._replace(pending=True),)


def test_a_late_node_that_is_not_ready(cluster, cache, nodes, pods, workload, caplog):
    """A node that came late and is not ready is told and not waited for; nor is anything where no wait is wanted."""
    nodes("n-1")
    nodes("n-2", ready=False)
    mine, selectors = workload
    pods(mine, "n-1")
    cache.tell("n-1", HELD)
    hold(cluster, cache.options, [LINE], selectors, 60, lambda _: pods(mine, "n-2"))
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert (record.getMessage(), record.fields) == ("nodes are not ready, and not waited for", {"nodes": "n-2"})
    nodes("n-3")
    pods(mine, "n-3")
    hold(cluster, cache.options, [LINE], selectors, 0)


def test_gates_without_the_right_to_nodes(control_plane, api, cache, nodes, pods, workload, namespace, caplog):
    """Who may not read nodes waits for every node that is silent, and is warned of those that stay so.

    [was: passed over without a word, so that pods could start there without the image]
    """
    nodes("n-1", "n-2", "n-3")
    mine, selectors = workload
    pods(mine, "n-1")
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "update"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]
    grant(api, namespace, "no-nodes", rules)
    cache.tell("n-1", HELD)
    cache.tell("n-2")
    cache.tell("n-3")
    late = cache.later(2.5, "n-3", observed=str(10**12))
    begun = time.monotonic()
    with connect(control_plane.kubeconfig_for("no-nodes")) as own:
        hold(own, cache.options, [LINE], selectors, 20)
    assert 5 < time.monotonic() - begun < 30
    late.join()
    (record,) = [record for record in caplog.records if "nodes do not answer" in record.getMessage()]
    assert record.fields == {"nodes": "n-2"}
