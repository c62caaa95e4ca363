"""What a pod is to the API server: its ServiceAccount; and when the server knows what somebody may do."""

from __future__ import annotations

import itertools
import json
import uuid
from pathlib import Path
from typing import Any

from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until


def account(api: Api, plane: ControlPlane, namespace: str, name: str, folder: Path) -> Path:
    """The kubeconfig of a ServiceAccount, in a folder."""
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = api.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", asked)["status"]["token"]
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "pod",
        "clusters": [{"name": "c", "cluster": {"server": plane.url, "certificate-authority": str(plane.ca)}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "pod", "context": {"cluster": "c", "user": "u"}}],
    }
    file = folder / f"account-{name}-{uuid.uuid4().hex[:6]}"
    file.write_text(json.dumps(content))
    file.chmod(0o600)
    return file


def may(api: Api, user: str, verb: str, resource: str, **attributes: str) -> bool:
    """Whether the server's authorizer, which follows roles and bindings by watches, lets a user do something by now."""
    asked = {"user": user, "resourceAttributes": {"verb": verb, "resource": resource, **attributes}}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": asked}
    answer = api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return answer["status"].get("allowed") is True


def wait_allowed(api: Api, user: str, verb: str, resource: str, **attributes: str) -> None:
    """Wait until the authorizer lets a user do something."""
    wait_until(lambda: may(api, user, verb, resource, **attributes), 60, f"{user} may not {verb} {resource}")


def wait_granted(api: Api, user: str, namespace: str, rules: list[dict[str, Any]]) -> None:
    """Wait until the authorizer knows what these rules let a user do in a namespace."""
    for rule in rules:
        for group, resource, verb in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"]):
            name = next(iter(rule.get("resourceNames", ())), "")
            wait_allowed(api, user, verb, resource, namespace=namespace, group=group, name=name)
