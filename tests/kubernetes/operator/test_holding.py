"""The cache's list and the nodes as the operator works with them, on a real API server."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures import faulty
from tests.fixtures.agents import Agent, soon
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.node_agents import NodeAgents
from tests.kubernetes.operator.cache_place import NAME, Place, line, line_of, until_true
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.protocol import FilterLine, ImageStatus
from wasme.deploy.cache.registration import register
from wasme.errors import CacheError, LeadershipLost
from wasme.image.layouts import Draft
from wasme.operator.nodecache import gates
from wasme.operator.nodecache.commits import BURST, STEP, Commits
from wasme.operator.nodecache.holding import Holding
from wasme.operator.resources.wanted import Key

Put = Callable[..., Draft]


def test_a_thousand_filters(cache_place: Callable[..., Place]) -> None:
    """A thousand FilterDeployments in eight workers get their lines, first pending and then needed, by tens of writes
    of the list; each key is called, and no line is lost although somebody else writes at the same time.
    """
    here = cache_place()
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
        each.join(120)
    meddler.join(120)
    assert len(done) == 1000
    took = time.monotonic() - begun
    assert took < 60
    assert here.holding.commits.writes <= BURST + took / STEP + 1, here.holding.commits.writes
    assert set(here.lines) >= {each.text for each in keys.values()}
    assert sum(each.startswith("bank/") for each in here.lines) == 30
    assert here.plane.audit(mark)


def test_at_rest(cache_place: Callable[..., Place]) -> None:
    """Where all is as wanted, nothing is asked for or written, however often it is looked at."""
    here = cache_place()
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


def test_one_filter_is_quick(cache_place: Callable[..., Place]) -> None:
    """One filter alone waits for nobody: pending, needed and another image's line gone in well under a second."""
    here = cache_place()
    old = line("auth", 1)
    here.holding.waiting(Key("shop", "auth"), [old])
    until_true(here, lambda: here.holding.want([old]) and here.holding.activate([old]))

    def replace(new: FilterLine) -> float:
        """Seconds that it takes."""
        here.holding.waiting(Key("shop", "auth"), [new])
        begun = time.monotonic()
        until_true(here, lambda: here.holding.want([new]) and here.holding.activate([new]))
        until_true(here, lambda: here.holding.keep("shop", "auth", [new]))
        took = time.monotonic() - begun
        assert here.lines == [new.text]
        return took

    took = [replace(line("auth", 2))]
    while min(took) >= 0.7 and len(took) < 3:  # once may be the machine's fault
        time.sleep(BURST + 1)  # until as many writes may go out at once
        took.append(replace(line("auth", 2 + len(took))))
    assert min(took) < 0.7, took
    until_true(here, lambda: here.holding.forget("shop", "auth", Key("shop", "auth")))
    assert here.lines == []


def test_no_list(cache_place: Callable[..., Place]) -> None:
    """Without a cache it is told what makes one; when it comes, those who need it are called; removing needs none."""
    here = cache_place(install=False)
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
    assert here.queue.get(timeout=30) == key
    until_true(here, lambda: here.holding.want(need))
    assert here.lines == [f"{need[0].text} pending"]


def test_edited_by_hand(cache_place: Callable[..., Place]) -> None:
    """Whose line somebody takes away is called, and puts it back; others are not. When the whole ConfigMap is deleted
    and made anew, all are.
    """
    here = cache_place()
    one, two = line("one", 1), line("two", 2)
    keys = {Key("shop", "one"): one, Key("shop", "two"): two}
    for key, need in keys.items():
        here.holding.waiting(key, [need])
        until_true(here, lambda need=need: here.holding.want([need]) and here.holding.activate([need]))  # type: ignore[misc]
    assert here.holding.commits.join(30)  # until it has called who was to be called
    here.called.clear()
    here.api.patch(f"{here.maps}/{NAME}", {"data": {"filters": two.text + "\n# by hand"}})
    assert soon(lambda: here.called == [Key("shop", "one")])
    until_true(here, lambda: here.holding.want([one]) and here.holding.activate([one]))
    assert here.lines == [two.text, "# by hand", one.text]
    assert here.holding.commits.join(30)
    here.called.clear()
    here.api.delete(f"{here.maps}/{NAME}")
    assert soon(lambda: set(here.called) == set(keys))
    with pytest.raises(CacheError):
        here.holding.want([one])
    here.called.clear()
    ensure(here.cluster, here.options)
    assert soon(lambda: set(here.called) == set(keys))
    for need in keys.values():
        until_true(here, lambda need=need: here.holding.want([need]) and here.holding.activate([need]))  # type: ignore[misc]
    assert set(here.lines) == {one.text, two.text}


def test_list_that_was_replaced_unseen(cache_place: Callable[..., Place]) -> None:
    """A write for a ConfigMap that meanwhile was deleted and made anew goes to the new one, and loses nothing of it."""
    here = cache_place()
    stale = here.stores.cache_config()
    assert stale
    here.api.delete(f"{here.maps}/{NAME}")
    ensure(here.cluster, here.options)
    theirs, ours = line("cli", 9, "bank"), line("auth")
    register(here.cluster, here.options, [theirs]).activate()
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    commits = Commits(
        here.cluster, here.options, known=lambda: stale, stored=here.stores.put, done=done.put,
        sweep=lambda *_: None,
    )  # fmt: skip
    commits.submit(lambda intents: intents.want([ours], active=True))
    assert done.get(timeout=30) == {("shop", "auth"): None}
    assert here.lines == [theirs.text, ours.text]


def test_refused_writes_are_told(cache_place: Callable[..., Place]) -> None:
    """Who may not write any more is told so at his next word, and it goes on when he may."""
    here = cache_place()
    leads = False

    def check() -> None:
        if not leads:
            raise LeadershipLost("somebody else leads")

    holding = Holding(here.cluster.guarded(check), here.stores, here.options, here.call)
    key, need = Key("shop", "auth"), [line("auth")]
    holding.waiting(key, need)
    assert not holding.want(need)
    assert here.queue.get(timeout=30) == key
    with pytest.raises(LeadershipLost):
        holding.want(need)
    assert here.lines == []
    leads = True
    until_true(here, lambda: holding.want(need))


def test_gate_waits_for_nodes_that_live(
    cache_place: Callable[..., Place], nodes: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activating goes on as soon as the last node without the module has read so; one whose agent lives and does not
    answer is waited for some seconds, one without an agent hardly at all.
    """
    slow = gates.SLOW
    monkeypatch.setattr(gates, "SLOW", 60.0)
    here = cache_place()
    nodes("alpha", "beta")
    need = [line("auth")]
    here.holding.waiting(Key("shop", "auth"), need)
    until_true(here, lambda: here.holding.want(need))
    here.tell("alpha", "1", ImageStatus(need[0].ref, need[0].manifest, need[0].module, 9, held=True))
    here.tell("beta", "1")
    here.agent_pod("beta")
    assert soon(lambda: len(here.stores.told.store.all()) == 2 and "beta" in here.stores.agents())
    begun = time.monotonic()
    assert not here.holding.activate(need)
    assert soon(lambda: here.lines == [need[0].text])
    version = here.api.get(f"{here.maps}/{NAME}")["metadata"]["resourceVersion"]
    assert not here.holding.activate(need)
    time.sleep(1.3)
    assert not here.holding.activate(need), "it lives, so it is waited for"
    here.called.clear()
    here.tell("beta", version)
    assert soon(lambda: here.called)
    assert here.holding.activate(need)
    assert time.monotonic() - begun < 40
    # Another one, and nobody answers.
    more = [line("more", 2)]
    here.holding.waiting(Key("shop", "more"), more)
    until_true(here, lambda: here.holding.want(more))
    here.agent_pod("beta", ready=False)
    assert soon(lambda: not here.stores.agents()["beta"].ready)
    begun = time.monotonic()
    until_true(here, lambda: here.holding.activate(more))
    assert 0.9 < time.monotonic() - begun < 20
    monkeypatch.setattr(gates, "SLOW", slow)
    here.agent_pod("beta")
    assert soon(lambda: here.stores.agents()["beta"].ready)
    last = [line("last", 3)]
    here.holding.waiting(Key("shop", "last"), last)
    until_true(here, lambda: here.holding.want(last))
    begun = time.monotonic()
    until_true(here, lambda: here.holding.activate(last))
    assert 5 < time.monotonic() - begun < 20


def test_with_real_agents(
    cache_place: Callable[..., Place], nodes: Callable[..., Any], start_agent: Callable[..., Agent],
    faulty_registry: faulty.Registry, holds_image: Put, api: Api, control_plane: ControlPlane,
) -> None:  # fmt: skip
    """From nothing to all nodes, by real agents that are probed; then an agent that stands still, a file that is
    spoiled and a node that is lost are each told within seconds, and the key is called.
    """
    import signal

    here = cache_place()
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
        turns(complete=False, within=12)
        assert "does not live" in dict(here.holding.standing(need, both).missing)["alpha"]
        kubelets.agents["alpha"].send(signal.SIGCONT)
        turns(complete=True, within=30)

        go = threading.Event()  # until then it is not pulled again
        faulty_registry.fault("GET .*/blobs/", lambda handler: go.wait(60) and handler.normal())
        file = kubelets.agents["beta"].file(draft.module.digest)
        with file.open("r+b") as opened:
            opened.write(b"rotten")
        turns(complete=False, within=12)
        assert "disk" in dict(here.holding.standing(need, both).missing)["beta"]
        go.set()
        turns(complete=True, within=30)

        here.called.clear()
        nodes("beta", ready=False)
        assert soon(lambda: here.holding.standing(need, both).nodes == 1 and here.called)
        assert here.holding.standing(need, both).complete
        assert "not ready" in dict(here.holding.standing(need, both).missing)["beta"]
    finally:
        kubelets.stop()


def test_final(cache_place: Callable[..., Place], nodes: Callable[..., Any]) -> None:
    """That no node can ever pull it is told once all of them, having read the request, say so."""
    here = cache_place()
    nodes("alpha")
    here.agent_pod("alpha")
    need = [line("auth")]
    here.holding.waiting(Key("shop", "auth"), need)
    until_true(here, lambda: here.holding.want(need))
    gone = ImageStatus(need[0].ref, need[0].manifest, need[0].module, error="no such image", permanent=True)
    assert soon(here.stores.agents)
    here.tell("alpha", "1", gone)
    assert soon(here.stores.told.store.all)
    assert not here.holding.standing(need, ["alpha"]).final
    here.tell("alpha", here.api.get(f"{here.maps}/{NAME}")["metadata"]["resourceVersion"], gone)
    assert soon(lambda: here.holding.standing(need, ["alpha"]).final)
    assert here.holding.standing(need, ["alpha"]).missing == (("alpha", "no such image"),)
