"""The gate: no pod with a filter starts on a node before the node holds the filter's module.

A pod that comes later, on a node that comes later, is the case in which the original broke the pod: Envoy refuses a
listener whose module is missing. Here the kubelet's own hostPath plugin judges the pod that the API server stores.
"""

from __future__ import annotations

import copy
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fixtures.agents import Agent
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes import meshes
from tests.kubernetes.cluster import objects
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.kubelet import set_up_volumes
from tests.kubernetes.meshes import Mesh
from wasme.deploy.cluster import connect
from wasme.deploy.cluster.kinds import DEPLOYMENT
from wasme.deploy.istio.template import cache_marks, rendered
from wasme.deploy.istio.workloads import Workload

_CACHE = "var/local/lib/wasme-cache"


def _marked(plane: ControlPlane, workload: dict[str, Any], *, gate: bool = True) -> None:
    """Give a workload's pods what `wasme deploy istio` gives them."""
    namespace = workload["metadata"]["namespace"]
    with connect(plane.kubeconfig) as cluster:
        cluster.apply(rendered(Workload(DEPLOYMENT, workload), cache_marks("wasme-cache", namespace, gate=gate)))


def _injected(pod: dict[str, Any]) -> dict[str, Any]:
    """A pod with its sidecar, by the two annotations, as Istio's injector makes it."""
    pod = copy.deepcopy(pod)
    objects.inject(pod["spec"], pod["metadata"]["annotations"])
    return pod


def test_a_late_pod_waits_for_its_node(
    control_plane: ControlPlane,
    api: Api,
    namespace: str,
    bookinfo: Callable[[str], dict[str, dict[str, Any]]],
    controllers: subprocess.Popen[bytes],
    tmp_path: Path,
) -> None:
    """A pod that the Deployment makes after the deployment is kept from starting on a node without the namespace's
    marker, and from nothing else; it starts as soon as the marker is there, and again not when it is taken away.
    """
    _marked(control_plane, bookinfo(namespace)["details-v1"])
    place = f"/api/v1/namespaces/{namespace}/pods?labelSelector=app%3Ddetails,wasme.io/cache%3Dwasme-cache"
    wait_until(lambda: api.list(place), 120, "the Deployment makes no pod with the label")
    made = _injected(api.list(place)[0])
    # The API server takes the pod as the injector would send it: names, paths and mounts fit together.
    stored = api.create({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "injected", "namespace": namespace},
        "spec": {"containers": made["spec"]["containers"], "volumes": made["spec"]["volumes"]},
    })  # fmt: skip
    empty = set_up_volumes(stored, tmp_path)
    assert empty["cache-dir"] == "", "the folder may be missing: it is no File, and is mounted when it comes"
    assert "is not a file" in empty["cache-ready"]
    marker = tmp_path / _CACHE / "ready" / namespace
    marker.parent.mkdir(parents=True)
    (marker.parent / "another-namespace").touch()
    assert "is not a file" in set_up_volumes(stored, tmp_path)["cache-ready"], "another namespace's marker"
    marker.mkdir()
    assert "is not a file" in set_up_volumes(stored, tmp_path)["cache-ready"], "a folder of that name"
    marker.rmdir()
    marker.touch()
    assert not any(set_up_volumes(stored, tmp_path).values())
    marker.unlink()
    assert "is not a file" in set_up_volumes(stored, tmp_path)["cache-ready"], "taken back"


def test_nodes_that_come_later(
    mesh: Mesh,
    docker_registry: DockerRegistry,
    start_agent: Callable[..., Agent],
    nodes: Any,
    pods: Any,
    tmp_path: Path,
) -> None:
    """All of it: the command, real agents, the kubelet's plugin. A late pod starts at once on the node that the
    deployment waited for; on a node that comes later not before that node's agent has the module, whole.
    """
    image = meshes.push(docker_registry)
    first, late = (f"{mesh.namespace}-{each}" for each in ("first", "late"))
    web = mesh.workload("web")
    mesh.run("cache", "install", "--cache-namespace", mesh.cache)
    nodes(first)
    pods(web, first)

    def agent(node: str) -> Agent:
        folder = tmp_path / node / _CACHE
        folder.mkdir(parents=True, exist_ok=True)
        reach = ("--kubeconfig", mesh.plane.kubeconfig, "--cache-ns", mesh.cache)
        return start_agent(*reach, name=node, directory=folder, kube=True)

    def refusal(node: str) -> str:
        """Why the kubelet of a node does not start a pod of the workload; "" if it does."""
        template = mesh.api.get(f"/apis/apps/v1/namespaces/{mesh.namespace}/deployments/web")["spec"]["template"]
        pod = _injected({"apiVersion": "v1", "kind": "Pod", **template})
        return " ".join(filter(None, set_up_volumes(pod, tmp_path / node).values()))

    agent(first)
    assert mesh.deploy(image.name, "--cache-timeout=90s").exit_code == 0
    assert refusal(first) == "", "a pod that comes later, on a node that was there"
    nodes(late)
    (tmp_path / late).mkdir()
    assert "is not a file" in refusal(late), "a node whose agent has not started"
    there = agent(late).file(image.module)
    wait_until(lambda: not refusal(late), 60, lambda: refusal(late))
    assert f"sha256:{hashlib.sha256(there.read_bytes()).hexdigest()}" == image.module


def test_without_the_gate_nothing_waits(
    control_plane: ControlPlane,
    api: Api,
    namespace: str,
    bookinfo: Callable[[str], dict[str, dict[str, Any]]],
    tmp_path: Path,
) -> None:
    """``--cache-gate=false`` is the original: the pod starts on any node, whatever the node holds."""
    workload = bookinfo(namespace)["details-v1"]
    _marked(control_plane, workload, gate=False)
    template = api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/details-v1")["spec"]["template"]
    pod = _injected({"apiVersion": "v1", "kind": "Pod", **template})
    assert set_up_volumes(pod, tmp_path) == {"cache-dir": ""}
