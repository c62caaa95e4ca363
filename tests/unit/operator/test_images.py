"""Which image a FilterDeployment means: asked for once, followed by policy, and nobody held up by a dead registry."""

from __future__ import annotations

import base64
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.fixtures import faulty
from tests.fixtures.agents import soon
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import Kind
from wasme.deploy.spec import FilterSpec
from wasme.errors import (
    ContentMismatch,
    InvalidReference,
    RegistryError,
    RemoteNotFound,
    Unreachable,
    WasmeError,
)
from wasme.image.layouts import Draft
from wasme.operator.informers.facts import ConfigFacts
from wasme.operator.registries.images import Images
from wasme.operator.registries.lookups import Lookups, Unanswered
from wasme.operator.registries.routes import Routes
from wasme.operator.resources.outcome import ImageFacts
from wasme.operator.resources.wanted import Image, Key, Wanted

Put = Callable[..., Draft]


class Secrets:
    """What of a cluster is asked: its Secrets."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], dict[str, Any]] = {}
        self.asked = 0

    def get(self, kind: Kind, name: str, namespace: str) -> dict[str, Any] | None:
        assert kind.kind == "Secret"
        self.asked += 1
        return self.held.get((namespace, name))

    def put(self, namespace: str, name: str, **data: str) -> None:
        encoded = {key.replace("_", "."): base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.held[namespace, name] = {"metadata": {"name": name, "namespace": namespace}, "data": encoded}


class World:
    """Images, and what they stand on."""

    def __init__(self, own: dict[str, str] | None = None, **timing: float) -> None:
        self.secrets = Secrets()
        self.called: list[Key] = []
        self.list: ConfigFacts | None = None
        self.routes = Routes(CacheOptions(), lambda: self.list, own)
        interval = timing.pop("interval", 60.0)
        self.images = Images(
            self.secrets, self.routes, self.called.append, interval=interval, lookups=Lookups(**timing),  # type: ignore[arg-type]
        )  # fmt: skip

    def listed(self, registry_map: str) -> None:
        """The cache's list has this registry map from now on."""
        before, version = self.list, str(int(self.list.version) + 1) if self.list else "1"
        self.list = ConfigFacts("wasme", "wasme-cache", "u", version, {"registryMap": registry_map})
        self.images.led(before, self.list)


@pytest.fixture
def world() -> World:
    return World()


def wanted(reference: str, name: str = "auth", **settings: Any) -> Wanted:
    """A FilterDeployment in the namespace shop."""
    spec = FilterSpec(id=name, image=reference)
    return Wanted(Key("shop", name), "uid", 1, filter=spec, image=Image(reference, **settings))


@pytest.fixture
def hole() -> Iterator[str]:
    """A host that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_asked_once(world: World, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """Fifty FilterDeployments with one image, at once and again later, cost one look: manifest, config and module are
    read once; each has it under the reference that it typed.
    """
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    ref = f"{faulty_registry.host}/demo/auth:v1"
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda n: world.images.resolve(wanted(ref, f"f{n}"), None), range(50)))
    assert {each.module.digest for each in found} == {draft.module.digest}
    assert {each.typed for each in found} == {ref}
    status = {"image": ImageFacts.of(found[0]).as_status()}
    assert world.images.resolve(wanted(f"{ref}@{draft.descriptor.digest}")).typed == f"{ref}@{draft.descriptor.digest}"
    assert world.images.resolve(wanted(ref), status).manifest == found[0].manifest
    assert len(faulty_registry.lines(f"GET .*/blobs/{draft.module.digest}")) == 1


def test_moved_tag(faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """A tag that moves is followed with Always, at the interval, without reading the same module again; with
    IfNotPresent what the status says stays, until the reference is another.
    """
    world = World(interval=3.0, moment=20.0)
    first = holds_image(faulty_registry, "demo/auth", "v1")
    ref = f"{faulty_registry.host}/demo/auth:v1"
    follows, stays = wanted(ref, policy="Always"), wanted(ref, policy="IfNotPresent")
    found = world.images.resolve(follows)
    status = {"image": ImageFacts.of(found).as_status()}
    assert found.manifest.digest == first.descriptor.digest
    again = world.images.again(follows)
    assert again is not None
    assert 0.1 < again < 4
    assert world.images.again(stays) is None
    assert world.images.again(wanted(f"{ref}@{first.descriptor.digest}", policy="Always")) is None
    second = holds_image(faulty_registry, "demo/auth", "v1", 30_000)
    assert world.images.resolve(follows, status).manifest.digest == first.descriptor.digest, "it is not time yet"
    time.sleep(again)
    read = len(faulty_registry.lines("GET"))
    assert world.images.resolve(follows, status).manifest.digest == second.descriptor.digest
    assert world.images.resolve(stays, status).manifest.digest == first.descriptor.digest
    time.sleep(3.1)
    assert len(faulty_registry.lines("GET")) > read
    read = len(faulty_registry.lines("GET"))
    assert world.images.resolve(follows, status).manifest.digest == second.descriptor.digest
    assert len(faulty_registry.lines("GET")) == read, "what did not move is not read again"
    other = holds_image(faulty_registry, "demo/auth", "v2", 40_000)
    changed = world.images.resolve(wanted(f"{faulty_registry.host}/demo/auth:v2"), status)
    assert changed.manifest.digest == other.descriptor.digest


def test_registry_down(faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """While the registry is down what a followed tag stood for stays, and the problem is told beside it; an image that
    nobody has seen is an error.
    """
    world = World(interval=0.1, rest=0.1)
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    follows = wanted(f"{faulty_registry.host}/demo/auth:v1", policy="Always")
    world.images.resolve(follows)
    assert world.images.problem(follows) is None
    faulty_registry.fault(".*", lambda handler: handler.answer(503))
    time.sleep(0.12)
    assert world.images.resolve(follows).module.digest == draft.module.digest
    problem = world.images.problem(follows)
    assert problem is not None
    assert "503" in problem.message
    with pytest.raises(RegistryError):
        world.images.resolve(wanted(f"{faulty_registry.host}/demo/other:v1", "other"))
    faulty_registry.heal()
    assert soon(lambda: world.images.resolve(follows) and world.images.problem(follows) is None)


def test_dead_registry_holds_up_nobody(hole: str, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """Of a hundred images of a registry that never answers, asked for by eight workers, all have their error while
    another registry's image is there at once; and the dead one is asked by few at a time.
    """
    world = World(moment=2.0)
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    begun = time.monotonic()
    errors: list[str] = []

    def ask(number: int) -> None:
        with pytest.raises(Unreachable) as caught:
            world.images.resolve(wanted(f"{hole}/demo/a{number}:v1", f"a{number}"))
        errors.append(caught.value.message)

    with ThreadPoolExecutor(8) as workers:
        dead = [workers.submit(ask, number) for number in range(100)]
        alive = workers.submit(world.images.resolve, wanted(f"{faulty_registry.host}/demo/auth:v1"))
        assert alive.result(30).module.digest == draft.module.digest
        for each in dead:
            each.result(30)
    assert time.monotonic() - begun < 15  # a moment each would be 25 s
    assert len(errors) == 100
    assert all("has not answered yet" in each for each in errors)
    assert sum(each.name.startswith("registry") for each in threading.enumerate()) <= 3


def test_late_answer_calls(faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """An answer that takes longer than a moment is not waited for: the key is called when it is there, and then asks
    nobody. An error that comes late is told to who is called.
    """
    world = World(moment=0.1)
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    gate = threading.Event()
    faulty_registry.fault(".*auth.*", lambda handler: gate.wait(60) and handler.normal())
    mine, missing = (
        wanted(f"{faulty_registry.host}/demo/auth:v1"),
        wanted(f"{faulty_registry.host}/demo/auth-no:v1", "no"),
    )
    for each in (mine, missing):
        with pytest.raises(Unreachable, match="has not answered yet"):
            world.images.resolve(each)
    assert world.called == []
    gate.set()
    assert soon(lambda: set(world.called) == {mine.key, missing.key})
    asked = len(faulty_registry.requests)
    assert world.images.resolve(mine).module.digest == draft.module.digest
    with pytest.raises(RemoteNotFound):
        world.images.resolve(missing)
    assert len(faulty_registry.requests) == asked


def late(world: World, each: Wanted) -> WasmeError:
    """Why an image cannot be had, once its registry was waited for."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with pytest.raises(WasmeError) as caught:
            world.images.resolve(each)
        if not isinstance(caught.value, Unanswered):
            return caught.value
        while each.key not in world.called and time.monotonic() < until:
            time.sleep(0.01)
    raise AssertionError("nobody called")


def test_left_alone(faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """A registry that did not answer one image is not asked for others for a while; then it is, and answers."""
    world = World(rest=3.0)
    holds_image(faulty_registry, "demo/auth", "v1")
    host = faulty_registry.host
    faulty_registry.fault(".*", lambda handler: handler.hang_up())
    late(world, wanted(f"{host}/demo/a:v1", "a"))
    asked = len(faulty_registry.requests)
    for number in range(20):
        with pytest.raises(Unreachable):
            world.images.resolve(wanted(f"{host}/demo/b{number}:v1", f"b{number}"))
    assert len(faulty_registry.requests) == asked
    faulty_registry.heal()
    time.sleep(3.1)
    assert world.images.resolve(wanted(f"{host}/demo/auth:v1")).layout == "oci"


def test_registry_that_drips(
    faulty_registry: faulty.Registry, holds_image: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that sends a byte now and then, each in time, is given up as well."""
    monkeypatch.setattr("wasme.operator.registries.images._LONGEST", 0.6)
    world = World(moment=10.0)
    holds_image(faulty_registry, "demo/auth", "v1")
    over = threading.Event()

    def drip(handler: faulty.Handler) -> None:
        handler.head(200, {"Content-Length": "20000"})
        while not over.wait(0.1):
            handler.write(b"x")

    faulty_registry.fault("GET .*/blobs/", drip)
    begun = time.monotonic()
    told = late(world, wanted(f"{faulty_registry.host}/demo/auth:v1")).message
    assert re.search(r"did not give .*/demo/auth:v1 within 0\.6 s", told)
    assert time.monotonic() - begun < 9
    over.set()


def test_sha256(world: World, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """A module that is not the one that the spec names is refused, also where the image is known already."""
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    mine = wanted(f"{faulty_registry.host}/demo/auth:v1")
    right = replace(mine, image=replace(mine.image, sha256=draft.module.hex))
    wrong = replace(mine, image=replace(mine.image, sha256="0" * 64))
    assert world.images.resolve(right).module.digest == draft.module.digest
    with pytest.raises(ContentMismatch, match=draft.module.digest):
        world.images.resolve(wrong)


@pytest.mark.parametrize("policy", ["IfNotPresent", "Always"])
def test_sha256_of_new_module(faulty_registry: faulty.Registry, holds_image: Put, policy: str) -> None:
    """A tag was pushed anew and the spec names the new module's sha256: the digest that was kept for the tag is no
    longer the one that is meant, so the tag is looked up, at once, and the new image is used from then on. While the
    registry is down that is told, and not that the old module is a wrong one.
    """
    world = World(interval=60.0, rest=0.1)
    first = holds_image(faulty_registry, "demo/auth", "v1")
    mine = wanted(f"{faulty_registry.host}/demo/auth:v1", policy=policy, sha256=first.module.hex)
    found = world.images.resolve(mine)
    status = {"image": ImageFacts.of(found).as_status()}
    second = holds_image(faulty_registry, "demo/auth", "v1", 30_000)
    assert world.images.resolve(mine, status).module.digest == first.module.digest, "the one that is meant is kept"
    meant = replace(mine, image=replace(mine.image, sha256=second.module.hex))
    faulty_registry.fault(".*", lambda handler: handler.answer(503))
    with pytest.raises(RegistryError, match="503"):
        world.images.resolve(meant, status)
    faulty_registry.heal()
    assert soon(lambda: not _raises(lambda: world.images.resolve(meant, status)))
    assert world.images.resolve(meant, status).module.digest == second.module.digest
    after = {"image": ImageFacts.of(world.images.resolve(meant, status)).as_status()}
    read = len(faulty_registry.requests)
    assert world.images.resolve(meant, after).manifest.digest == second.descriptor.digest
    assert len(faulty_registry.requests) == read, "kept again"


def _raises(work: Callable[[], Any]) -> bool:
    try:
        work()
    except RegistryError:
        return True
    return False


def test_no_reference(world: World) -> None:
    """What names no image asks nobody."""
    with pytest.raises(InvalidReference):
        world.images.resolve(wanted("Not A Reference"))
    assert world.images.again(wanted("Not A Reference", policy="Always")) is None
