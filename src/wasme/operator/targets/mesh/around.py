"""What is known of a cluster beside workloads and carriers: from the stores, or read and remembered for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from wasme.deploy.cache.nodes import selects
from wasme.deploy.cluster import Cluster, Kind, Schema
from wasme.deploy.cluster.kinds import DEPLOYMENT
from wasme.deploy.gateways import require_secret
from wasme.deploy.istio import control_plane, namespaces, reach
from wasme.deploy.istio.existing import served_kinds
from wasme.deploy.istio.facts import read_schema
from wasme.deploy.istio.kinds import CarrierName
from wasme.deploy.istio.order import Mesh, Order
from wasme.deploy.istio.workloads import Workload
from wasme.errors import DeployFailed
from wasme.operator.informers.facts import PodFacts
from wasme.operator.informers.stores import Stores

Object = dict[str, Any]
Result = TypeVar("Result")

_CONTROL_PLANE = 3600.0  # seconds for which its version is believed, while its Deployment is the same
_KUBERNETES = 300.0
_NAMED = 20.0  # a Secret that was there
_TARGETS = 0.1  # targets: whoever is called because one went must not hear that it is there
_MOST = 10_000


class Remembered:
    """Answers that hold for a while. Safe to use from many threads; two may ask the same at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[Hashable, tuple[float, object]] = {}

    def get(self, key: Hashable, seconds: float, ask: Callable[[], Result]) -> Result:
        """The answer of the last ``seconds``, or a new one; what ``ask`` raises is not remembered."""
        now = self._clock()
        with self._lock:
            found = self._answers.get(key)
        if found is not None and now < found[0]:
            return cast("Result", found[1])
        answer = ask()
        with self._lock:
            if len(self._answers) >= _MOST:
                self._answers = {each: kept for each, kept in self._answers.items() if now < kept[0]}
            self._answers[key] = (now + seconds, answer)
        return answer

    def forget(self) -> None:
        """Ask everything anew."""
        with self._lock:
            self._answers.clear()


class Around:
    """The surroundings of one look; a ``deploy.istio.facts.Around``.

    Args:
        cluster: where.
        stores: what is known of it.
        remembered: what earlier looks have asked.

    Attributes:
        warnings: what was told, in one line each.
    """

    def __init__(self, cluster: Cluster, stores: Stores, remembered: Remembered) -> None:
        self._cluster = cluster
        self._stores = stores
        self._remembered = remembered
        self.warnings: list[str] = []

    def kinds(self) -> Mapping[CarrierName, Kind]:
        """The kinds that can carry a filter, oldest first."""
        return served_kinds(self._cluster)

    def schema(self, kind: Kind) -> Schema | None:
        """What a kind can carry; None where it cannot be told."""
        return read_schema(self._cluster.served(), kind)

    def istio(self, mesh: Mesh) -> str:
        """The version that a control plane says; "" for none."""
        named = self._stores.selected(DEPLOYMENT, mesh.namespace, {}, mesh.istiod)
        there = named or self._stores.selected(DEPLOYMENT, mesh.namespace, {"app": "istiod"})
        key = (mesh, *((each.name, each.uid, each.generation) for each in there))
        return self._remembered.get(
            key, _CONTROL_PLANE, lambda: control_plane.version(self._cluster, mesh.namespace, mesh.istiod)
        )

    def proxies(self, workloads: Sequence[Workload]) -> frozenset[str]:
        """The versions of the proxies that run in the pods of these workloads."""
        return frozenset(
            pod.sidecar
            for each in workloads
            for pod in self.pods(each)
            if pod.sidecar is not None and pod.phase not in ("Succeeded", "Failed")
        )

    def kubernetes(self) -> str:
        """The API server's version."""
        return self._remembered.get("kubernetes", _KUBERNETES, self._cluster.server_version)

    def require_secret(self, namespace: str, name: str) -> None:
        """Refuse a pull secret that Istio could not use; "" is no name."""
        if name:
            self._remembered.get(
                ("secret", namespace, name),
                _NAMED,
                lambda: require_secret(self._cluster, namespace, name, "Istio"),
            )

    def warn(self, message: str, **fields: str) -> None:
        """Tell what works, and may not be meant so."""
        told = ", ".join(f"{key} {value}" for key, value in fields.items())
        self.warnings.append(f"{message} ({told})" if told else message)

    def require_targets(self, order: Order) -> None:
        """Refuse targets that are not there.

        Raises:
            DeployFailed: one is not there.
            InputError: one is a GatewayClass, and this not Istio's own namespace.
        """
        refs = order.target.target_refs
        if refs:
            key = ("targets", order.selection.namespaces, refs, order.mesh)
            self._remembered.get(key, _TARGETS, lambda: reach.require_targets(self._cluster, order))

    def namespace(self, name: str) -> Object:
        """A namespace, as ``deploy.istio.namespaces`` takes it.

        Raises:
            DeployFailed: it is not there, or is being deleted.
        """
        found = self._stores.namespaces.store.get(("", name))
        if found is None:
            raise DeployFailed(f"there is no namespace {name}")
        metadata = {"name": found.name, "labels": found.labels}
        if found.deleting:
            metadata["deletionTimestamp"] = "now"
        namespace = {"metadata": metadata}
        namespaces.require_staying(namespace)
        return namespace

    def pods(self, workload: Workload) -> list[PodFacts]:
        """The pods that a workload's selector selects; those that have ended, too."""
        selector = workload.pod_selector
        if not selector:
            return []
        found = self._stores.pods_with(workload.namespace, selector.get("matchLabels") or {})
        return [each for each in found if selects(selector, each.labels)]

    def nodes(self, workloads: Iterable[Workload]) -> frozenset[str]:
        """The nodes that run pods of these workloads."""
        return frozenset(pod.node for each in workloads for pod in self.pods(each) if pod.runs)
