"""The daemon as a process: how it starts, waits and ends; and what one object goes through when its spec moves it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from tests.fixtures.agents import soon
from tests.fixtures.fronts import Front
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.gateways import Gateways
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.world import FINALIZER, World

MINE = '[{"name":"mine","emptyDir":{}}]'
VOLUMES = "sidecar.istio.io/userVolume"


def test_it_waits_for_an_api_server(world: World, image: Pushed, door: Front) -> None:
    """One that is away at the start is waited for, and it says so; the process is well, and not ready."""
    world.workload("web")
    world.apply("web", image.name)
    door.answer("", 503, times=1_000_000)
    operator = world.operator(kubeconfig=door.kubeconfig)
    assert operator.logged("waiting for the API server", 40)
    assert (operator.asked("/healthz"), operator.asked("/readyz")) == (200, 503)
    door.answered()
    world.wait("web", "Ready")
    assert soon(lambda: operator.asked("/readyz") == 200)


def test_it_says_what_is_missing(world: World) -> None:
    """Without the definition of FilterDeployment its log says what to apply."""
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/filterdeployments.wasme.io"
    definition = world.get(crd)
    world.api.delete(crd)
    wait_until(lambda: world.get(crd) is None, 90, "it does not go")
    try:
        operator = world.operator()
        assert operator.logged("kubectl apply -f wasme.io_v1_crds.yaml", 60)
        assert operator.asked("/healthz") == 200
    finally:
        meta = {"name": definition["metadata"]["name"], "labels": definition["metadata"].get("labels", {})}
        world.api.create({**definition, "metadata": meta, "status": None})


def test_without_a_lease(world: World, image: Pushed) -> None:
    """--leader-elect=false: it works, and writes no lease."""
    mark = world.plane.mark()
    world.workload("web")
    world.apply("web", image.name)
    operator = world.operator("--leader-elect=false")
    world.wait("web", "Ready")
    assert operator.metric("wasme_operator_leader") == 1
    assert not [each for each in world.plane.audit(mark) if f"/namespaces/{world.own}/leases" in each["requestURI"]]


def test_only_some_namespaces(world: World, image: Pushed) -> None:
    """--watch-namespaces: an object elsewhere is not touched."""
    world.workload("web")
    world.apply("web", image.name)
    operator = world.operator(f"--watch-namespaces={world.own},other")
    assert soon(lambda: operator.metric("wasme_operator_leader") == 1, 30)
    time.sleep(2)
    assert not world.status("web")
    operator.stop()
    world.operator(f"--watch-namespaces={world.namespace}")
    world.wait("web", "Ready")


def test_it_ends_soon_in_the_middle_of_its_work(world: World, image: Pushed) -> None:
    """SIGTERM among forty objects: the process ends within seconds, well, with the lease given back; others finish."""
    for number in range(40):
        world.workload(f"w{number}", labels={"app": f"w{number}"})
        world.apply(f"w{number}", image.name, {"app": f"w{number}"})
    operator = world.operator(short=False)
    wait_until(lambda: len(world.filters()) >= 3, 60, "it does not begin")
    begun = time.monotonic()
    operator.send(signal.SIGTERM)
    assert operator.wait() == 0
    assert time.monotonic() - begun < 15
    lease = world.get(f"/apis/coordination.k8s.io/v1/namespaces/{world.own}/leases/wasme-operator")
    assert not lease["spec"].get("holderIdentity")
    assert "Traceback" not in "\n".join(operator.log)
    world.operator()
    for number in range(40):
        world.wait(f"w{number}", "Ready", seconds=90)


def test_another_place(world: World, image: Pushed, serve: Callable[[str], None]) -> None:
    """From a mesh to Gloo and back: the place before is emptied, also where that happened without an operator."""
    serve("gloo/v1.22.1")
    edge = Gateways(world.api, world.namespace)
    edge.make()
    world.workload("web", annotations={VOLUMES: MINE})
    before = world.template("web")
    world.apply("web", image.name)
    operator = world.operator()
    world.wait("web", "Ready")
    moved = {"op": "replace", "path": "/spec/deployment", "value": {"gloo": {}}}
    world.api.patch(world.path("web"), [moved], "json")
    wait_until(lambda: edge.filters() and not world.leftovers(), 60, lambda: f"{edge.filters()} {world.leftovers()}")
    assert world.template("web") == before
    operator.stop()
    back = {"istio": {"kind": "Deployment", "labels": {"app": "web"}, "ignoreVersionCheck": True}}
    world.api.patch(world.path("web"), [{**moved, "value": back}], "json")
    world.operator()
    world.wait("web", "Ready")
    assert not edge.filters()
    world.delete("web")
    assert world.leftovers() == []


def test_a_finalizer_that_somebody_took_away(world: World, image: Pushed) -> None:
    """While the object is there it comes back; with the object gone all of it goes nevertheless."""
    world.workload("web", annotations={VOLUMES: MINE})
    before = world.template("web")
    world.apply("web", image.name)
    world.operator()
    world.wait("web", "Ready")
    world.api.patch(world.path("web"), {"metadata": {"finalizers": None}})
    assert soon(lambda: world.get(world.path("web"))["metadata"].get("finalizers") == [FINALIZER], 30)
    other = {"metadata": {"finalizers": ["example.com/other"]}}
    world.api.patch(world.path("web"), other)
    both = {"example.com/other", FINALIZER}
    assert soon(lambda: set(world.get(world.path("web"))["metadata"]["finalizers"]) == both, 30)
    world.api.patch(world.path("web"), {"metadata": {"finalizers": None}})
    world.api.delete(world.path("web"))
    wait_until(lambda: not world.leftovers(), 60, lambda: str(world.leftovers()))
    assert world.template("web") == before


def test_a_status_that_somebody_wrote(world: World, image: Pushed) -> None:
    """What others write into the status is put right."""
    world.workload("web")
    world.apply("web", image.name)
    world.operator()
    world.wait("web", "Ready")
    good = world.status("web")
    wrong = {**good, "conditions": [{**good["conditions"][0], "status": "False"}], "reason": "because"}
    world.api.patch(f"{world.path('web')}/status", {"status": wrong})
    wait_until(lambda: world.is_("web", "Ready", "Accepted"), 30, lambda: str(world.status("web")))
    assert "reason" not in world.status("web")
