"""What the operator may do, as data: each right with its reason, and none that the code does not use.

A test runs the operator under exactly these and sees nothing refused, then takes each away and sees what fails.
Rights are given where names can be foreseen by name; ``create`` knows no names, nor does a watch of several objects.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from wasme.operator import names

Object = dict[str, Any]


class Right(NamedTuple):
    """One rule of a Role, and why it is there.

    Attributes:
        why: in one line; it stands above the rule in the printed manifests.
        group: of the API; "" for the core group.
        resources: plurals, sub-resources as ``filterdeployments/status``.
        verbs: of RBAC.
        names: of single objects; none for all.
    """

    why: str
    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def rule(self) -> Object:
        """As RBAC has it."""
        rule: Object = {"apiGroups": [self.group], "resources": list(self.resources)}
        if self.names:
            rule["resourceNames"] = list(self.names)
        return rule | {"verbs": list(self.verbs)}


_FOLLOW = ("list", "watch")
_CARRY = ("get", "list", "watch", "create", "patch", "delete")
_LOOK = ("get", "list")
_GATEWAYS = "gateway.networking.k8s.io"

CLUSTER = (
    Right(
        "what is wanted, in every namespace; the finalizer, so that none goes before what it made",
        "wasme.io",
        ("filterdeployments",),
        ("get", "list", "watch", "patch"),
    ),
    Right("what they are told about themselves", "wasme.io", ("filterdeployments/status",), ("update",)),
    Right(
        "the workloads whose proxies get filters; their pod templates mount the node cache's folder",
        "apps",
        ("deployments", "daemonsets", "statefulsets"),
        ("get", "list", "watch", "patch"),
    ),
    Right(
        "what carries a filter to Istio's proxies; read again where a rollout is turned back",
        "networking.istio.io",
        ("envoyfilters",),
        _CARRY,
    ),
    Right(
        "the same, from Istio 1.12 on",
        "extensions.istio.io",
        ("wasmplugins", "trafficextensions"),
        _CARRY,
    ),
    Right(
        "the Gateways of Gloo that filters are written into; read again where somebody else was faster",
        "gateway.solo.io",
        ("gateways",),
        ("get", "list", "watch", "patch"),
    ),
    Right(
        "what carries a filter to Envoy Gateway's proxies",
        "gateway.envoyproxy.io",
        ("envoyextensionpolicies",),
        _CARRY,
    ),
    Right(
        "what filters attach to by targetRefs: it may come later",
        _GATEWAYS,
        ("gateways", "listenersets", "httproutes", "grpcroutes"),
        ("get", "list", "watch"),
    ),
    Right("the same, for Istio; listed for similar names", _GATEWAYS, ("gatewayclasses",), _LOOK),
    Right("targets of targetRefs that only Istio knows", "", ("services",), _LOOK),
    Right("targets of targetRefs that only Istio knows", "networking.istio.io", ("serviceentries",), _LOOK),
    Right(
        "which of these kinds are served, and with which fields",
        "apiextensions.k8s.io",
        ("customresourcedefinitions",),
        ("get", "list", "watch"),
    ),
    Right("on which nodes the proxies run, and whether they have restarted", "", ("pods",), _FOLLOW),
    Right("nodes that are not ready are not waited for", "", ("nodes",), _FOLLOW),
    Right("whether a namespace is part of the mesh", "", ("namespaces",), _FOLLOW),
    Right("pull Secrets that FilterDeployments name, and no others, by their names", "", ("secrets",), ("get",)),
    Right("transitions are told as Events of the FilterDeployment", "", ("events",), ("create", "patch")),
)
"""In the whole cluster."""


def own(cache: str) -> tuple[Right, ...]:
    """In the operator's and the cache's own namespace.

    Args:
        cache: name of the node cache's objects.
    """
    leases = ("leases",)
    group = "coordination.k8s.io"
    return (
        Right("the lease that decides which operator works", group, leases, ("get", "update"), (names.LEASE,)),
        Right("the same, where somebody deleted it", group, leases, ("create",)),
        Right("which images the nodes must hold", "", ("configmaps",), ("get", "patch"), (cache,)),
        Right("the same, and what each node says it holds", "", ("configmaps",), _FOLLOW),
        # They are read by name, as all Secrets may be.
        Right("copies of pull Secrets for the nodes' agents", "", ("secrets",), ("list", "create", "patch", "delete")),
    )


def rules(rights: Iterable[Right]) -> list[Object]:
    """The rules of a Role or ClusterRole."""
    return [each.rule for each in rights]


def as_text(rights: Iterable[Right]) -> str:
    """The same in YAML, each rule below its reason."""
    lines = []
    for each in rights:
        first, *others = (f"{key}: {_flow(value)}" for key, value in each.rule.items())
        lines += [f"# {each.why}", f"- {first}", *(f"  {other}" for other in others)]
    return "\n".join(lines) + "\n"


def _flow(words: list[str]) -> str:
    return "[" + ", ".join(f'"{word}"' if not word or "/" in word else word for word in words) + "]"
