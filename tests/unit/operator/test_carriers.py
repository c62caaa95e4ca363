"""Packed carriers answer as ``Existing`` does, whatever has changed before, and are small."""

from __future__ import annotations

import copy
import random
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.deploy.istio.test_existing import FILE, applied, envoy_filter, ours
from wasme.deploy.cluster.kinds import DEPLOYMENT, ENVOY_FILTER, STATEFUL_SET, WASM_PLUGIN
from wasme.deploy.istio.existing import Existing, Known
from wasme.deploy.istio.target import filter_label
from wasme.operator.informers.carriers import Carriers, Packed, entries, pack
from wasme.operator.informers.store import Seen, Store
from wasme.operator.resources.wanted import Key

LONG = "a-filter-whose-id-is-much-longer-than-the-sixty-three-characters-of-a-label"
IDS = ("test", "my-test", LONG)


def stores() -> dict[str, Store[Packed]]:
    return {kind.kind: Store(entries) for kind in (ENVOY_FILTER, WASM_PLUGIN)}


def seen(obj: dict[str, Any]) -> Seen[Packed]:
    meta = obj["metadata"]
    return Seen(Key(meta["namespace"], meta["name"]), meta["uid"], meta["resourceVersion"], pack(obj))


def odd(rand: random.Random, name: str) -> dict[str, Any]:
    """A carrier, or something like one, with some of its marks taken away."""
    filter_id = rand.choice(IDS)
    workload = rand.choice(("web", "api", "web-my"))
    obj = ours(workload, rand.choice(("Deployment", "StatefulSet")), filter_id)
    obj["metadata"]["labels"]["wasme.io/filter"] = filter_label(filter_id)
    match rand.randrange(7):
        case 0:
            obj = applied(obj)
            del obj["metadata"]["labels"]
            del obj["metadata"]["annotations"]
            obj["spec"]["configPatches"].append({"patch": {"value": {"name": filter_id}}})
        case 1:
            del obj["metadata"][rand.choice(("labels", "annotations"))]
            obj = applied(obj) if rand.random() < 0.5 else obj
        case 2:
            obj["metadata"]["annotations"].pop("wasme.io/workload")
        case 3:
            obj["metadata"]["annotations"] = {"wasme.io/id": filter_id, "wasme.io/workload": ""}
            obj["kind"], obj["apiVersion"] = "WasmPlugin", WASM_PLUGIN.api_version
        case 4:
            obj = envoy_filter("somebody's", rand.choice(({}, {"app": "web"}, {"app": "api", "version": "v1"})))
        case 5:
            obj = envoy_filter("no-file", {"app": "web"}, file="/elsewhere")
    obj = copy.deepcopy(obj)
    obj["metadata"]["name"] = rand.choice((name, obj["metadata"]["name"]))
    obj["metadata"]["namespace"] = rand.choice(("n", "m"))
    return obj


def answers(known: Known) -> list[Any]:
    told: list[Any] = []
    for filter_id in (*IDS, "none"):
        found = [known.of_filter(filter_id)]
        for namespace in "nm":
            found.append(known.of_targets(filter_id, namespace))
            for kind in (DEPLOYMENT, STATEFUL_SET):
                found += [
                    known.of_workload(filter_id, kind, namespace, name) for name in ("web", "api", "web-my", "no")
                ]
        told += [sorted((each.namespace, each.name, each.workload, each.uid) for each in some) for some in found]
    for namespace in "nm":
        for labels in ({}, {"app": "web"}, {"app": "api"}, {"app": "api", "version": "v1", "x": "y"}):
            told.append(sorted(known.cache_users(namespace, labels)))
    return told


@pytest.mark.parametrize("seed", range(20))
def test_the_answers_are_those_of_existing(seed: int) -> None:
    """After each of many changes, own writes and deletions among them, every question has the same answer."""
    rand = random.Random(seed)
    by_kind = stores()
    carriers = Carriers(by_kind)
    there: dict[tuple[str, str, str], dict[str, Any]] = {}
    for version in range(1, 121):
        obj = odd(rand, f"x{rand.randrange(12)}")
        obj["metadata"]["resourceVersion"] = str(version)
        key = (obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])
        store = by_kind[obj["kind"]]
        if rand.random() < 0.3:
            gone = there.pop(key, None)
            if gone is not None:
                forget: Callable[..., Any] = store.drop if rand.random() < 0.5 else store.gone
                forget(Key(*key[1:]), gone["metadata"]["uid"], *([str(version)] if forget == store.gone else []))
        else:
            obj["metadata"]["uid"] = there[key]["metadata"]["uid"] if key in there else f"made-at-{version}"
            there[key] = obj
            (store.put if rand.random() < 0.5 else store.seen)(seen(obj))
        if version % 5 == 0:
            assert answers(carriers) == answers(Existing(there.values()))
    assert answers(carriers.within("n", "m")) == answers(carriers)
    only = [each.namespace for each in carriers.within("n").of_filter("test")]
    assert set(only) <= {"n"}
    for key, obj in there.items():
        assert carriers.find(ENVOY_FILTER if key[0] == "EnvoyFilter" else WASM_PLUGIN, *key[1:]) == obj
    for (kind, *place), obj in there.items():
        by_kind[kind].drop(Key(*place), obj["metadata"]["uid"])
    assert carriers._users._under == {}
    assert [store._index for store in by_kind.values()] == [{}, {}]


def test_what_a_filter_deployment_controls() -> None:
    """The ids of what a FilterDeployment controls are found by its name, as long as it controls it."""
    by_kind = stores()
    carriers = Carriers(by_kind)
    obj = ours("web")
    owner = {"apiVersion": "wasme.io/v1", "kind": "FilterDeployment", "name": "auth", "uid": "u", "controller": True}
    obj["metadata"] |= {"resourceVersion": "1", "ownerReferences": [owner]}
    by_kind["EnvoyFilter"].seen(seen(obj))
    assert carriers.owned(Key("n", "auth")) == {"test"}
    assert carriers.owned(Key("m", "auth")) == set()
    obj["metadata"] |= {"resourceVersion": "2", "ownerReferences": [owner | {"controller": False}]}
    by_kind["EnvoyFilter"].seen(seen(obj))
    assert carriers.owned(Key("n", "auth")) == set()


def many(number: int) -> dict[str, Any]:
    """One of thousands, of the size of a real one."""
    obj = applied(ours(f"web-{number}", filter_id=f"auth-{number % 1000}"))
    obj["metadata"]["resourceVersion"] = str(number + 1)
    obj["metadata"]["uid"] = f"00000000-0000-0000-0000-{number:012}"
    obj["spec"]["workloadSelector"]["labels"] |= {"version": "v1", "wasme.io/cache": "wasme-cache"}
    obj["spec"]["more"] = [f"{part}-{number}-{'x' * 40}" for part in range(40)]
    return obj


def test_thousands_are_small_and_quick() -> None:
    """3,000 carriers take less than 25 MB; one that changes, and a workload that asks, are not slower for it."""
    by_kind = stores()
    carriers = Carriers(by_kind)
    store = by_kind["EnvoyFilter"]
    tracemalloc.start()
    try:
        for number in range(3000):
            store.seen(seen(many(number)))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 25e6
    ready = [many(number) for number in range(300)]
    for obj in ready:
        obj["metadata"]["resourceVersion"] = "9999"
    values = [seen(obj) for obj in ready]
    began = time.thread_time()
    for value in values:
        store.seen(value)
    assert (time.thread_time() - began) / 300 < 0.001
    began = time.thread_time()
    for number in range(300):
        labels = {"app": f"web-{number}", "version": "v1", "wasme.io/cache": "wasme-cache"}
        assert carriers.cache_users("n", labels) == [f"web-{number}-auth-{number % 1000}"]
        assert len(carriers.of_workload(f"auth-{number}", DEPLOYMENT, "n", f"web-{number}")) == 1
    assert (time.thread_time() - began) / 300 < 0.003
    assert FILE in str(store.by(("n", "auth-7"))[0].object)
