"""The agents go before other pods, and a cluster that lets them not is told."""

import pytest

from tests.fixtures.agents import soon
from tests.kubernetes.node_cache.reading import daemon_set
from wasme.deploy.cache.agents import refused
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.holding import hold
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.overview import overview
from wasme.deploy.cache.protocol import FilterLine
from wasme.errors import CacheError, InputError

LINE = FilterLine("apps", "test", "filter/image:v1", "sha256:" + "a" * 64, "sha256:" + "b" * 64)


def test_the_priority_class_is_chosen_kept_and_taken_away(kube_run, cluster, api, namespace):
    """The agents' class is system-node-critical or the one given; "" is none; a deployment keeps what was chosen."""
    options = CacheOptions(namespace=namespace)
    where = ("cache", "install", f"--cache-namespace={namespace}")
    for words, expected in (
        ((), "system-node-critical"),
        (("--cache-priority-class=agents",), "agents"),
        (("--cache-priority-class=",), None),
        ((), None),
        (("--cache-priority-class=system-node-critical",), "system-node-critical"),
    ):
        kube_run(*where, *words)
        ensure(cluster, options)
        assert daemon_set(api, options)["spec"]["template"]["spec"].get("priorityClassName") == expected
    with pytest.raises(InputError, match="--cache-priority-class: 'Very High'"):
        CacheOptions(priority_class="Very High")


@pytest.mark.usefixtures("controllers")
def test_a_quota_that_lets_no_agent_be_made_is_told(cluster, api, namespace, nodes, productpage):
    """Where a quota forbids the class, status and a deployment's timeout tell it; without the class agents are made."""
    nodes("n-1")
    api.patch("/api/v1/nodes/n-1", {"metadata": {"labels": {"kubernetes.io/os": "linux"}}})
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}
    api.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "no-critical-pods", "namespace": namespace},
            "spec": {"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [scope]}},
        }
    )
    quota = f"/api/v1/namespaces/{namespace}/resourcequotas/no-critical-pods"
    assert soon(lambda: api.get(quota).get("status", {}).get("hard"), 90)
    options = CacheOptions(namespace=namespace)
    ensure(cluster, options)
    assert soon(lambda: "exceeded quota" in refused(cluster, options), 90)
    expected = "no pod can be made for the agent: pods"
    (problem,) = [each for each in overview(cluster, options).problems if expected in each]
    assert "exceeded quota: no-critical-pods" in problem
    with pytest.raises(CacheError) as caught:
        hold(cluster, options, [LINE], productpage(namespace, "n-1"), 0.3)
    assert f"n-1: its agent has told nothing yet: {expected}" in caught.value.message
    ensure(cluster, CacheOptions(namespace=namespace, priority_class=""))
    pods = f"/api/v1/namespaces/{namespace}/pods"
    assert soon(lambda: [each for each in api.list(pods) if each["metadata"]["labels"]["app"] == options.name], 90)
    assert soon(lambda: not refused(cluster, options), 90)
