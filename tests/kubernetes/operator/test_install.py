"""Installing the operator on a real API server: by its command, by kubectl; and taking it away."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Result
from tests.kubernetes.cluster.api import Api, ApiRefused, place
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.programs import kubectl
from tests.kubernetes.conftest import new_namespace
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.installed import (
    CRD,
    GLOBAL,
    MUTATING,
    config_map,
    daemon_set,
    deployment,
    filter_deployment,
    mutations,
    wait_served,
)
from tests.kubernetes.operator.world import World
from wasme.deploy.cache.options import CacheOptions
from wasme.operator.installation.manifests import OperatorOptions, crds, objects

MANIFESTS = Path(__file__).parents[3] / "manifests"
pytestmark = pytest.mark.usefixtures("cleared")
Run = Callable[..., Result]


@pytest.fixture
def kube(control_plane: ControlPlane) -> Callable[..., subprocess.CompletedProcess[str]]:
    """kubectl as the administrator."""

    def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KUBECONFIG": str(control_plane.kubeconfig)}
        done = subprocess.run([kubectl(), *words], capture_output=True, text=True, env=environment, timeout=120)
        assert done.returncode == 0, done.stderr
        return done

    return call


def wanted(namespace: str) -> list[dict[str, Any]]:
    return crds() + objects(OperatorOptions(CacheOptions(namespace=namespace)))


def test_install_makes_everything_and_then_writes_nothing(
    api: Api, own: str, kube_run: Run, control_plane: ControlPlane
) -> None:
    """All objects are there as rendered; a second run sends no mutating request."""
    told = kube_run("operator", "install", "-n", own, "--wait=0")
    for each in wanted(own):
        live = api.get(place(each))
        assert live["metadata"]["labels"].items() >= each["metadata"]["labels"].items() or each["kind"] == "Namespace"
    for word in ("definition", "service account", "clusterrole", "clusterrolebinding", "role", "deployment"):
        assert f"operator {word} created" in told.stderr
    mark = control_plane.mark()
    again = kube_run("operator", "install", "-n", own, "--wait=0")
    assert mutations(control_plane, mark) == []
    assert "operator deployment unchanged" in again.stderr


def test_what_is_chosen_stays(api: Api, own: str, kube_run: Run) -> None:
    """An image, and replicas that somebody scaled, stay until they are chosen anew; both images are one."""
    kube_run("operator", "install", "-n", own, "--wait=0", "--image", "registry.example.com/wasme:7")
    api.patch(deployment(own), {"spec": {"replicas": 3}})
    kube_run("operator", "install", "-n", own, "--wait=0")
    live = api.get(deployment(own))
    assert live["spec"]["replicas"] == 3
    for obj in (live, api.get(daemon_set(own))):
        assert obj["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.com/wasme:7"
    kube_run("operator", "install", "-n", own, "--wait=0", "--replicas=1")
    assert api.get(deployment(own))["spec"]["replicas"] == 1


def test_drift_is_mended(api: Api, own: str, kube_run: Run) -> None:
    """A right that somebody added to the operator's role goes with the next install, and a taken one comes back."""
    kube_run("operator", "install", "-n", own, "--wait=0")
    role = api.get(GLOBAL[0])
    api.patch(GLOBAL[0], {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]})
    kube_run("operator", "install", "-n", own, "--wait=0")
    assert api.get(GLOBAL[0])["rules"] == role["rules"]


def test_server_dry_run_checks_and_stores_nothing(
    api: Api, own: str, kube_run: Run, control_plane: ControlPlane
) -> None:
    """Each object goes through the server's admission, and none is there afterwards."""
    mark = control_plane.mark()
    told = kube_run("operator", "install", "-n", own, "--dry-run=server", "-o", "json").json
    kinds = [each["kind"] for each in told["items"]]
    assert sorted(kinds) == sorted(each["kind"] for each in wanted(own))
    sent = mutations(control_plane, mark)
    assert sent
    assert all("dryRun=All" in uri for _, uri in sent)
    assert api.find(CRD) is None
    assert api.find(deployment(own)) is None
    assert api.find(daemon_set(own)) is None


def test_client_dry_run_needs_no_cluster(run: Run) -> None:
    """--dry-run prints what `manifests` prints, as objects."""
    told = list(yaml.safe_load_all(run("operator", "install", "--dry-run").stdout))
    assert told == wanted("wasme")


def test_the_two_lines_of_kubectl(api: Api, kube: Callable[..., Any], kube_run: Run) -> None:
    """`kubectl apply -f` of the two committed files, twice; then install over them changes hands and nothing else."""
    for _ in range(2):
        for name in ("wasme.io_v1_crds.yaml", "wasme-default.yaml"):
            told = kube("apply", "-f", MANIFESTS / name)
            assert "Warning" not in told.stderr, told.stderr
    for each in wanted("wasme"):
        assert api.find(place(each)) is not None
    wait_served(api)
    namespace = new_namespace(api)
    api.create(filter_deployment(namespace))
    before = {path: api.get(path)["spec"] for path in (deployment("wasme"), daemon_set("wasme"))}
    api.patch(config_map("wasme"), {"data": {"images": "localhost:1/demo/auth:v1\n"}})
    kube_run("operator", "install", "--wait=0")
    assert {path: api.get(path)["spec"] for path in before} == before
    kube("apply", "-f", MANIFESTS / "wasme-default.yaml")
    assert api.get(config_map("wasme"))["data"] == {"images": "localhost:1/demo/auth:v1\n"}
    assert api.find(f"/apis/wasme.io/v1/namespaces/{namespace}/filterdeployments/auth") is not None


def pod_of(template: dict[str, Any], namespace: str) -> dict[str, Any]:
    metadata = {"name": "by-hand", "namespace": namespace, "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def test_pods_of_the_operator_are_restricted(api: Api) -> None:
    """Where `restricted` is enforced the operator's pod is admitted; the agent's is not: its folder, its user."""
    made = {each["kind"]: each for each in objects(OperatorOptions()) if each["kind"] in ("Deployment", "DaemonSet")}
    namespace = new_namespace(api)
    label = "pod-security.kubernetes.io/enforce"
    agent = pod_of(made["DaemonSet"]["spec"]["template"], namespace)
    agent["metadata"]["name"] = "agent"

    def is_admitted() -> bool:
        try:
            api.call("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", agent)
        except ApiRefused:
            return False
        return True

    # The server's admission follows namespaces by a watch.
    api.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {label: "restricted"}}})
    wait_until(lambda: not is_admitted(), 30, "the agent's pod is admitted")
    api.create(pod_of(made["Deployment"]["spec"]["template"], namespace))
    with pytest.raises(ApiRefused, match="violates PodSecurity") as refused:
        api.create(agent)
    # hostPath, and root, and nothing else.
    assert "hostPath" in refused.value.message
    for other in ("seccompProfile", "capabilities", "allowPrivilegeEscalation", "privileged (", "hostNetwork"):
        assert other not in refused.value.message
    api.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {label: "privileged"}}})
    wait_until(is_admitted, 30, "the agent's pod is not admitted")


def test_install_waits_for_a_pod(api: Api, own: str, kube_run: Run) -> None:
    """It ends well as soon as the Deployment says that a pod of the new template is available, and no sooner."""
    runs = threading.Event()

    def run_one() -> None:
        wait_until(lambda: api.find(deployment(own)), 30, "no Deployment")
        time.sleep(0.7)
        generation = api.get(deployment(own))["metadata"]["generation"]
        runs.set()
        status = {"observedGeneration": generation, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1}
        api.patch(deployment(own) + "/status", {"status": {**status, "availableReplicas": 1}})

    thread = threading.Thread(target=run_one)
    thread.start()
    kube_run("operator", "install", "-n", own, "--wait=60s")
    assert runs.is_set(), "it did not wait"
    thread.join()
    assert api.get(deployment(own))["status"]["availableReplicas"] == 1


def test_an_operator_that_does_not_start_is_told(api: Api, own: str, kube_run: Run) -> None:
    """After the time limit the message says what keeps the pod, and everything is installed all the same."""
    template = objects(OperatorOptions())[-1]["spec"]["template"]
    pod = pod_of(template, own)
    api.create(pod)
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    one = {"name": "wasme-operator", "ready": False, "restartCount": 0, "image": "i", "imageID": "", "state": waiting}
    api.patch(f"/api/v1/namespaces/{own}/pods/by-hand/status", {"status": {"containerStatuses": [one]}})
    told = kube_run("operator", "install", "-n", own, "--wait=1s", ok=False)
    assert told.exit_code == 1
    assert "does not run after 1 s: pod by-hand: ImagePullBackOff: Back-off pulling image" in told.stderr
    assert api.find(deployment(own)) is not None


def test_another_operator_is_refused(api: Api, own: str, kube_run: Run) -> None:
    """A cluster has one operator: a second one is refused before anything is written."""
    kube_run("operator", "install", "-n", own, "--wait=0")
    other = new_namespace(api, "other")
    told = kube_run("operator", "install", "-n", other, "--wait=0", ok=False)
    assert f"Deployment {own}/wasme-operator is an operator already" in told.stderr
    assert f"--namespace={own}" in told.stderr
    assert api.find(daemon_set(other)) is None


def test_uninstall_takes_everything_but_the_definition(api: Api, kube_run: Run, own: str) -> None:
    """What install made goes; the definition goes with --crds only; a second run finds nothing."""
    kube_run("operator", "install", "-n", own, "--wait=0")
    shown = kube_run("operator", "uninstall", "-n", own, "--dry-run").stdout
    assert f"Deployment {own}/wasme-operator" in shown
    assert api.find(deployment(own)) is not None
    told = kube_run("operator", "uninstall", "-n", own, "-o", "json").json
    for each in wanted(own):
        if each["kind"] not in ("CustomResourceDefinition", "Namespace"):
            assert api.find(place(each)) is None, each["kind"]
    assert {"kind": "Deployment", "name": "wasme-operator", "namespace": own} in told["deleted"]
    assert api.find(CRD) is not None
    assert "there is no operator" in kube_run("operator", "uninstall", "-n", own).stdout
    kube_run("operator", "uninstall", "-n", own, "--crds")
    wait_until(lambda: api.find(CRD) is None, 60, "the definition stays")


def test_uninstall_takes_the_namespace_that_install_made(api: Api, kube_run: Run, controllers: object) -> None:
    """Also while the Deployment's pods and ReplicaSet are there: they are no reason for it to stay."""
    name = new_namespace(api, "made")
    api.delete(f"/api/v1/namespaces/{name}")
    wait_until(lambda: api.find(f"/api/v1/namespaces/{name}") is None, 60, "the namespace stays")
    kube_run("operator", "install", "-n", name, "--wait=0")
    pods = f"/api/v1/namespaces/{name}/pods?labelSelector=app%3Dwasme-operator"
    wait_until(lambda: len(api.list(pods)) == 2, 60, "the Deployment makes no pods")
    told = kube_run("operator", "uninstall", "-n", name, "-o", "json").json
    assert {"kind": "Namespace", "name": name, "namespace": ""} in told["deleted"]
    wait_until(lambda: api.find(f"/api/v1/namespaces/{name}") is None, 60, "the namespace stays")


def test_filters_are_nobodys_to_lose(api: Api, own: str, kube_run: Run) -> None:
    """With FilterDeployments uninstall wants to be told what becomes of them, and --crds may not delete them."""
    kube_run("operator", "install", "-n", own, "--wait=0")
    namespace = new_namespace(api)
    wait_served(api)
    api.create(filter_deployment(namespace))
    told = kube_run("operator", "uninstall", "-n", own, ok=False)
    assert f"1 FilterDeployment is in the cluster: {namespace}/auth" in told.stderr
    assert "--filters=delete" in told.stderr
    told = kube_run("operator", "uninstall", "-n", own, "--filters=keep", "--crds", ok=False)
    assert "would go with the definition" in told.stderr
    assert api.find(deployment(own)) is not None
    kube_run("operator", "uninstall", "-n", own, "--filters=keep")
    assert api.find(deployment(own)) is None
    assert api.find(f"/apis/wasme.io/v1/namespaces/{namespace}/filterdeployments/auth") is not None


def test_force_lets_go_what_nobody_cleans(api: Api, own: str, kube_run: Run) -> None:
    """A finalizer of somebody else's stays; ours is taken away with a warning that says what may be left."""
    kube_run("operator", "install", "-n", own, "--wait=0")
    namespace = new_namespace(api)
    path = f"/apis/wasme.io/v1/namespaces/{namespace}/filterdeployments"
    wait_served(api)
    for name in ("mine", "theirs"):
        made = filter_deployment(namespace, name)
        made["metadata"]["finalizers"] = ["wasme.io/cleanup"] + ["example.com/other"] * (name == "theirs")
        api.create(made)
    # Nobody may clean: the lease is held by an operator that renews it and does nothing.
    stop = threading.Event()
    thread = threading.Thread(target=_hold_lease, args=(api, own, stop))
    thread.start()
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{own}/leases/wasme-operator"
    wait_until(lambda: api.get(lease).get("spec", {}).get("holderIdentity") == "somebody", 30, "nobody holds it")
    try:
        told = kube_run("operator", "uninstall", "-n", own, "--filters=delete", "--wait=1s", ok=False)
        assert "2 of 2 FilterDeployments are not cleaned after 1 s" in told.stderr
        told = kube_run("operator", "uninstall", "-n", own, "--filters=delete", "--wait=1s", "--force")
    finally:
        stop.set()
        thread.join()
    assert "went without being cleaned" in told.stderr
    assert api.find(f"{path}/mine") is None
    assert api.get(f"{path}/theirs")["metadata"]["finalizers"] == ["example.com/other"]


def _hold_lease(api: Api, namespace: str, stop: threading.Event) -> None:
    while not stop.wait(0.2):
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1000 % 10**6:06d}Z"
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "wasme-operator", "namespace": namespace},
            "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 15, "renewTime": moment},
        }
        with suppress(ApiRefused):  # at the end it goes with the rest
            api.apply(lease)


def test_uninstall_cleans_where_no_operator_runs(world: World, image: Pushed, kube_run: Run) -> None:
    """No operator is left to clean up: the command does its work, and of the filters nothing stays."""
    world.workload("web")
    before = world.template("web")
    world.apply("web", image.name)
    operator = world.operator()
    world.wait("web", "Ready")
    operator.kill()
    told = kube_run("operator", "uninstall", "-n", world.own, "--filters=delete", "--wait=60s", "-o", "json").json
    assert {"kind": "FilterDeployment", "name": "web", "namespace": world.namespace} in told["deleted"]
    assert world.get(world.path("web")) is None
    assert not world.filters()
    assert world.template("web") == before
    assert {"kind": "DaemonSet", "name": "wasme-cache", "namespace": world.own} in told["deleted"]


def test_uninstall_leaves_the_work_to_the_operator_that_runs(world: World, image: Pushed, kube_run: Run) -> None:
    """Where the lease is held the holder cleans: each write about the filter is its, and none the command's."""
    world.workload("web")
    world.apply("web", image.name)
    # With a cluster's lease: one that is short is lost where the machine is slow, and the command may take it.
    world.operator(kubeconfig=world.plane.kubeconfig_for("holder", "system:masters"), short=False)
    world.wait("web", "Ready")
    mark = world.plane.mark()
    kube_run("operator", "uninstall", "-n", world.own, "--filters=delete", "--wait=60s")
    assert world.get(world.path("web")) is None

    def written() -> set[tuple[str, str, str]]:
        return {
            (each["user"]["username"], each["verb"], each["objectRef"]["resource"])
            for each in world.plane.audit(mark)
            if each["verb"] in MUTATING and each["objectRef"].get("namespace") == world.namespace
        }

    wait_until(lambda: ("holder", "patch", "filterdeployments") in written(), 10, lambda: str(written()))
    assert {one for one in written() if one[0] != "holder"} == {("admin", "delete", "filterdeployments")}
