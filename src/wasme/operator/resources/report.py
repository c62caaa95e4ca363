"""What came of one look at a FilterDeployment: its parts tell it, and ``status`` turns it into conditions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wasme.errors import WasmeError

State = Literal["Succeeded", "Pending", "Failed"]


@dataclass(frozen=True, slots=True)
class TargetState:
    """One workload, gateway or route.

    Attributes:
        provider: ``istio``, ``gloo`` or ``envoyGateway``.
        kind, namespace, name: of the workload or gateway.
        state: how it does.
        reason: why it is not well, in one line; "" otherwise.
        object: what carries the filter there, ``EnvoyFilter/details-v1-auth``; "" for nothing yet.
    """

    provider: str
    kind: str
    namespace: str
    name: str
    state: State
    reason: str = ""
    object: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """How many nodes hold the module.

    Attributes:
        needed: whether it lies on the nodes at all.
        nodes: that run its pods, and are ready.
        held: those of them that hold it now, with an agent that lives.
        missing: node → why it does not.
        final: no node will ever hold it, by what all of them say.
        note: what the object asks for, and the nodes do not do; "" for nothing.
        again: seconds after which its lines are to be wanted once more though nobody calls: agents have no access, and
            their copy of the pull secret may be out of date. None for when something changes.
    """

    needed: bool = False
    nodes: int = 0
    held: int = 0
    missing: tuple[tuple[str, str], ...] = ()
    final: bool = False
    note: str = ""
    again: float | None = None

    @property
    def complete(self) -> bool:
        """Every node that must hold it does."""
        return self.held >= self.nodes


@dataclass(frozen=True, slots=True)
class Report:
    """What a place says after it was made as wanted, as far as that could be done now.

    Attributes:
        targets: each workload or gateway that is meant.
        held: of the nodes.
        problem: what stands in the way of all of it; None for nothing.
        progress: what is under way, in words (``step 1 of 3``); "" for nothing.
        warnings: what works, and should be known.
        removed: what was taken away from where it is not meant any more (``EnvoyFilter/details-v1-auth``).
        changed: anything was written.
        again: seconds after which to look again in any case without being called; None for when something changes.
        retry: it failed, or a part of it did, and nobody calls when it would go: it is tried again with growing
            patience.
    """

    targets: tuple[TargetState, ...] = ()
    held: Held = field(default_factory=Held)
    problem: WasmeError | None = None
    progress: str = ""
    warnings: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: bool = False
    again: float | None = None
    retry: bool = False

    @property
    def programmed(self) -> bool:
        """Every target has the filter as wanted, and where its module lies on nodes they hold it."""
        return (
            self.problem is None
            and not self.progress
            and bool(self.targets)
            and all(each.state == "Succeeded" for each in self.targets)
            and self.held.complete
        )
