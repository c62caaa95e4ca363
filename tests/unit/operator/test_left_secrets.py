"""Copies of pull secrets: none is left beside the cache that nobody needs, whatever happened, and no other goes."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from typing import Any

import pytest

from tests.fixtures.agents import soon
from tests.unit.operator.test_holding import digest
from wasme.deploy.cache import secrets
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cluster import Cluster, Kind
from wasme.deploy.istio.order import Order
from wasme.deploy.istio.workloads import Selection
from wasme.deploy.spec import FilterSpec
from wasme.errors import CacheError, ClusterUnreachable, Conflict, WasmeError
from wasme.operator.informers.stores import Stores
from wasme.operator.nodecache import intents
from wasme.operator.nodecache.holding import Holding
from wasme.operator.resources.wanted import Image, Key, Wanted

OPTIONS = CacheOptions()
REGISTRY = "reg.example"


class Server(Cluster):
    """Secrets and the cache's list, as an API server has them.

    Attributes:
        secrets: those beside the cache, by name.
        wanted: the cache's list.
        told: ``lists``, how often all Secrets were read; ``lost``, what the next write of the cache's list ends in
            after it was done, None for its answer; ``refused``, what the next list or deletion of Secrets ends in;
            ``version``, the last that it gave.
    """

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, Any]] = {}
        self.told: dict[str, Any] = {"lists": 0, "lost": None, "refused": None, "version": 1}
        self.wanted: dict[str, Any] = {
            "apiVersion": "v1", "kind": "ConfigMap", "data": {},
            "metadata": {"name": OPTIONS.name, "namespace": OPTIONS.namespace, "uid": "list", "resourceVersion": "1"},
        }  # fmt: skip

    @property
    def copies(self) -> set[secrets.Place]:
        return {each.place for each in secrets.copies(self, OPTIONS)}

    def get(self, kind: Kind, name: str, namespace: str = "") -> Any:
        if kind.kind == "ConfigMap":
            return dict(self.wanted)
        if namespace == OPTIONS.namespace:
            return self.secrets.get(name)
        auth = base64.b64encode(b"scout:secret").decode()
        content = json.dumps({"auths": {host: {"auth": auth} for host in (REGISTRY, "other.example")}})
        return {"data": {".dockerconfigjson": base64.b64encode(content.encode()).decode()}}

    def list(self, *_: Any, **__: Any) -> Any:
        self.told["lists"] += 1
        self._refuse()
        return [dict(each) for each in self.secrets.values()]

    def apply(self, obj: Any, **_: Any) -> Any:
        meta = {**obj["metadata"], "uid": obj["metadata"]["name"], "resourceVersion": self._next()}
        self.secrets[meta["name"]] = {**obj, "metadata": meta}
        return self.secrets[meta["name"]]

    def delete(self, _kind: Kind, name: str, _namespace: str = "", **expected: Any) -> Any:  # type: ignore[override]
        self._refuse()
        if expected["resource_version"] != self.secrets[name]["metadata"]["resourceVersion"]:
            raise Conflict("another one")
        return self.secrets.pop(name)

    def patch(self, _kind: Kind, _name: str, _namespace: str, patch: Any, **_: Any) -> Any:  # type: ignore[override]
        before = self.wanted["metadata"]
        if patch["metadata"]["resourceVersion"] != before["resourceVersion"]:
            raise Conflict("another version")
        data = {key: value for key, value in {**self.wanted["data"], **patch["data"]}.items() if value is not None}
        self.wanted = {**self.wanted, "metadata": {**before, "resourceVersion": self._next()}, "data": data}
        lost, self.told["lost"] = self.told["lost"], None
        if lost is not None:
            raise lost
        return self.wanted

    def _next(self) -> str:
        self.told["version"] += 1
        return str(self.told["version"])

    def _refuse(self) -> None:
        refused, self.told["refused"] = self.told["refused"], None
        if refused is not None:
            raise refused


class World:
    """An operator's share in the cache; ``resources`` are the FilterDeployments that there are."""

    def __init__(self) -> None:
        self.server = Server()
        self.resources: list[Wanted] = []
        self.begin()

    def begin(self) -> None:
        """The next process: it knows what the cluster says, and looks at nothing yet."""
        self.stores = Stores(self.server, OPTIONS)
        self.holding = Holding(self.server, self.stores, OPTIONS, self.call, step=0.0)
        self.see()
        self.holding.begin(self.resources)
        assert self.holding.commits.join(30)

    def see(self) -> None:
        """The informer has caught up."""
        self.stores.config._changed("MODIFIED", dict(self.server.wanted))

    def call(self, _: Collection[Key]) -> None:
        pass

    def apply(self, wanted: Wanted) -> None:
        self.resources = [each for each in self.resources if each.key != wanted.key] + [wanted]
        assert soon(lambda: self.holding.want([line_of(wanted)], wanted), 30)

    def delete(self, wanted: Wanted) -> None:
        self.resources.remove(wanted)
        self.forget(wanted)

    def forget(self, wanted: Wanted) -> None:
        assert soon(lambda: self.holding.forget(wanted.key.namespace, wanted.filter.id, wanted.key), 30)
        assert self.holding.commits.join(30)

    def by_hand(self, namespace: str) -> None:
        """What a command does first; its line comes after that."""
        secrets.share_secret(self.server, OPTIONS, namespace, "regcred", REGISTRY)


def wanted(name: str, namespace: str = "shop", registry: str = REGISTRY) -> Wanted:
    reference = f"{registry}/{name}:v1"
    return Wanted(
        Key(namespace, name), "uid", 1,
        filter=FilterSpec(id=name, image=reference), image=Image(reference, pull_secret="p"),
        order=Order(Selection((namespace,))),
    )  # fmt: skip


def line_of(each: Wanted) -> FilterLine:
    return FilterLine(each.key.namespace, each.filter.id, each.image.reference, digest(1), digest(2))


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("lost", [Conflict("the first try was done"), ClusterUnreachable("no answer")])
def test_lost_answer(world: World, lost: WasmeError) -> None:
    """Where the write that took a line away was done and its answer lost, its pull secret goes all the same."""
    auth = wanted("auth")
    world.apply(auth)
    assert world.server.copies == {("shop", REGISTRY)}
    world.server.told["lost"] = lost
    world.resources.remove(auth)
    assert not world.holding.forget("shop", "auth", auth.key)
    assert world.holding.commits.join(30)
    world.see()
    world.forget(auth)
    assert world.server.copies == set()


def test_refused_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that was made for a line which found no room goes with its FilterDeployment; others of it stay."""
    world.apply(wanted("other", "bank"))
    monkeypatch.setattr(intents.Intents.edit, "__defaults__", (10,))
    auth = wanted("auth")
    with pytest.raises(CacheError, match="full"):
        world.apply(auth)
    assert ("shop", REGISTRY) in world.server.copies
    world.delete(auth)
    assert world.server.copies == {("bank", REGISTRY)}


def test_killed(world: World) -> None:
    """What an operator has left that was killed between its line and its pull secret goes when the next one begins."""
    auth = wanted("auth")
    world.apply(auth)
    world.server.wanted["data"] = {}
    world.resources.clear()
    world.begin()
    assert world.server.copies == set()


def test_not_looked_at_yet(world: World) -> None:
    """An operator that begins leaves the copy of whoever has none of its line and was not looked at yet; it goes when
    that one is deleted, though it never was.
    """
    auth, gone = wanted("auth"), wanted("gone", registry="other.example")
    world.apply(auth)
    world.apply(gone)
    world.server.wanted["data"] = {}
    world.resources.remove(gone)
    world.begin()
    assert world.server.copies == {("shop", REGISTRY)}
    world.delete(auth)
    assert world.server.copies == set()


def test_needed_no_more(world: World) -> None:
    """The copy of one that turns out to need none, as a WasmPlugin, goes when the last one is looked at."""
    auth, other = wanted("auth"), wanted("other", "bank")
    world.apply(auth)
    world.apply(other)
    world.server.wanted["data"] = {}
    world.begin()
    world.holding.waiting(auth.key, [])
    assert world.holding.commits.join(30)
    assert world.server.copies == {("shop", REGISTRY), ("bank", REGISTRY)}
    world.holding.waiting(other.key, [line_of(other)])
    assert world.holding.commits.join(30)
    assert world.server.copies == {("bank", REGISTRY)}


def test_by_hand(world: World) -> None:
    """What a command has shared stays, for its line may still be on the way: also where an operator had copied a Secret
    before it, or copied one after it.
    """
    world.by_hand("shop")
    auth, left = wanted("auth"), wanted("left", "bank")
    world.apply(left)
    world.by_hand("bank")
    world.apply(auth)
    world.server.wanted["data"] = {}
    world.resources.clear()
    before = dict(world.server.secrets)
    world.begin()
    assert world.server.secrets == before
    assert len(before) == 2


def test_shared_anew_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that a command takes over while the operator is about to delete it stays."""
    world.apply(wanted("auth"))
    world.server.wanted["data"] = {}
    world.resources.clear()
    read = secrets.copies

    def overtaken(*args: Any) -> list[secrets.Copy]:
        found = read(*args)
        world.by_hand("shop")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(secrets, "copies", overtaken)
        world.begin()
    assert world.server.copies == {("shop", REGISTRY)}


def test_failing(world: World) -> None:
    """What could not be swept goes with the next one that needs nothing any more."""
    auth, other = wanted("auth"), wanted("other")
    world.apply(auth)
    world.server.told["refused"] = ClusterUnreachable("away")
    world.resources.remove(auth)
    assert not world.holding.forget("shop", "auth", auth.key)
    assert world.holding.commits.join(30)
    assert world.server.copies == {("shop", REGISTRY)}
    world.forget(other)
    assert world.server.copies == set()


def test_requests(world: World) -> None:
    """All copies are read once when a term begins, and once when one is needed no more; not for what others need."""
    assert world.server.told["lists"] == 1
    many = [wanted(f"f{number}") for number in range(50)]
    for each in many:
        world.apply(each)
    for each in many[1:]:
        world.delete(each)
    assert world.server.told["lists"] == 1
    world.delete(many[0])
    assert world.server.told["lists"] == 2
    assert not world.server.secrets
