"""Waiting for nodes on a real API server; what agents tell is written by the tests, so every state can be had."""

import logging
import threading
import time

import pytest

from tests.fixtures.agents import soon
from tests.kubernetes.node_cache.reading import Cache, grant
from wasme.deploy.cache import protocol
from wasme.deploy.cache.holding import clean_up, hold
from wasme.deploy.cache.nodes import Targets, target_nodes
from wasme.deploy.cache.protocol import FilterLine, ImageStatus, NodeStatus
from wasme.deploy.cache.registration import Registration, register, wanted
from wasme.deploy.cache.statuses import holdings
from wasme.deploy.cache.waiting import Progress, wait
from wasme.deploy.cluster.connect import connect
from wasme.errors import CacheError, ClusterForbidden

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64
C = "sha256:" + "c" * 64
LINE = FilterLine("apps", "test", "filter/image:v1", A, B)
HELD = ImageStatus(LINE.ref, A, B, 3, True)


@pytest.fixture
def cache(api, namespace):
    """A cache whose agents are this test: ``tell(node, ...)`` writes what one tells."""
    return Cache(api, namespace)


def told(caplog):
    return [(r.levelname, r.getMessage()) for r in caplog.records if r.name.startswith("wasme.deploy.cache")]


def on(*nodes, not_ready=()):
    return Targets(frozenset(nodes), frozenset(not_ready))


def test_two_nodes_succeed(cluster, cache, caplog):
    """[BUG] with two nodes the original always timed out: the wait ends when the second node tells."""
    caplog.set_level("INFO")
    made = register(cluster, cache.options, [LINE])
    cache.tell("node-1", HELD)
    seen = []

    def tell(progress):
        seen.append(progress)
        if progress.held == 1:
            cache.later(0.5, "node-2", HELD)

    begun = time.monotonic()
    wait(made, on("node-1", "node-2"), 20, tell)
    assert 0.4 < time.monotonic() - begun < 10
    assert seen == [Progress(0, 2), Progress(1, 2), Progress(2, 2)]
    assert str(seen[1]) == "1 of 2 nodes hold the image"
    assert ("INFO", "waiting for event with timeout 20s") in told(caplog)


def test_second_deployment_waits_too(cluster, cache, caplog):
    """[BUG] the original did not wait for an image that was listed already: this one does, until its node holds it."""
    register(cluster, cache.options, [LINE])
    again = register(cluster, cache.options, [LINE])
    assert again.new_images == ()
    caplog.set_level("INFO")
    with pytest.raises(CacheError, match="timed out after 500ms"):
        wait(again, on("node-1"), 0.5)
    waits = ("INFO", "waiting for event with timeout 20s")
    agent = threading.Thread(target=lambda: soon(lambda: waits in told(caplog)) and cache.tell("node-1", HELD))
    agent.start()
    wait(again, on("node-1"), 20)
    agent.join()
    assert waits in told(caplog)


def test_what_is_held_already_is_silent(cluster, cache, caplog):
    """The original's transcript of a second deployment has no line between `already cached` and the workloads."""
    register(cluster, cache.options, [LINE])
    again = register(cluster, cache.options, [LINE])
    cache.tell("node-1", HELD)
    caplog.set_level("INFO")
    caplog.clear()
    wait(again, on("node-1"), 20)
    wait(again, on("node-1"), 0)
    assert told(caplog) == []


def test_timeout_zero(cluster, cache, caplog):
    """--cache-timeout 0 says so in the original's words and goes on."""
    caplog.set_level("INFO")
    made = register(cluster, cache.options, [LINE])
    caplog.clear()
    wait(made, on("node-1"), 0)
    assert told(caplog) == [("INFO", "skipping cache events wait")]


def test_timeout_names_nodes_and_reasons(cluster, cache):
    """The original's text, with each node and why: silent, behind, pulling, an error, an image beside it missing."""
    made = register(cluster, cache.options, [LINE])
    cache.tell("b-behind", ready=())
    cache.tell("c-pulling", ImageStatus(LINE.ref, A, B))
    cache.tell("d-error", ImageStatus(LINE.ref, A, B, error="connection refused"))
    cache.tell("e-other", HELD, ImageStatus("other:1", C, error="404", permanent=True), ready=())
    cache.tell("f-good", HELD)
    names = ("a-silent", "b-behind", "c-pulling", "d-error", "e-other", "f-good")
    with pytest.raises(CacheError) as caught:
        wait(made, on(*names), 0.6)
    assert caught.value.message == (
        "waiting for cache to publish event for image: timed out after 600ms (last err: 5 of 6 nodes do not hold image "
        "filter/image:v1: a-silent: its agent has told nothing yet; b-behind: its agent has not read the request yet; "
        "c-pulling: it is being pulled; d-error: connection refused; e-other: other images of the namespace apps are "
        "missing there: other:1: 404)"
    )
    assert "wasme cache status" in caught.value.hint


def test_an_agent_that_cannot_start_is_named(cluster, cache, api, pods, nodes):
    """A silent node is told with what keeps its agent's pod from running, in Kubernetes' words."""
    nodes("node-1")
    made = register(cluster, cache.options, [LINE])
    agents = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": cache.options.name, "namespace": cache.options.namespace},
        "spec": {
            "selector": {"matchLabels": {"app": cache.options.name}},
            "template": {
                "metadata": {"labels": {"app": cache.options.name}},
                "spec": {"containers": [{"name": "cache", "image": "x"}]},
            },
        },
    }
    (pod,) = pods(api.create(agents), "node-1")
    place = f"/api/v1/namespaces/{cache.options.namespace}/pods/{pod['metadata']['name']}/status"
    state = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}
    statuses = [{"name": "cache", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}]
    api.patch(place, {"status": {"containerStatuses": statuses}}, "merge")
    with pytest.raises(CacheError) as caught:
        wait(made, on("node-1"), 0.3)
    assert (
        f"node-1: its agent has told nothing yet: pod {pod['metadata']['name']}: ImagePullBackOff: "
        'Back-off pulling image "x"'
    ) in caught.value.message


def test_all_nodes_refused_for_good_ends_early(cluster, cache):
    """401 on every node ends the wait at once, with what to do about it."""
    made = register(cluster, cache.options, [LINE])
    refused = ImageStatus(LINE.ref, A, B, error="401 unauthorized", kind="Unauthorized", permanent=True)
    cache.tell("node-1", refused)
    cache.later(0.3, "node-2", refused)
    begun = time.monotonic()
    with pytest.raises(CacheError) as caught:
        wait(made, on("node-1", "node-2"), 60)
    assert time.monotonic() - begun < 20
    assert caught.value.message == (
        "waiting for cache to publish event for image: no node can pull it: 401 unauthorized (on node-1, node-2)"
    )
    assert "--pull-secret" in caught.value.hint


def test_errors_that_may_pass_are_waited_for(cluster, cache):
    """One node's refusal, and any error that time may mend, are waited out; so is what was told before the request."""
    before = cache.data["metadata"]["resourceVersion"]
    made = register(cluster, cache.options, [LINE])
    refused = ImageStatus(LINE.ref, A, B, error="401", permanent=True)
    cache.tell("node-1", refused)
    cache.tell("node-2", ImageStatus(LINE.ref, A, B, error="503"))
    with pytest.raises(CacheError, match="timed out"):
        wait(made, on("node-1", "node-2"), 0.5)
    cache.tell("node-2", refused, observed=before)
    with pytest.raises(CacheError, match="timed out"):
        wait(made, on("node-1", "node-2"), 0.5)


def test_a_node_that_loses_it_is_waited_for(cluster, cache):
    """A node whose status goes away, or says that the file is gone, counts as one that does not hold it."""
    made = register(cluster, cache.options, [LINE])
    cache.tell("node-1", HELD)
    place = f"/api/v1/namespaces/{cache.options.namespace}/configmaps/wasme-cache-node-1"

    steps = {
        (0, 1): lambda: cache.api.delete(place),
        (0, 1, 0): lambda: cache.tell("node-2", HELD),
        (0, 1, 0, 1): lambda: cache.tell("node-1", HELD),
    }
    seen = []

    def tell(progress):
        seen.append(progress.held)
        steps.get(tuple(seen), lambda: None)()

    wait(made, on("node-1", "node-2"), 20, tell)
    assert seen == [0, 1, 0, 1, 2]


def test_not_ready_nodes_are_told_and_not_waited_for(cluster, cache, caplog):
    """A node that is not ready gets one warning with its name; the others decide."""
    made = register(cluster, cache.options, [LINE])
    cache.tell("node-1", HELD)
    wait(made, on("node-1", not_ready=("node-3", "node-2")), 20)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [record.getMessage() for record in warnings] == ["nodes are not ready, and not waited for"]
    assert warnings[0].fields == {"nodes": "node-2, node-3"}


def test_a_broken_status_is_no_end(cluster, cache, caplog):
    """A node's ConfigMap that somebody broke counts as silence, is told, and does not disturb the other nodes."""
    made = register(cluster, cache.options, [LINE])
    cache.tell("node-1", HELD)
    cache.tell("node-2", HELD)
    place = f"/api/v1/namespaces/{cache.options.namespace}/configmaps/wasme-cache-node-2"
    cache.api.patch(place, {"data": {"status.json": "{"}})
    assert list(holdings(cluster, cache.options)) == ["node-1"]
    assert "a node's status cannot be read" in [record.getMessage() for record in caplog.records]
    with pytest.raises(
        CacheError, match="1 of 2 nodes does not hold image filter/image:v1: node-2: its agent has told"
    ):
        wait(made, on("node-1", "node-2"), 0.4)


def test_other_caches_of_the_namespace_do_not_count(cluster, cache, api):
    """Two caches in one namespace do not take each other's nodes for their own."""
    made = register(cluster, cache.options, [LINE])
    status = NodeStatus("node-1", "0.1.0", "1", ("apps",), (HELD,))
    api.apply(protocol.status_object("other", cache.options.namespace, cache.uid, status))
    assert holdings(cluster, cache.options) == {}
    with pytest.raises(CacheError, match="timed out"):
        wait(made, on("node-1"), 0.3)


def test_watch_survives_a_restart(control_plane, cluster, cache, caplog):
    """The API server restarts in the middle of a wait: it goes on and ends when the node tells."""
    control_plane.require_own()
    made = register(cluster, cache.options, [LINE])

    caplog.set_level("INFO")

    def trouble():
        assert soon(lambda: any("waiting for event" in text for _, text in told(caplog)))
        time.sleep(0.3)
        control_plane.kill()
        control_plane.start()
        cache.tell("node-1", HELD)

    thread = threading.Thread(target=trouble)
    thread.start()
    wait(made, on("node-1"), 180)
    thread.join()


def test_targets(cluster, api, namespace, nodes, pods, bookinfo):
    """Targets are the nodes of running pods that are selected: not of ended ones, of others, or of other namespaces."""
    nodes("n-ready", "n-other")
    nodes("n-dead", ready=False)
    workloads = bookinfo(namespace)
    mine, other = workloads["productpage-v1"], workloads["details-v1"]
    pods(mine, "n-ready", "n-dead", "n-gone")
    pods(other, "n-other")
    (ended,) = pods(mine, "n-other")
    place = f"/api/v1/namespaces/{namespace}/pods/{ended['metadata']['name']}/status"
    api.patch(place, {"status": {"phase": "Succeeded"}})
    selector = mine["spec"]["selector"]
    found = target_nodes(cluster, [(namespace, selector)])
    assert found == on("n-ready", not_ready=("n-dead", "n-gone"))
    both = target_nodes(cluster, [(namespace, selector), (namespace, other["spec"]["selector"])])
    assert both.ready == {"n-ready", "n-other"}
    assert target_nodes(cluster, []) == Targets()


def test_targets_without_the_right_to_nodes(control_plane, api, namespace, nodes, pods, bookinfo, caplog):
    """Who may list pods but not nodes waits for all of their nodes, and is told so."""
    nodes("n-1")
    mine = bookinfo(namespace)["productpage-v1"]
    pods(mine, "n-1")
    grant(api, namespace, "only-pods", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
    with connect(control_plane.kubeconfig_for("only-pods")) as own:
        assert target_nodes(own, [(namespace, mine["spec"]["selector"])]) == on("n-1")
        with pytest.raises(ClusterForbidden, match="pods"):
            target_nodes(own, [("default", {})])
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "nodes may not be read" in record.getMessage()
    assert "nodes" in record.fields["reason"]


def test_hold_puts_back_what_it_asked_for(cluster, cache, api, namespace, nodes, pods, bookinfo):
    """[BUG] a timed-out reference stayed registered: after a timeout the ConfigMap is as before."""
    nodes("n-1")
    mine = bookinfo(namespace)["productpage-v1"]
    pods(mine, "n-1")
    selectors = [(namespace, mine["spec"]["selector"])]
    with pytest.raises(CacheError, match="timed out after 300ms"):
        hold(cluster, cache.options, [LINE], selectors, 0.3)
    assert wanted(cluster, cache.options) == protocol.Wanted()
    cache.tell("n-1", HELD)
    held = hold(cluster, cache.options, [LINE], selectors, 20)
    assert isinstance(held, Registration)
    assert wanted(cluster, cache.options).filters == (LINE,)


def test_hold_puts_back_on_interruption(cluster, cache, namespace, nodes, pods, bookinfo):
    """Ctrl-C while waiting leaves the ConfigMap as it was."""
    nodes("n-1")
    mine = bookinfo(namespace)["productpage-v1"]
    pods(mine, "n-1")

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hold(cluster, cache.options, [LINE], [(namespace, mine["spec"]["selector"])], 20, interrupt)
    assert wanted(cluster, cache.options) == protocol.Wanted()


def test_hold_without_pods(cluster, cache):
    """Where no pod runs yet nothing is waited for, and the request stays for those that come."""
    hold(cluster, cache.options, [LINE], [("default", {"matchLabels": {"app": "nobody"}})], 20)
    assert wanted(cluster, cache.options).filters == (LINE,)


def test_the_originals_events_are_cleaned_up(cluster, cache, api, caplog):
    """Events of the original's agents, which name no node, go; those of ours and of other images stay."""
    namespace = cache.options.namespace

    def event(ref, node):
        made = protocol.event_object(cache.options.name, namespace, node, ref, module=B)
        api.call("POST", f"/api/v1/namespaces/{namespace}/events", made)

    for _ in range(5):
        event(LINE.ref, "")
    event(LINE.ref, "node-1")
    event("other:1", "")
    caplog.set_level("INFO")
    clean_up(cluster, cache.options, LINE.ref)
    left = api.list(f"/api/v1/namespaces/{namespace}/events")
    found = sorted(
        (e["metadata"]["annotations"]["cache.wasme.io/image_ref"], e["source"].get("host", "")) for e in left
    )
    assert found == [("filter/image:v1", "node-1"), ("other:1", "")]
    assert ("INFO", "cleaning up cache events for image filter/image:v1") in told(caplog)


def test_clean_up_without_rights_is_no_failure(control_plane, cache, caplog):
    """Who may not list Events deploys all the same, without a warning: most clusters have none to clean up."""
    caplog.set_level("DEBUG")
    with connect(control_plane.kubeconfig_for("nobody-here")) as own:
        clean_up(own, cache.options, LINE.ref)
    (record,) = [record for record in caplog.records if record.getMessage() == "cache events are left"]
    assert record.levelname == "DEBUG"
    assert "events" in record.fields["reason"]
