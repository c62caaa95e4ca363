"""Where there may be something of a FilterDeployment: one answer for who moves its filter and who takes it away.

What is in a mesh names its owner. An entry of a gateway has nothing but the filter's id, which a user's may have as
well; so where a filter is going to be is noted on its FilterDeployment before anything is written there, and nothing is
looked for anywhere else. The status is no such note: it is written afterwards, and tells what the last look has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from wasme.deploy.spec import require_id
from wasme.errors import UsageError
from wasme.operator.control.roster import filter_id
from wasme.operator.informers.facts import Resource
from wasme.operator.names import WHERE
from wasme.operator.resources.wanted import PROVIDERS, Provider


class Spot(NamedTuple):
    """A place that runs filters, and the id under which one is there."""

    provider: Provider
    id: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.id}"


def whereabouts(resource: Resource, owned: Iterable[str]) -> set[Spot]:
    """Where there may be something of a FilterDeployment; never nothing, but for a spec that names no place.

    Args:
        resource: the FilterDeployment.
        owned: ids of the filters whose objects in a mesh name it as their owner.
    """
    last = _noted(resource.object)
    known = _told(resource) | {Spot("istio", each) for each in owned} | ({last} if last else set())
    return known or asked(resource)


def noting(obj: Mapping[str, Any], spot: Spot) -> dict[str, Any]:
    """The change of a FilterDeployment's metadata that notes where its filter is going to be; {} for none."""
    return {"annotations": {WHERE: str(spot)}} if spot != _noted(obj) else {}


def asked(resource: Resource) -> set[Spot]:
    """Where a FilterDeployment asks to be, also where the rest of it cannot be read."""
    spec = resource.object.get("spec")
    deployment = spec.get("deployment") if isinstance(spec, dict) else None
    found = deployment if isinstance(deployment, dict) else {}
    return {Spot(each, filter_id(resource)) for each in PROVIDERS if found.get(each) is not None}


def _told(resource: Resource) -> set[Spot]:
    """Where its status tells of targets; one from before there were notes has nothing else."""
    status = resource.object.get("status")
    if not isinstance(status, dict):
        return set()
    here = {each.get("provider") for each in status.get("targets") or () if isinstance(each, dict)}
    name = status.get("filterID")
    told = name if isinstance(name, str) and name else filter_id(resource)
    return {Spot(each, told) for each in PROVIDERS if each in here}


def _noted(obj: Mapping[str, Any]) -> Spot | None:
    """Where its filter was going to be when something was written last; None where nobody has noted that."""
    provider, _, name = (obj["metadata"].get("annotations") or {}).get(WHERE, "").partition("/")
    try:
        require_id(name)
    except UsageError:  # somebody else's word
        return None
    return next((Spot(each, name) for each in PROVIDERS if each == provider), None)
