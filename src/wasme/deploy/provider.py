"""Where filters are deployed to: one protocol for a local Envoy, a mesh or a gateway.

``facts`` reads what rendering must know of the place. ``render`` is pure: what it gives can be shown, compared and
written to a file, and ``apply`` sends exactly that. So a dry run, a golden test and a deployment go the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from wasme.deploy.spec import FilterSpec

Rendered = dict[str, Any]
"""One object as its target takes it: an Envoy bootstrap, a Kubernetes object."""

Facts = TypeVar("Facts")
"""What one kind of place must be asked before anything can be rendered for it."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a deployed filter does.

    Attributes:
        phase: ``absent`` (nothing is there), ``pending``, ``ready``, ``failed``.
        message: why, in one line; "" if there is nothing to say.
        addresses: where it can be reached, by name, such as ``url`` and ``admin``.
    """

    phase: Literal["absent", "pending", "ready", "failed"]
    message: str = ""
    addresses: tuple[tuple[str, str], ...] = ()


class Provider(Protocol[Facts]):
    """A place that runs filters."""

    def facts(self, spec: FilterSpec) -> Facts:
        """What the place says about itself; it is read and not changed."""
        ...

    def render(self, spec: FilterSpec, facts: Facts) -> Sequence[Rendered]:
        """The objects that make the place run the filter; nothing is touched."""
        ...

    def apply(self, objects: Sequence[Rendered]) -> None:
        """Make the place have these objects."""
        ...

    def remove(self, filter_id: str) -> None:
        """Take a filter away; nothing happens if it is not there."""
        ...

    def status(self, filter_id: str) -> Status:
        """How the filter does now."""
        ...
