"""An admission webhook that is away: who meets it waits, and nobody waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.conftest import new_namespace
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.places import Place
from tests.kubernetes.operator.world import World

Object = dict[str, Any]
_PATH = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


def test_one_that_cannot_be_tidied(place: Place, api: Api, image: Pushed) -> None:
    """Marks that nothing needs, on a workload that nobody can write: another FilterDeployment of the namespace is made
    and deleted all the same, with one list of workloads; when it can be written, the marks go."""
    world = place.world
    world.workload("bad", labels={"app": "bad", "locked": "yes"})
    world.workload("web")
    world.apply("bad", image.name)
    place.settle("bad")
    clean = world.template("web")
    world.api.patch(world.path("bad"), {"metadata": {"finalizers": None}})
    world.api.delete(world.path("bad"))
    world.api.delete(world.envoy_filter(world.carrier("bad", "bad")))
    rule = {"apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["deployments"], "operations": ["UPDATE"]}
    hook = {**away(world, rule), "objectSelector": {"matchLabels": {"locked": "yes"}}}
    changed = {"metadata": {"annotations": {"example.com/asked": "yes"}}}
    path = install(api, hook, "PATCH", world.deployment("bad"), changed)
    place.again()
    world.apply("web", image.name)
    place.settle("web")
    place.again()  # however long that took
    place.look("web")
    time.sleep(1.5)  # what lies there is litter now
    mark, begun = world.plane.mark(), time.monotonic()
    report = place.look("web")
    assert report.programmed
    assert report.again is not None, "nobody calls when it can be written"
    assert report.again <= 5
    refused = [each for each in world.writes(mark) if each.endswith("/deployments/bad")]
    assert refused, "nobody tried"
    assert place.look("web").programmed
    place.remove("web")
    lists = [each for each in place.requests(mark) if each.startswith("list") and each.endswith("/deployments")]
    assert len(lists) <= 2, "these are the test's own"
    tries = [each for each in world.writes(mark) if each.endswith("/deployments/bad")]
    assert len(tries) <= len(refused) * (1 + (time.monotonic() - begun) // 3.5), "it is tried again, and that soon"
    assert world.template("web") == clean
    assert "annotations" in world.template("bad")
    api.delete(path)
    world.apply("web", image.name)
    place.settle("web", until=lambda _: "annotations" not in world.template("bad"), seconds=60)


@pytest.fixture
def webhook(api: Api, world: World) -> Iterator[str]:
    """No EnvoyFilter of the world's namespace can be written; nobody listens at the webhook's address."""
    rule = {"apiGroups": ["networking.istio.io"], "apiVersions": ["*"], "resources": ["envoyfilters"],
            "operations": ["CREATE", "UPDATE"]}  # fmt: skip
    meta = {"name": "asked", "namespace": world.namespace}
    version = "networking.istio.io/v1alpha3"
    made = {"apiVersion": version, "kind": "EnvoyFilter", "metadata": meta, "spec": {}}
    path = install(api, away(world, rule), "POST", world.envoy_filter("").rstrip("/"), made)
    yield path
    if api.find(path) is not None:
        api.delete(path)


def away(world: World, rule: Object) -> Object:
    """A webhook for a rule in the world's namespace, at whose address nobody listens."""
    return {
        "name": "away.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 10,
        "clientConfig": {"url": "https://127.0.0.1:1/validate"},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
        "rules": [rule],
    }


def install(api: Api, hook: Object, method: str, path: str, body: Object) -> str:
    """Have a webhook asked; its path. The request is one about which it is asked: then the server has read it."""
    name = f"{hook['namespaceSelector']['matchLabels']['kubernetes.io/metadata.name']}-away"
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"

    def is_asked() -> bool:
        try:
            api.call(method, f"{path}?dryRun=All", body, kind)
        except ApiRefused as refused:
            return hook["name"] in refused.message
        return False

    api.call("POST", _PATH, {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": name}, "webhooks": [hook]})  # fmt: skip
    wait_until(is_asked, 60, "the webhook is not asked")
    return f"{_PATH}/{name}"


def test_others_go_on(world: World, api: Api, webhook: str, compat: Pushed) -> None:
    """Ten FilterDeployments meet a webhook that is away: their status says so, and one that does not meet it is ready
    within ten seconds. When the webhook is no more, all are."""
    volume = {"cache": {"mode": "ImageVolume"}}
    for number in range(10):
        world.workload(f"web-{number}")
        world.apply(f"web-{number}", compat.name, istio=volume)
    world.operator()
    wait_until(lambda: all("away.example.com" in str(world.status(f"web-{number}")) for number in range(10)), 60,
               lambda: str(world.status("web-9")))  # fmt: skip
    elsewhere = new_namespace(api, "exempted")
    world.workload("web", namespace=elsewhere)
    world.apply("web", compat.name, istio=volume, namespace=elsewhere)
    assert world.wait("web", "Ready", namespace=elsewhere, seconds=10) < 10
    api.delete(webhook)
    for number in range(10):
        world.wait(f"web-{number}", "Ready", seconds=180)
