"""Which files may go: a pure decision about names, sizes and times."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple


class Choice(NamedTuple):
    """What a look at the folder comes to.

    Attributes:
        remove: modules to take away, in that order.
        unneeded: the others that nobody needs → since when, in seconds since 1970.
    """

    remove: tuple[str, ...]
    unneeded: dict[str, float]


def choose(
    sizes: Mapping[str, int],
    needed: Collection[str],
    spared: Collection[str],
    unneeded: Mapping[str, float],
    *,
    now: float,
    grace: float,
    limit: int,
    pressure: bool = False,
) -> Choice:
    """Choose what goes.

    A needed module never goes, however full it is. One that nobody needs goes when that has been so for the grace
    period (noticed at an earlier look, so that what has just arrived is safe), or at once, the longest unneeded first,
    while the whole is larger than the limit. A spared one goes only after all of these, for the limit.

    Args:
        sizes: all modules in the folder → bytes.
        needed: those that some image needs.
        spared: those that may still be in use although no image names them.
        unneeded: what the last look found → since when.
        now: seconds since 1970.
        grace: seconds.
        limit: bytes of all modules together; 0 is no limit.
        pressure: the disk is full: go on as if the limit were reached, until nothing is unneeded.
    """
    # A clock that was set back must not keep files for ever.
    since = {
        module: min(unneeded.get(module, now), now) for module in sizes if module not in needed and module not in spared
    }
    remove = [module for module, begun in since.items() if module in unneeded and now - begun >= grace]
    total = sum(sizes.values()) - sum(sizes[module] for module in remove)
    gone = set(remove)
    for module in [
        *sorted(since, key=lambda each: since[each]),
        *sorted(module for module in spared if module in sizes),
    ]:
        full = (limit and total > limit) or (pressure and module in since)
        if full and module not in gone and module not in needed:
            gone.add(module)
            remove.append(module)
            total -= sizes[module]
    return Choice(tuple(remove), {module: begun for module, begun in since.items() if module not in gone})
