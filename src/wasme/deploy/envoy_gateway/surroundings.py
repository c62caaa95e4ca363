"""What is around a target: the policies on it and above it, and the Gateways that serve it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import ENVOY_EXTENSION_POLICY, GATEWAY
from wasme.deploy.envoy_gateway.policy import Policy, is_ours
from wasme.deploy.envoy_gateway.targets import GROUP, KINDS, LISTENER_SET, ROUTES, Target, attached, parents
from wasme.errors import ClusterForbidden, NotServed

log = logging.getLogger(__name__)

Place = tuple[str, Target]
"""A namespace, and an object of it or a section of one."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What reaches one target.

    Attributes:
        on: the policies on exactly this target, the oldest first: the one that Envoy Gateway heeds.
        above: policies on what contains it, which it replaces there; by what they are on, the nearest first.
        gateways: the Gateways that serve it, as (namespace, name).
    """

    on: tuple[Policy, ...] = ()
    above: tuple[tuple[Target, Policy], ...] = ()
    gateways: tuple[tuple[str, str], ...] = ()

    @property
    def ours(self) -> Policy | None:
        """Wasme's own policy on the target."""
        return next((each for each in self.on if is_ours(each)), None)

    @property
    def others(self) -> tuple[Policy, ...]:
        """Policies on the target that wasme has not made."""
        return tuple(each for each in self.on if not is_ours(each))


@dataclass
class Reader:
    """Reads what several targets share once."""

    cluster: Cluster
    _policies: dict[str, list[Policy]] = field(default_factory=dict)
    _objects: dict[Place, Mapping[str, Any] | None] = field(default_factory=dict)

    def around(self, namespace: str, target: Target, obj: Mapping[str, Any]) -> Surroundings:
        """What reaches a target of this namespace; ``obj`` is the target's object."""
        self._objects[namespace, target.whole] = obj
        places = list(dict.fromkeys(self._containing(namespace, target)))
        on = self._attached(namespace, target)
        above = [
            (place, policy)
            for where, place in places
            if (where, place) != (namespace, target)
            for policy in self._attached(where, place)
        ]
        gateways = dict.fromkeys((where, place.name) for where, place in places if place.kind == GATEWAY.kind)
        return Surroundings(tuple(on), tuple(above), tuple(gateways))

    def policy(self, namespace: str, name: str) -> Policy | None:
        """A policy by name; None where there is none, or where they may not be listed."""
        return next((each for each in self._of(namespace) if each["metadata"]["name"] == name), None)

    def object(self, namespace: str, target: Target) -> Mapping[str, Any] | None:
        """A target's object; None where there is none, or where it may not be read."""
        place = (namespace, target.whole)
        if place not in self._objects:
            try:
                self._objects[place] = self.cluster.get(KINDS[target.kind], target.name, namespace)
            except (ClusterForbidden, NotServed) as error:
                log.debug("cannot read %s", target.whole, extra={"fields": {"reason": error.message}})
                self._objects[place] = None
        return self._objects[place]

    def _containing(self, namespace: str, target: Target) -> Iterator[Place]:
        """The target, then what contains it, the nearest first."""
        yield namespace, target
        if target.section:
            yield namespace, target.whole
        obj = self.object(namespace, target)
        if obj is None:
            return
        if target.kind in ROUTES:
            for where, parent in parents(obj):
                yield from self._containing(where, parent)
        elif target.kind == LISTENER_SET.kind:
            ref = (obj.get("spec") or {}).get("parentRef") or {}
            if ref.get("group", GROUP) == GROUP and ref.get("kind", GATEWAY.kind) == GATEWAY.kind:
                yield str(ref.get("namespace") or namespace), Target(GATEWAY.kind, str(ref.get("name", "")))

    def _attached(self, namespace: str, target: Target) -> list[Policy]:
        obj = self.object(namespace, target)
        labels = (obj["metadata"].get("labels") or {}) if obj else {}
        found = [
            each
            for each in self._of(namespace)
            if target in attached(each, namespace, target.kind, target.name, labels)
        ]
        return sorted(found, key=_age)

    def _of(self, namespace: str) -> list[Policy]:
        if namespace not in self._policies:
            try:
                self._policies[namespace] = self.cluster.list(ENVOY_EXTENSION_POLICY, namespace)
            except ClusterForbidden as error:
                log.warning(
                    "cannot see the policies of namespace %s, which may be in the way",
                    namespace,
                    extra={"fields": {"reason": error.message}},
                )
                self._policies[namespace] = []
        return self._policies[namespace]


def _age(policy: Mapping[str, Any]) -> tuple[str, str]:
    meta = policy["metadata"]
    return str(meta.get("creationTimestamp", "")), str(meta.get("name", ""))
