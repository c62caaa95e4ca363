"""What a pod is to the API server: its ServiceAccount."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane


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
