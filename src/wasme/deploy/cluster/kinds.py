"""Kinds of Kubernetes objects: what an API server calls them in a path and in an object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from wasme.errors import ClusterError


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind, as requests name it.

    ``group`` is empty for the core group; ``plural`` is the word in the path and in RBAC rules.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What stands in ``apiVersion``: ``v1``, ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """What RBAC messages call it: ``pods``, ``deployments.apps``; it is a CRD's name as well."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of the collection, or of the object ``name``.

        An empty namespace is every namespace; a kind without namespaces takes none.
        """
        words = ["/api" if not self.group else f"/apis/{self.group}", self.version]
        if self.namespaced and namespace:
            words += ["namespaces", namespace]
        words.append(self.plural)
        if name:
            words.append(name)
        return "/".join(words)

    def shown(self, namespace: str = "", name: str = "") -> str:
        """What messages call one object: ``EnvoyFilter bookinfo/details-v1-auth``."""
        where = f"{namespace}/{name}" if self.namespaced and namespace and name else name or namespace
        return f"{self.kind} {where}" if where else self.kind


NAMESPACE = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
NODE = Kind("", "v1", "Node", "nodes", namespaced=False)
POD = Kind("", "v1", "Pod", "pods")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
SECRET = Kind("", "v1", "Secret", "secrets")
SERVICE = Kind("", "v1", "Service", "services")
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts")
EVENT = Kind("", "v1", "Event", "events")
ROLE = Kind("rbac.authorization.k8s.io", "v1", "Role", "roles")
ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
CLUSTER_ROLE = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDING = Kind(
    "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False
)
ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False
)
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
DAEMON_SET = Kind("apps", "v1", "DaemonSet", "daemonsets")
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets")
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets")
POD_DISRUPTION_BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
JOB = Kind("batch", "v1", "Job", "jobs")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
FILTER_DEPLOYMENT = Kind("wasme.io", "v1", "FilterDeployment", "filterdeployments")
CRD = Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
ENVOY_FILTER = Kind("networking.istio.io", "v1alpha3", "EnvoyFilter", "envoyfilters")
WASM_PLUGIN = Kind("extensions.istio.io", "v1alpha1", "WasmPlugin", "wasmplugins")
TRAFFIC_EXTENSION = Kind("extensions.istio.io", "v1alpha1", "TrafficExtension", "trafficextensions")
GLOO_GATEWAY = Kind("gateway.solo.io", "v1", "Gateway", "gateways")
ENVOY_EXTENSION_POLICY = Kind("gateway.envoyproxy.io", "v1alpha1", "EnvoyExtensionPolicy", "envoyextensionpolicies")
GATEWAY_CLASS = Kind("gateway.networking.k8s.io", "v1", "GatewayClass", "gatewayclasses", namespaced=False)
GATEWAY = Kind("gateway.networking.k8s.io", "v1", "Gateway", "gateways")
HTTP_ROUTE = Kind("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")
GRPC_ROUTE = Kind("gateway.networking.k8s.io", "v1", "GRPCRoute", "grpcroutes")

_KNOWN = {(each.group, each.kind): each for each in list(globals().values()) if isinstance(each, Kind)}


def kind_of(obj: Mapping[str, Any]) -> Kind:
    """The kind of an object, in the version that the object names.

    Raises:
        ClusterError: the object names no kind, or one that wasme does not know.
    """
    api_version, name = str(obj.get("apiVersion", "")), str(obj.get("kind", ""))
    group, _, version = api_version.rpartition("/")
    known = _KNOWN.get((group, name))
    if known is None or not version:
        raise ClusterError(
            f"an object of the kind {name or '(none)'} in {api_version or '(no apiVersion)'} is not known"
        )
    if known.version == version:
        return known
    return Kind(group, version, known.kind, known.plural, known.namespaced)


def path_of(kind: Kind, namespace: str = "", name: str = "") -> str:
    """``Kind.path`` of names that may hold anything: each stays one word of the path."""
    return kind.path(quote(namespace, safe=""), quote(name, safe=""))
