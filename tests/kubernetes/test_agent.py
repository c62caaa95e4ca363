"""The agents of several nodes as real processes, on a real API server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures import faulty
from tests.fixtures.agents import Agent, soon
from tests.kubernetes.caches import NAME, Cache, line, memory_of
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from wasme.image.layouts import Draft

Agents = Callable[..., list[Agent]]
Put = Callable[..., Draft]


@pytest.fixture
def cache(api: Api, namespace: str) -> Cache:
    return Cache(api, namespace)


def test_every_node_holds_what_is_listed(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry,
    holds_image: Put,
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


def test_one_event_for_each_change(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """[BUG] An image that is listed and stays so is told once: not every two seconds, not after a restart. A moved tag
    and an error that goes away are changes.
    """
    holds_image(faulty_registry, "demo/auth", "v1")
    ref, gone = f"{faulty_registry.host}/demo/auth:v1", f"{faulty_registry.host}/demo/gone:v1"
    (agent,) = agents(control_plane, cache.namespace, "alpha", flags=("--tag-interval", "500ms"))
    cache.write(images=f"{ref}\n{gone}")
    assert soon(lambda: len(cache.events(ref)) == 1 and len(cache.events(gone)) == 1)
    (error,) = cache.events(gone)
    assert error["reason"] == "ImageError"
    assert "manifest unknown" in error["message"]
    assert error["source"]["host"] == "alpha"
    time.sleep(3)
    looked_again(faulty_registry)
    agent.stop()
    agent.start()
    looked_again(faulty_registry)
    assert len(cache.events(ref)) == 1
    moved = holds_image(faulty_registry, "demo/auth", "v1", 30_000)
    assert soon(lambda: len(cache.events(ref)) == 2)
    digests = [event["metadata"]["annotations"]["cache.wasme.io/image_digest"] for event in cache.events(ref)]
    assert moved.module.digest in digests
    holds_image(faulty_registry, "demo/gone", "v1", 40_000)
    cache.write(images=f"{gone}\n{ref}")
    assert soon(lambda: {event["reason"] for event in cache.events(gone)} == {"ImageAdded", "ImageError"})


def test_at_rest_nothing_but_the_watch(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """An agent with nothing new to do asks the API server for nothing: its watch stands, and no status is rewritten."""
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    cache.write(images=f"{faulty_registry.host}/demo/auth:v1")
    first = control_plane.mark()
    (agent,) = agents(control_plane, cache.namespace, "alpha", flags=("--tag-interval", "500ms"))
    assert soon(lambda: draft.module.digest in cache.held("alpha"))
    assert soon(lambda: len(cache.events()) == 1)
    counts = [-1]

    def rests() -> bool:
        """Whether it has asked for what it asks at its start, and for nothing more in a second and a half."""
        time.sleep(1.5)
        seen = mine(control_plane, cache, first)
        counts.append(len(seen))
        return counts[-1] == counts[-2] and {event["verb"] for event in seen} >= {"patch", "create", "watch"}

    assert soon(rests), "it asks all the time"
    mark = control_plane.mark()
    before = cache.version("alpha")
    looked_again(faulty_registry)
    time.sleep(5)
    assert mine(control_plane, cache, mark) == []
    assert cache.version("alpha") == before
    looked_again(faulty_registry)  # tags are followed all the same
    assert memory_of(agent) < 40


def test_status(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """The status tells the version it is of, each image, what cannot be read, and belongs to the cache's ConfigMap."""
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    ref = f"{faulty_registry.host}/demo/auth:v1"
    agents(control_plane, cache.namespace, "alpha")
    cache.write(images=f"{ref}\ntwo words\n{faulty_registry.host}/demo/gone:v1", filters="nonsense")
    written = cache.api.get(f"{cache.path}/{NAME}")["metadata"]
    assert soon(lambda: cache.status("alpha").get("observed") == written["resourceVersion"])
    assert soon(lambda: len([each for each in cache.images("alpha") if each.get("held") or each.get("error")]) == 2)
    status = cache.status("alpha")
    assert status["node"] == "alpha"
    held, gone = sorted(status["images"], key=lambda each: not each.get("held", False))
    assert held == {
        "ref": ref, "manifest": draft.descriptor.digest, "module": draft.module.digest, "size": 20_000, "held": True,
    }  # fmt: skip
    assert "manifest unknown" in gone["error"]
    assert gone["permanent"] is True
    assert len(status["problems"]) == 2
    obj = cache.api.get(f"{cache.path}/{NAME}-alpha")
    assert obj["metadata"]["labels"]["cache.wasme.io/node-status"] == "true"
    assert obj["metadata"]["ownerReferences"][0]["uid"] == written["uid"]


def test_markers(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """A namespace's marker stands while all modules of its filters are there, others' troubles do not count, and one
    without filters keeps it.
    """
    one, two = holds_image(faulty_registry, "demo/one", "v1"), holds_image(faulty_registry, "demo/two", "v1", 30_000)
    host = faulty_registry.host
    (agent,) = agents(control_plane, cache.namespace, "alpha")
    lines = [line("shop", "auth", f"{host}/demo/one:v1", one), line("bank", "auth", f"{host}/demo/two:v1", two)]
    faulty_registry.fault("GET /v2/demo/two/", lambda handler: handler.answer(503))
    cache.write(filters="\n".join(lines))
    ready = agent.directory / "ready"
    assert soon(lambda: cache.status("alpha").get("ready") == ["shop"])
    assert (ready / "shop").exists()
    assert not (ready / "bank").exists()
    faulty_registry.heal()
    assert soon(lambda: cache.status("alpha").get("ready") == ["bank", "shop"])
    assert (ready / "bank").exists()
    missing = two.descriptor.digest[:-4] + "0000"
    cache.write(filters="\n".join([*lines, f"shop/more {host}/demo/two:v1 {missing} {two.module.digest[:-4]}0000"]))
    assert soon(lambda: cache.status("alpha").get("ready") == ["bank"])
    assert not (ready / "shop").exists()
    cache.write(filters=lines[0])
    assert soon(lambda: cache.status("alpha").get("ready") == ["shop"])
    assert (ready / "bank").exists()
    agent.stop()
    cache.write(filters=f"../escape/x {host}/demo/one:v1 {one.descriptor.digest} {one.module.digest}")
    agent.start()
    assert soon(lambda: cache.status("alpha").get("observed") == cache.version())
    assert not (agent.directory / "escape").exists()


def test_filters_are_held_at_their_digest(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """A deployed filter's image is the one it was deployed with, though its tag has moved; when no line names it any
    more its module goes.
    """
    first = holds_image(faulty_registry, "demo/auth", "v1")
    second = holds_image(faulty_registry, "demo/auth", "v1", 30_000)
    ref = f"{faulty_registry.host}/demo/auth:v1"
    (agent,) = agents(control_plane, cache.namespace, "alpha", flags=("--grace-period", "1s"))
    cache.write(images=ref, filters=line("shop", "auth", ref, first))
    assert soon(lambda: {first.module.digest, second.module.digest} <= cache.held("alpha"))
    assert agent.get(f"/{ref}")[1]["etag"] == f'"{second.module.digest}"', "a name is what its tag stands for now"
    pinned = f"{faulty_registry.host}/demo/auth@{first.descriptor.digest}"
    assert agent.get(f"/{pinned}")[1]["etag"] == f'"{first.module.digest}"'
    cache.write(filters=line("shop", "auth", ref, second))
    assert soon(lambda: not agent.file(first.module.digest).exists())
    assert agent.file(second.module.digest).exists()


def test_wrong_module_in_a_line(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """A line whose module is not the image's is an error of that line, and nothing is called ready."""
    draft, other = holds_image(faulty_registry, "demo/a", "v1"), holds_image(faulty_registry, "demo/b", "v1", 30_000)
    agents(control_plane, cache.namespace, "alpha")
    ref = f"{faulty_registry.host}/demo/a:v1"
    cache.write(filters=f"shop/auth {ref} {draft.descriptor.digest} {other.module.digest}")
    assert soon(lambda: any("holds sha256:" in each.get("error", "") for each in cache.images("alpha")))
    assert cache.status("alpha")["ready"] == []


def test_list_deleted_and_made_anew(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """A ConfigMap that is deleted takes no file away; the one that comes after it counts, and owns the status."""
    one, two = holds_image(faulty_registry, "demo/one", "v1"), holds_image(faulty_registry, "demo/two", "v1", 30_000)
    host = faulty_registry.host
    cache.write(images=f"{host}/demo/one:v1", filters=line("shop", "auth", f"{host}/demo/one:v1", one))
    (agent,) = agents(control_plane, cache.namespace, "alpha", flags=("--grace-period", "0s"))
    assert soon(lambda: one.module.digest in cache.held("alpha"))
    cache.delete()
    assert agent.logged("there is no list of images")
    cache.api.delete(f"{cache.path}/{NAME}-alpha")  # as the cluster's garbage collection does
    time.sleep(3)
    assert agent.file(one.module.digest).exists()
    assert (agent.directory / "ready" / "shop").exists()
    cache.make(images=f"{host}/demo/two:v1")
    assert soon(lambda: two.module.digest in cache.held("alpha"))
    owner = cache.api.get(f"{cache.path}/{NAME}-alpha")["metadata"]["ownerReferences"][0]["uid"]
    assert owner == cache.api.get(f"{cache.path}/{NAME}")["metadata"]["uid"]
    assert soon(lambda: not agent.file(one.module.digest).exists())


def test_added_images_come_at_once(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """From the list's change to the file it takes half a second at the most, beyond the download."""
    (agent,) = agents(control_plane, cache.namespace, "alpha")
    assert soon(lambda: cache.status("alpha"))
    took = []
    lines = []
    for number in range(5):
        draft = holds_image(faulty_registry, f"demo/a{number}", "v1", 20_000 + number)
        lines.append(f"{faulty_registry.host}/demo/a{number}:v1")
        begun = time.monotonic()
        cache.write(images="\n".join(lines))
        assert soon(lambda draft=draft: agent.file(draft.module.digest).exists())  # type: ignore[misc]
        took.append(time.monotonic() - begun)
    assert min(took) < 0.5, took


def test_registry_map_of_the_list(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """The registry map in the ConfigMap leads the agent; a change of it is tried at once, one that is wrong is told."""
    draft = holds_image(faulty_registry, "mirror/auth", "v1")
    agents(control_plane, cache.namespace, "alpha")
    cache.write(images="webassemblyhub.io/auth:v1")
    assert soon(lambda: any("has closed" in each.get("error", "") for each in cache.images("alpha")))
    cache.write(registryMap="webassemblyhub.io: a b")
    assert soon(lambda: cache.status("alpha")["problems"])
    cache.write(registryMap=f"webassemblyhub.io: http://{faulty_registry.host}/mirror")
    assert soon(lambda: draft.module.digest in cache.held("alpha"))


def test_two_caches_in_one_namespace(
    control_plane: ControlPlane, cache: Cache, agents: Agents, faulty_registry: faulty.Registry, holds_image: Put
) -> None:
    """An agent follows the ConfigMap of its own name and no other."""
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    agents(control_plane, cache.namespace, "alpha", cache="other")
    (mine,) = agents(control_plane, cache.namespace, "beta")
    cache.write(images=f"{faulty_registry.host}/demo/auth:v1")
    assert soon(lambda: mine.file(draft.module.digest).exists())
    assert cache.api.find(f"{cache.path}/other-alpha") is None


def looked_again(registry: faulty.Registry, times: int = 3) -> None:
    """Wait until an agent has looked its tags up some more times."""
    looked = len(registry.requests)
    assert soon(lambda: len(registry.requests) >= looked + times), "tags are not followed"


def mine(control_plane: ControlPlane, cache: Cache, since: int) -> list[dict[str, Any]]:
    """What wasme asked of the API server in this namespace."""
    asked = control_plane.audit(since)
    return [event for event in asked if event.get("objectRef", {}).get("namespace") == cache.namespace]
