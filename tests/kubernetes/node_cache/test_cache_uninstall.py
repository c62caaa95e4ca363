"""`wasme cache status` and `wasme cache uninstall` on a real API server."""

import uuid

from tests.fixtures.agents import soon
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.holding import hold
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.registration import forget, register
from wasme.deploy.cache.statuses import holdings


def test_status_and_uninstall(api, cluster, kube_run, installed, start, image, nodes, productpage, namespace):
    """`status` tells each node; `uninstall` refuses while a filter is deployed, and then leaves nothing of ours."""
    nodes("n-1", "n-2")
    nodes("n-3", ready=False)
    running = start("n-1", "n-2")
    line = image(namespace)
    hold(cluster, installed, [line], productpage(namespace, "n-1", "n-2"), 60)
    api.patch(
        f"/api/v1/namespaces/{installed.namespace}/configmaps/{installed.name}",
        {"data": {"images": f"{line.ref}\n127.0.0.1:1/no/where:1"}},
    )
    assert soon(lambda: all(any(e.error for e in s.images) for s in holdings(cluster, installed).values()))
    where = f"--cache-namespace={installed.namespace}"
    rows = [row.split(maxsplit=5) for row in kube_run("cache", "status", where).stdout.splitlines()]
    by_node = {row[0]: row[1:] for row in rows}
    assert by_node["NODE"] == ["READY", "AGENT", "HELD", "TOLD", "PROBLEM"]
    assert by_node["n-1"][:3] == by_node["n-2"][:3] == ["True", "0.1.0", "1/2"]
    assert by_node["n-1"][4].startswith("127.0.0.1:1/no/where:1: ")
    assert by_node["n-3"][:3] == ["False", "none", "0/2"]
    seen = kube_run("cache", "status", where, "--output=json").json
    assert seen["filters"] == [f"{namespace}/test"]
    views = {each["node"]: each for each in seen["nodes"]}
    assert [each["ref"] for each in views["n-1"]["images"] if each.get("held")] == [line.ref]
    assert views["n-1"]["told"].startswith("20")
    assert views["n-1"]["namespaces"] == [namespace]
    assert views["n-3"]["problems"] == ["no agent has told anything"]

    refused = kube_run("cache", "uninstall", where, ok=False)
    assert f"1 filter still loads modules from it: {namespace}/test" in refused.stderr
    forget(cluster, installed, namespace, "test")
    for each in running:
        each.stop()
    others = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": installed.namespace}}
    api.create(others)
    dry = kube_run("cache", "uninstall", where, "--dry-run").stdout.splitlines()
    assert dry == [
        f"{kind} {installed.namespace}/{name}"
        for kind, name in [
            ("DaemonSet", "wasme-cache"),
            ("RoleBinding", "wasme-cache"),
            ("Role", "wasme-cache"),
            ("ServiceAccount", "wasme-cache"),
            ("ConfigMap", "wasme-cache"),
            ("ConfigMap", "wasme-cache-n-1"),
            ("ConfigMap", "wasme-cache-n-2"),
        ]
    ]
    told = kube_run("cache", "uninstall", where).stdout
    assert "modules stay on the nodes, in /var/local/lib/wasme-cache" in told
    left = api.list(f"/api/v1/namespaces/{installed.namespace}/configmaps")
    assert sorted(each["metadata"]["name"] for each in left if each["metadata"]["name"] != "kube-root-ca.crt") == [
        "mine"
    ]
    again = kube_run("cache", "uninstall", where).stdout
    assert again == f"there is no cache wasme-cache.{installed.namespace}\n"
    gone = kube_run("cache", "status", where, ok=False)
    assert "there is no cache" in gone.stderr


def test_uninstall_takes_its_own_namespace(api, cluster, kube_run):
    """A namespace that install made goes if nothing else lives there, and stays with a reason if something does."""
    for other in (False, True):
        options = CacheOptions(namespace=f"wasme-{uuid.uuid4().hex[:8]}")
        ensure(cluster, options)
        if other:
            metadata = {"name": "mine", "namespace": options.namespace}
            api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
        result = kube_run("cache", "uninstall", f"--cache-namespace={options.namespace}")
        found = api.find(f"/api/v1/namespaces/{options.namespace}")
        assert ("deletionTimestamp" in found["metadata"]) is not other
        assert ("it also has Secret mine" in result.stderr) is other


def test_uninstall_leaves_what_is_not_a_cache(api, kube_run, namespace):
    """--cache-name with somebody else's name deletes nothing of theirs."""
    metadata = {"name": "web", "namespace": namespace}
    for kind in ("ConfigMap", "ServiceAccount"):
        api.create({"apiVersion": "v1", "kind": kind, "metadata": metadata})
    result = kube_run("cache", "uninstall", f"--cache-namespace={namespace}", "--cache-name=web")
    assert "not made by wasme, so it stays" in result.stderr
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/web")
    assert api.find(f"/api/v1/namespaces/{namespace}/serviceaccounts/web")


def test_status_tells_of_a_deployment_that_died(cluster, kube_run, installed, image):
    """A filter whose command was killed while it waited is told by status, and can be taken away like any other."""
    register(cluster, installed, [image(name="dead")])
    where = f"--cache-namespace={installed.namespace}"
    assert kube_run("cache", "status", where, "--output=json").json["pending"] == ["apps/dead"]
    told = kube_run("cache", "status", where).stderr
    assert "has died" in told
    assert "filter=apps/dead" in told
    forget(cluster, installed, "apps", "dead")
    assert kube_run("cache", "status", where, "--output=json").json["pending"] == []
