"""Where a filter goes: a target with its policy, if the policies around it leave a place for one of wasme's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wasme.deploy.cluster.kinds import ENVOY_EXTENSION_POLICY
from wasme.deploy.envoy_gateway import policy as policies
from wasme.deploy.envoy_gateway.policy import Policy, shown
from wasme.deploy.envoy_gateway.surroundings import Reader, Surroundings
from wasme.deploy.envoy_gateway.targets import KINDS, ROUTES, Target, sections
from wasme.deploy.gateways import readable_schema
from wasme.errors import DeployFailed

_MERGED = ("extProc", "lua", "dynamicModule")
_EXTENSIONS = ("wasm", *_MERGED)


@dataclass(frozen=True, slots=True)
class Site:
    """A place for a filter.

    Attributes:
        namespace: of target and policy.
        target: what the policy is on; None where the policy itself was named.
        policy: the policy that is there; None where one is to be made.
        merge_type: for a new one.
        gateways: those that serve the target, as (namespace, name).
        adopted: the policy is a user's, which has the filter already.
    """

    namespace: str
    target: Target | None
    policy: Policy | None = None
    merge_type: str = ""
    gateways: tuple[tuple[str, str], ...] = ()
    adopted: bool = False

    def __str__(self) -> str:
        if self.target is None and self.policy is not None:
            return f"EnvoyExtensionPolicy {shown(self.policy)}"
        return f"{self.namespace}/{self.target}"


def base(site: Site) -> Policy:
    """The policy that the filter is put into: the one that is there, else a new one without any filter."""
    if site.policy is not None:
        return site.policy
    assert site.target is not None
    return policies.new(site.target, site.namespace, merge_type=site.merge_type)


def for_policy(reader: Reader, namespace: str, name: str) -> Site:
    """The site that is a policy by name.

    Raises:
        DeployFailed: there is none.
    """
    found = reader.cluster.get(ENVOY_EXTENSION_POLICY, name, namespace)
    if found is None:
        raise DeployFailed(f"there is no EnvoyExtensionPolicy {namespace}/{name} to put the filter into")
    _require_lasting(found)
    refs = [found["spec"].get("targetRef"), *(found["spec"].get("targetRefs") or ())]
    targets = [Target(each["kind"], each["name"]) for each in refs if each and each.get("kind") in KINDS]
    objects = [(each, reader.object(namespace, each)) for each in targets]
    served = [gateway for each, obj in objects if obj for gateway in reader.around(namespace, each, obj).gateways]
    return Site(namespace, None, found, gateways=tuple(dict.fromkeys(served)))


def for_target(
    reader: Reader, namespace: str, target: Target, filter_id: str, *, override: bool, adopt: bool = False
) -> Site:
    """The site that is a target.

    Args:
        reader: of what is around it.
        namespace: of the target.
        target: what it is.
        filter_id: of the filter that is to go there.
        override: policies above may lose what they do here.
        adopt: a user's policy that has this filter of wasme's may go on having it.

    Raises:
        NotServed: the cluster has no such kind.
        DeployFailed: there is no such target or section, or other policies keep wasme's from working, or wasme's
            would keep others from it.
    """
    kind = reader.cluster.served().need(KINDS[target.kind])
    obj = reader.cluster.get(kind, target.name, namespace)
    if obj is None:
        raise DeployFailed(f"there is no {target.whole} in the namespace {namespace}", hint="-n says where")
    _require_section(target, obj)
    around = reader.around(namespace, target, obj)
    first = around.on[0] if around.on else None
    if first is not None and not policies.is_ours(first) and adopt and filter_id in policies.told(first):
        _require_lasting(first)
        return Site(namespace, target, first, gateways=around.gateways, adopted=True)
    if first is not None and not policies.is_ours(first):
        raise DeployFailed(
            f"EnvoyExtensionPolicy {shown(first)} is on {target} already, and Envoy Gateway heeds the oldest only",
            hint=f"--into {first['metadata']['name']} puts the filter into it",
        )
    if around.ours is not None:
        _require_lasting(around.ours)
    elif same := reader.policy(namespace, policies.name_for(target)):
        raise DeployFailed(
            f"EnvoyExtensionPolicy {shown(same)} is there already, and is not wasme's own on {target}",
            hint="somebody has made or changed it: kubectl delete it, or let its targetRefs be as they were",
        )
    merge_type = "StrategicMerge" if target.kind in ROUTES and _merges(reader) else ""
    if around.ours is None and not override:
        _require_no_loss(target, around, filter_id, merges=bool(merge_type))
    return Site(namespace, target, around.ours, merge_type, around.gateways)


def _require_section(target: Target, obj: dict[str, Any]) -> None:
    names = sections(obj)
    if target.section and target.section not in names:
        raise DeployFailed(
            f"{target.whole} has no section {target.section}",
            hint=f"it has {', '.join(names)}" if names else "none of its sections has a name",
        )


def _require_lasting(policy: Policy) -> None:
    if policy["metadata"].get("deletionTimestamp"):
        raise DeployFailed(
            f"EnvoyExtensionPolicy {shown(policy)} is being deleted", hint="deploy again when it is gone"
        )


def _merges(reader: Reader) -> bool:
    """Whether the served CRD knows merging; who may not read CRDs goes without."""
    schema = readable_schema(reader.cluster, ENVOY_EXTENSION_POLICY)
    return schema is not None and schema.declares("spec.mergeType")


def _require_no_loss(target: Target, around: Surroundings, filter_id: str, *, merges: bool) -> None:
    """Refuse a policy that would switch off what runs there now: a lost filter may be the one that checks who calls.

    With merging, the lists of other kinds go on to count; the list of Wasm filters is replaced even so. A filter that
    takes its own place is not lost: it is on its way to several targets, one of which has it already.
    """
    for place, policy in around.above:
        seen = policies.without_filter(policy, filter_id)["spec"]
        lost = [name for name in (("wasm",) if merges else _EXTENSIONS) if seen.get(name)]
        if lost:
            raise DeployFailed(
                f"a policy on {target} would replace {' and '.join(lost)} of EnvoyExtensionPolicy {shown(policy)} "
                f"there, which is on {place}",
                hint=f"deploy to {place} as well or instead, or accept that with --override",
            )
