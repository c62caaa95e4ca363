"""Which kind of object carries a filter, where the user leaves it open (``--as auto``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from wasme.deploy.istio import envoyfilter, plugin
from wasme.deploy.istio.target import IstioTarget, Schema
from wasme.deploy.resolved import ResolvedImage
from wasme.deploy.spec import FilterSpec
from wasme.errors import InputError, NotServed
from wasme.image.pullers import istio_agent

CarrierName = Literal["envoyfilter", "wasmplugin", "trafficextension"]
OLDEST_FIRST: tuple[CarrierName, ...] = get_args(CarrierName)
CARRIERS: Mapping[str, plugin.Carrier] = {
    "wasmplugin": plugin.WASM_PLUGIN,
    "trafficextension": plugin.TRAFFIC_EXTENSION,
}
"""The kinds whose image the proxies' agent pulls."""
LABELS = {"envoyfilter": "EnvoyFilter", "wasmplugin": "WasmPlugin", "trafficextension": "TrafficExtension"}

_FOR_EVERY_KIND = ("--cache-name", "--cache-namespace", "--cache-timeout")
"""Where an EnvoyFilter is replaced, that cache forgets its files, in that time the proxies must run the new object."""


class Choice(NamedTuple):
    """A kind, and why.

    Attributes:
        kind: as ``--as`` names it.
        reason: the end of "deploying as …: …"; "" where the user chose.
    """

    kind: CarrierName
    reason: str

    @property
    def label(self) -> str:
        """As Kubernetes names it."""
        return LABELS[self.kind]


def choose(
    spec: FilterSpec,
    image: ResolvedImage,
    target: IstioTarget,
    *,
    served: Mapping[str, Schema | None],
    existing: Sequence[str] = (),
    cache_flags: Sequence[str] = (),
) -> Choice:
    """The kind that carries the filter.

    A filter that is there keeps its kind. A new one becomes an EnvoyFilter where the user speaks of the node cache, or
    where nothing else can carry it; else the newest kind there is. A kind that cannot carry it is never chosen.

    Args:
        spec: the filter.
        image: its image.
        target: where it goes; ``target.kind`` is what the user wants.
        served: the kinds that the API server serves, each with its schema.
        existing: the kinds that carry the filter now, the one written last at the end: where a change of kind is not
            finished yet, that is what it changes to.
        cache_flags: flags about the node cache that the user gave, such as ``--cache-name``.

    Raises:
        NotServed: the kind that it must be is not served.
        InputError: no kind that is served can carry it.
    """
    if target.kind != "auto":
        _require_served(target.kind, served)
        return Choice(target.kind, "")
    obstacles = {name: _obstacle(name, spec, image, target, served[name]) for name in OLDEST_FIRST if name in served}
    fit = [name for name, obstacle in obstacles.items() if not obstacle]
    present = [name for each in existing for name in obstacles if name == each]
    if present:
        kept = present[-1]
        if kept in fit:
            idle = [each for each in cache_flags if each not in _FOR_EVERY_KIND] if kept != "envoyfilter" else []
            without = f", and does nothing with {', '.join(idle)}" if idle else ""
            return Choice(kept, f"the filter is one already{without}")
        return Choice(_newest(fit, obstacles), f"it was {_a(kept)}, which cannot carry {obstacles[kept]}")
    cause = _about_cache(target, cache_flags)
    if cause:
        _require_served("envoyfilter", served)
        return Choice("envoyfilter", cause)
    newest = _newest(fit, obstacles)
    better = reversed(OLDEST_FIRST[OLDEST_FIRST.index(newest) + 1 :])
    lacking = next((f"{_a(name)} cannot carry {obstacles[name]}" for name in better if name in obstacles), "")
    return Choice(newest, lacking or "it is the newest kind that the API server serves")


def _about_cache(target: IstioTarget, cache_flags: Sequence[str]) -> str:
    """Why only an EnvoyFilter is meant; "" if it is not."""
    if cache_flags:
        return f"{cache_flags[0]} is about the node cache, which no other kind uses"
    if target.placement != "daemonset":
        return f"--cache-mode {target.placement} is for no other kind"
    return ""


def _newest(fit: Sequence[CarrierName], obstacles: Mapping[CarrierName, str]) -> CarrierName:
    if fit:
        return fit[-1]
    if not obstacles:
        raise NotServed(
            "the API server serves no kind that carries a filter", hint="is Istio installed? --as names the kinds"
        )
    told = "; ".join(f"{_a(name)} cannot carry {what}" for name, what in obstacles.items())
    raise InputError(f"nothing that the API server serves can carry this filter: {told}")


def _a(name: CarrierName) -> str:
    return f"{'an' if name == 'envoyfilter' else 'a'} {LABELS[name]}"


def _require_served(kind: CarrierName, served: Mapping[str, Schema | None]) -> None:
    if kind in served:
        return
    since = CARRIERS[kind].since if kind in CARRIERS else "1.1"
    there = ", ".join(LABELS[name] for name in OLDEST_FIRST if name in served)
    raise NotServed(
        f"the API server serves no {LABELS[kind]}",
        hint=f"Istio {since} and later have it" + (f"; served here: {there}" if there else "; is Istio installed?"),
    )


def _obstacle(
    name: CarrierName, spec: FilterSpec, image: ResolvedImage, target: IstioTarget, schema: Schema | None
) -> str:
    """The first thing that a kind cannot carry; "" if it carries all."""
    if name == "envoyfilter":
        return envoyfilter.unfit(target, schema)
    reasons = plugin.unfit(CARRIERS[name], spec, target, schema)
    if reasons:
        return reasons[0]
    agent = istio_agent(image.pulled)
    return "" if agent.can else f"this image, as Istio's agent cannot pull it: {agent.why}"
