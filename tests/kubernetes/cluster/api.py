"""What tests ask an API server with: the standard library, and nothing of wasme's."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from pathlib import Path
from typing import Any

PLURALS = {
    "ServiceEntry": "serviceentries",
    "NetworkPolicy": "networkpolicies",
    "Ingress": "ingresses",
    "EnvoyExtensionPolicy": "envoyextensionpolicies",
}
GLOBAL = {"Namespace", "Node", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "GatewayClass",
          "PersistentVolume", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}  # fmt: skip


class ApiRefused(Exception):
    """An answer of 400 or more."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Api:
    """A connection per request: slow, plain, and no state that a restarted server could spoil."""

    def __init__(self, url: str, ca: Path, token: str, certificate: tuple[Path, Path] | None = None) -> None:
        """``certificate``: of a client, with its key, in place of a token."""
        parts = urllib.parse.urlsplit(url)
        self._host, self._base = parts.netloc, parts.path
        self._context = ssl.create_default_context(cafile=str(ca))
        if certificate:
            self._context.load_cert_chain(*certificate)
        self._authorization = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        connection = http.client.HTTPSConnection(self._host, context=self._context, timeout=60)
        headers = {**self._authorization, "Content-Type": kind, "Accept": "application/json"}
        try:
            connection.request(method, self._base + path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        parsed = json.loads(content) if content[:1] == b"{" else content.decode()
        if answer.status >= 400:
            raise ApiRefused(answer.status, parsed.get("message", "") if isinstance(parsed, dict) else parsed)
        return parsed

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def find(self, path: str) -> Any:
        """As `get`; None where there is nothing."""
        try:
            return self.get(path)
        except ApiRefused as refused:
            if refused.status == 404:
                return None
            raise

    def list(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get(path)["items"]
        return items

    def create(self, obj: dict[str, Any]) -> Any:
        return self.call("POST", place(obj).rpartition("/")[0], obj)

    def apply(self, obj: dict[str, Any], manager: str = "test") -> Any:
        query = f"?fieldManager={manager}&force=true"
        return self.call("PATCH", place(obj) + query, obj, "application/apply-patch+yaml")

    def patch(self, path: str, change: Any, kind: str = "merge") -> Any:
        """``kind``: merge, json or strategic-merge."""
        return self.call("PATCH", path, change, f"application/{kind}-patch+json")

    def put(self, path: str, obj: dict[str, Any]) -> Any:
        return self.call("PUT", path, obj)

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)


def place(obj: dict[str, Any]) -> str:
    """The path of one object."""
    version, kind, meta = obj["apiVersion"], obj["kind"], obj["metadata"]
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    plural = PLURALS.get(kind) or (kind.lower() + "es" if kind.endswith("s") else kind.lower().removesuffix("y") + "ies"
                                   if kind.endswith("Policy") else kind.lower() + "s")  # fmt: skip
    where = "" if kind in GLOBAL else f"/namespaces/{meta.get('namespace', 'default')}"
    return f"{base}{where}/{plural}/{meta['name']}"
