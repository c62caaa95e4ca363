"""The agents of several nodes as real processes, on a real API server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures import faulty
from tests.fixtures.agents import Agent, soon
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane

Agents = Callable[..., list[Agent]]
NAME = "wasme-cache"


class Cache:
    """The cache's objects in one namespace, written and read without wasme."""

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

    def events(self, ref: str = "") -> list[dict[str, Any]]:
        label = f"%2Ccache.wasme.io%2Fimage_ref%3D{hashlib.md5(ref.encode()).hexdigest()}" if ref else ""
        return self.api.list(
            f"/api/v1/namespaces/{self.namespace}/events?labelSelector=cache.wasme.io%2Fcache_event%3Dtrue{label}"
        )


@pytest.fixture
def cache(api: Api, namespace: str) -> Cache:
    return Cache(api, namespace)


def line(namespace: str, name: str, ref: str, draft: Any) -> str:
    """A deployed filter's line in the ConfigMap."""
    return f"{namespace}/{name} {ref} {draft.descriptor.digest} {draft.module.digest}"


def test_every_node_holds_what_is_listed(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry,
    holds_image: Callable[..., Any],
) -> None:  # fmt: skip
    """[BUG] Each node tells its own name: an image that is added to the list is held, and told of, by each of three."""
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    ref = f"{faulty_registry.host}/demo/auth:v1"
    nodes = agents(control_plane, cache.namespace, "alpha", "beta", "gamma")
    cache.write(images=f"\n  {ref}  \n\n")
    for each in nodes:
        assert soon(lambda each=each: draft.module.digest in cache.held(each.name)), each.log  # type: ignore[misc]
        assert each.file(draft.module.digest).exists()
    assert soon(lambda: len(cache.events(ref)) == 3), cache.events(ref)
    events = cache.events(ref)
    assert {event["source"]["host"] for event in events} == {"alpha", "beta", "gamma"}
    for event in events:
        assert event["reason"] == "ImageAdded"
        assert event["message"] == f"Image {ref} added successfully"
        assert event["metadata"]["annotations"]["cache.wasme.io/image_ref"] == ref
        assert event["metadata"]["annotations"]["cache.wasme.io/image_digest"] == draft.module.digest
        assert event["involvedObject"]["name"] == NAME
        assert event["source"]["component"] == "wasme-cache"
