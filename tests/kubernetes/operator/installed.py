"""What an install leaves in a cluster, and taking all of it away again."""

from __future__ import annotations

from typing import Any

from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until

FILTERS = "/apis/wasme.io/v1/filterdeployments"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/filterdeployments.wasme.io"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
GLOBAL = [f"{RBAC}/{kind}/{name}" for kind in ("clusterroles", "clusterrolebindings")
          for name in ("wasme-operator", "wasme-cache")]  # fmt: skip
MUTATING = ("create", "update", "patch", "delete", "deletecollection")

Object = dict[str, Any]


def deployment(namespace: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/wasme-operator"


def daemon_set(namespace: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/daemonsets/wasme-cache"


def config_map(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/wasme-cache"


def clear(api: Api) -> None:
    """Take away what installs have one of in a cluster, operators and caches of all namespaces among it."""
    if api.find(CRD) is not None:
        for each in (api.find(FILTERS) or {"items": []})["items"]:
            place = f"/apis/wasme.io/v1/namespaces/{each['metadata']['namespace']}/filterdeployments"
            _gone(api, f"{place}/{each['metadata']['name']}")
        api.delete(CRD)
        wait_until(lambda: api.find(CRD) is None, 60, "the definition does not go")
        # For a moment the server goes on serving the kind, with the schema that it had.
        wait_until(lambda: api.find(FILTERS) is None, 60, "FilterDeployment is served still")
    for each in api.list("/apis/apps/v1/deployments?labelSelector=app%3Dwasme-operator"):
        api.delete(deployment(each["metadata"]["namespace"]))
    for each in api.list("/apis/apps/v1/daemonsets"):
        if each["metadata"]["name"] == "wasme-cache":
            api.delete(daemon_set(each["metadata"]["namespace"]))
    for path in GLOBAL:
        if api.find(path) is not None:
            api.delete(path)


def _gone(api: Api, path: str) -> None:
    try:
        api.patch(path, {"metadata": {"finalizers": []}})
        api.delete(path)
    except ApiRefused as refused:
        if refused.status != 404:
            raise


def wait_served(api: Api) -> None:
    """Until the server takes FilterDeployments, which is some time after it has taken their definition."""
    wait_until(lambda: api.find(FILTERS), 60, "FilterDeployment is not served")


def mutations(plane: ControlPlane, since: int, *, agent: str = "wasme/") -> list[tuple[str, str]]:
    found = plane.audit(since, agent=agent)
    return [(each["verb"], each["requestURI"]) for each in found if each["verb"] in MUTATING]


def filter_deployment(namespace: str, name: str = "auth", **spec: Any) -> Object:
    return {
        "apiVersion": "wasme.io/v1",
        "kind": "FilterDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "filter": {"image": "localhost:1/demo/auth:v1"},
            "deployment": {"istio": {"kind": "Deployment", "labels": {"app": "web"}}},
            **spec,
        },
    }
