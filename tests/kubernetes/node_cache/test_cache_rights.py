"""The rights of the agents and of those who deploy: enough, and none too many."""

import base64
import json
import uuid

import pytest

from tests.fixtures.agents import soon
from tests.kubernetes.cluster.accounts import may, wait_granted
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.node_cache.reading import events, grant
from wasme.deploy.cache import manifests, secrets
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.holding import hold
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.registration import register
from wasme.deploy.cluster.connect import connect
from wasme.errors import ClusterForbidden
from wasme.registry.auth import Credential

RIGHTS = [
    (("configmaps", "list"), "the cache's list cannot be watched"),
    (("configmaps", "watch"), "the cache's list cannot be watched"),
    (("configmaps", "create"), "the node's status cannot be written"),
    (("configmaps", "patch"), "the node's status cannot be written"),
    (("events", "create"), "event cannot be written"),
    (("secrets", "list"), "pull secrets cannot be read"),
]


def test_the_table_of_rights_is_whole():
    """Each right of the agents' Role is one that a test below takes away."""
    rules = manifests.role(CacheOptions())["rules"]
    assert sorted((resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]) == (
        sorted(right for right, _ in RIGHTS)
    )


@pytest.mark.parametrize(
    ("right", "told"), RIGHTS, ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_each_right_is_needed(api, cluster, installed, start, image, login_registry, right, told):
    """Without any one of its rights the agent fails at something, and says at what."""
    place = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{installed.namespace}/roles/{installed.name}"
    whole = api.get(place)["rules"]
    who = f"system:serviceaccount:{installed.namespace}:{installed.name}"
    wait_granted(api, who, installed.namespace, whole)
    resource, verb = right
    fewer = [
        rule | {"verbs": [each for each in rule["verbs"] if resource not in rule["resources"] or each != verb]}
        for rule in whole
    ]
    api.patch(place, {"rules": [rule for rule in fewer if rule["verbs"]]})
    about = {"namespace": installed.namespace, "name": installed.name}
    wait_until(lambda: not may(api, who, verb, resource, **about), 30, "the right is still there")
    line = image(registry=login_registry, seed=3)
    register(cluster, installed, [line])
    (agent,) = start("n-1")
    assert agent.logged(told), agent.log
    (failed,) = [text for text in agent.log if told in text][:1]
    assert resource in failed
    assert f"cannot {verb}" in failed


def test_the_whole_role_is_enough(api, cluster, installed, start, image, nodes, productpage, namespace, login_registry):
    """With its Role as installed the agent is refused nothing, whatever it has to do."""
    rules = manifests.role(installed)["rules"]
    wait_granted(api, f"system:serviceaccount:{installed.namespace}:{installed.name}", installed.namespace, rules)
    nodes("n-1")
    (agent,) = start("n-1")
    credential = Credential(login_registry.user, login_registry.password)
    secrets.share_credential(cluster, installed, namespace, login_registry.host, credential)
    line = image(namespace, registry=login_registry, seed=4)
    hold(cluster, installed, [line], productpage(namespace, "n-1"), 60)
    assert soon(lambda: events(api, installed, line.ref))
    assert [text for text in agent.log if "forbidden" in text or "cannot" in text] == []


DEPLOYER = [
    ("configmaps", "get"),
    ("configmaps", "list"),
    ("configmaps", "watch"),
    ("configmaps", "update"),
    ("secrets", "get"),
    ("secrets", "create"),
    ("secrets", "patch"),
    ("pods", "list"),
]


@pytest.mark.parametrize("without", [None, *DEPLOYER], ids=lambda right: "-".join(right or ()))
def test_a_deployers_rights(
    api, control_plane, installed, start, image, nodes, productpage, namespace, login_registry, without
):
    """Who may not install deploys with the rights that the page on the node cache tells, and with no fewer of them."""
    nodes("n-1")
    start("n-1")
    selectors = productpage(namespace, "n-1")
    user = f"deployer-{uuid.uuid4().hex[:6]}"
    rights = [right for right in DEPLOYER if right != without]
    rules = [{"apiGroups": [""], "resources": [resource], "verbs": [verb]} for resource, verb in rights]
    grant(api, namespace, user, rules)
    auth = base64.b64encode(f"{login_registry.user}:{login_registry.password}".encode()).decode()
    content = base64.b64encode(json.dumps({"auths": {login_registry.host: {"auth": auth}}}).encode()).decode()
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "regcred", "namespace": namespace},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": content},
        }
    )
    line = image(namespace, registry=login_registry, seed=5)

    def deploy():
        with connect(control_plane.kubeconfig_for(user)) as own:
            options = ensure(own, CacheOptions(namespace=installed.namespace))
            secrets.share_secret(own, options, namespace, "regcred", login_registry.host)
            hold(own, options, [line], selectors, 30)

    if without is None:
        deploy()
        return
    with pytest.raises(ClusterForbidden) as caught:
        deploy()
    # Who cannot even see that there is a cache is told the first right of those who install one.
    assert ("daemonsets" if without == ("configmaps", "get") else without[0]) in caught.value.message
