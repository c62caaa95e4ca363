"""What deploying to any gateway asks: versions of proxies, Gloo's word, writers in between, objects fit to commit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wasme.deploy import gateways
from wasme.deploy.gateways import Change, Standing, completed, settled, together, versions_of
from wasme.deploy.gloo.standing import standing
from wasme.deploy.provider import Status
from wasme.deploy.spec import FilterSpec
from wasme.errors import Conflict, UsageError


def pod(name: str, *images: str) -> dict[str, Any]:
    containers = [{"name": "c", "image": each} for each in images]
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": {"containers": containers}}


def test_versions_of_proxies() -> None:
    """The tag says the version, whatever flavour stands before it; other containers and digests alone say nothing."""
    pods = [
        pod("a", "docker.io/envoyproxy/envoy:distroless-v1.38.0", "sidecar:1.2"),
        pod("b", "envoyproxy/envoy:v1.38.0-debug@sha256:" + "0" * 64),
        pod("c", "localhost:5000/envoy@sha256:" + "0" * 64),
        pod("d", "envoyproxy/envoy:dev"),
        pod("e"),
    ]
    assert versions_of(pods, ("envoy",)) == {"v1.38.0": "pod ns/a", "v1.38.0-debug": "pod ns/b"}
    assert versions_of(pods, ("other",)) == {}


def test_addresses() -> None:
    """Docker's hub goes by its name, under which a pull secret knows it; others by their own, mapped or not."""
    for given, expected in (
        ("registry-1.docker.io/library/a", "docker.io/library/a"),
        ("registry.example.com/a/b", "registry.example.com/a/b"),
    ):
        assert gateways.address(SimpleNamespace(address=given)) == expected


def test_a_filter_needs_an_id() -> None:
    """The original's words."""
    with pytest.raises(UsageError, match="--id cannot be empty"):
        completed(FilterSpec("", "image"), None)


@pytest.mark.parametrize("spec", [FilterSpec("a\n", "i"), FilterSpec("\udcff", "i"), FilterSpec("a", "i", "\x1b[31m")])
def test_names_are_printable(spec: FilterSpec) -> None:
    """What no terminal shows, and bytes that are no text, are no names."""
    with pytest.raises(UsageError, match="cannot be printed"):
        completed(spec, None)


def test_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody in between is tried again, with growing pauses, and not for ever."""
    pauses: list[float] = []
    monkeypatch.setattr(gateways.time, "sleep", pauses.append)
    attempts = iter([Conflict("1"), Conflict("2"), None])

    def attempt() -> str:
        error = next(attempts)
        if error:
            raise error
        return "done"

    assert settled(attempt) == "done"
    assert len(pauses) == 2

    def never() -> str:
        raise Conflict("always")

    pauses.clear()
    with pytest.raises(Conflict):
        settled(never)
    assert len(pauses) == gateways.ATTEMPTS - 1
    assert 5 < sum(pauses) < 30


def test_objects_fit_to_commit() -> None:
    """What only a server writes is left out, and what a person reads first stands first."""
    stored = {
        "metadata": {"name": "x", "uid": "1", "resourceVersion": "2", "managedFields": [], "generation": 1,
                     "creationTimestamp": "t", "labels": {}},
        "status": {},
        "spec": {"a": 1},
        "kind": "Gateway",
        "apiVersion": "v1",
    }  # fmt: skip
    shown = Change("updated", stored).committable
    assert shown == {
        "apiVersion": "v1",
        "kind": "Gateway",
        "metadata": {"name": "x", "labels": {}},
        "spec": {"a": 1},
    }
    assert list(shown) == ["apiVersion", "kind", "metadata", "spec"]
    assert "uid" in stored["metadata"]


@pytest.mark.parametrize("others", [{}, {"wasme.io/made": "x"}])
def test_what_kubectl_remembers_is_not_committed(others: dict[str, str]) -> None:
    """Its own copy of the object goes, which says what was before; the user's annotations stay."""
    noted = {"kubectl.kubernetes.io/last-applied-configuration": "{}", **others}
    stored = {"apiVersion": "v1", "kind": "Gateway", "metadata": {"name": "x", "annotations": noted}}
    shown = Change("updated", stored).committable["metadata"]
    assert shown == {"name": "x", **({"annotations": others} if others else {})}
    assert "kubectl.kubernetes.io/last-applied-configuration" in noted


WAITING = Standing("pending", "Gloo has not judged it yet")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, WAITING),
        ({"state": 1}, Standing("ready")),
        ({"state": "Accepted"}, Standing("ready")),
        ({"state": 2, "reason": "no\n such image"}, Standing("failed", "Gloo rejects it: no such image")),
        ({"statuses": {"a": {"state": "Accepted"}, "b": {"state": "Pending"}}}, WAITING),
        ({"statuses": {"a": {"state": "Warning", "reason": "odd"}}}, Standing("ready", "odd")),
        ({"state": 9}, WAITING),
        ({"statuses": {"a": "x"}}, WAITING),
    ],
)  # fmt: skip
def test_gloo_s_word(status: Any, expected: Standing) -> None:
    """Numbers of old Gloos and words of new ones; the worst of several counts."""
    assert standing({"metadata": {}, "status": status}) == expected


def test_together() -> None:
    """A filter in several objects does as the worst of them, which is named."""
    fine, open_, bad = Standing("ready"), Standing("pending", "p"), Standing("failed", "f")
    assert together({}) == Status("absent")
    assert together({"a": fine, "b": Standing("ready", "r")}) == Status("ready", "b: r")
    assert together({"a": fine, "b": open_}) == Status("pending", "b: p")
    assert together({"a": open_, "b": bad}) == Status("failed", "b: f")
