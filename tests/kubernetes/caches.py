"""The cache's objects in one namespace of a real API server, written and read without wasme."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.fixtures.agents import Agent
from tests.kubernetes.cluster.api import Api
from wasme.image.layouts import Draft

NAME = "wasme-cache"


class Cache:
    """A ConfigMap ``wasme-cache``, and what agents say of it."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.path = f"/api/v1/namespaces/{namespace}/configmaps"
        self.make()

    def make(self, **data: str) -> None:
        meta = {"name": NAME, "namespace": self.namespace}
        self.api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"images": "", **data}})

    def write(self, **data: str) -> None:
        self.api.patch(f"{self.path}/{NAME}", {"data": data})

    def delete(self) -> None:
        self.api.delete(f"{self.path}/{NAME}")

    def status(self, node: str) -> dict[str, Any]:
        found = self.api.find(f"{self.path}/{NAME}-{node}")
        return json.loads(found["data"]["status.json"]) if found else {}

    def held(self, node: str) -> set[str]:
        return {each["module"] for each in self.status(node).get("images", []) if each.get("held")}

    def images(self, node: str) -> list[dict[str, Any]]:
        images: list[dict[str, Any]] = self.status(node).get("images", [])
        return images

    def version(self, node: str = "") -> str:
        version: str = self.api.get(f"{self.path}/{NAME}{node and '-'}{node}")["metadata"]["resourceVersion"]
        return version

    def events(self, ref: str = "") -> list[dict[str, Any]]:
        label = f"%2Ccache.wasme.io%2Fimage_ref%3D{hashlib.md5(ref.encode()).hexdigest()}" if ref else ""
        return self.api.list(
            f"/api/v1/namespaces/{self.namespace}/events?labelSelector=cache.wasme.io%2Fcache_event%3Dtrue{label}"
        )


def line(namespace: str, name: str, ref: str, draft: Draft) -> str:
    """A deployed filter's line in the ConfigMap."""
    return f"{namespace}/{name} {ref} {draft.descriptor.digest} {draft.module.digest}"


def memory_of(agent: Agent) -> float:
    """Its resident memory in MB."""
    text = Path(f"/proc/{agent.pid}/status").read_text()
    return int(next(each for each in text.splitlines() if each.startswith("VmRSS")).split()[1]) / 1000
