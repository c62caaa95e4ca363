"""What filters count, read from Envoy's admin interface."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from wasme.testing import http1

_PREFIX = "wasmcustom."
_QUERY = "/stats?format=json&histogram_buckets=detailed&filter=%5Ewasmcustom%5C.&type="
_SETTLING = 3
_PAUSE = 0.01


@dataclass(frozen=True, slots=True)
class Metrics:
    """All that filters count at one moment, by name without Envoy's prefix; of histograms, how many values."""

    counters: Mapping[str, int] = field(default_factory=dict)
    gauges: Mapping[str, int] = field(default_factory=dict)

    def since(self, before: Metrics) -> dict[str, int]:
        """How much each has grown; gauges as they are."""
        grown = {name: count - before.counters.get(name, 0) for name, count in self.counters.items()}
        return {**grown, **self.gauges}


async def read(admin: int) -> Metrics:
    """Ask the admin interface at that port."""
    gauges = await _stats(admin, "Gauges")
    return Metrics({**await _stats(admin, "Counters"), **await _stats(admin, "Histograms")}, gauges)


async def settled(admin: int) -> Metrics:
    """The same, once histograms have been counted together: each question begins that, and does not wait for it."""
    for _ in range(_SETTLING - 1):
        await read(admin)
        await asyncio.sleep(_PAUSE)
    return await read(admin)


async def _stats(admin: int, kind: str) -> dict[str, int]:
    _, _, body = await http1.ask(admin, "GET", _QUERY + kind, (("host", "admin"),))
    found: dict[str, int] = {}
    for stat in json.loads(body)["stats"]:
        for histogram in stat.get("histograms", {}).get("details", ()):
            found[histogram["name"].removeprefix(_PREFIX)] = sum(each["count"] for each in histogram["totals"])
        if "name" in stat:
            found[stat["name"].removeprefix(_PREFIX)] = int(stat["value"])
    return found
