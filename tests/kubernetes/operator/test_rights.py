"""The operator's rights are exactly what it uses: with them nothing is refused, without any one something is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.registries import DockerRegistry, filter_image
from tests.kubernetes.cluster.accounts import account
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.images import Pushed, send
from tests.kubernetes.operator.scene import (
    EVERY,
    OTHERS,
    RBAC,
    Scene,
    Use,
)
from tests.kubernetes.operator.world import World
from wasme.deploy.cache.options import CacheOptions
from wasme.image.reference import Reference
from wasme.operator.installation.manifests import NAME, OperatorOptions, accounts
from wasme.registry.credentials import Keychain
from wasme.registry.session import Session
from wasme.registry.transport import ConnectionOptions


@pytest.fixture
def scene(
    world: World, api: Api, serve: Callable[[str], None], image: Pushed, login_registry: DockerRegistry, tmp_path: Path
) -> Iterator[Scene]:
    for each in ("gateway-api/v1.6.1", "envoy-gateway/v1.9.0", "gloo/v1.22.1"):
        serve(each)
    for each in accounts(OperatorOptions(CacheOptions(namespace=world.own))):
        api.apply(each, manager="wasme")
    reference = Reference.parse(f"{login_registry.host}/rights/filter:v1")
    with Session(ConnectionOptions(), Keychain(login_registry.user, login_registry.password)) as session:
        private = send(reference, filter_image(), session)
    made = Scene(world, image, private, account(api, world.plane, world.own, NAME, tmp_path))
    world.workload("web")
    world.workload("agent", kind="DaemonSet")
    world.workload("db", kind="StatefulSet")
    meta = {"name": "web", "namespace": world.namespace}
    port = {"port": 80, "name": "http"}
    api.create({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [port]}})
    meta = {"name": "outside", "namespace": world.namespace}
    hosts = {"hosts": ["example.com"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]}
    entry = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": meta}
    api.create(entry | {"spec": {**hosts, "resolution": "DNS"}})
    klass = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "rights"}}
    api.apply(klass | {"spec": {"controllerName": "example.com/none"}})
    made.gloo.make()
    made.edge.gateway()
    made.edge.route("backend")
    made.edge.route("calls", "GRPCRoute")
    auth = base64.b64encode(f"{login_registry.user}:{login_registry.password}".encode()).decode()
    content = json.dumps({"auths": {login_registry.host: {"auth": auth}}}).encode()
    api.create(
        {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "regcred", "namespace": world.namespace},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(content).decode()},
        }
    )  # fmt: skip
    yield made
    for path in (f"{RBAC}/clusterroles/{NAME}", f"{RBAC}/clusterrolebindings/{NAME}"):
        if api.find(path):
            api.delete(path)


def test_nothing_is_refused_and_nothing_is_left_over(scene: Scene) -> None:
    """Through a whole life of every kind of target the account uses each of its rights, and is refused nothing."""
    scene.rule()
    mark = scene.world.plane.mark()
    scene.unlease()
    operator = scene.operator()
    with scene.others():
        for config in ("one", "two", "three"):
            scene.apply(config)
            scene.wait(config)
        # Now and then it comes second; or it is made to.
        second = these("filterdeployments", verbs=("get",)) | these("configmaps", verbs=("get",), own=True)
        scene.churn(lambda: second <= scene.audit(mark)[0])
    scene.left()
    scene.apply("three")
    scene.wait("three")
    scene.drift()
    scene.breaks("four")
    operator.stop()
    operator.start()
    scene.breaks("five")  # Events that another process has told before
    scene.delete()

    def unused() -> list[str]:
        done, _ = scene.audit(mark)
        # An apply that makes its object is told as the patch that it also is.
        made = {use._replace(verb="create") for use in done if use.verb == "patch"}
        return sorted(map(str, EVERY - OTHERS - done - made))

    # Events and copies of Secrets come and go behind the rest.
    wait_until(lambda: not unused(), 30, lambda: f"unused: {unused()}")
    assert sorted(map(str, scene.audit(mark)[1])) == []


def these(*resources: str, verbs: tuple[str, ...], own: bool = False) -> set[Use]:
    """Rights of the tables by resource and verb."""
    found = {each for each in EVERY - OTHERS if each.own is own and each.resource in resources and each.verb in verbs}
    assert len(found) == len(resources) * len(verbs)
    return found


def test_each_right_is_needed(scene: Scene) -> None:
    """Each verb of each resource, taken away while there is something to do for it, is one that the server refuses."""
    plane, left = scene.world.plane, EVERY - OTHERS
    operator = scene.operator(wait=False)
    operator.stop()
    # What is done once and then is as it should be: an operator that is quick would do it before its turn to lack it.
    once = these("filterdeployments/status", verbs=("update",)) | these("events", verbs=("create",))
    once |= these("secrets", verbs=("patch", "create"), own=True) | these("configmaps", verbs=("patch",), own=True)

    def lacking(gone: set[Use], poke: Callable[[], object] = lambda: None, *, anew: bool = True) -> None:
        """Without some rights, each of which is asked for whatever becomes of the others; `anew` by a new operator
        that does not live to have them.
        """
        nonlocal left, once
        if anew:
            operator.kill()
        scene.rule(gone | once)
        mark = plane.mark()
        if anew:
            operator.start(wait=False)
        poke()
        wait_until(
            lambda: gone <= scene.audit(mark)[1], 90,
            lambda: f"not asked for: {sorted(map(str, gone - scene.audit(mark)[1]))}, {operator.told(5)}",
        )  # fmt: skip
        if anew:
            operator.kill()
        left, once = left - gone, once - gone
        scene.rule(once)

    def go_on(config: str) -> None:
        operator.start(wait=False)
        scene.wait(config)

    carriers = ("envoyfilters", "wasmplugins", "trafficextensions")
    workloads = ("deployments", "daemonsets", "statefulsets")
    followed = (*workloads, *carriers, "filterdeployments", "customresourcedefinitions", "pods", "nodes", "namespaces")
    named = ("services", "serviceentries", "gatewayclasses")
    listed = these(*followed, verbs=("list",)) | these("configmaps", verbs=("list",), own=True)
    lacking(listed)
    lacking({each._replace(verb="watch") for each in listed})
    lacking(these("leases", verbs=("get",), own=True))
    lacking(these("leases", verbs=("update",), own=True))
    scene.unlease()
    lacking(these("leases", verbs=("create",), own=True))
    lacking(these("filterdeployments", verbs=("patch",)), lambda: scene.apply("one"))
    lacking(these("filterdeployments/status", verbs=("update",)))
    lacking(these("events", verbs=("create",)))
    lacking(these("secrets", *named, "customresourcedefinitions", verbs=("get",)))
    lacking(these(*named, verbs=("list",)))
    lacking(these("secrets", verbs=("patch",), own=True))
    lacking(these("secrets", verbs=("create",), own=True))
    lacking(these("configmaps", verbs=("patch",), own=True), lambda: scene.apply("two"))
    go_on("two")
    lacking(these(*workloads, verbs=("patch",)), scene.unmark)
    lacking(these(*carriers, verbs=("patch",)), lambda: scene.apply("more"))
    lacking(these(*carriers, verbs=("create",)), scene.uncarry)
    go_on("more")
    scene.drift()
    lacking(these(*workloads, verbs=("get",)), scene.unmark, anew=False)
    with scene.others():
        again = these("filterdeployments", verbs=("get",)) | these("configmaps", verbs=("get",), own=True)
        since = plane.mark()
        lacking(again, lambda: scene.churn(lambda: again <= scene.audit(since)[1]), anew=False)
    scene.left()
    scene.apply("three")
    scene.wait("three")
    scene.breaks("three")
    lacking(these("events", verbs=("patch",)), lambda: scene.breaks("four"))
    lacking(these("secrets", verbs=("list",), own=True), lambda: scene.api.delete(scene.world.path("private")))
    operator.start(wait=False)
    scene.left()
    scene.apply("five")
    scene.wait("five")
    lacking(
        these("secrets", verbs=("delete",), own=True), lambda: scene.api.delete(scene.world.path("private")), anew=False
    )
    scene.left()
    lacking(these(*carriers, verbs=("delete",)), lambda: (scene.apply("six"), scene.wait("six"), scene.doom()))
    assert sorted(map(str, left)) == []
    operator.start(wait=False)
    scene.delete()
