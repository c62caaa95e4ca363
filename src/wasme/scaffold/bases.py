"""Which filters `init` can begin: languages, platforms and versions.

A base is a template of one language and the platforms it is for. Those up to Istio 1.9 and Gloo 1.6 are the original's:
the combinations, their order and what they write into runtime-config.json, since scripts and clusters rely on them.
Before them stands, for each language, the base for what is current.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from wasme.errors import ScaffoldError
from wasme.scaffold import templates
from wasme.wasm import proxies
from wasme.wasm.proxies import Needs

LANGUAGES = ("cpp", "rust", "assemblyscript", "tinygo")
PLATFORMS = ("envoy", "envoy-gateway", "gloo", "istio")
_FIRST_SINCE_THE_ORIGINAL = {"istio": 10, "gloo": 7}
_NO_LAST = 1000  # a platform's next version needs no new wasme: whether it runs a filter is a question of the ABI
_FREE = ("envoy", "envoy-gateway")  # every version of these runs the same modules
_MINOR = re.compile(r"v?1\.(\d{1,3})(?:\.(?:x|\d+)(?:[-+].*)?)?")
_VERSION = re.compile(r"(?:v?\d{1,4}(?:\.(?:x|\d{1,6})){0,2}(?:[-+].*)?|latest|current)?")
# What people call the languages otherwise.
_CALLED = {
    **dict.fromkeys(("go", "golang"), "tinygo"),
    **dict.fromkeys(("c++", "cxx", "cc"), "cpp"),
    **dict.fromkeys(("as", "js", "ts", "javascript", "typescript"), "assemblyscript"),
    "rs": "rust",
}

# The names by which runtime-config.json tells an ABI: commits of Envoy's, from before the ABI had versions.
_DECEMBER_2019 = "v0-097b7f2e4cc1fb490cc1943d0d633655ac3c522f"  # Istio 1.5 and 1.6
_AUGUST_2020 = "v0-4689a30309abf31aee9ae36e73d34b1bb182685f"  # Istio 1.7 to 1.9
_GLOO = "v0-541b2c1155fffb15ccde92b8324f3e38f7339ba6"  # Gloo 1.3 and 1.5
# Go's own compiler asks the host for more than TinyGo, which need not be there; see ``wasm.proxies`` for the versions.
_GO = Needs("0.2.0", 33, "the WASI functions that Go's own compiler asks for (TinyGo's filters run in older ones)")


@dataclass(frozen=True, slots=True)
class Base:
    """A template of one language, and what it is for.

    Attributes:
        language: one of ``LANGUAGES``.
        platforms: such as ``istio:1.9.x``, in the original's order; empty for the base of what is current: Envoy, Envoy
            Gateway, and Istio and Gloo since the original's.
        abi_versions: what runtime-config.json names. For the original's platforms it is the original's list, also where
            our SDK needs a newer proxy: clusters of that day look for their own name in it before they take an image,
            and newer proxies, which can run it, are named there by nothing else. `init` warns, and what an image's
            module itself needs is what `wasme inspect` and `wasme validate` tell.
        template: the folder of its files; the language's name where "" is given.
        abi: the Proxy-Wasm ABI that its modules speak: the newest that all its platforms take, if the SDK can.
    """

    language: str
    platforms: tuple[str, ...] = ()
    abi_versions: tuple[str, ...] = ("v0.2.1",)
    template: str = ""
    abi: str = "0.2.1"

    def __post_init__(self) -> None:
        if not self.template:
            object.__setattr__(self, "template", self.language)

    def minors(self, platform: str) -> Collection[int] | None:
        """The minor versions of a platform that it is for, none where all are alike; None if it is not for it."""
        if not self.platforms:
            return range(_FIRST_SINCE_THE_ORIGINAL[platform], _NO_LAST) if needs_version(platform) else ()
        found = [
            minor
            for name, _, version in (each.partition(":") for each in self.platforms)
            if name == platform and (minor := _minor(version)) is not None
        ]
        return found or None

    def targets(self, platform: str = "") -> tuple[str, ...]:
        """Those it is for, such as ``istio:1.9.x``, of one platform or all; of what is current, the oldest of each."""
        oldest = (f"{name}:1.{minor}.x" for name, minor in _FIRST_SINCE_THE_ORIGINAL.items())
        shown = self.platforms or (*_FREE, *oldest)
        return tuple(each for each in shown if platform in ("", each.partition(":")[0]))

    @property
    def needs(self) -> Needs:
        """What its modules need of their host."""
        if self.language == "tinygo":
            return _GO
        # Modules of today begin as reactors; those of the older ABIs with _start, which their hosts know.
        return proxies.of_version(self.abi, initialises=self.abi == "0.2.1")

    @property
    def runs_in(self) -> str:
        """The oldest proxies that run its modules: ``Envoy 1.17 and later (Istio 1.9, Gloo Edge 1.6 and later)``."""
        needed = self.needs.oldest or 0
        known = [(each.label, since) for each in proxies.PROXIES if (since := each.oldest(needed)) is not None]
        told = {label: f"{label} 1.{since}" for label, since in known if label != "Envoy Gateway" or since > 1}
        envoy = told.pop("Envoy")
        return f"{envoy} and later ({', '.join(told.values())} and later)"

    @property
    def label(self) -> str:
        """All its platforms in the original's words: ``gloo:1.6.x, istio:1.8.x, istio:1.9.x``."""
        return self.label_for("")

    def label_for(self, platform: str) -> str:
        """As the prompt shows it to whoever has named a platform; "" for all of them."""
        if self.platforms:
            return ", ".join(self.targets(platform))
        return ", ".join(f"{each} and later" if ":" in each else each for each in self.targets(platform))

    def short_label_for(self, platform: str) -> str:
        """The same with versions in a row as one: ``gloo:1.6.x, istio:1.8.x … 1.9.x``."""
        if not self.platforms:
            return self.label_for(platform)
        names = (platform,) if platform else PLATFORMS
        return ", ".join(
            f"{name}:1.{first}.x" + (f" … 1.{last}.x" if last > first else "")
            for name in names
            for first, last in _runs(self.minors(name) or ())
        )


def _istio(*minors: int) -> tuple[str, ...]:
    return tuple(f"istio:1.{minor}.x" for minor in minors)


BASES = (
    Base("cpp"),
    Base("cpp", _istio(5, 6), (_DECEMBER_2019,), abi="0.1.0"),
    Base("cpp", _istio(7, 8, 9), (_AUGUST_2020,), abi="0.2.0"),
    Base("cpp", ("gloo:1.5.x", "gloo:1.6.x"), (_GLOO, "v0.2.1"), abi="0.1.0"),
    Base("rust"),
    Base(
        "rust",
        (*_istio(5, 6, 7), "gloo:1.6.x", *_istio(8, 9)),
        (_DECEMBER_2019, _AUGUST_2020, "v0.2.1"),
        template="rust-0.1",
        abi="0.1.0",
    ),
    Base("assemblyscript"),
    Base(
        "assemblyscript",
        ("gloo:1.3.x", "gloo:1.5.x", "gloo:1.6.x", *_istio(5, 6, 7, 8, 9)),
        (_GLOO, _DECEMBER_2019, _AUGUST_2020, "v0.2.1"),
    ),
    Base("tinygo", abi_versions=("v0.2.0", "v0.2.1"), abi="0.2.0"),
    Base(
        "tinygo",
        ("istio:1.7.x", "gloo:1.6.x", *_istio(8, 9)),
        (_AUGUST_2020, "v0.2.1"),
        abi="0.2.0",
    ),
)


def languages() -> tuple[str, ...]:
    """The languages that can be begun, in the original's order."""
    return tuple(language for language in LANGUAGES if templates.examples(language))


def offered(language: str, platform: str = "") -> tuple[Base, ...]:
    """The bases of a language, in the order in which they are offered.

    Args:
        language: one of ``LANGUAGES``.
        platform: only those for some version of this; "" for all.

    Raises:
        ScaffoldError: there is no such language or platform.
    """
    known = languages()
    if language not in known:
        raise ScaffoldError(
            f"{language} is not a supported language. available: {_bracketed(known)}",
            hint=_meant(_CALLED.get(language.lower(), language), known),
        )
    if platform and platform not in PLATFORMS:
        raise ScaffoldError(
            f"no filter base found for language {language}: {platform} is not a supported platform. "
            f"available: {_bracketed(PLATFORMS)}",
            hint=_meant(platform, PLATFORMS),
        )
    return tuple(
        base
        for base in BASES
        if base.language == language
        and templates.examples(base.template)
        and (not platform or base.minors(platform) is not None)
    )


def find(language: str, platform: str, version: str) -> Base:
    """The first base of a language that is for this platform and version.

    Args:
        language: one of ``LANGUAGES``.
        platform: one of ``PLATFORMS``; "" for the base of what is current.
        version: ``1.9.x``, ``1.9``, ``1.9.3``; any, or "", where the platform's version does not matter.

    Raises:
        ScaffoldError: there is no such language, platform or version.
    """
    candidates = offered(language, platform)
    if not platform:
        return candidates[0]
    if not needs_version(platform) and not _VERSION.fullmatch(version):
        raise ScaffoldError(
            f"no filter base found for language {language} on {platform} {version}", hint="a version is such as 1.9.x"
        )
    minor = _minor(version)
    for base in candidates:
        minors = base.minors(platform)
        if minors is not None and (not needs_version(platform) or minor in minors):
            return base
    raise ScaffoldError(
        f"no filter base found for language {language} on {platform} {version}",
        hint=f"{platform}: {_ranges(minor for base in candidates for minor in base.minors(platform) or ())}",
    )


def needs_version(platform: str) -> bool:
    """Whether ``--platform-version`` must be given with this platform."""
    return platform not in _FREE


def _minor(version: str) -> int | None:
    match = _MINOR.fullmatch(version)
    return int(match.group(1)) if match else None


def _ranges(minors: Iterable[int]) -> str:
    """Minor versions as people write them: ``1.3.x, 1.5.x and later``."""
    return ", ".join(_run(first, last) for first, last in _runs(minors))


def _runs(minors: Iterable[int]) -> list[tuple[int, int]]:
    """The first and the last of those in a row."""
    runs: list[tuple[int, int]] = []
    for minor in sorted(minors):
        if runs and minor == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], minor)
        else:
            runs.append((minor, minor))
    return runs


def _run(first: int, last: int) -> str:
    if last + 1 == _NO_LAST:
        return f"1.{first}.x and later"
    return f"1.{first}.x" if first == last else f"1.{first}.x to 1.{last}.x"


def _bracketed(names: Iterable[str]) -> str:
    return f"[{' '.join(names)}]"


def _meant(word: str, known: Sequence[str]) -> str | None:
    """The name that somebody probably had in mind."""
    import difflib

    close = difflib.get_close_matches(word.lower(), known, 1)
    return f"did you mean {close[0]}?" if close else None
