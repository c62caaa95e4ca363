"""The installed cache with real agents, each a process of its own that is nobody but the cache's ServiceAccount."""

import base64
import json
import signal
import threading
import time

import pytest

from tests.fixtures.agents import soon
from tests.kubernetes.node_cache.reading import data, events
from wasme.deploy.cache import gates, protocol, secrets
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.holding import hold
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.registration import forget, register, wanted
from wasme.deploy.cache.statuses import holdings
from wasme.errors import CacheError
from wasme.registry.auth import Credential


def test_one_event_within_thirty_seconds(api, cluster, installed, start, image):
    """The original's acceptance test: installed twice, a reference set in the ConfigMap gives one ImageAdded event.

    [BUG] It gave another one each two seconds: five seconds later there is still one.
    """
    ensure(cluster, installed)
    start("n-1")
    line = image()
    place = f"/api/v1/namespaces/{installed.namespace}/configmaps/{installed.name}"
    api.patch(place, {"data": {"images": line.ref}})
    assert soon(lambda: events(api, installed, line.ref), 30)
    time.sleep(5)
    (event,) = events(api, installed, line.ref)
    assert (event["reason"], event["source"]["host"]) == ("ImageAdded", "n-1")


def test_three_nodes(cluster, api, installed, start, image, nodes, productpage, namespace):
    """[BUG] more than one node never succeeded: three nodes hold the file and the marker when `hold` returns."""
    nodes("n-1", "n-2", "n-3")
    running = start("n-1", "n-2", "n-3")
    line = image(namespace)
    begun = time.monotonic()
    hold(cluster, installed, [line], productpage(namespace, "n-1", "n-2", "n-3"), 60)
    took = time.monotonic() - begun
    for agent in running:
        assert agent.file(line.module).stat().st_size == 20_000
        assert (agent.directory / "ready" / namespace).exists()
    assert took < 10
    states = holdings(cluster, installed)
    assert sorted(states) == ["n-1", "n-2", "n-3"]
    assert all(state.holds(line.module) and state.ready == (namespace,) for state in states.values())
    assert data(api, installed)["images"] == line.ref


def test_three_nodes_with_one_dead(cluster, installed, start, image, nodes, productpage, namespace, caplog):
    """A node that died with its agent is named in a warning and not waited for."""
    nodes("n-1", "n-2", "n-3")
    running = start("n-1", "n-2", "n-3")
    selectors = productpage(namespace, "n-1", "n-2", "n-3")
    running[2].kill()
    nodes("n-3", ready=False)
    line = image(namespace)
    hold(cluster, installed, [line], selectors, 60)
    assert all(agent.file(line.module).exists() for agent in running[:2])
    (record,) = [
        record for record in caplog.records if record.levelname == "WARNING" and "nodes" in record.getMessage()
    ]
    assert record.fields == {"nodes": "n-3"}


def test_a_ready_node_without_an_agent(cluster, api, installed, start, image, nodes, productpage, namespace):
    """A ready node whose agent is dead is named at the timeout; the ConfigMap is as before, and a retry waits again.

    [BUG] The original left the reference registered, so that the retry did not wait, and proxies were pointed at a
    file that was not there.
    """
    nodes("n-1", "n-2")
    start("n-1")
    selectors = productpage(namespace, "n-1", "n-2")
    line = image(namespace)

    def first(progress):
        """The node with an agent is in time."""
        if progress.held == 0:
            there = lambda: holdings(cluster, installed).get("n-1", protocol.NodeStatus("n-1"))  # noqa: E731
            assert soon(lambda: there().holds(line.module) and namespace in there().ready)

    for _ in range(2):
        with pytest.raises(CacheError) as caught:
            hold(cluster, installed, [line], selectors, 1.5, first)
        assert "timed out after 1.5s (last err: 1 of 2 nodes does not hold image" in caught.value.message
        assert "n-2: its agent has told nothing yet" in caught.value.message
        assert wanted(cluster, installed) == protocol.Wanted()
    start("n-2")
    hold(cluster, installed, [line], selectors, 60)


def test_an_image_that_is_nowhere(cluster, installed, start, image, nodes, productpage, namespace):
    """404 at the registry ends the wait on all nodes within seconds, and the reason is the registry's."""
    nodes("n-1", "n-2")
    start("n-1", "n-2")
    line = image(namespace)
    missing = line._replace(ref=line.ref.replace("/cache/", "/nowhere/"))
    begun = time.monotonic()
    with pytest.raises(CacheError) as caught:
        hold(cluster, installed, [missing], productpage(namespace, "n-1", "n-2"), 60)
    assert time.monotonic() - begun < 20
    assert "no node can pull it: " in caught.value.message
    assert "(on n-1, n-2)" in caught.value.message
    assert wanted(cluster, installed) == protocol.Wanted()


def test_a_new_image_and_back(cluster, installed, start, image, nodes, productpage, namespace):
    """A changed image is on the node beside the old one, until the old line is forgotten."""
    nodes("n-1")
    (agent,) = start("n-1")
    selectors = productpage(namespace, "n-1")
    old, new = image(namespace), image(namespace, seed=1)
    hold(cluster, installed, [old], selectors, 60)
    hold(cluster, installed, [new], selectors, 60)
    assert agent.file(old.module).exists()
    assert agent.file(new.module).exists()
    assert forget(cluster, installed, namespace, "test", keep=[new]) == (old,)
    assert soon(lambda: [each.ref for each in holdings(cluster, installed)["n-1"].images].count(old.ref) == 0)
    assert wanted(cluster, installed).images == (new.ref,)


def test_private_image(cluster, api, installed, start, image, nodes, productpage, namespace, login_registry):
    """Without a credential the wait ends at 401 with the flag that helps; with a pull secret the nodes hold the image.

    The agents' Secret holds that registry's entry alone, and goes with the last filter that needed it.
    """
    nodes("n-1", "n-2")
    start("n-1", "n-2")
    selectors = productpage(namespace, "n-1", "n-2")
    line = image(namespace, registry=login_registry)
    with pytest.raises(CacheError) as caught:
        hold(cluster, installed, [line], selectors, 60)
    assert "--pull-secret" in caught.value.hint
    auth = base64.b64encode(f"{login_registry.user}:{login_registry.password}".encode()).decode()
    content = {"auths": {"other.example.com": {"auth": "eDp5"}, login_registry.host: {"auth": auth}}}
    encoded = base64.b64encode(json.dumps(content).encode()).decode()
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "regcred", "namespace": namespace},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": encoded},
        }
    )
    name = secrets.share_secret(cluster, installed, namespace, "regcred", login_registry.host)
    place = f"/api/v1/namespaces/{installed.namespace}/secrets/{name}"
    shared = json.loads(base64.b64decode(api.get(place)["data"][".dockerconfigjson"]))
    assert shared == {"auths": {login_registry.host: {"auth": auth}}}
    before = api.get(place)["metadata"]["resourceVersion"]
    assert secrets.share_secret(cluster, installed, namespace, "regcred", login_registry.host) == name
    assert api.get(place)["metadata"]["resourceVersion"] == before
    hold(cluster, installed, [line], selectors, 60)
    forget(cluster, installed, namespace, "test")
    assert api.find(place) is None


def test_shared_credentials(cluster, installed, start, image, nodes, productpage, namespace, login_registry):
    """Who is logged in on the command line can let the agents be that for one registry."""
    nodes("n-1")
    start("n-1")
    line = image(namespace, registry=login_registry, seed=2)
    credential = Credential(login_registry.user, login_registry.password)
    secrets.share_credential(cluster, installed, namespace, login_registry.host, credential)
    hold(cluster, installed, [line], productpage(namespace, "n-1"), 60)


def test_shared_credentials_for_a_name_that_is_led(
    api, cluster, installed, start, image, nodes, productpage, namespace, login_registry
):
    """Where the list leads a name elsewhere, the agents use what was shared for that place, and not for the name."""
    nodes("n-1")
    start("n-1")
    line = image(namespace, registry=login_registry, seed=2)
    line = line._replace(ref=line.ref.replace(login_registry.host, "hub.example.com"))
    place = f"/api/v1/namespaces/{installed.namespace}/configmaps/{installed.name}"
    api.patch(place, {"data": {"registryMap": json.dumps({"hub.example.com": f"http://{login_registry.host}"})}})
    credential = Credential(login_registry.user, login_registry.password)
    selectors = productpage(namespace, "n-1")
    secrets.share_credential(cluster, installed, namespace, "hub.example.com", credential)
    with pytest.raises(CacheError, match="wants a login"):
        hold(cluster, installed, [line], selectors, 60)
    secrets.share_credential(cluster, installed, namespace, "hub.example.com", credential, at=login_registry.host)
    hold(cluster, installed, [line], selectors, 60)


def test_pull_secret_that_is_not_there(cluster, installed, namespace):
    """A pull secret that does not exist is told with its namespace."""
    with pytest.raises(CacheError, match=f"pull secret {namespace}/nothing: there is no such Secret"):
        secrets.share_secret(cluster, installed, namespace, "nothing", "r.example.com")


def test_what_cannot_be_had_keeps_no_pod_from_starting(cluster, installed, start, image, nodes, productpage, namespace):
    """While a second filter's image cannot be had, and after its command has died, the first one's gate stays open."""
    nodes("n-1")
    (agent,) = start("n-1")
    marker = agent.directory / "ready" / namespace
    selectors = productpage(namespace, "n-1")
    hold(cluster, installed, [image(namespace)], selectors, 60)
    assert marker.exists()
    bad = FilterLine(namespace, "bad", "127.0.0.1:1/no/where:1", "sha256:" + "c" * 64, "sha256:" + "d" * 64)
    seen = []
    with pytest.raises(CacheError, match="timed out"):
        hold(cluster, installed, [bad], selectors, 1.5, lambda _: seen.append(marker.exists()))
    register(cluster, installed, [bad])  # and nothing after that: the command was killed
    assert soon(lambda: any(each.ref == bad.ref and each.error for each in holdings(cluster, installed)["n-1"].images))
    assert marker.exists()
    assert seen == [True]
    hold(cluster, installed, [image(namespace, "third")], selectors, 60)


def test_the_gate_is_closed_where_the_image_is_not(
    cluster, installed, start, image, nodes, productpage, namespace, docker_registry, monkeypatch
):
    """When `hold` returns, a node that runs no pod yet and cannot get the image lets none start; the others do."""
    nodes("n-1", "n-2")
    (first,) = start("n-1")
    (second,) = start("n-2", flags=("--registry-map", f"{docker_registry.host}=127.0.0.1:1"))
    markers = [each.directory / "ready" / namespace for each in (first, second)]
    register(cluster, installed, [image(namespace, "other")])
    assert soon(lambda: all(marker.exists() for marker in markers))
    selectors = productpage(namespace, "n-1")
    monkeypatch.setattr(gates, "_SLOW_GATES", 60.0)
    second.send(signal.SIGSTOP)  # a node that is slow to read
    slow = threading.Timer(2.0, second.send, (signal.SIGCONT,))
    slow.start()
    hold(cluster, installed, [image(namespace)], selectors, 60)
    standing = [marker.exists() for marker in markers]
    slow.join()
    assert standing == [True, False]


def test_nodes_that_are_gone_hold_up_nothing(
    cluster, api, installed, start, image, nodes, productpage, namespace, caplog, monkeypatch
):
    """What a node told that has died or is gone costs a deployment a second; a ready one that is silent is named."""
    nodes("n-1", "n-2")
    nodes("n-3", ready=False)
    start("n-1")
    owner = api.get(f"/api/v1/namespaces/{installed.namespace}/configmaps/{installed.name}")["metadata"]["uid"]
    for node in ("n-3", "n-gone"):
        api.apply(protocol.status_object(installed.name, installed.namespace, owner, protocol.NodeStatus(node)))
    selectors = productpage(namespace, "n-1")
    begun = time.monotonic()
    with monkeypatch.context() as slow:
        slow.setattr(gates, "_SLOW_GATES", 60.0)  # what a ready one would cost
        hold(cluster, installed, [image(namespace)], selectors, 60)
    assert time.monotonic() - begun < 20
    assert "nodes do not answer" not in caplog.text
    api.apply(protocol.status_object(installed.name, installed.namespace, owner, protocol.NodeStatus("n-2")))
    hold(cluster, installed, [image(namespace, seed=1)], selectors, 60)
    (record,) = [record for record in caplog.records if "nodes do not answer" in record.getMessage()]
    assert record.fields == {"nodes": "n-2"}
