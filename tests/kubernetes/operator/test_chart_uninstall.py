"""Helm's way out: before it deletes anything a Job looks for FilterDeployments, or takes them away.

There is no kubelet here, so the Job's pod is a process: its container's arguments, as its ServiceAccount.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Result
from tests.kubernetes.cluster.accounts import account, wait_allowed
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.installed import deployment
from tests.kubernetes.operator.world import World

CHART = Path(__file__).parents[3] / "charts" / "wasme"
pytestmark = pytest.mark.usefixtures("cleared")
Helm = Callable[..., str]
Run = Callable[..., Result]
JOB = "wasme-drain"


class Release:
    """A release in the operator's namespace, and its Jobs in the place of a kubelet."""

    def __init__(self, world: World, helm: Helm, run: Run, folder: Path) -> None:
        self.world, self._helm, self._run, self._folder = world, helm, run, folder
        self.where = ("--namespace", world.own)
        self.results: list[Result] = []
        self._jobs: set[str] = set()

    def install(self, filters: str) -> None:
        words = ("--set", f"uninstall.filters={filters}", "--take-ownership")
        self._helm("install", "wasme", CHART, *self.where, *words)

    def uninstall(self, *, ok: bool = True) -> str:
        """Helm in a thread of its own, as it waits for the Job, which runs here."""
        told: list[str] = []
        words = ("uninstall", "wasme", *self.where, "--timeout=100s")
        helm = threading.Thread(target=lambda: told.append(self._helm(*words, ok=ok)))
        helm.start()
        try:
            self._work()
        finally:
            helm.join()
        return told[0]

    def _work(self) -> None:
        path = f"/apis/batch/v1/namespaces/{self.world.own}/jobs/{JOB}"

        def new() -> bool:
            found = self.world.api.find(path)
            return found is not None and found["metadata"]["uid"] not in self._jobs

        wait_until(new, 60, "no Job is made")
        job = self.world.api.get(path)
        self._jobs.add(job["metadata"]["uid"])
        pod = job["spec"]["template"]["spec"]
        # A pod takes longer to come than the server takes to know what its account may do.
        who = f"system:serviceaccount:{self.world.own}:{pod['serviceAccountName']}"
        wait_allowed(self.world.api, who, "list", "filterdeployments", group="wasme.io")
        kubeconfig = account(self.world.api, self.world.plane, self.world.own, pod["serviceAccountName"], self._folder)
        result = self._run(*pod["containers"][0]["args"], ok=False, kubeconfig=kubeconfig)
        self.results.append(result)
        self.world.api.patch(f"{path}/status", {"status": ended(result.exit_code == 0)})


def ended(well: bool) -> dict[str, Any]:
    """A Job's status, as its controller has it."""
    moment = "2026-01-01T00:00:00Z"
    words = ("SuccessCriteriaMet", "Complete") if well else ("FailureTarget", "Failed")
    conditions = [{"type": each, "status": "True", "lastTransitionTime": moment} for each in words]
    status: dict[str, Any] = {"startTime": moment, "conditions": conditions}
    return status | ({"completionTime": moment, "succeeded": 1} if well else {"failed": 1})


@pytest.fixture
def release(world: World, run_helm: Helm, kube_run: Run, tmp_path: Path) -> Release:
    return Release(world, run_helm, kube_run, tmp_path)


def test_it_refuses_while_there_are_filters(release: Release, image: Pushed) -> None:
    """Nothing of the release goes, and the Job's log says which they are and what to do; without any it goes."""
    world = release.world
    release.install("refuse")
    world.workload("web")
    world.apply("web", image.name)
    assert "job wasme-drain failed" in release.uninstall(ok=False)
    assert f"1 FilterDeployment is in the cluster, which nobody would clean up after: {world.namespace}/web" in (
        release.results[0].stderr
    )
    assert "kubectl delete filterdeployments --all --all-namespaces" in release.results[0].stderr
    assert world.api.find(deployment(world.own)) is not None
    assert "deletionTimestamp" not in world.get(world.path("web"))["metadata"]
    world.api.delete(world.path("web"))  # no operator has put its finalizer on it
    release.uninstall()
    assert "there is no FilterDeployment" in release.results[1].stdout
    assert world.api.find(deployment(world.own)) is None
    for kind in ("clusterroles", "clusterrolebindings"):
        assert world.api.find(f"/apis/rbac.authorization.k8s.io/v1/{kind}/{JOB}") is None


def test_it_cleans_where_it_was_told_to(release: Release, image: Pushed) -> None:
    """The operator takes away what it made, and goes afterwards."""
    world = release.world
    release.install("delete")
    world.workload("web")
    before = world.template("web")
    world.apply("web", image.name)
    world.operator()
    world.wait("web", "Ready")
    release.uninstall()
    assert f"deleted FilterDeployment {world.namespace}/web" in release.results[0].stdout
    assert world.get(world.path("web")) is None
    assert not world.filters()
    assert world.template("web") == before
    assert world.api.find(deployment(world.own)) is None


def test_it_can_be_left_out(run_helm: Helm) -> None:
    """With uninstall.filters=keep there is no hook."""
    words = ("template", "wasme", CHART, "--kube-version=1.33")
    assert run_helm(*words).count("helm.sh/hook:") == 4
    assert "helm.sh/hook:" not in run_helm(*words, "--set", "uninstall.filters=keep")
