"""Copies of pull secrets that an operator which was killed has left, on a real API server."""

from __future__ import annotations

from collections import Counter

from tests.fixtures.fronts import Asked, Front
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.conftest import new_namespace
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.test_holding_secrets import pull_secret
from tests.kubernetes.operator.world import World
from wasme.deploy.cache import secrets
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster.connect import connect
from wasme.image.reference import Reference


def test_killed_before_the_secret_goes(
    world: World, door: Front, api: Api, control_plane: ControlPlane, image: Pushed
) -> None:
    """The next operator deletes the copy of a filter whose line went, reads all copies once for that, and leaves those
    that others need: a FilterDeployment, and a command whose line is still on the way.
    """
    registry = Reference.parse(image.name).domain
    other, third = new_namespace(api, "bank"), new_namespace(api, "third")
    for place in (world.namespace, other, third):
        pull_secret(api, place, "pull", registry, "secret")
    operator = world.operator(kubeconfig=door.kubeconfig)
    for place in (world.namespace, other):
        world.workload("web", namespace=place)
        world.apply("web", image.name, namespace=place, filter={"pullSecret": "pull"})
    for place in (world.namespace, other):
        world.wait("web", "Ready", namespace=place)
    assert world.copies() == {world.namespace, other}
    killed: list[str] = []

    def kill(asked: Asked) -> bool:
        if asked.method == "DELETE" and "/secrets/" in asked.path:
            operator.kill()
            killed.append(asked.path)
        return bool(killed)

    door.before = kill
    api.delete(world.path("web"))
    wait_until(lambda: killed, 60, "it deletes no Secret")
    door.before = lambda _: False
    with connect(control_plane.kubeconfig) as cluster:
        secrets.share_secret(cluster, CacheOptions(namespace=world.own), third, "pull", registry)
    assert world.copies() == {world.namespace, other, third}
    assert world.namespace not in world.cache()["filters"]
    mark = world.plane.mark()
    operator.start(wait=False)
    wait_until(lambda: world.copies() == {other, third}, 60, lambda: f"{world.copies()} {operator.told()}")
    wait_until(lambda: world.get(world.path("web")) is None, 60, "it does not go")
    world.delete("web", namespace=other)
    assert world.copies() == {third}
    asked = [each for each in world.plane.audit(mark) if each["stage"] == "ResponseComplete"]
    own = [each["objectRef"] | {"verb": each["verb"]} for each in asked if "objectRef" in each]
    count = Counter(each["verb"] for each in own if (each["resource"], each.get("namespace")) == ("secrets", world.own))
    assert count == {"list": 2, "get": 1, "delete": 2}, "one list for the beginning, one for the one that goes"
