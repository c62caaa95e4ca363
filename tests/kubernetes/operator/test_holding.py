"""The cache's list, the nodes and the pull secrets as the operator works with them, on a real API server."""

from __future__ import annotations

import base64
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest

from tests.fixtures import faulty
from tests.fixtures.agents import Agent, soon
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.node_agents import NodeAgents
from tests.kubernetes.conftest import new_namespace
from wasme.deploy.cache import protocol
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine, ImageStatus, NodeStatus
from wasme.deploy.cache.registration import register
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.connect import connect
from wasme.deploy.spec import FilterSpec
from wasme.errors import CacheError, LeadershipLost, Unauthorized
from wasme.image.layouts import Draft
from wasme.operator.commits import Commits
from wasme.operator.holding import Holding
from wasme.operator.routes import Routes
from wasme.operator.stores import Stores
from wasme.operator.wanted import Image, Key, Wanted

Put = Callable[..., Draft]
NAME = "wasme-cache"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def line(name: str, number: int = 1, namespace: str = "shop") -> FilterLine:
    return FilterLine(namespace, name, f"reg.example/{name}:v{number}", digest(10_000 + number), digest(number))


def line_of(ref: str, draft: Draft, name: str = "auth", namespace: str = "shop") -> FilterLine:
    return FilterLine(namespace, name, ref, draft.descriptor.digest, draft.module.digest)


class Place:
    """A cache's namespace, followed by stores; `called` is everything that was called, in order."""

    def __init__(
        self, api: Api, plane: ControlPlane, *, install: bool = True, own: dict[str, str] | None = None
    ) -> None:
        self.api = api
        self.plane = plane
        self.namespace = new_namespace(api, "wasme")
        self.options = CacheOptions(namespace=self.namespace)
        self.cluster: Cluster = connect(plane.kubeconfig)
        if install:
            ensure(self.cluster, self.options)
        self.stores = Stores(self.cluster, self.options)
        self.called: list[Key] = []
        self.queue: queue.SimpleQueue[Key] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.maps = f"/api/v1/namespaces/{self.namespace}/configmaps"
        self.holding = Holding(
            self.cluster, self.stores, self.options, self.call, Routes(self.options, self.stores.cache_config, own)
        )
        before = set(threading.enumerate())
        self.stores.start(self.stop)
        self.threads = [each for each in threading.enumerate() if each not in before]
        assert self.stores.wait_synced(20)

    def call(self, keys: Collection[Key]) -> None:
        self.called.extend(keys)
        for key in keys:
            self.queue.put(key)

    def close(self) -> None:
        """After the last window: who reads from a connection that is closed may read another's bytes."""
        for each in self.threads:
            each.join(10)
        self.cluster.close()

    @property
    def lines(self) -> list[str]:
        """Of the list, as it is on the server."""
        text = self.api.get(f"{self.maps}/{NAME}").get("data", {}).get("filters", "")
        return text.split("\n") if text else []

    def tell(self, node: str, observed: str, *images: ImageStatus) -> None:
        """What an agent of ours tells, without the agent."""
        uid = self.api.get(f"{self.maps}/{NAME}")["metadata"]["uid"]
        status = NodeStatus(node, "1", observed, (), images)
        self.api.apply(protocol.status_object(NAME, self.namespace, uid, status), manager="agent")

    def agent_pod(self, node: str, *, ready: bool = True) -> None:
        """A pod of an agent, as a kubelet tells of it."""
        spec = {"nodeName": node, "containers": [{"name": "a", "image": "a"}], "terminationGracePeriodSeconds": 0}
        meta = {"name": f"agent-{node}", "namespace": self.namespace, "labels": {"app": NAME}}
        path = f"/api/v1/namespaces/{self.namespace}/pods/agent-{node}"
        if not self.api.find(path):
            self.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        self.api.patch(f"{path}/status", {"status": {"phase": "Running", "conditions": [condition]}}, "strategic-merge")

    def asked(self, since: int) -> Counter[str]:
        """Requests of the operator in the cache's namespace, but for its watches and lists."""
        found = [
            event for event in self.plane.audit(since)
            if event["verb"] not in ("watch", "list") and event.get("stage") == "ResponseComplete"
            and event.get("objectRef", {}).get("namespace") in (self.namespace, "shop")
        ]  # fmt: skip
        return Counter(f"{event['verb']} {event['objectRef']['resource']}" for event in found)


@pytest.fixture(scope="module")
def places() -> Iterator[list[Place]]:
    """All that were made here, which are closed together."""
    made: list[Place] = []
    yield made
    for each in made:
        each.close()


@pytest.fixture
def place(api: Api, control_plane: ControlPlane, places: list[Place]) -> Iterator[Callable[..., Place]]:
    """``place(install=False)``."""
    mine: list[Place] = []

    def make(**settings: Any) -> Place:
        mine.append(Place(api, control_plane, **settings))
        places.append(mine[-1])
        return mine[-1]

    yield make
    for each in mine:
        each.stop.set()


def until_true(place: Place, ask: Callable[[], bool], seconds: float = 10) -> None:
    """Ask, and ask again only when called, as a worker does."""
    until = time.monotonic() + seconds
    while not ask():
        try:
            place.queue.get(timeout=max(0.01, until - time.monotonic()))
        except queue.Empty:
            raise AssertionError("nobody called") from None


def test_a_thousand_filters(place: Callable[..., Place]) -> None:
    """A thousand FilterDeployments in eight workers get their lines, first pending and then needed, by tens of writes
    of the list; each key is called, and no line is lost although somebody else writes at the same time.
    """
    here = place()
    keys = {Key("shop", f"f{number}"): line(f"f{number}", number) for number in range(1000)}
    for key, each in keys.items():
        here.holding.waiting(key, [each])
        here.queue.put(key)
    done: set[Key] = set()
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            try:
                key = here.queue.get(timeout=0.2)
            except queue.Empty:
                continue
            if here.holding.want([keys[key]]) and here.holding.activate([keys[key]]):
                done.add(key)
            if len(done) == len(keys):
                over.set()

    def meddle() -> None:
        for number in range(30):
            register(here.cluster, here.options, [line(f"cli{number}", 5000 + number, "bank")]).activate()
            time.sleep(0.05)

    mark, begun = here.plane.mark(), time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(8)]
    meddler = threading.Thread(target=meddle)
    for each in [*threads, meddler]:
        each.start()
    for each in threads:
        each.join(60)
    meddler.join(60)
    assert len(done) == 1000
    assert time.monotonic() - begun < 30
    assert here.holding.commits.writes < 30, here.holding.commits.writes
    assert set(here.lines) >= {each.text for each in keys.values()}
    assert sum(each.startswith("bank/") for each in here.lines) == 30
    assert here.plane.audit(mark)


def test_at_rest(place: Callable[..., Place]) -> None:
    """Where all is as wanted, nothing is asked for or written, however often it is looked at."""
    here = place()
    key, need = Key("shop", "auth"), [line("auth")]
    here.holding.waiting(key, need)
    until_true(here, lambda: here.holding.want(need) and here.holding.activate(need))
    assert here.holding.keep("shop", "auth", need)
    mark = here.plane.mark()
    for _ in range(200):
        assert here.holding.want(need)
        assert here.holding.activate(need)
        assert here.holding.keep("shop", "auth", need)
        here.holding.standing(need, {"alpha"})
    assert not here.asked(mark)


def test_one_filter_is_quick(place: Callable[..., Place]) -> None:
    """One filter alone waits for nobody: pending, needed and another image's line gone in well under a second."""
    here = place()
    old, new = line("auth", 1), line("auth", 2)
    here.holding.waiting(Key("shop", "auth"), [old, new])
    until_true(here, lambda: here.holding.want([old]) and here.holding.activate([old]))
    begun = time.monotonic()
    until_true(here, lambda: here.holding.want([new]) and here.holding.activate([new]))
    until_true(here, lambda: here.holding.keep("shop", "auth", [new]))
    assert time.monotonic() - begun < 0.7
    assert here.lines == [new.text]
    until_true(here, lambda: here.holding.forget("shop", "auth", Key("shop", "auth")))
    assert here.lines == []


def test_no_list(place: Callable[..., Place]) -> None:
    """Without a cache it is told what makes one; when it comes, those who need it are called; removing needs none."""
    here = place(install=False)
    key, need = Key("shop", "auth"), [line("auth")]
    here.holding.waiting(key, need)
    for ask in (here.holding.want, here.holding.activate):
        with pytest.raises(CacheError, match=f"ConfigMap {here.namespace}/wasme-cache is not there") as caught:
            ask(need)
        assert "wasme cache install" in str(caught.value.hint)
    assert here.holding.keep("shop", "auth")
    assert here.holding.forget("shop", "auth", key)
    here.holding.waiting(key, need)
    ensure(here.cluster, here.options)
    assert here.queue.get(timeout=5) == key
    until_true(here, lambda: here.holding.want(need))
    assert here.lines == [f"{need[0].text} pending"]


def test_edited_by_hand(place: Callable[..., Place]) -> None:
    """Whose line somebody takes away is called, and puts it back; others are not. When the whole ConfigMap is deleted
    and made anew, all are.
    """
    here = place()
    one, two = line("one", 1), line("two", 2)
    keys = {Key("shop", "one"): one, Key("shop", "two"): two}
    for key, need in keys.items():
        here.holding.waiting(key, [need])
        until_true(here, lambda need=need: here.holding.want([need]) and here.holding.activate([need]))  # type: ignore[misc]
    time.sleep(0.3)
    here.called.clear()
    here.api.patch(f"{here.maps}/{NAME}", {"data": {"filters": two.text + "\n# by hand"}})
    assert soon(lambda: here.called == [Key("shop", "one")], 5)
    until_true(here, lambda: here.holding.want([one]) and here.holding.activate([one]))
    assert here.lines == [two.text, "# by hand", one.text]
    here.called.clear()
    here.api.delete(f"{here.maps}/{NAME}")
    assert soon(lambda: set(here.called) == set(keys), 5)
    with pytest.raises(CacheError):
        here.holding.want([one])
    here.called.clear()
    ensure(here.cluster, here.options)
    assert soon(lambda: set(here.called) == set(keys), 5)
    for need in keys.values():
        until_true(here, lambda need=need: here.holding.want([need]) and here.holding.activate([need]))  # type: ignore[misc]
    assert set(here.lines) == {one.text, two.text}


def test_list_that_was_replaced_unseen(place: Callable[..., Place]) -> None:
    """A write for a ConfigMap that meanwhile was deleted and made anew goes to the new one, and loses nothing of it."""
    here = place()
    stale = here.stores.cache_config()
    assert stale
    here.api.delete(f"{here.maps}/{NAME}")
    ensure(here.cluster, here.options)
    theirs, ours = line("cli", 9, "bank"), line("auth")
    register(here.cluster, here.options, [theirs]).activate()
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    commits = Commits(
        here.cluster, here.options, known=lambda: stale, stored=here.stores.put, needed=set, done=done.put,
        gone=lambda _: None,
    )  # fmt: skip
    commits.submit(lambda intents: intents.want([ours], active=True))
    assert done.get(timeout=10) == {("shop", "auth"): None}
    assert here.lines == [theirs.text, ours.text]


def test_refused_writes_are_told(place: Callable[..., Place]) -> None:
    """Who may not write any more is told so at his next word, and it goes on when he may."""
    here = place()
    leads = False

    def check() -> None:
        if not leads:
            raise LeadershipLost("somebody else leads")

    holding = Holding(here.cluster.guarded(check), here.stores, here.options, here.call)
    key, need = Key("shop", "auth"), [line("auth")]
    holding.waiting(key, need)
    assert not holding.want(need)
    assert here.queue.get(timeout=5) == key
    with pytest.raises(LeadershipLost):
        holding.want(need)
    assert here.lines == []
    leads = True
    until_true(here, lambda: holding.want(need))


def test_gate_waits_for_nodes_that_live(place: Callable[..., Place], nodes: Callable[..., Any]) -> None:
    """Activating goes on as soon as the last node without the module has read so; one whose agent lives and does not
    answer is waited for some seconds, one without an agent hardly at all.
    """
    here = place()
    nodes("alpha", "beta")
    need = [line("auth")]
    here.holding.waiting(Key("shop", "auth"), need)
    until_true(here, lambda: here.holding.want(need))
    here.tell("alpha", "1", ImageStatus(need[0].ref, need[0].manifest, need[0].module, 9, held=True))
    here.tell("beta", "1")
    here.agent_pod("beta")
    assert soon(lambda: len(here.stores.told.store.all()) == 2 and "beta" in here.stores.agents(), 10)
    begun = time.monotonic()
    assert not here.holding.activate(need)
    assert soon(lambda: here.lines == [need[0].text])
    version = here.api.get(f"{here.maps}/{NAME}")["metadata"]["resourceVersion"]
    assert not here.holding.activate(need)
    time.sleep(1.3)
    assert not here.holding.activate(need), "it lives, so it is waited for"
    here.called.clear()
    here.tell("beta", version)
    assert soon(lambda: here.called, 2)
    assert here.holding.activate(need)
    assert time.monotonic() - begun < 4
    # Another one, and nobody answers.
    more = [line("more", 2)]
    here.holding.waiting(Key("shop", "more"), more)
    until_true(here, lambda: here.holding.want(more))
    here.agent_pod("beta", ready=False)
    assert soon(lambda: not here.stores.agents()["beta"].ready, 10)
    begun = time.monotonic()
    until_true(here, lambda: here.holding.activate(more))
    assert 0.9 < time.monotonic() - begun < 3
    here.agent_pod("beta")
    assert soon(lambda: here.stores.agents()["beta"].ready, 10)
    last = [line("last", 3)]
    here.holding.waiting(Key("shop", "last"), last)
    until_true(here, lambda: here.holding.want(last))
    begun = time.monotonic()
    until_true(here, lambda: here.holding.activate(last))
    assert 5 < time.monotonic() - begun < 8


def test_with_real_agents(
    place: Callable[..., Place], nodes: Callable[..., Any], start_agent: Callable[..., Agent],
    faulty_registry: faulty.Registry, holds_image: Put, api: Api, control_plane: ControlPlane,
) -> None:  # fmt: skip
    """From nothing to all nodes, by real agents that are probed; then an agent that stands still, a file that is
    spoiled and a node that is lost are each told within seconds, and the key is called.
    """
    import signal

    here = place()
    nodes("alpha", "beta")
    kubelets = NodeAgents(api, start_agent, control_plane.kubeconfig, here.namespace)
    try:
        kubelets.run("alpha", "beta")
        draft = holds_image(faulty_registry, "demo/auth", "v1")
        need = [line_of(f"{faulty_registry.host}/demo/auth:v1", draft)]
        key, both = Key("shop", "auth"), {"alpha", "beta"}
        here.holding.waiting(key, need)
        until_true(here, lambda: here.holding.want(need))
        until_true(here, lambda: here.holding.standing(need, both).complete)
        until_true(here, lambda: here.holding.activate(need))
        held = here.holding.standing(need, both)
        assert (held.nodes, held.held, held.missing) == (2, 2, ())
        time.sleep(1)

        def turns(complete: bool, within: float) -> None:
            here.called.clear()
            assert soon(lambda: here.called and here.holding.standing(need, both).complete is complete, within), (
                here.holding.standing(need, both)
            )

        kubelets.agents["alpha"].send(signal.SIGSTOP)
        turns(complete=False, within=8)
        assert "does not live" in dict(here.holding.standing(need, both).missing)["alpha"]
        kubelets.agents["alpha"].send(signal.SIGCONT)
        turns(complete=True, within=8)

        file = kubelets.agents["beta"].file(draft.module.digest)
        with file.open("r+b") as opened:
            opened.write(b"rotten")
        turns(complete=False, within=3.5)
        assert "disk" in dict(here.holding.standing(need, both).missing)["beta"]
        turns(complete=True, within=8)

        here.called.clear()
        nodes("beta", ready=False)
        assert soon(lambda: here.holding.standing(need, both).nodes == 1 and here.called, 5)
        assert here.holding.standing(need, both).complete
        assert "not ready" in dict(here.holding.standing(need, both).missing)["beta"]
    finally:
        kubelets.stop()


def test_final(place: Callable[..., Place], nodes: Callable[..., Any]) -> None:
    """That no node can ever pull it is told once all of them, having read the request, say so."""
    here = place()
    nodes("alpha")
    here.agent_pod("alpha")
    need = [line("auth")]
    here.holding.waiting(Key("shop", "auth"), need)
    until_true(here, lambda: here.holding.want(need))
    gone = ImageStatus(need[0].ref, need[0].manifest, need[0].module, error="no such image", permanent=True)
    assert soon(here.stores.agents, 10)
    here.tell("alpha", "1", gone)
    assert soon(here.stores.told.store.all, 10)
    assert not here.holding.standing(need, ["alpha"]).final
    here.tell("alpha", here.api.get(f"{here.maps}/{NAME}")["metadata"]["resourceVersion"], gone)
    assert soon(lambda: here.holding.standing(need, ["alpha"]).final, 10)
    assert here.holding.standing(need, ["alpha"]).missing == (("alpha", "no such image"),)


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
    place: Callable[..., Place], namespace: str, api: Api, nodes: Callable[..., Any], start_agent: Callable[..., Agent],
    faulty_registry: faulty.Registry, holds_image: Put, control_plane: ControlPlane,
) -> None:  # fmt: skip
    """A real agent pulls a private image with a copy of the pull secret; nothing is asked for at rest; the copy goes
    with the last filter that needs it, and comes back with the next.
    """
    here = place()
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
        until_true(here, lambda: here.holding.standing(need, {"alpha"}).complete, 20)
        until_true(here, lambda: here.holding.activate(need))
        secrets = f"/api/v1/namespaces/{here.namespace}/secrets"
        copies = [each for each in api.list(secrets) if each["metadata"]["name"].startswith("wasme-pull-")]
        assert len(copies) == 1
        mark = here.plane.mark()
        for _ in range(50):
            assert here.holding.want(need, mine)
        assert not [event for event in here.plane.audit(mark) if event["objectRef"].get("resource") == "secrets"]
        until_true(here, lambda: here.holding.forget(namespace, "auth", mine.key))
        assert soon(lambda: not [e for e in api.list(secrets) if e["metadata"]["name"].startswith("wasme-pull-")])
        until_true(here, lambda: here.holding.want(need, mine))
        assert [each for each in api.list(secrets) if each["metadata"]["name"].startswith("wasme-pull-")]
    finally:
        kubelets.stop()


def test_renewed_password(
    place: Callable[..., Place], namespace: str, api: Api, nodes: Callable[..., Any], start_agent: Callable[..., Agent],
    faulty_registry: faulty.Registry, holds_image: Put, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A password that is renewed in the pull secret is copied once an agent is refused with the old one, by looks that
    only come when they are called for; while it stays wrong, the looks become fewer.
    """
    monkeypatch.setattr("wasme.operator.sharing._AGAIN", 0.5)
    here = place()
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
        until_true(here, lambda: here.holding.standing(need, {"alpha"}).complete, 20)
        faulty_registry.password = "renewed"
        agent.file(draft.module.digest).unlink()
        assert soon(lambda: "looking up" in str(here.holding.standing(need, {"alpha"}).missing), 15)
        assert here.holding.standing(need, {"alpha"}).again == 0, "what was copied long ago is copied at once"
        waits: list[float] = []

        def look() -> bool:
            """As a worker does: called, or when the last look said."""
            here.holding.want(need, mine)
            held = here.holding.standing(need, {"alpha"})
            assert held.complete or held.again is not None
            if held.again:
                waits.append(held.again)
                time.sleep(held.again)
            return held.complete

        assert soon(lambda: look() or len(waits) == 2)
        assert 0.5 < waits[0] <= 1 < waits[1] <= 2
        pull_secret(api, namespace, "pull", faulty_registry.host, "renewed")
        assert soon(look, 30)
        assert here.holding.standing(need, {"alpha"}).again is None
    finally:
        kubelets.stop()


def test_own_map_reaches_the_agents(place: Callable[..., Place], namespace: str) -> None:
    """Where the operator's own map leads a registry the list leads it, too; what stands there already stays."""
    here = place(own={"hub.example": "http://reg.example/a", "other.example": "b.example"})
    here.api.patch(f"{here.maps}/{NAME}", {"data": {"registryMap": "other.example: chosen.example"}})
    assert soon(lambda: "registryMap" in (here.stores.cache_config() or pytest.fail("none")).data)
    for host in ("hub.example", "other.example"):
        ref = f"{host}/demo/auth:v1"
        need = [FilterLine(namespace, "auth", ref, digest(1), digest(2))]
        until_true(here, lambda: here.holding.want(need, wanted(ref, namespace)))  # noqa: B023
    found = protocol.parse_registry_map(here.api.get(f"{here.maps}/{NAME}")["data"]["registryMap"])
    assert found == {"hub.example": "http://reg.example/a", "other.example": "chosen.example"}
