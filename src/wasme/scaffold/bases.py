"""Which filters `init` can begin: languages, platforms and versions.

A base is a template of one language and the platforms it is for. The names, their order and the versions up to
Istio 1.9 and Gloo 1.6 are the original's, since scripts name them; what came later is behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from wasme.errors import ScaffoldError

LANGUAGES = ("cpp", "rust", "assemblyscript", "tinygo")
PLATFORMS = ("envoy", "envoy-gateway", "gloo", "istio")
NEWEST_ISTIO = 30
NEWEST_GLOO = 22
_READY = ("assemblyscript",)
_FREE = ("envoy", "envoy-gateway")  # every version of these runs the same modules
_MINOR = re.compile(r"v?1\.(\d{1,3})(?:\.(?:x|\d+)(?:[-+.].*)?)?")


@dataclass(frozen=True, slots=True)
class Base:
    """A template of one language.

    Attributes:
        language: one of ``LANGUAGES``.
        istio: the minor versions of Istio 1 that it is for.
        gloo: the minor versions of Gloo 1 that it is for.
        current: whether it is for Envoy and Envoy Gateway, and for newer Istio and Gloo than the original knew.
    """

    language: str
    istio: tuple[int, ...]
    gloo: tuple[int, ...]
    current: bool = False

    def supports(self, platform: str, minor: int | None) -> bool:
        """Whether the template is for this platform; ``minor`` is None where the version does not matter."""
        if platform in _FREE:
            return self.current
        known = self.istio if platform == "istio" else self.gloo
        newest = NEWEST_ISTIO if platform == "istio" else NEWEST_GLOO
        return minor in known or (self.current and minor is not None and max(known) < minor <= newest)

    @property
    def label(self) -> str:
        """As the prompt shows it: ``gloo:1.6.x, istio:1.9.x``."""
        names = [f"gloo:1.{minor}.x" for minor in self.gloo] + [f"istio:1.{minor}.x" for minor in self.istio]
        if self.current:
            names += [f"gloo:1.7.x to 1.{NEWEST_GLOO}.x", f"istio:1.10.x to 1.{NEWEST_ISTIO}.x", *_FREE]
        return ", ".join(names)


BASES = (
    Base("cpp", istio=(5, 6), gloo=()),
    Base("cpp", istio=(7, 8, 9), gloo=()),
    Base("cpp", istio=(), gloo=(5, 6)),
    Base("assemblyscript", istio=(5, 6, 7, 8, 9), gloo=(3, 5, 6), current=True),
    Base("rust", istio=(5, 6, 7, 8, 9), gloo=(6,)),
    Base("tinygo", istio=(7, 8, 9), gloo=(6,)),
)


def for_language(language: str) -> tuple[Base, ...]:
    """The bases of one language, in the order in which they are offered.

    Raises:
        ScaffoldError: there is no such language, or no template of it in this version.
    """
    if language not in LANGUAGES:
        raise ScaffoldError(f"{language} is not a supported language. available: {_bracketed(LANGUAGES)}")
    if language not in _READY:
        raise ScaffoldError(
            f"this version of wasme scaffolds assemblyscript only, not {language}",
            hint="use --language=assemblyscript",
        )
    return tuple(base for base in BASES if base.language == language)


def find(language: str, platform: str, version: str) -> Base:
    """The first base of a language that is for this platform and version.

    Args:
        language: one of ``LANGUAGES``.
        platform: one of ``PLATFORMS``; "" for whichever comes first.
        version: ``1.9.x``, ``1.9``, ``1.9.3``; "" or anything where the platform's version does not matter.

    Raises:
        ScaffoldError: there is no such language, platform or version.
    """
    bases = for_language(language)
    if not platform:
        return bases[0]
    if platform not in PLATFORMS:
        raise ScaffoldError(
            f"no filter base found for language {language}: {platform} is not a supported platform. "
            f"available: {_bracketed(PLATFORMS)}"
        )
    match = _MINOR.fullmatch(version)
    minor = int(match.group(1)) if match else None
    for base in bases:
        if base.supports(platform, minor):
            return base
    raise ScaffoldError(
        f"no filter base found for language {language} on {platform} {version}", hint=f"{platform}: {_range(platform)}"
    )


def needs_version(platform: str) -> bool:
    """Whether ``--platform-version`` must be given with this platform."""
    return platform not in _FREE


def speaks_abi(platform: str, version: str) -> bool:
    """Whether that platform's Envoy knows ABI 0.2.1 (Envoy 1.17, October 2020), which our AssemblyScript SDK speaks."""
    oldest = {"istio": 9, "gloo": 6}.get(platform)
    match = _MINOR.fullmatch(version)
    return oldest is None or match is None or int(match.group(1)) >= oldest


def _range(platform: str) -> str:
    if platform == "istio":
        return f"1.5.x to 1.{NEWEST_ISTIO}.x"
    return f"1.3.x, 1.5.x to 1.{NEWEST_GLOO}.x"


def _bracketed(names: Iterable[str]) -> str:
    return f"[{' '.join(names)}]"
