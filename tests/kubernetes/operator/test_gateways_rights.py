"""What the operator may do to gateways is what it does: enough, and nothing of it too much."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from tests.kubernetes.cluster.accounts import wait_allowed
from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.gateways import Gateways as Gloo
from tests.kubernetes.gateways import World
from tests.kubernetes.operator.test_gateways import IMAGE, in_gloo, on
from wasme.deploy.cluster import Cluster, connect
from wasme.errors import ClusterForbidden
from wasme.operator.installation import rights
from wasme.operator.targets.gateways import WATCHED, Gateways

RBAC = "rbac.authorization.k8s.io"
_GROUPS = ("gateway.solo.io", "gateway.envoyproxy.io", "gateway.networking.k8s.io")
OURS = [each for each in rights.CLUSTER if each.group in _GROUPS and each.resources != ("gatewayclasses",)]
REST = [
    each for each in rights.CLUSTER
    if each.resources in (("pods",), ("secrets",), ("customresourcedefinitions",))
]  # fmt: skip


class Verb(NamedTuple):
    """One verb on one resource."""

    group: str
    resource: str
    verb: str


EACH = [Verb(right.group, resource, verb) for right in OURS for resource in right.resources for verb in right.verbs]


class User:
    """Somebody with some rights, who goes with the test."""

    def __init__(self, plane: ControlPlane, api: Api, rules: list[dict[str, Any]]) -> None:
        self.name = f"operator-{uuid.uuid4().hex[:8]}"
        self._api, self._plane = api, plane
        meta = {"name": self.name}
        api.create({"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules})
        subjects = [{"kind": "User", "name": self.name, "apiGroup": RBAC}]
        role = {"kind": "ClusterRole", "name": self.name, "apiGroup": RBAC}
        binding = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": meta, "roleRef": role}
        api.create({**binding, "subjects": subjects})
        self.mark = plane.mark()

    def refused(self) -> set[Verb]:
        """What it was told 403 for."""
        return {
            Verb(ref.get("apiGroup", ""), ref["resource"], event["verb"])
            for event in self._plane.audit(self.mark)
            if event["user"]["username"] == self.name and event["responseStatus"]["code"] == 403
            and (ref := event.get("objectRef"))
        }  # fmt: skip

    def go(self) -> None:
        for kind in ("clusterrolebindings", "clusterroles"):
            self._api.delete(f"/apis/{RBAC}/v1/{kind}/{self.name}")


@pytest.fixture
def may(control_plane: ControlPlane, api: Api) -> Iterator[Callable[[list[dict[str, Any]]], tuple[User, Cluster]]]:
    """``may(rules)``: a user with these rights, as soon as the server knows them."""
    made: list[tuple[User, Cluster]] = []

    def call(rules: list[dict[str, Any]]) -> tuple[User, Cluster]:
        user = User(control_plane, api, [*rules, {"apiGroups": [""], "resources": ["endpoints"], "verbs": ["get"]}])
        cluster = connect(control_plane.kubeconfig_for(user.name))
        made.append((user, cluster))
        wait_allowed(api, user.name, "get", "endpoints")
        user.mark = control_plane.mark()
        return user, cluster

    yield call
    for user, cluster in made:
        cluster.close()
        user.go()


def _everything(cluster: Cluster, api: Api, gloo: Gloo, eg: World, namespace: str, less: Verb | None = None) -> None:
    """All that the operator does to gateways: put, found changed under its hands, taken away, followed.

    Args:
        less: is refused: that is waited for.
    """
    both = [gloo.path(), f"{eg.base}/wasme-gateway-eg"]
    rivals = list(both)

    def rival() -> None:
        """Somebody who is faster, once with each object: the guard runs right before a write."""
        for path in list(rivals):
            if api.find(path) is not None:
                api.patch(path, {"metadata": {"annotations": {"rival": uuid.uuid4().hex}}})
                rivals.remove(path)

    gateways = Gateways(cluster.guarded(rival))
    refs = {"Gateway": "eg", "HTTPRoute": "web", "GRPCRoute": "rpc", "ListenerSet": "more"}
    wanted = on(namespace, "eg")
    target = wanted.envoy_gateway
    assert target is not None
    several = [type(target.references[0])(kind, name) for kind, name in refs.items()]
    for each in (
        in_gloo(namespace),
        wanted,
        on(namespace, "eg", config="{}"),
        *(_to(wanted, ref) for ref in several),
        wanted,
    ):
        # A route whose Gateway has the filter still is refused at the first look, which takes it from the Gateway.
        for _ in range(2 if each.envoy_gateway else 1):
            report = gateways.reconcile(each, IMAGE)
            if report.problem is not None:
                raise report.problem
        assert "Failed" not in {each.state for each in report.targets}
    for provider, path in zip(WATCHED, both, strict=True):
        rivals.append(path)
        gone = gateways.remove(namespace, "auth", provider)
        if gone.problem is not None:
            raise gone.problem
    served = [kind for kinds in WATCHED.values() for kind in kinds]
    since = {kind: cluster.listing(kind).resource_version for kind in served}
    for kind in served:
        refused = less == Verb(kind.group, kind.plural, "watch")
        for _ in cluster.watch(kind, since=since[kind], seconds=20 if refused else 0.05):
            break


def _to(wanted: Any, reference: Any) -> Any:
    from dataclasses import replace

    return replace(wanted, envoy_gateway=replace(wanted.envoy_gateway, references=(reference,)))


@pytest.fixture
def objects(gloo: Gloo, envoy_gateway: World) -> tuple[Gloo, World]:
    """What users have made."""
    gloo.make()
    envoy_gateway.gateway()
    envoy_gateway.route("web")
    envoy_gateway.route("rpc", "GRPCRoute")
    envoy_gateway.listeners("more")
    return gloo, envoy_gateway


def test_enough(
    may: Callable[..., tuple[User, Cluster]], api: Api, objects: tuple[Gloo, World], namespace: str
) -> None:
    """With the rights of the manifests all of it is done, and nothing is refused on the way."""
    user, cluster = may(rights.rules([*OURS, *REST]))
    _everything(cluster, api, *objects, namespace)
    assert {each for each in user.refused() if each.group in _GROUPS} == set()


@pytest.mark.parametrize("less", EACH, ids=lambda each: f"{each.verb} {each.resource}.{each.group}")
def test_nothing_too_much(
    may: Callable[..., tuple[User, Cluster]], api: Api, objects: tuple[Gloo, World], namespace: str, less: Verb
) -> None:
    """Without any one of them that very right is missed."""
    kept = [each for each in EACH if each != less]
    rules = [{"apiGroups": [each.group], "resources": [each.resource], "verbs": [each.verb]} for each in kept]
    user, cluster = may([*rules, *rights.rules(REST)])
    with suppress(ClusterForbidden, ApiRefused, AssertionError):
        _everything(cluster, api, *objects, namespace, less)
    wait_until(lambda: less in user.refused(), 10, lambda: f"refused: {user.refused()}")
