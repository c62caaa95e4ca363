"""A cluster with workloads, a node cache and FilterDeployments, as the tests here see it: by its API server alone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

from tests.fixtures.agents import Agent
from tests.fixtures.operators import Operator
from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.node_agents import NodeAgents
from tests.kubernetes.meshes import deployment

Object = dict[str, Any]
GROUP = "/apis/wasme.io/v1"
FINALIZER = "wasme.io/cleanup"
TYPES = ("Accepted", "ImageResolved", "Cached", "Programmed", "Ready", "Degraded")


class World:
    """One namespace with workloads, and one of the operator's and the node cache's own.

    Attributes:
        namespace: of workloads and FilterDeployments.
        own: the operator's and the cache's.
        kubelets: of the nodes that run agents.
    """

    def __init__(
        self, api: Api, plane: ControlPlane, namespace: str, own: str, kubelets: NodeAgents,
        nodes: Callable[..., Any], pods: Callable[..., Any], start: Callable[..., Operator],
    ) -> None:  # fmt: skip
        self.api = api
        self.plane = plane
        self.namespace = namespace
        self.own = own
        self.kubelets = kubelets
        self._nodes = nodes
        self._pods = pods
        self._start = start

    def operator(self, *flags: str, **settings: Any) -> Operator:
        """Another one, with a lease that is short unless ``short=False``."""
        return self._start(self.plane, self.own, *flags, **settings)

    def nodes(self, *names: str) -> dict[str, Agent]:
        """Nodes, each with an agent of the installed cache."""
        self._nodes(*names)
        self.kubelets.run(*names)
        return self.kubelets.agents

    def nodes_not_ready(self, *names: str) -> None:
        """Nodes whose kubelet is silent."""
        self._nodes(*names, ready=False)

    def workload(self, name: str, *nodes: str, namespace: str = "", **settings: Any) -> Object:
        """A workload, and a running pod of it on each of these nodes."""
        made: Object = self.api.create(deployment(name, namespace or self.namespace, **settings))
        self._pods(made, *nodes)
        return made

    def pods(self, name: str, *nodes: str) -> None:
        """More pods of a Deployment, from its template as it is now."""
        self._pods(self.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}"), *nodes)

    def apply(
        self, name: str, image: str, labels: dict[str, str] | None = None, *, istio: Object | None = None,
        namespace: str = "", **spec: Any,
    ) -> Object:  # fmt: skip
        """A FilterDeployment for workloads with these labels, by an EnvoyFilter; ``filter`` is more of that section."""
        section = {"image": image, "config": "world", **spec.pop("filter", {})}
        where = {"labels": labels or {"app": name}, "ignoreVersionCheck": True, "provider": "EnvoyFilter"}
        obj = {
            "apiVersion": "wasme.io/v1",
            "kind": "FilterDeployment",
            "metadata": {"name": name, "namespace": namespace or self.namespace},
            "spec": {"filter": section, "deployment": {"istio": {**where, **(istio or {})}}, **spec},
        }
        applied: Object = self.api.apply(obj)
        return applied

    def path(self, name: str, namespace: str = "") -> str:
        """Of a FilterDeployment."""
        return f"{GROUP}/namespaces/{namespace or self.namespace}/filterdeployments/{name}"

    def carrier(self, workload: str, name: str) -> str:
        """The name of a workload's EnvoyFilter of a FilterDeployment with the default id."""
        return f"{workload}-{name}.{self.namespace}"

    def envoy_filter(self, name: str) -> str:
        """The path of an EnvoyFilter."""
        return f"/apis/networking.istio.io/v1alpha3/namespaces/{self.namespace}/envoyfilters/{name}"

    def deployment(self, name: str) -> str:
        """The path of a Deployment."""
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}"

    def get(self, path: str) -> Any:
        """An object, or None."""
        return self.api.find(path)

    def status(self, name: str, namespace: str = "") -> Object:
        """Of a FilterDeployment; empty where there is none yet."""
        return (self.get(self.path(name, namespace)) or {}).get("status") or {}

    def held(self, name: str) -> tuple[int, int]:
        """How many nodes hold a FilterDeployment's module, and how many there are."""
        nodes = self.status(name)["nodes"]
        return nodes["cached"], nodes["total"]

    def condition(self, name: str, kind: str, namespace: str = "") -> Object:
        """One condition; empty where it is not told yet."""
        found = self.status(name, namespace).get("conditions") or []
        return next((each for each in found if each["type"] == kind), {})

    def is_(self, name: str, *words: str, namespace: str = "") -> bool:
        """Whether conditions are so, for the present generation: ``Ready``, ``Cached=False``, ``Degraded=True``."""
        obj = self.get(self.path(name, namespace)) or {}
        found = {each["type"]: each for each in (obj.get("status") or {}).get("conditions") or []}
        for word in words:
            kind, _, status = word.partition("=")
            condition = found.get(kind, {})
            if condition.get("status") != (status or "True"):
                return False
            if condition.get("observedGeneration") != obj["metadata"]["generation"]:
                return False
        return True

    def wait(self, name: str, *words: str, seconds: float = 60, namespace: str = "") -> float:
        """Until conditions are so; how long that took."""
        begun = time.monotonic()
        wait_until(
            lambda: self.is_(name, *words, namespace=namespace), seconds,
            lambda: f"{name} is not {' '.join(words)}: {self.status(name, namespace)}",
        )  # fmt: skip
        return time.monotonic() - begun

    def delete(self, name: str, *, seconds: float = 60, namespace: str = "") -> None:
        """Delete a FilterDeployment, and wait until its finalizer let it go."""
        self.api.delete(self.path(name, namespace))
        wait_until(
            lambda: self.get(self.path(name, namespace)) is None, seconds,
            lambda: f"{name} does not go: {self.get(self.path(name, namespace))}",
        )  # fmt: skip

    def filters(self, kind: str = "envoyfilters", namespace: str = "") -> dict[str, Object]:
        """The objects of a kind that carry filters, by name."""
        group = "networking.istio.io/v1alpha3" if kind == "envoyfilters" else "extensions.istio.io/v1alpha1"
        found = self.api.list(f"/apis/{group}/namespaces/{namespace or self.namespace}/{kind}")
        return {each["metadata"]["name"]: each for each in found}

    def template(self, name: str, kind: str = "deployments") -> Object:
        """The metadata of a workload's pods, without what is always there."""
        found = self.get(f"/apis/apps/v1/namespaces/{self.namespace}/{kind}/{name}")["spec"]["template"]["metadata"]
        found.pop("creationTimestamp", None)
        return {key: value for key, value in found.items() if value}

    def cache(self) -> dict[str, str]:
        """The node cache's list."""
        found = self.get(f"/api/v1/namespaces/{self.own}/configmaps/wasme-cache") or {}
        return {key: value for key, value in (found.get("data") or {}).items() if value}

    def events(self, name: str, reason: str = "") -> list[Object]:
        """The Events about a FilterDeployment."""
        found = self.api.list(f"/api/v1/namespaces/{self.namespace}/events")
        about = [each for each in found if each["involvedObject"].get("name") == name]
        return [each for each in about if reason in ("", each["reason"])]

    def writes(self, since: int) -> list[str]:
        """The operators' mutating requests since a mark, as ``VERB path``; those for the lease not, nor those in other
        namespaces, where they clear away what tests before this one have left."""
        return [
            f"{each['verb']} {each['requestURI'].partition('?')[0]}"
            for each in self.plane.audit(since)
            if each["verb"] not in ("get", "list", "watch")
            and "/leases" not in each["requestURI"]
            and "accessreviews" not in each["requestURI"]
            and "/configmaps/wasme-cache-" not in each["requestURI"]  # an agent's own
            and set(re.findall(r"/namespaces/([^/?]+)/", each["requestURI"])) <= {self.namespace, self.own}
        ]

    def copies(self) -> set[str]:
        """The namespaces for which a pull secret is copied beside the cache."""
        found = self.api.list(f"/api/v1/namespaces/{self.own}/secrets")
        notes = [each["metadata"].get("annotations") or {} for each in found]
        return {each["cache.wasme.io/namespace"] for each in notes if "cache.wasme.io/namespace" in each}

    def leftovers(self) -> list[str]:
        """What wasme put into the workloads' namespace, the cache's list and beside it, and is still there."""
        found = [f"EnvoyFilter/{name}" for name in self.filters()]
        found += [f"WasmPlugin/{name}" for name in self.filters("wasmplugins")]
        for kind in ("deployments", "statefulsets", "daemonsets"):
            for each in self.api.list(f"/apis/apps/v1/namespaces/{self.namespace}/{kind}"):
                template = each["spec"]["template"]["metadata"]
                marks = {**(template.get("annotations") or {}), **(template.get("labels") or {})}
                found += [f"{each['metadata']['name']}: {key}" for key, value in marks.items()
                          if "wasme" in key or "wasme" in value]  # fmt: skip
        found += [f"cache: {line}" for key in ("images", "added", "filters")
                  for line in self.cache().get(key, "").splitlines()]  # fmt: skip
        found += [f"pull secret of {namespace}" for namespace in sorted(self.copies())]
        return found


def configuration(carrier: Object) -> str:
    """What an EnvoyFilter says, as text to look for words in."""
    return json.dumps(carrier["spec"]["configPatches"])


def remove_all(api: Api) -> None:
    """Every FilterDeployment of the cluster goes, with nobody there to clean up."""
    try:
        there = api.list(f"{GROUP}/filterdeployments")
    except ApiRefused as refused:
        if refused.status == 404:
            return
        raise
    for each in there:
        path = f"{GROUP}/namespaces/{each['metadata']['namespace']}/filterdeployments/{each['metadata']['name']}"
        for ask in (lambda path=path: api.patch(path, {"metadata": {"finalizers": None}}),
                    lambda path=path: api.delete(path)):  # fmt: skip
            try:
                ask()
            except ApiRefused as refused:
                if refused.status != 404:
                    raise
