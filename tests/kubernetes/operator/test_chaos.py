"""Killed at any moment of a change, cut off, contradicted: it comes right in the end, and nothing is left over."""

from __future__ import annotations

import copy
import itertools
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.fixtures.agents import soon
from tests.fixtures.fronts import Asked, Front
from tests.fixtures.operators import Operator
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.api import ApiRefused
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.history import History
from tests.kubernetes.meshes import USER_VOLUME, Pushed, deployment, push
from tests.kubernetes.operator.test_holding_secrets import pull_secret
from tests.kubernetes.operator.world import World, configuration
from wasme.image.reference import Reference

MANY = 50
CONTRADICTED = {"PUT": r"/(deployments|configmaps|envoyfilters|status)", "PATCH": r"/(deployments|envoyfilters)/"}
OWN_VOLUME = '[{"name":"own","emptyDir":{}}]'


def _workloads(world: World, count: int = MANY) -> None:
    for number in range(count):
        own = {USER_VOLUME: OWN_VOLUME} if number % 5 == 0 else {}
        world.api.create(deployment(f"web-{number:02}", world.namespace, labels={"tier": "web"}, annotations=own))


def _templates(world: World) -> dict[str, Any]:
    found = world.api.list(f"/apis/apps/v1/namespaces/{world.namespace}/deployments")
    return {each["metadata"]["name"]: each["spec"]["template"] for each in found}


class Change:
    """One change of 50 objects, and how anybody sees that it is done.

    Attributes:
        name: what it is.
        make: makes it.
        done: whether it is as wanted, all of it.
    """

    def __init__(self, name: str, make: Callable[[], Any], done: Callable[[], bool]) -> None:
        self.name = name
        self.make = make
        self.done = done


class Rounds:
    """Changes of one FilterDeployment over 50 workloads, one after the other: all appear, all change, all go."""

    def __init__(self, world: World, one: Pushed, other: Pushed) -> None:
        self.world = world
        _workloads(world)
        pull_secret(world.api, world.namespace, "pull", Reference.parse(one.name).domain, "secret")
        self.bare = _templates(world)
        self.count = 0
        self.images = (one, other)

    def next(self) -> Change:
        """The next of them; four make a round."""
        self.count += 1
        one, other = self.images
        kinds = {
            0: Change("apply", lambda: self._apply(one, "first"), lambda: self._all(one, "first")),
            1: Change("configure", lambda: self._apply(one, "second"), lambda: self._all(one, "second")),
            2: Change("move", lambda: self._apply(other, "second"), lambda: self._all(other, "second")),
            3: Change("delete", self._delete, self._gone),
        }
        return kinds[(self.count - 1) % 4]

    def all(self, seconds: float) -> None:
        """One round, each change of it done in so many seconds."""
        for _ in range(4):
            change = self.next()
            change.make()
            wait_until(change.done, seconds, lambda change=change: self.told(change))  # type: ignore[misc]

    def told(self, change: Change) -> str:
        """What is there, where a change is not done."""
        return f"{change.name}: {self.world.status('web')} {self.world.cache()} {self.world.copies()}"

    def _apply(self, image: Pushed, word: str) -> None:
        self.world.apply("web", image.name, {"tier": "web"}, filter={"config": word, "pullSecret": "pull"})

    def _all(self, image: Pushed, word: str) -> bool:
        if not self.world.is_("web", "Ready", "Degraded=False"):
            return False
        texts = [configuration(each) for each in self.world.filters().values()]
        module = image.module.removeprefix("sha256:")
        assert len(texts) == MANY, len(texts)
        assert all(word in text and module in text for text in texts)
        assert all("wasme-cache" in template["metadata"]["annotations"][USER_VOLUME]
                   for template in _templates(self.world).values())  # fmt: skip
        lines = self.world.cache()["filters"].splitlines()
        return len(lines) == 1 and module in lines[0] and "pending" not in lines[0]

    def _delete(self) -> None:
        self.world.api.delete(self.world.path("web"))

    def _gone(self) -> bool:
        if self.world.get(self.world.path("web")) or self.world.copies():  # of its pull secret
            return False
        assert self.world.leftovers() == []
        assert _templates(self.world) == self.bare
        return True


@contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Something goes on in a thread, until the event that it is given."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _is_part(asked: Asked) -> bool:
    """Whether a write belongs to the change: neither the lease nor an Event is."""
    return not re.search(r"/(leases|events)\b", asked.path)


class Killer:
    """Kills an operator at the n-th write of a change: just before the server sees it, or before its answer comes."""

    def __init__(self, door: Front, operator: Operator) -> None:
        self._operator = operator
        self._lock = threading.Lock()
        self.at = 0
        self.early = True
        self.seen = 0
        self.where = ""
        door.before = lambda asked: self._look(asked, early=True)
        door.after = lambda asked: self._look(asked, early=False)

    def arm(self, at: int, *, early: bool) -> None:
        """Count anew; 0 lets it live."""
        with self._lock:
            self.at, self.early, self.seen, self.where = at, early, 0, ""

    def _look(self, asked: Asked, *, early: bool) -> bool:
        with self._lock:
            if not _is_part(asked):
                return bool(self.where) and early
            if early:
                self.seen += 1
            if self.where:  # it is dead: what its threads had still sent is lost, too
                return early
            if not self.at or self.seen < self.at or early != self.early:  # answers come in another order
                return False
            self._operator.kill()
            self.where = f"{'before' if early else 'after'} {asked.method} {asked.path.partition('?')[0]}"
            return True


@pytest.mark.parametrize("moments", [20, pytest.param(100, marks=pytest.mark.soak)])
def test_killed_at_any_moment(world: World, door: Front, docker_registry: DockerRegistry, moments: int) -> None:
    """kill -9 between the first and the last write of a change of 50 objects; the next one finishes it.

    No pod is ever selected by a filter whose file it would not see, whatever moment it was.
    """
    rounds = Rounds(world, push(docker_registry), push(docker_registry, seed=3))
    # The lease is the same process' again, so nobody waits for its time; a short one would be lost at times.
    operator = world.operator(short=False, kubeconfig=door.kubeconfig)
    killer = Killer(door, operator)
    history = History(world.plane, world.namespace)
    lengths: dict[str, int] = {}
    for _ in range(4):
        change = rounds.next()
        killer.arm(0, early=True)
        change.make()
        wait_until(change.done, 90, lambda change=change: f"{change.name}: {world.status('web')}")  # type: ignore[misc]
        lengths[change.name] = killer.seen
    print("writes of each change:", lengths)
    assert all(length >= MANY for length in lengths.values())
    chance = random.Random(50)
    begun = time.monotonic()
    late = 0
    for moment in range(moments):
        change = rounds.next()
        # Spread over the whole of it, drawn within each part, so that all moments are met and each run is the same.
        part, parts = moment // 4, max(1, moments // 4)
        at = 1 + int((part % parts + chance.random()) / parts * (lengths[change.name] - 1))
        killer.arm(at, early=moment % 2 == 0)
        change.make()
        # How many writes a change takes is not always the same: it may be done before that many.
        wait_until(lambda: killer.where or change.done(), 60, lambda: f"{change.name}: {killer.seen} of {at} writes")  # noqa: B023
        late += not killer.where
        where = killer.where or f"after {killer.seen} writes"
        operator.kill()
        killer.arm(0, early=True)
        operator.start(wait=False)
        wait_until(change.done, 90, lambda: f"{change.name} killed {where}: {world.status('web')}\n{operator.told()}")  # noqa: B023
        assert not [line for line in operator.log if "Traceback" in line]
    assert late <= moments // 5, f"{late} changes were done already"
    print(f"{moments} moments, {late} late, {(time.monotonic() - begun) / moments:.1f} s each")
    if world.get(world.path("web")):
        world.delete("web")
    assert _templates(world) == rounds.bare
    assert world.leftovers() == []
    history.end()
    print(f"{history.require_safe()} states, all safe")


def test_the_api_server_is_restarted(world: World, docker_registry: DockerRegistry) -> None:
    """Killed in the middle of each change and started again, without any good-bye."""
    rounds = Rounds(world, push(docker_registry), push(docker_registry, seed=4))
    operator = world.operator()
    for number in range(4):
        change = rounds.next()
        since = world.plane.mark()
        change.make()
        wait_until(lambda since=since: len(world.writes(since)) > 5, 60, "nothing is written")  # type: ignore[misc]
        world.plane.kill()
        time.sleep(0.3 * number)
        world.plane.start()

        def done(change: Change = change) -> bool:
            with suppress(ApiRefused, OSError):
                return change.done()
            return False

        wait_until(done, 90, lambda change=change: f"{change.name}: {world.status('web')}")  # type: ignore[misc]
    assert operator.running
    assert not [line for line in operator.log if "Traceback" in line]


def test_the_api_server_stands_still(world: World, docker_registry: DockerRegistry) -> None:
    """Every connection is open and nothing is answered for longer than a lease lasts: it stops, and goes on."""
    rounds = Rounds(world, push(docker_registry), push(docker_registry, seed=5))
    operator = world.operator()
    change = rounds.next()
    since = world.plane.mark()
    change.make()
    wait_until(lambda: len(world.writes(since)) > 5, 60, "nothing is written")
    world.plane.pause()
    try:
        time.sleep(7)
    finally:
        world.plane.resume()
    wait_until(change.done, 90, lambda: f"{world.status('web')}\n{operator.told()}")


def test_watches_are_cut_and_histories_forgotten(world: World, door: Front, docker_registry: DockerRegistry) -> None:
    """Every watch is cut again and again, lists and watches are answered 410 and 500, etcd forgets its history."""
    rounds = Rounds(world, push(docker_registry), push(docker_registry, seed=6))
    operator = world.operator(kubeconfig=door.kubeconfig)

    def disturb(ended: threading.Event) -> None:
        chance = random.Random(3)
        count = 0
        while not ended.wait(0.2):
            count += 1
            door.answered()  # what nobody has asked for meanwhile: else there would be no good answer any more
            # Nor would there be one for whoever asks more and more seldom, if this never rested.
            if count % 12 > 5:
                continue
            door.cut(chance.choice(["", "deployments", "envoyfilters", "filterdeployments"]))
            door.answer(r"watch=", chance.choice([410, 500, 429, 503]), times=2, reason="Expired")
            door.answer(r"limit=", chance.choice([410, 500]), times=1, reason="Expired")
            with suppress(Exception):
                world.plane.compact()

    with beside(disturb):
        rounds.all(90)
    assert operator.running
    assert not [line for line in operator.log if "Traceback" in line]


def test_a_watch_from_a_forgotten_place(world: World, door: Front, image: Pushed) -> None:
    """Etcd is compacted while the operator is cut off: 410 Gone, a new list, and what changed meanwhile is seen."""
    world.workload("web")
    world.workload("lost", labels={"app": "web"})
    world.apply("web", image.name)
    world.operator(kubeconfig=door.kubeconfig)
    world.wait("web", "Ready")
    door.answer("watch=", 503, times=10_000)
    wait_until(lambda: not door.cut() and door.left() < 10_000, 30, "it goes on watching")
    world.api.delete(world.deployment("lost"))
    world.workload("more", labels={"app": "web"})
    for _ in range(3):
        world.api.patch(world.deployment("web"), {"metadata": {"annotations": {"x": str(time.monotonic())}}})
    world.plane.compact()
    door.answered()
    wanted = {world.carrier(name, "web") for name in ("web", "more")}
    wait_until(lambda: set(world.filters()) == wanted, 40, lambda: f"{list(world.filters())}")
    world.wait("web", "Ready")


def test_conflicts(world: World, door: Front, docker_registry: DockerRegistry) -> None:
    """Somebody edits all the same objects all the while, and one in five writes is answered 409."""
    rounds = Rounds(world, push(docker_registry), push(docker_registry, seed=8))
    world.operator(kubeconfig=door.kubeconfig)
    config_map = f"/api/v1/namespaces/{world.own}/configmaps/wasme-cache"

    def meddle(ended: threading.Event) -> None:
        chance = random.Random(9)
        count = 0
        took = 0.0
        while not ended.wait(took):  # as long as it writes it rests, so that others come in between
            begun = time.monotonic()
            count += 1
            name = f"web-{chance.randrange(MANY):02}"
            mark = {"metadata": {"annotations": {"touched": str(count)}}}
            for path in (world.deployment(name), config_map, world.path("web"),
                         world.envoy_filter(world.carrier(name, "web"))):  # fmt: skip
                with suppress(ApiRefused):
                    world.api.patch(path, mark)
            took = time.monotonic() - begun

    numbers = itertools.count(1)

    def contradict(asked: Asked) -> bool:
        pattern = CONTRADICTED.get(asked.method)
        if pattern and re.search(pattern, asked.path) and next(numbers) % 5 == 0:
            door.answer(re.escape(asked.path), 409, method=asked.method, reason="Conflict")
        return False

    door.before = contradict
    with beside(meddle):
        rounds.all(90)


def test_writes_and_answers_are_lost(world: World, door: Front, docker_registry: DockerRegistry) -> None:
    """One in eight writes never arrives, one in eight is done and its answer lost: nothing is done twice or half."""
    rounds = Rounds(world, push(docker_registry), push(docker_registry, seed=9))
    chance = random.Random(12)
    lock = threading.Lock()

    def lose(_: Asked) -> bool:
        with lock:
            return chance.random() < 1 / 8

    door.before = door.after = lose
    operator = world.operator("--lease-duration=15s", "--renew-deadline=10s", short=False, kubeconfig=door.kubeconfig)
    rounds.all(90)
    assert not [line for line in operator.log if "Traceback" in line]


def test_two_at_once_with_many_objects(world: World, docker_registry: DockerRegistry) -> None:
    """Thirty FilterDeployments on the same five workloads, applied and deleted together, twice: no mark stays."""
    pushed = push(docker_registry)
    _workloads(world, 5)
    before = copy.deepcopy(_templates(world))
    world.operator()
    for turn in range(2):
        names = [f"f{turn}-{number:02}" for number in range(30)]
        for name in names:
            world.apply(name, pushed.name, {"tier": "web"})
        for name in names:
            world.wait(name, "Ready", seconds=90)
        assert len(world.filters()) == 30 * 5
        for name in names:
            world.api.delete(world.path(name))
        assert soon(lambda names=names: not any(world.get(world.path(name)) for name in names), 90)  # type: ignore[misc]
        assert not world.filters()
        assert not world.cache()
        assert _templates(world) == before
