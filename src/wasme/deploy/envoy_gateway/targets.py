"""What an EnvoyExtensionPolicy is attached to: Gateways and routes of the Gateway API, or a section of one.

Envoy Gateway heeds one policy per target, the oldest; and on a route or listener the nearest policy only. So what
decides is which other policies reach a target, which is read here from objects as the API server gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from wasme.deploy.cluster.kinds import GATEWAY, GRPC_ROUTE, HTTP_ROUTE, Kind
from wasme.errors import UsageError

Object = Mapping[str, Any]

GROUP = "gateway.networking.k8s.io"
LISTENER_SET = Kind(GROUP, "v1", "ListenerSet", "listenersets")
KINDS = {each.kind: each for each in (GATEWAY, LISTENER_SET, HTTP_ROUTE, GRPC_ROUTE)}
ROUTES = (HTTP_ROUTE.kind, GRPC_ROUTE.kind)
_NO_HTTP = ("TCPRoute", "UDPRoute", "TLSRoute")
_GRAMMAR = "use KIND/NAME or KIND/NAME:SECTION, such as HTTPRoute/backend or Gateway/eg:https"


class Target(NamedTuple):
    """One object, or a section of it.

    Attributes:
        kind: one of ``KINDS``.
        name: the object's name.
        section: a Gateway's or ListenerSet's listener, a route's rule; "" for the whole.
    """

    kind: str
    name: str
    section: str = ""

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``[GROUP/]KIND/NAME[:SECTION]`` as typed; the kind in any case.

        Raises:
            UsageError: it is none, or of a kind that carries no HTTP.
        """
        path, colon, section = text.partition(":")
        *group, kind, name = path.split("/") if "/" in path else ("", path)
        known = {each.lower(): each for each in (*KINDS, *_NO_HTTP)}.get(kind.lower())
        if known in _NO_HTTP:
            raise UsageError(
                f'invalid argument "{text}" for "--target" flag: Envoy Gateway runs Wasm filters on HTTP only, '
                f"and accepts them on a {known} without ever running them",
                hint=f"take one of {', '.join(KINDS)}",
            )
        if known is None or not name or group not in ([], [GROUP]) or (colon and not section):
            raise UsageError(f'invalid argument "{text}" for "--target" flag: no target of a policy', hint=_GRAMMAR)
        return cls(known, name, section)

    @property
    def reference(self) -> dict[str, str]:
        """As it stands in ``targetRefs``."""
        section = {"sectionName": self.section} if self.section else {}
        return {"group": GROUP, "kind": self.kind, "name": self.name, **section}

    @property
    def whole(self) -> Target:
        """The object that the section is of."""
        return Target(self.kind, self.name)

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" + (f":{self.section}" if self.section else "")


def sections(obj: Object) -> tuple[str, ...]:
    """The names of an object's sections: listeners, or rules of a route."""
    spec = obj.get("spec") or {}
    listed = spec.get("rules" if obj.get("kind") in ROUTES else "listeners") or ()
    return tuple(each["name"] for each in listed if each.get("name"))


def parents(route: Object) -> Iterator[tuple[str, Target]]:
    """What a route hangs on: (namespace, Gateway or ListenerSet, with its section if the route names one)."""
    own = str(route["metadata"].get("namespace", ""))
    for ref in (route.get("spec") or {}).get("parentRefs") or ():
        if ref.get("group", GROUP) == GROUP and ref.get("kind", "Gateway") in (GATEWAY.kind, LISTENER_SET.kind):
            target = Target(ref.get("kind", "Gateway"), str(ref.get("name", "")), str(ref.get("sectionName") or ""))
            yield str(ref.get("namespace") or own), target


def attached(policy: Object, namespace: str, kind: str, name: str, labels: Mapping[str, str]) -> tuple[Target, ...]:
    """How a policy reaches an object: as a whole, by sections, or (empty) not at all.

    Args:
        policy: an EnvoyExtensionPolicy.
        namespace: the object's namespace.
        kind: the object's kind.
        name: the object's name.
        labels: the object's labels, by which policies may select it.
    """
    spec = policy.get("spec") or {}
    same = policy["metadata"].get("namespace") == namespace
    found: list[Target] = []
    if same:
        single = [spec["targetRef"]] if spec.get("targetRef") else []
        found += [
            Target(kind, name, str(ref.get("sectionName") or ""))
            for ref in [*single, *(spec.get("targetRefs") or ())]
            if (ref.get("group"), ref.get("kind"), ref.get("name")) == (GROUP, kind, name)
        ]
    for selector in spec.get("targetSelectors") or ():
        reaches = same or (selector.get("namespaces") or {}).get("from", "Same") != "Same"
        if reaches and selector.get("kind") == kind and _selects(selector, labels):
            found.append(Target(kind, name))
    return tuple(dict.fromkeys(found))


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_meets(each, labels) for each in selector.get("matchExpressions") or ())


def _meets(expression: Object, labels: Mapping[str, str]) -> bool:
    key, values = expression.get("key", ""), expression.get("values") or ()
    return {
        "In": key in labels and labels[key] in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }.get(str(expression.get("operator")), False)
