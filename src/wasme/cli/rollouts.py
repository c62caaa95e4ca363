"""The flags of a rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from wasme.cli.grammar import option

if TYPE_CHECKING:
    from wasme.deploy.cluster import Cluster
    from wasme.deploy.istio.apply import Walk

F = TypeVar("F", bound=Callable[..., Any])


def rollout_options(function: F) -> F:
    """``--rollout --rollout-pause --rollout-timeout --rollout-probe``."""
    for decorate in (
        option(
            "--rollout-probe",
            kind="bool",
            help="a step is well only when its proxies say themselves that they run the filter",
        ),
        option(
            "--rollout-timeout",
            kind="duration",
            default=300.0,
            help="how long a step may take to become well, before everything is turned back",
        ),
        option(
            "--rollout-pause",
            kind="duration",
            default=10.0,
            help="how long a step must stay well, before the next one begins",
        ),
        option(
            "--rollout",
            kind="steps",
            help="change the workloads in steps, numbers or percentages of them, and turn back when one is not well",
        ),
    ):
        function = decorate(function)
    return function


def require_joined(given: Mapping[str, Any], args: Sequence[str]) -> None:
    """Refuse steps that stand behind ``--rollout`` as a word of their own, where they would be passed over.

    Raises:
        UsageError: they do.
    """
    from wasme.errors import UsageError

    if given["rollout"] and len(args) > 1:
        raise UsageError(f"unexpected argument {args[1]!r}", hint=f"steps are joined to the flag: --rollout={args[1]}")


def walk(cluster: Cluster, filter_id: str, steps: str, pause: float, timeout: float, *, probe: bool) -> Walk:
    """How the workloads are gone through, as the flags say.

    Raises:
        UsageError: the steps are none, or flags of a rollout stand without it.
    """
    from wasme.deploy.istio.apply import at_once
    from wasme.errors import UsageError

    if not steps:
        if probe:
            raise UsageError("--rollout-probe goes with --rollout", hint="add --rollout")
        return at_once
    from functools import partial

    from wasme.deploy.probe.pods import probe as ask
    from wasme.deploy.rollout.plan import Pace, parse
    from wasme.deploy.rollout.walk import Rollout
    from wasme.deploy.rollout.workloads import Workloads

    workloads = Workloads(cluster, filter_id, partial(ask, cluster) if probe else None)
    return Rollout(Pace(parse(steps), pause, timeout), workloads)
