"""The operator with 1,000 FilterDeployments of 3 workloads each: from cold, one change, lists read anew, memory.

The peer of the first is a bare client that sends as many writes of each kind, of the same size, to objects of its own,
over 16 connections, and waits for nothing else. A real agent holds the module on the node where some of the pods run.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.bare import APPLY, MERGE, Write, creates, send
from bench.cluster import workload
from bench.measure import Figure, Figures, Row
from bench.nodes import images, registry, server
from tests.fixtures.agents import Agent
from tests.fixtures.fronts import Front
from tests.fixtures.operators import Operator
from tests.kubernetes.cluster import objects
from tests.kubernetes.cluster.api import place
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.node_agents import NodeAgents

_NAMESPACES = 10
_EACH = 100
_WORKLOADS = 3
_COUNT = _NAMESPACES * _EACH
_OWN = "wasme"
_MOST_SECONDS = 60.0
_MOST_RATIO = 2.0
_MOST_FOR_ONE = 1000.0
_MOST_MEMORY = 150.0
_RELISTS = 10
_GROUP = "/apis/wasme.io/v1"
_METADATA = ("name", "namespace", "labels", "annotations")

Object = dict[str, Any]


def rows(folder: Path, _rounds: int) -> list[Row | Figure]:
    """All of them."""
    with server(folder) as plane, registry(folder) as host:
        bench = _Bench(plane, folder, images(folder, host, ["bench/filter:v1"], 15_000)[0])
        with bench.node():
            cold, bare = Figures(), Figures()
            with bench.operator() as operator:
                cold.seconds.append(bench.cold(operator, "ours"))
                cold.megabytes.append(_resident(operator, "VmHWM"))
                one = bench.one_change("ours")
            bare.seconds.append(bench.bare("bare", "ours"))
            writes, memory = bench.relists()
    many = f"{_COUNT:,} FilterDeployments x {_WORKLOADS} workloads from cold"
    return [
        Row(many, cold, "bare client, same writes", bare, limit=_MOST_RATIO, memory_limit=_MOST_MEMORY),
        Figure("the same, in all", cold.wall, "s", limit=_MOST_SECONDS),
        Figure(f"one changed object beside {_COUNT:,}", one * 1e3, "ms", limit=_MOST_FOR_ONE),
        Figure(f"writes in {_RELISTS} lists read anew of each kind", writes, "requests", limit=0),
        Figure(f"the operator with {_COUNT:,} objects, after all that", memory, "MB", limit=_MOST_MEMORY),
    ]


class _Bench:
    """One server with a node cache, and namespaces full of workloads and FilterDeployments."""

    def __init__(self, plane: ControlPlane, folder: Path, ref: str) -> None:
        from wasme.deploy.cache.ensure import ensure
        from wasme.deploy.cache.options import CacheOptions
        from wasme.deploy.cluster.connect import connect
        from wasme.operator.resources.schema import crd

        self._plane = plane
        self._folder = folder
        self._ref = ref
        self._cold: list[Object] = []
        plane.api.apply(crd(), manager="wasme")
        wait_until(lambda: plane.api.find(f"{_GROUP}/filterdeployments"), 30, "FilterDeployment is not served")
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _OWN}}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        plane.api.create(namespace)
        plane.api.create(lease | {"metadata": {"name": "wasme-operator", "namespace": _OWN}})  # as the manifests do
        with connect(plane.kubeconfig) as cluster:
            ensure(cluster, CacheOptions(namespace=_OWN))

    @contextmanager
    def node(self) -> Iterator[None]:
        """A node with a real agent, probed as the kubelet does."""
        objects.node(self._plane.api, "node-a")
        agents: list[Agent] = []

        def start(*arguments: str | Path, name: str, kube: bool) -> Agent:
            del kube
            agents.append(Agent(name, self._folder / "nodes" / name, *arguments, "--plain-http"))
            return agents[-1]

        kubelet = NodeAgents(self._plane.api, start, self._plane.kubeconfig, _OWN)
        try:
            kubelet.run("node-a")
            yield
        finally:
            kubelet.stop()
            for agent in agents:
                agent.stop()

    @contextmanager
    def operator(self, kubeconfig: Path | None = None) -> Iterator[Operator]:
        """An operator that is not started yet."""
        reach = ("--kubeconfig", kubeconfig or self._plane.kubeconfig, "--namespace", _OWN)
        operator = Operator("bench", *reach, "--cache-namespace", _OWN, environment={"MALLOC_ARENA_MAX": "2"})
        try:
            yield operator
        finally:
            operator.stop()

    def cold(self, operator: Operator, prefix: str) -> float:
        """Seconds from the operator's start until the last object is ready."""
        self._fill(prefix)
        since = self._plane.mark()
        begun = time.time()
        operator.start(wait=False)
        wanted = {"type": "Ready", "status": "True"}
        ready = "wasme_filterdeployment_condition"
        count = len(self._plane.api.list(f"{_GROUP}/filterdeployments"))
        self._wait(lambda: operator.metric(ready, **wanted) >= count, operator)
        self._cold = [each for each in self._plane.audit(since, agent="wasme/") if _is_write(each)]
        return max(_moment(each) for each in self._cold) - begun

    def bare(self, prefix: str, like: str) -> float:
        """Seconds that the same writes take."""
        self._fill(prefix)
        counted = Counter(_kind(each) for each in self._cold)
        writes = self._same(prefix, like, counted)
        begun = time.perf_counter()
        send(self._plane, writes)
        taken = time.perf_counter() - begun
        print(f"{len(writes):,} writes: {dict(counted)}; bare {taken:.1f} s")
        for number in range(_NAMESPACES):  # or the next operator would work on these, too
            self._plane.api.delete(f"{_GROUP}/namespaces/{prefix}-{number}/filterdeployments")
            for each in self._plane.api.list(f"{_GROUP}/namespaces/{prefix}-{number}/filterdeployments"):
                self._plane.api.patch(place(each), {"metadata": {"finalizers": None}})
        return taken

    def one_change(self, prefix: str) -> float:
        """Seconds from a change of one object until its status says that it is done; the median of ten."""
        taken = []
        for turn in range(10):
            path = f"{_GROUP}/namespaces/{prefix}-{turn % _NAMESPACES}/filterdeployments/filter-{turn * 7 % _EACH:03}"
            begun = time.perf_counter()
            changed = self._plane.api.patch(path, {"spec": {"filter": {"config": f"changed {turn}"}}})
            generation = changed["metadata"]["generation"]
            wait_until(
                lambda path=path, generation=generation: _ready(self._plane.api.get(path), generation),  # type: ignore[misc]
                30, "the change is not done",
            )  # fmt: skip
            taken.append(time.perf_counter() - begun)
            time.sleep(0.2)
        return statistics.median(taken)

    def relists(self) -> tuple[float, float]:
        """The writes while everything is listed anew ten times, and the memory after it."""
        front = Front(self._plane, self._folder)
        try:
            with self.operator(front.kubeconfig) as operator:
                since = self._plane.mark()
                operator.start()
                self._wait(lambda: operator.metric("wasme_operator_leader") == 1, operator)
                self._quiet(operator)
                for _ in range(_RELISTS):
                    lists = _lists(front)
                    front.answer("watch=", 410, times=12, reason="Expired")
                    front.cut()
                    wait_until(lambda lists=lists: _lists(front) >= lists + 8, 30, "nothing is listed anew")  # type: ignore[misc]
                    front.answered()
                    self._quiet(operator)
                writes = [each for each in self._plane.audit(since) if _is_write(each)]
                for each in writes[:5]:
                    print("a write that should not be:", each["verb"], each["requestURI"])
                return float(len(writes)), _resident(operator, "VmRSS")
        finally:
            front.close()

    def _quiet(self, operator: Operator) -> None:
        """Until nothing is due and two seconds went by."""
        time.sleep(2)
        self._wait(lambda: operator.metric("wasme_operator_queue_depth") == 0, operator)

    def _wait(self, holds: Any, operator: Operator, seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end or not operator.running:
                raise SystemExit(f"the operator is not done:\n{operator.told()}")
            time.sleep(4)  # the metrics of a thousand objects cost the operator some time, too

    def _fill(self, prefix: str) -> None:
        """Namespaces with workloads and FilterDeployments, and some pods on the node."""
        for number in range(_NAMESPACES):
            name = f"{prefix}-{number}"
            self._plane.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            workloads = [
                workload(name, f"service-{each:03}-{part}") for each in range(_EACH) for part in range(_WORKLOADS)
            ]
            for each in workloads:
                each["metadata"]["labels"] = {"app": each["metadata"]["name"].rpartition("-")[0]}
            send(self._plane, creates(workloads))
            made = self._plane.api.get(place(workloads[0]))
            objects.pod(self._plane.api, made, f"{made['metadata']['name']}-pod", "node-a")
            send(self._plane, creates(self._filter(name, each) for each in range(_EACH)))

    def _filter(self, namespace: str, number: int) -> Object:
        istio = {"labels": {"app": f"service-{number:03}"}, "ignoreVersionCheck": True, "provider": "EnvoyFilter"}
        return {
            "apiVersion": "wasme.io/v1",
            "kind": "FilterDeployment",
            "metadata": {"name": f"filter-{number:03}", "namespace": namespace},
            "spec": {"filter": {"image": self._ref, "config": "world"}, "deployment": {"istio": istio}},
        }

    def _same(self, prefix: str, like: str, counted: Counter[str]) -> list[Write]:
        """As many writes of each kind as the operator sent, with what it made, for namespaces of another prefix."""
        kinds = ("deployments", "envoyfilters", "finalizers", "status", "events")
        first: dict[str, list[Write]] = {kind: [] for kind in kinds}
        for number in range(_NAMESPACES):
            ours, theirs = f"{like}-{number}", f"{prefix}-{number}"
            for each in self._plane.api.list(f"/apis/apps/v1/namespaces/{ours}/deployments"):
                meta = each["spec"]["template"]["metadata"]
                template = {"metadata": {key: meta[key] for key in ("labels", "annotations") if key in meta}}
                obj = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": template},
                       "metadata": {"name": each["metadata"]["name"], "namespace": theirs}}  # fmt: skip
                first["deployments"].append(_apply(obj))
            for each in self._plane.api.list(f"/apis/networking.istio.io/v1alpha3/namespaces/{ours}/envoyfilters"):
                meta = {key: each["metadata"][key] for key in _METADATA if key in each["metadata"]}
                # Of the same size, and of nobody: the next operator would clean up what no FilterDeployment has made.
                owners = each["metadata"].get("ownerReferences", [])
                meta["ownerReferences"] = [owner | {"apiVersion": "v1", "kind": "ConfigMap"} for owner in owners]
                obj = {"apiVersion": each["apiVersion"], "kind": each["kind"], "spec": each["spec"],
                       "metadata": {**meta, "namespace": theirs}}  # fmt: skip
                first["envoyfilters"].append(_apply(obj))
            for each in self._plane.api.list(f"{_GROUP}/namespaces/{ours}/filterdeployments"):
                path = f"{_GROUP}/namespaces/{theirs}/filterdeployments/{each['metadata']['name']}"
                finalizers = json.dumps({"metadata": {"finalizers": each["metadata"]["finalizers"]}}).encode()
                first["finalizers"].append(Write("PATCH", path, finalizers, MERGE))
                status = json.dumps({"status": each["status"]}).encode()
                first["status"].append(Write("PATCH", f"{path}/status", status, MERGE))
            for each in self._plane.api.list(f"/api/v1/namespaces/{ours}/events"):
                meta = {"name": each["metadata"]["name"], "namespace": theirs}
                about = {**each["involvedObject"], "namespace": theirs}
                told = {**each, "apiVersion": "v1", "kind": "Event", "metadata": meta, "involvedObject": about}
                first["events"] += creates([told])
        found: list[Write] = []
        for kind, writes in first.items():
            # An Event is made once; all else may be sent again.
            count = min(counted[kind], len(writes)) if kind == "events" else counted[kind]
            found += [writes[number % len(writes)] for number in range(count)]
        return found


def _apply(obj: Object) -> Write:
    return Write("PATCH", f"{place(obj)}?fieldManager=bare&force=true", json.dumps(obj).encode(), APPLY)


def _is_write(event: Object) -> bool:
    uri = event["requestURI"]
    return (
        event["verb"] not in {"get", "list", "watch"}
        and "/leases" not in uri
        and "accessreviews" not in uri
        and "/configmaps/wasme-cache-" not in uri  # an agent's own
        and f"/namespaces/{_OWN}/events" not in uri
    )


def _kind(event: Object) -> str:
    """Of which kind of the peer's writes one of ours is."""
    path = event["requestURI"].partition("?")[0]
    if "/events" in path:
        return "events"
    if path.endswith("/status"):
        return "status"
    found = next((each for each in ("deployments", "envoyfilters", "filterdeployments") if f"/{each}" in path), "")
    # FilterDeployments hold "deployments" in their name, and only their finalizers are written beside their status.
    if "/filterdeployments" in path:
        return "finalizers"
    return found or "other"


def _moment(event: Object) -> float:
    """When the server had answered."""
    return datetime.fromisoformat(event["stageTimestamp"].replace("Z", "+00:00")).timestamp()


def _ready(obj: Object, generation: int) -> bool:
    return any(
        each["type"] == "Ready" and each["status"] == "True" and each["observedGeneration"] == generation
        for each in (obj.get("status") or {}).get("conditions", ())
    )


def _lists(front: Front) -> int:
    return sum(each.method == "GET" and "limit=" in each.path and "continue=" not in each.path for each in front.asked)


def _resident(operator: Operator, name: str) -> float:
    text = Path(f"/proc/{operator.pid}/status").read_text()
    return int(next(each for each in text.splitlines() if each.startswith(name)).split()[1]) / 1000


if os.environ.get("WASME_BENCH_FEW"):
    _NAMESPACES, _EACH = 2, 10
    _COUNT = _NAMESPACES * _EACH
