"""What `deploy istio` checks before it writes, the operator checks for each look; and the kinds that carry filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import Pushed, deployment
from tests.kubernetes.operator.places import Place, objects
from wasme.errors import DeployFailed, UnsupportedImage
from wasme.operator.resources.report import Report

AS_OBJECT = {"config": {"greeting": "hello"}}


def problem(place: Place, name: str) -> str:
    """Message and hint of what stands in the way; nothing was written."""
    mark = place.world.plane.mark()
    report = place.look(name)
    assert report.problem is not None, report
    assert [each for each in place.world.writes(mark) if place.world.namespace in each] == []
    return f"{report.problem.message} | {report.problem.hint}"


def istiod(place: Place, version: str, name: str = "istiod") -> None:
    obj = deployment(name, place.world.own, labels={"app": "istiod"}, pod_labels={"app": "istiod"})
    image = f"docker.io/istio/pilot:{version}"
    obj["spec"]["template"]["spec"]["containers"] = [{"name": "discovery", "image": image}]
    place.world.api.apply(obj)


def mesh(place: Place, **more: Any) -> dict[str, Any]:
    return {"istioNamespace": place.world.own, "ignoreVersionCheck": False, **more}


def test_what_no_control_plane_runs(place: Place, image: Pushed) -> None:
    """An Istio that cannot run the module is told with its version, which is known as soon as istiod is another one."""
    world = place.world
    istiod(place, "1.5.1")
    world.workload("web")
    world.apply("web", image.name, istio=mesh(place))
    place.caught_up()
    assert "not supported by istio version 1.5.1" in problem(place, "web")
    assert "spec.deployment.istio.ignoreVersionCheck" in problem(place, "web")
    istiod(place, "1.30.3")
    report = place.settle("web")
    assert not isinstance(report.problem, UnsupportedImage)


def test_what_no_proxy_runs(place: Place, image: Pushed) -> None:
    """The proxies beside the workloads count, too: they may be older."""
    world = place.world
    istiod(place, "1.30.3")
    world.workload("web")
    proxy = {"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.5.2"}
    meta = {"name": "web-1", "namespace": world.namespace, "labels": {"app": "web"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [proxy]}}
    world.api.create(pod)
    place.caught_up()
    world.apply("web", image.name, istio=mesh(place))
    assert "not supported by istio version 1.5.2" in problem(place, "web")


def test_namespaces_without_folders_of_the_node(place: Place, image: Pushed) -> None:
    """Where pods may have no hostPath the node cache is refused."""
    world = place.world
    world.workload("web")
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    world.api.patch(f"/api/v1/namespaces/{world.namespace}", {"metadata": {"labels": labels}})
    wait_until(lambda: _labelled(place, labels), 30, "the namespace is not known")
    world.apply("web", image.name)
    assert "enforces the Pod Security Standard baseline" in problem(place, "web")
    assert "spec.deployment.istio.cache.mode" in problem(place, "web")


def _labelled(place: Place, labels: dict[str, str]) -> bool:
    found = place.stores.namespaces.store.get(("", place.world.namespace))
    return found is not None and labels.items() <= found.labels.items()


def test_a_pull_secret_that_is_not_there(place: Place, compat: Pushed) -> None:
    """Istio's agent would find none."""
    place.world.workload("web")
    more = {**AS_OBJECT, "pullSecret": "nobody"}
    place.world.apply("web", compat.name, istio={"provider": "WasmPlugin"}, filter=more)
    assert f"there is no Secret {place.world.namespace}/nobody" in problem(place, "web")


def test_what_is_not_there(place: Place, image: Pushed) -> None:
    """No workload is a problem whose hint says what there is; no namespace either."""
    world = place.world
    world.workload("web")
    world.apply("auth", image.name, {"app": "wep"})
    assert "found no Deployment with the labels app=wep" in problem(place, "auth")
    assert "what is there: web" in problem(place, "auth")


def test_contexts_of_gateways(place: Place, image: Pushed) -> None:
    """A gateway is left out where the context is for sidecars, and told as a warning."""
    world = place.world
    world.workload("web", labels={"team": "a"})
    world.workload("edge", labels={"team": "a"}, annotations={"inject.istio.io/templates": "gateway"})
    world.apply("auth", image.name, {"team": "a"}, istio={"ignoreVersionCheck": False, "istioNamespace": world.own})
    report = place.settle("auth")
    assert objects(report) == {"web": "Succeeded"}
    assert any("leaving a gateway out (workload edge" in each for each in report.warnings)


def test_targets(place: Place, compat: Pushed, serve: Callable[..., None]) -> None:
    """One object for all targets of the namespace; one that is not there is a problem."""
    world = place.world
    refs = [{"kind": "Service", "name": "web"}]
    where = {"targetRefs": refs, "provider": "WasmPlugin", "labels": {}}
    world.apply("auth", compat.name, istio=where, filter=AS_OBJECT)
    assert "there is no Service web" in problem(place, "auth")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": world.namespace},
               "spec": {"ports": [{"port": 80}]}}  # fmt: skip
    world.api.create(service)
    report = place.settle("auth")
    assert [(each.kind, each.name, each.state) for each in report.targets] == [("Service", "web", "Succeeded")]
    (found,) = world.filters("wasmplugins").values()
    assert found["spec"]["targetRefs"] == [{"group": "", **refs[0]}]
    assert found["metadata"]["ownerReferences"][0]["name"] == "auth"
    place.remove("auth")
    assert world.leftovers() == []


def test_problems_of_targets(place: Place, compat: Pushed) -> None:
    """A target that is not there is looked for each minute; what else stands in the way is told as a failure, and
    tried again as such."""
    where = {"targetRefs": [{"kind": "Service", "name": "web"}], "provider": "WasmPlugin", "labels": {}}
    place.world.apply("auth", compat.name, istio=where, filter=AS_OBJECT)
    report = place.look("auth")
    assert report.problem is not None
    assert report.again == 60
    meta = {"name": "web", "namespace": place.world.namespace}
    place.world.api.create({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]}})
    place.world.apply("auth", compat.name, istio={**where, **mesh(place)}, filter=AS_OBJECT)
    istiod(place, "1.5.1")
    report = place.look("auth")
    assert report.problem is not None
    assert not isinstance(report.problem, DeployFailed), report.problem
    assert report.again is None


def test_from_workloads_to_targets(place: Place, compat: Pushed) -> None:
    """What the workloads had goes when a filter is for targets from now on, and the other way."""
    world = place.world
    world.workload("web")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": world.namespace},
               "spec": {"ports": [{"port": 80}]}}  # fmt: skip
    world.api.create(service)
    plugin = {"provider": "WasmPlugin"}
    world.apply("web", compat.name, istio=plugin, filter=AS_OBJECT)
    place.settle("web")
    assert set(world.filters("wasmplugins")) == {world.carrier("web", "web")}
    refs = {"targetRefs": [{"kind": "Service", "name": "web"}], "labels": None}
    world.api.patch(world.path("web"), {"spec": {"deployment": {"istio": refs}}})
    place.settle("web")
    assert set(world.filters("wasmplugins")) == {f"web.{world.namespace}"}
    refs = {"targetRefs": None, "labels": {"app": "web"}}
    world.api.patch(world.path("web"), {"spec": {"deployment": {"istio": refs}}})
    place.settle("web")
    assert set(world.filters("wasmplugins")) == {world.carrier("web", "web")}


def test_an_object_of_another_kind_takes_its_place(place: Place, compat: Pushed) -> None:
    """The EnvoyFilter goes when the WasmPlugin is there, and with it volume and line; on the way back it stays until
    its pods are made anew."""
    world = place.world
    world.nodes("n1")
    made = world.workload("web", "n1")
    world.apply("web", compat.name, filter=AS_OBJECT, istio={"provider": "WasmPlugin"})
    place.settle("web")
    world.apply("web", compat.name, filter=AS_OBJECT)

    def both(report: Report) -> bool:
        return bool(world.filters()) and objects(report) == {"web": "Pending"}

    report = place.settle("web", until=both)
    assert "goes when its pods are made anew" in report.targets[0].reason
    assert len(world.filters("wasmplugins")) == 1
    pods = f"/api/v1/namespaces/{world.namespace}/pods"
    for each in world.api.list(pods):
        world.api.delete(f"{pods}/{each['metadata']['name']}?gracePeriodSeconds=0")
    world.pods(made["metadata"]["name"], "n1")
    place.settle("web")
    assert (len(world.filters()), len(world.filters("wasmplugins"))) == (1, 0)


def test_a_workload_that_is_being_deleted(place: Place, image: Pushed) -> None:
    """Nothing of it is changed while its pods may run; its object goes when it is gone."""
    world = place.world
    for name in ("one", "two"):
        world.workload(name, labels={"team": "a"})
    world.apply("auth", image.name, {"team": "a"})
    place.settle("auth")
    world.api.patch(world.deployment("two"), {"metadata": {"finalizers": ["example.com/wait"]}})
    world.api.delete(world.deployment("two"))
    report = place.settle("auth", until=lambda report: len(report.targets) == 1)
    assert report.removed == ()
    assert world.carrier("two", "auth") in world.filters()
    world.api.patch(world.deployment("two"), {"metadata": {"finalizers": None}})
    place.settle("auth")
    assert set(world.filters()) == {world.carrier("one", "auth")}


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_other_kinds_of_workloads(place: Place, image: Pushed, kind: str) -> None:
    """As Deployments; one of the same name and another kind keeps its own."""
    world = place.world
    world.workload("web", kind=kind)
    world.apply("web", image.name, istio={"kind": kind.upper()})
    report = place.settle("web")
    assert [(each.kind, each.state) for each in report.targets] == [(kind, "Succeeded")]
    (found,) = world.filters().values()
    assert found["metadata"]["annotations"]["wasme.io/workload"] == f"{kind}/web"
    world.workload("web")
    world.apply("web", image.name, istio={"kind": "Deployment"})
    place.settle("web")
    (found,) = world.filters().values()
    assert found["metadata"]["annotations"]["wasme.io/workload"] == "Deployment/web"
    assert "annotations" not in world.template("web", f"{kind.lower()}s")
