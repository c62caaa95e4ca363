"""Pull secrets and maps of registries on their way to the agents of a node cache."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures import faulty
from tests.fixtures.agents import Agent, soon
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.node_agents import NodeAgents
from tests.kubernetes.operator.cache_place import NAME, Place, digest, line_of, until_true
from wasme.deploy.cache import protocol
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.spec import FilterSpec
from wasme.errors import Unauthorized
from wasme.image.layouts import Draft
from wasme.operator.resources.wanted import Image, Key, Wanted

Put = Callable[..., Draft]


def wanted(reference: str, namespace: str, **settings: Any) -> Wanted:
    spec = FilterSpec(id="auth", image=reference)
    return Wanted(Key(namespace, "auth"), "uid", 1, filter=spec, image=Image(reference, **settings))


def pull_secret(api: Api, namespace: str, name: str, host: str, password: str) -> None:
    config = {"auths": {host: {"auth": base64.b64encode(f"scout:{password}".encode()).decode()}}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()}
    meta = {"name": name, "namespace": namespace}
    api.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kubernetes.io/dockerconfigjson", "data": data}
    )


def test_private_image(
    cache_place: Callable[..., Place], namespace: str, api: Api, nodes: Callable[..., Any],
    start_agent: Callable[..., Agent], faulty_registry: faulty.Registry, holds_image: Put, control_plane: ControlPlane,
) -> None:  # fmt: skip
    """A real agent pulls a private image with a copy of the pull secret; nothing is asked for at rest; the copy goes
    with the last filter that needs it, and comes back with the next.
    """
    here = cache_place()
    nodes("alpha")
    kubelets = NodeAgents(api, start_agent, control_plane.kubeconfig, here.namespace)
    try:
        kubelets.run("alpha")
        draft = holds_image(faulty_registry, "demo/auth", "v1")
        faulty_registry.auth = "basic"
        ref = f"{faulty_registry.host}/demo/auth:v1"
        mine = wanted(ref, namespace, pull_secret="pull")
        need = [line_of(ref, draft, namespace=namespace)]
        with pytest.raises(Unauthorized, match=f"missing pull secret {namespace}/pull: there is no such Secret"):
            here.holding.want(need, mine)
        assert here.lines == []
        pull_secret(api, namespace, "pull", faulty_registry.host, faulty_registry.password)
        until_true(here, lambda: here.holding.want(need, mine))
        until_true(here, lambda: here.holding.standing(need, {"alpha"}).complete, 60)
        until_true(here, lambda: here.holding.activate(need))
        secrets = f"/api/v1/namespaces/{here.namespace}/secrets"
        copies = [each for each in api.list(secrets) if each["metadata"]["name"].startswith("wasme-pull-")]
        assert len(copies) == 1
        mark = here.plane.mark()
        for _ in range(50):
            assert here.holding.want(need, mine)
        asked = [each for each in here.plane.audit(mark) if each["verb"] != "watch"]
        assert not [each for each in asked if each.get("objectRef", {}).get("resource") == "secrets"]
        until_true(here, lambda: here.holding.forget(namespace, "auth", mine.key))
        assert soon(lambda: not [e for e in api.list(secrets) if e["metadata"]["name"].startswith("wasme-pull-")])
        until_true(here, lambda: here.holding.want(need, mine))
        assert [each for each in api.list(secrets) if each["metadata"]["name"].startswith("wasme-pull-")]
    finally:
        kubelets.stop()


def test_renewed_password(
    cache_place: Callable[..., Place], namespace: str, api: Api, nodes: Callable[..., Any],
    start_agent: Callable[..., Agent], faulty_registry: faulty.Registry, holds_image: Put, control_plane: ControlPlane,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A password that is renewed in the pull secret is copied once an agent is refused with the old one, by looks that
    only come when they are called for; while it stays wrong, the looks become fewer.
    """
    monkeypatch.setattr("wasme.operator.nodecache.sharing._AGAIN", 0.5)
    here = cache_place()
    nodes("alpha")
    kubelets = NodeAgents(api, start_agent, control_plane.kubeconfig, here.namespace)
    try:
        (agent,) = kubelets.run("alpha")
        draft = holds_image(faulty_registry, "demo/auth", "v1")
        faulty_registry.auth = "basic"
        ref = f"{faulty_registry.host}/demo/auth:v1"
        mine = wanted(ref, namespace, pull_secret="pull")
        need = [line_of(ref, draft, namespace=namespace)]
        pull_secret(api, namespace, "pull", faulty_registry.host, faulty_registry.password)
        until_true(here, lambda: here.holding.want(need, mine))
        until_true(here, lambda: here.holding.standing(need, {"alpha"}).complete, 60)
        faulty_registry.password = "renewed"
        agent.file(draft.module.digest).unlink()
        assert soon(lambda: "looking up" in str(here.holding.standing(need, {"alpha"}).missing), 60)
        assert here.holding.standing(need, {"alpha"}).again == 0, "what was copied long ago is copied at once"
        waits: list[float] = []

        def look() -> bool:
            """As a worker does: called, or when the last look said."""
            here.holding.want(need, mine)
            held = here.holding.standing(need, {"alpha"})
            assert held.complete or held.again is not None
            (copies,) = here.holding._sharing._given.values()
            (wait,) = {copy.wait for copy in copies.values()}
            if wait not in waits:
                waits.append(wait)
            assert (held.again or 0.0) <= wait
            time.sleep(held.again or 0.05)
            return held.complete

        assert soon(lambda: look() or len(waits) == 2)
        assert waits == [1.0, 2.0]
        pull_secret(api, namespace, "pull", faulty_registry.host, "renewed")
        assert soon(look, 90)
        assert here.holding.standing(need, {"alpha"}).again is None
    finally:
        kubelets.stop()


def test_own_map_reaches_the_agents(cache_place: Callable[..., Place], namespace: str) -> None:
    """Where the operator's own map leads a registry the list leads it, too; what stands there already stays."""
    here = cache_place(own={"hub.example": "http://reg.example/a", "other.example": "b.example"})
    here.api.patch(f"{here.maps}/{NAME}", {"data": {"registryMap": "other.example: chosen.example"}})
    assert soon(lambda: "registryMap" in (here.stores.cache_config() or pytest.fail("none")).data)
    for host in ("hub.example", "other.example"):
        ref = f"{host}/demo/auth:v1"
        need = [FilterLine(namespace, "auth", ref, digest(1), digest(2))]
        until_true(here, lambda: here.holding.want(need, wanted(ref, namespace)))  # noqa: B023
    found = protocol.parse_registry_map(here.api.get(f"{here.maps}/{NAME}")["data"]["registryMap"])
    assert found == {"hub.example": "http://reg.example/a", "other.example": "chosen.example"}
