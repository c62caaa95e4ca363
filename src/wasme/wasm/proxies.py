"""Which proxies can run a module: not a list of versions that somebody tested, but what the module needs of its host.

The host is the same library, proxy-wasm-cpp-host, in all of them; what it offers has only ever grown, so one number
says it all: the minor version of the Envoy 1 that carries it. Istio's proxy before 1.9 was built from a fork of Envoy
with the same numbers (Istio 1.8 is Envoy 1.16); Envoy itself has Wasm since 1.17. The tables were read off the history
of that library and of the proxies that pin it; Envoy 1.40, the newest there is, still takes all three ABI versions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from wasme.wasm import abi
from wasme.wasm.module import Module

_VERSION = re.compile(r"v?(\d{1,4})(?:\.(\d{1,4}))?(?:\.(?:x|\d{1,6}))?(?:[-+.].*)?")
_CURRENT = ("", "latest", "current")

OLDEST_ENVOY = 17
"""The first Envoy (1.N) that has Wasm at all."""
OLDEST_OF_ABI = {"0.1.0": 13, "0.2.0": 15, "0.2.1": 16}
"""The Envoy (1.N) whose host first took each version's marker; no host has dropped one since."""

_FULL_WASI = 39  # every function of ``abi.WASI_FUNCTIONS``
_OLDEST_OF_WASI = {
    **dict.fromkeys(
        ("args_get", "args_sizes_get", "environ_get", "environ_sizes_get", "fd_close", "fd_seek", "fd_write"), 13
    ),
    "proc_exit": 13,
    "fd_fdstat_get": 14,
    "fd_read": 14,
    "clock_time_get": 17,
    "random_get": 17,
    "path_open": 21,
    "fd_prestat_get": 21,
    "fd_prestat_dir_name": 21,
    "fd_fdstat_set_flags": 33,
    "poll_oneoff": 33,
    "sched_yield": 33,
}
_OLDEST_OF_HOST = {"emscripten_notify_memory_growth": 23}
_REACTOR = 17  # calls _initialize, and takes proxy_on_memory_allocate in place of malloc

# The Envoy in each Gloo Edge; releases between are built from one in between.
_GLOO = {3: 13, 5: 14, 6: 17, 8: 19, 13: 23, 15: 26, 17: 29}


class Needs(NamedTuple):
    """What a module needs of its host.

    Attributes:
        abi: the version it says; None if none that Envoy knows.
        oldest: the minor version of the oldest Envoy 1 whose host has it all; None where no host has.
        because: what asks for no older one.
    """

    abi: str | None
    oldest: int | None
    because: str


class Answer(NamedTuple):
    """Whether one proxy can run one module.

    Attributes:
        runs: ``unknown`` where the proxy's version cannot be read, or nobody knows which Envoy it has.
        reason: why, in one line.
    """

    runs: Literal["yes", "no", "unknown"]
    reason: str


class Proxy(NamedTuple):
    """A proxy, or what runs one.

    Attributes:
        name: as on the command line, such as ``envoy-gateway``.
        label: as people write it.
        first: its oldest minor version (of 1) that has Wasm at all.
        envoy: from its minor version to that of the Envoy in it.
        exact: whether ``envoy`` gives just that, or the least that is known.
    """

    name: str
    label: str
    first: int
    envoy: Callable[[int], int]
    exact: Callable[[int], bool] = lambda _minor: True

    def oldest(self, needed: int) -> int | None:
        """Its oldest minor version that surely has the Envoy ``needed``; None where that is not known."""
        return next((minor for minor in range(self.first, 100) if self.envoy(minor) >= needed), None)


PROXIES = (
    Proxy("envoy", "Envoy", OLDEST_ENVOY, lambda minor: minor),
    Proxy("istio", "Istio", 5, lambda minor: minor + 8),
    Proxy("envoy-gateway", "Envoy Gateway", 1, lambda minor: minor + 30),
    Proxy(
        "gloo",
        "Gloo Edge",
        3,
        lambda minor: max(envoy for known, envoy in _GLOO.items() if known <= minor),
        lambda minor: minor in _GLOO,
    ),
)
_BY_NAME = {each.name: each for each in PROXIES}


def needs(module: Module) -> Needs:
    """What a module needs of its host. (That its imports have the right types is for ``check`` to tell.)"""
    version = abi.spoken(module).version
    if version is None:
        return Needs(None, None, "it says no ABI version that Envoy knows")
    found = [(OLDEST_OF_ABI[version], f"ABI {version}")]
    if module.export("_initialize") and not module.export("_start"):
        found.append((_REACTOR, "_initialize, without which its static objects are not made"))
    if not module.export("malloc") and module.export("proxy_on_memory_allocate"):
        found.append((_REACTOR, "proxy_on_memory_allocate in place of malloc"))
    for each in module.imports:
        if each.kind != "function":
            continue
        if abi.host_function(version, each.module, each.name) is None:
            return Needs(version, None, f"no Envoy offers {each.full_name} to ABI {version}")
        table, newest = (_OLDEST_OF_WASI, _FULL_WASI) if each.module in abi.WASI else (_OLDEST_OF_HOST, 13)
        found.append((table.get(each.name, newest), f"{each.module}.{each.name}"))
    oldest = max(minor for minor, _ in found)
    return Needs(version, oldest, next(why for minor, why in found if minor == oldest))


def of_version(version: str, *, initialises: bool = False) -> Needs:
    """The needs of any module of an ABI version, for whoever has no module yet.

    Args:
        version: one of ``abi.VERSIONS``.
        initialises: whether its SDK exports ``_initialize`` or lacks ``malloc``.
    """
    oldest = OLDEST_OF_ABI[version]
    if initialises and oldest < _REACTOR:
        return Needs(version, _REACTOR, "_initialize")
    return Needs(version, oldest, f"ABI {version}")


def can_run(module: Module | Needs, proxy: str, version: str = "") -> Answer:
    """Whether a proxy of that version can run a module.

    Args:
        module: the module, or what it needs.
        proxy: one of ``PROXIES`` by name.
        version: such as ``1.17``, ``v1.9.3`` or ``1.24.1-distroless``; "" or ``latest`` for the newest there is.

    Raises:
        KeyError: there is no such proxy.
    """
    wanted = module if isinstance(module, Needs) else needs(module)
    target = _BY_NAME[proxy]
    if wanted.oldest is None:
        return Answer("no", wanted.because)
    if version in _CURRENT:
        return Answer("yes", f"the current {target.label} has {wanted.because}")
    label = f"{target.label} {version}"
    minor = minor_of(version)
    if minor is None:
        return Answer("unknown", f"{version!r} is no version of {target.label}")
    if minor < target.first:
        return Answer("no", f"{label} has no Wasm; {target.label} 1.{target.first} is the first that has")
    has = target.envoy(minor)
    if has >= wanted.oldest:
        return Answer("yes", f"{label} has {wanted.because}")
    if not target.exact(minor):
        return Answer("unknown", f"which Envoy {label} has is not known here; it must have {wanted.because}")
    since = target.oldest(wanted.oldest)
    least = f"; {target.label} 1.{since} and later have it" if since is not None else ""
    return Answer("no", f"{label} lacks {wanted.because}{least}")


def minor_of(version: str) -> int | None:
    """The minor version of a version 1; a huge number for later ones, None for what is no version."""
    match = _VERSION.fullmatch(version)
    if match is None or match[2] is None:
        return None
    return int(match[2]) if match[1] == "1" else 10_000 if int(match[1]) > 1 else 0


class OldName(NamedTuple):
    """What a name in ``abiVersions`` of a runtime config stands for.

    Attributes:
        abi: the Proxy-Wasm ABI version that hosts of that day took; None for those before any.
        meaning: where the name comes from, and where the original allowed it.
        newest: the Envoy (1.N) in the newest proxy that goes by that name; None for a plain version, which is no proxy.
    """

    abi: str | None
    meaning: str
    newest: int | None = None


_OLD = {
    "6d525c67f39b36cdff9d688697f266c1b55e9cb7": OldName(None, "Envoy of November 2019, Istio 1.4", 12),
    "097b7f2e4cc1fb490cc1943d0d633655ac3c522f": OldName("0.1.0", "Envoy of December 2019, Istio 1.5 and 1.6", 14),
    "edc016b1fa5adca3ebd3d7020eaed0ad7b8814ca": OldName("0.1.0", "Envoy of 7 July 2020, Gloo 1.5", 14),
    "541b2c1155fffb15ccde92b8324f3e38f7339ba6": OldName("0.1.0", "a fork of Envoy of 2020, Gloo 1.3", 14),
    "4689a30309abf31aee9ae36e73d34b1bb182685f": OldName("0.2.0", "Envoy of 4 August 2020, Istio 1.7 to 1.9", 17),
}


def old_name(name: str) -> OldName | None:
    """What a name in ``abiVersions`` stands for: a commit of Envoy's, as the original wrote it, or a plain version."""
    plain = name.removeprefix("v")
    if plain in abi.VERSIONS:
        return OldName(plain, f"Proxy-Wasm ABI {plain}")
    return _OLD.get(name.removeprefix("v0-"))
