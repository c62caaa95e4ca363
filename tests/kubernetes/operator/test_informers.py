"""Informers on a real API server: what they know is what is, through everything that servers and networks do."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.fronts import Front
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.samples import config_map
from tests.kubernetes.meshes import deployment
from wasme.deploy.cluster import Cluster, connect, lists, parallel
from wasme.deploy.cluster.kinds import CONFIG_MAP, DEPLOYMENT, ENVOY_FILTER
from wasme.operator.informers import echoes, facts
from wasme.operator.informers.informer import WINDOW, Informer

Object = dict[str, Any]
Data = tuple[str, ...]


@dataclass
class Followed:
    """An informer in its thread, and whom it called."""

    informer: Informer[Any]
    calls: list[tuple[str, Any, Any]] = field(default_factory=list)

    def knows(self, name: str, namespace: str) -> Any:
        return self.informer.store.get((namespace, name))

    def called(self, *expected: tuple[str, Any, Any], seconds: float = 30) -> None:
        """Wait for exactly these calls."""
        wait_until(lambda: len(self.calls) >= len(expected), seconds, lambda: f"called only {self.calls}")
        assert self.calls == list(expected)


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Iterator[Cluster]:
    with connect(control_plane.kubeconfig) as opened:
        yield opened


@pytest.fixture
def follow(control_plane: ControlPlane) -> Iterator[Callable[..., Followed]]:
    """``follow(kind, namespace)`` runs an informer, by a kubeconfig; all of them end with the test."""
    stop = threading.Event()
    threads: list[threading.Thread] = []
    with contextlib.ExitStack() as stack:

        def start(
            kind: Any = CONFIG_MAP, namespace: str | None = None, *, by: Path = control_plane.kubeconfig,
            wait: bool = True, **settings: Any,
        ) -> Followed:  # fmt: skip
            cluster = stack.enter_context(connect(by))
            informer = Informer(cluster, kind, namespace, **{"keep": _data, "window": 1.0, **settings})
            followed = Followed(informer)
            informer.subscribe(lambda key, before, after: followed.calls.append((key.name, before, after)))
            threads.append(threading.Thread(target=informer.run, args=(stop,)))
            threads[-1].start()
            if wait:
                assert informer.synced.wait(30)
            return followed

        yield start
        stop.set()
        for each in threads:
            each.join(10)


def theirs(cluster: Cluster, obj: Object) -> Object:
    """Somebody else writes an object."""
    return cluster.apply(obj, manager="others")


def _data(obj: Object) -> Data:
    return tuple((obj.get("data") or {}).values())


def _labels(obj: Object) -> Data:
    return tuple((obj["metadata"].get("labels") or {}).values())


def _rest(namespace: str) -> dict[str, Any]:
    """Namespaces get a ConfigMap of Kubernetes' own."""
    return {"namespace": namespace, "fields": "metadata.name!=kube-root-ca.crt"}


def test_a_list_then_changes(
    cluster: Cluster, namespace: str, follow: Callable[..., Followed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there comes page by page, each change as it happens, for hours of windows: nothing twice."""
    monkeypatch.setattr(lists, "PAGE", 7)
    for each in range(20):
        theirs(cluster, config_map(namespace, f"x{each:02}"))
    followed = follow(**_rest(namespace))
    assert len(followed.informer.store) == 20
    followed.calls.clear()
    for value in "23":
        theirs(cluster, config_map(namespace, "x07", a=value))
        time.sleep(2.2)  # from one window to the next
    cluster.delete(CONFIG_MAP, "x07", namespace)
    theirs(cluster, config_map(namespace, "new"))  # known for another's, so mostly told before the deletion
    wait_until(lambda: len(followed.calls) >= 4, 30, lambda: f"called only {followed.calls}")
    assert followed.calls[:2] == [("x07", ("1",), ("2",)), ("x07", ("2",), ("3",))]
    assert sorted(followed.calls[2:]) == [("new", None, ("1",)), ("x07", ("3",), None)]


def test_own_writes_call_nobody(
    cluster: Cluster, namespace: str, follow: Callable[..., Followed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many own writes at a time, which the watch mostly tells of before their answers are read, call nobody; nor do own
    deletions. They are known at once. What others write is told, and soon."""
    monkeypatch.setattr(echoes, "PATIENCE", 20.0)  # however late a thread reads its answer
    followed = follow(**_rest(namespace))

    def work(number: int) -> None:
        name = f"x{number}"
        for value in "12":
            made = cluster.apply(config_map(namespace, name, a=value))
            followed.informer.put(made)
            assert followed.knows(name, namespace) == (value,)
        if number % 2:
            cluster.delete(CONFIG_MAP, name, namespace)
            followed.informer.drop(made)
            assert followed.knows(name, namespace) is None

    parallel(work, range(60)).require()
    cluster.apply(config_map(namespace, "x0", a="theirs"), manager="others")
    followed.called(("x0", ("2",), ("theirs",)), seconds=10)
    assert len(followed.informer.store) == 30


def test_others_between_own_writes_are_told(cluster: Cluster, namespace: str, follow: Callable[..., Followed]) -> None:
    """What others write before an own write is answered is told, although it is in that answer."""
    followed = follow(**_rest(namespace))
    informer = followed.informer
    held = threading.Event()
    changed = informer._changed

    def late(change: str, obj: Object) -> None:
        assert held.wait(60)
        changed(change, obj)

    informer._changed = late  # type: ignore[method-assign]
    informer.put(cluster.apply(config_map(namespace)))
    cluster.apply(config_map(namespace, a="theirs"), manager="others")
    informer.put(cluster.patch(CONFIG_MAP, "x", namespace, {"data": {"b": "ours"}}))
    held.set()
    followed.called(("x", ("1",), ("theirs", "ours")))


@pytest.mark.parametrize("before", [True, False], ids=["before the answer is read", "after it"])
def test_a_list_with_a_change_of_others_and_an_own_one(
    cluster: Cluster, namespace: str, follow: Callable[..., Followed], door: Front, before: bool
) -> None:
    """A watch is cut, others write, then we do, and a list has both at once: theirs is told all the same, whichever
    comes first, the list or what our write was answered."""
    theirs(cluster, config_map(namespace))
    followed = follow(by=door.kubeconfig, **_rest(namespace))
    followed.calls.clear()
    informer = followed.informer
    path = f"/namespaces/{namespace}/configmaps"
    door.answer(path, 503, times=1000)
    # A watch may be on its way through the door at this moment.
    wait_until(lambda: not door.cut(path) and door.left() < 1000, 30, "it goes on watching")
    theirs(cluster, config_map(namespace, a="theirs"))
    ours = cluster.patch(CONFIG_MAP, "x", namespace, {"data": {"b": "ours"}})
    if not before:
        informer.put(ours)
        assert followed.knows("x", namespace) == ("theirs", "ours")
    informer.look()
    door.answered()
    wait_until(lambda: followed.knows("x", namespace) == ("theirs", "ours"), 40, "not known")
    if before:
        informer.put(ours)
    followed.called(("x", ("1",), ("theirs", "ours")))


def test_forced_relists_tell_nothing(
    cluster: Cluster, namespace: str, follow: Callable[..., Followed], control_plane: ControlPlane
) -> None:
    """New lists where nothing has changed call nobody and write nothing."""
    for each in range(30):
        theirs(cluster, config_map(namespace, f"x{each}"))
    followed = follow(**_rest(namespace))
    followed.calls.clear()
    mark = control_plane.mark()

    def asked() -> list[str]:
        return [event["verb"] for event in control_plane.audit(mark) if namespace in event["requestURI"]]

    for number in range(1, 4):
        followed.informer.look()
        cluster.get(CONFIG_MAP, "x0", namespace)
        wait_until(lambda number=number: asked().count("list") >= number, 30, "no new list")  # type: ignore[misc]
    assert set(asked()) == {"list", "watch", "get"}
    assert followed.calls == []


def test_a_forgotten_place(
    cluster: Cluster, namespace: str, follow: Callable[..., Followed], control_plane: ControlPlane,
    door: Front, api: Api,
) -> None:  # fmt: skip
    """A watch that is asked for from a place that is forgotten (410 Gone) makes a new list, which tells what was missed
    and nothing else."""
    for name in ("stays", "goes", "changes"):
        theirs(cluster, config_map(namespace, name))
    followed = follow(by=door.kubeconfig, **_rest(namespace))
    followed.calls.clear()
    path = f"/namespaces/{namespace}/configmaps.*watch=true"
    gone = '{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}'
    door.answer(path, 410, times=3, message=gone)
    wait_until(lambda: not door.left(), 30, "no watch came")
    cluster.delete(CONFIG_MAP, "goes", namespace)
    theirs(cluster, config_map(namespace, "changes", a="2"))
    theirs(cluster, config_map(namespace, "comes"))
    wait_until(lambda: len(followed.calls) >= 3, 30, lambda: str(followed.calls))
    assert sorted(followed.calls) == [
        ("changes", ("1",), ("2",)), ("comes", None, ("1",)), ("goes", ("1",), None),
    ]  # fmt: skip


def test_a_place_that_was_compacted_away(
    cluster: Cluster, namespace: str, follow: Callable[..., Followed], control_plane: ControlPlane
) -> None:
    """The server is away, comes back with a history that begins later, and the informer knows what is, and tells of
    each object once."""
    for name in ("stays", "goes", "changes"):
        theirs(cluster, config_map(namespace, name))
    followed = follow(**_rest(namespace))
    followed.calls.clear()
    control_plane.pause()
    time.sleep(0.2)
    control_plane.resume()
    cluster.delete(CONFIG_MAP, "goes", namespace)
    control_plane.kill()
    control_plane.compact()
    control_plane.start()
    with connect(control_plane.kubeconfig) as fresh:
        theirs(fresh, config_map(namespace, "changes", a="2"))
    wait_until(lambda: len(followed.calls) >= 2, 60, lambda: str(followed.calls))
    assert sorted(followed.calls) == [("changes", ("1",), ("2",)), ("goes", ("1",), None)]
    wait_until(
        lambda: time.monotonic() - followed.informer.heard < 4 and not followed.informer.problem, 30,
        lambda: f"nothing is heard: {followed.informer.problem}",
    )  # fmt: skip


def test_a_frozen_watch(
    cluster: Cluster, namespace: str, follow: Callable[..., Followed], control_plane: ControlPlane, door: Front
) -> None:
    """One watch stands still, its connection open and silent: a change is known within some seven seconds, and
    ``heard`` tells how old is what is known."""
    followed = follow(by=door.kubeconfig, **_rest(namespace), window=WINDOW)
    path = f"/namespaces/{namespace}/configmaps.*watch=true"
    for _ in range(2):
        followed.calls.clear()
        wait_until(lambda: door.freeze(path), 30, "no watch")
        name = f"x{time.monotonic_ns()}"
        theirs(cluster, config_map(namespace, name))
        began = time.monotonic()
        heard = followed.informer.heard
        followed.called((name, None, ("1",)), seconds=9)
        assert time.monotonic() - began < 10
        wait_until(lambda heard=heard: followed.informer.heard > heard, 5, "not heard of")  # type: ignore[misc]
        door.thaw()


def test_watches_that_are_cut(cluster: Cluster, namespace: str, follow: Callable[..., Followed], door: Front) -> None:
    """Connections that are cut again and again, with a change each time: each change is told, once and in order."""
    followed = follow(by=door.kubeconfig, **_rest(namespace))
    for value in map(str, range(10)):
        theirs(cluster, config_map(namespace, a=value))
        door.cut(f"/namespaces/{namespace}/configmaps.*watch=true")
        wait_until(lambda value=value: followed.knows("x", namespace) == (value,), 30, "not told")  # type: ignore[misc]
    after = [after for _, _, after in followed.calls]
    assert after == sorted(set(after)), "each once, in order"
    assert all(before == earlier for (_, before, _), earlier in zip(followed.calls[1:], after, strict=False))


def test_a_server_that_restarts(
    cluster: Cluster, namespace: str, follow: Callable[..., Followed], control_plane: ControlPlane,
    serve: Callable[..., None],
) -> None:  # fmt: skip
    """Through a kill and a new start nothing is told that did not happen, of kinds that a CRD brings as well, which a
    server knows last; what happens afterwards is told."""
    serve("istio/1.30.3")
    theirs(cluster, config_map(namespace))
    theirs(cluster, _envoy_filter(namespace, "own"))
    maps, filters = follow(**_rest(namespace)), follow(ENVOY_FILTER, namespace, keep=_labels)
    maps.calls.clear()
    filters.calls.clear()
    for _ in range(2):
        control_plane.kill()
        time.sleep(0.3)
        control_plane.start()
        time.sleep(1)
    with connect(control_plane.kubeconfig) as fresh:
        theirs(fresh, config_map(namespace, a="2"))
        theirs(fresh, _envoy_filter(namespace, "second"))
    maps.called(("x", ("1",), ("2",)), seconds=60)
    filters.called(("second", None, ()), seconds=60)
    assert filters.informer.served


def test_metadata_alone(
    cluster: Cluster, namespace: str, follow: Callable[..., Followed], api: Api, door: Front
) -> None:
    """Of workloads only metadata is sent, in lists and in watches; their kind is told all the same, and a new status
    calls nobody."""
    api.create(deployment("first", namespace))
    seen: list[Object] = []

    def keep(obj: Object) -> facts.WorkloadMeta:
        seen.append(obj)
        return facts.workload(obj)

    followed = follow(DEPLOYMENT, namespace, keep=keep, metadata=True)
    api.create(deployment("second", namespace))
    wait_until(lambda: followed.knows("second", namespace), 30, "not told")
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/second"
    before = len(seen)
    api.patch(f"{path}/status", {"status": {"replicas": 3}})
    wait_until(lambda: len(seen) > before, 30, "no event of the status")
    assert [set(each) for each in seen] == [{"apiVersion", "kind", "metadata"}] * len(seen)
    assert {(each["apiVersion"], each["kind"]) for each in seen} == {("apps/v1", "Deployment")}
    assert [name for name, _, _ in followed.calls] == ["first", "second"]
    meta = followed.knows("second", namespace)
    assert (meta.kind, meta.namespace, meta.name, meta.generation) == ("Deployment", namespace, "second", 1)
    listed = cluster.list(DEPLOYMENT, namespace, metadata=True)
    assert all("spec" not in each and each["kind"] == "Deployment" for each in listed)
    (change,) = [
        obj for _, obj in zip(range(1), (obj for _, obj in cluster.watch(
            DEPLOYMENT, namespace, seconds=5, metadata=True, window=1.0)), strict=False)
    ]  # fmt: skip
    assert "spec" not in change


def test_an_object_that_cannot_be_kept(cluster: Cluster, namespace: str, follow: Callable[..., Followed]) -> None:
    """An object that cannot be read counts as not there, and harms no other."""

    def keep(obj: Object) -> int:
        return int(obj["data"]["a"])

    theirs(cluster, config_map(namespace, "odd", a="words"))
    theirs(cluster, config_map(namespace, "even", a="2"))
    followed = follow(**_rest(namespace), keep=keep)
    assert (followed.knows("odd", namespace), followed.knows("even", namespace)) == (None, 2)
    theirs(cluster, config_map(namespace, "even", a="words"))
    wait_until(lambda: ("even", 2, None) in followed.calls, 30, "not told")
    theirs(cluster, config_map(namespace, "even", a="4"))
    wait_until(lambda: followed.knows("even", namespace) == 4, 30, "not read again")


def test_without_the_right(
    control_plane: ControlPlane, follow: Callable[..., Followed], namespace: str, api: Api
) -> None:
    """Who may not list a kind is not synced, knows why, and goes on when the right comes."""
    followed = follow(by=control_plane.kubeconfig_for("nobody"), **_rest(namespace), wait=False)
    wait_until(lambda: "has no right to list configmaps" in followed.informer.problem, 30, "no problem")
    assert not followed.informer.synced.is_set()
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": [rule],
            "metadata": {"name": "reader", "namespace": namespace}}  # fmt: skip
    api.create(role)
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody"}
    group = "rbac.authorization.k8s.io"
    api.create({"apiVersion": f"{group}/v1", "kind": "RoleBinding", "subjects": [subject],
                "metadata": {"name": "reader", "namespace": namespace},
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "reader"}})  # fmt: skip
    assert followed.informer.synced.wait(40)
    wait_until(lambda: not followed.informer.problem, 20, lambda: followed.informer.problem)


def _envoy_filter(namespace: str, name: str) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"workloadSelector": {"labels": {"app": "web"}}},
    }
