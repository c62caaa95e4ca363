"""What `wasme validate` says: Envoy's complaints foretold, and what of the image around the module does not fit it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from wasme.inspect.subject import Subject
from wasme.wasm import abi, proxies
from wasme.wasm.check import examine
from wasme.wasm.finding import Finding, note
from wasme.wasm.module import Module

if TYPE_CHECKING:
    from wasme.image.layouts import FilterImage


class Verdict(NamedTuple):
    """What is wrong with a subject.

    Attributes:
        findings: errors in Envoy's order, then warnings, then notes.
        module: the module's facts; None where it is none.
    """

    findings: tuple[Finding, ...]
    module: Module | None

    @property
    def loads(self) -> bool:
        """Whether Envoy would load the module, as far as can be told without running it."""
        return not any(each.severity == "error" for each in self.findings)

    @property
    def spotless(self) -> bool:
        """Whether there is no error and no warning."""
        return all(each.severity == "note" for each in self.findings)


def judge(subject: Subject) -> Verdict:
    """Judge a module and the image around it, without running anything; nothing is raised."""
    if subject.unread:
        return Verdict((subject.unread,), None)
    findings, facts = examine(subject.module)
    if subject.image is not None and facts is not None:
        if subject.image.config.root_ids:
            findings = [each for each in findings if each.code != "root-id"]  # it is named, as the hint asks
        findings = sorted(
            [*findings, *_image(subject.image, facts)],
            key=lambda each: ("error", "warning", "note").index(each.severity),
        )
    return Verdict(tuple(findings), facts)


def _image(image: FilterImage, facts: Module) -> Iterator[Finding]:
    config = image.config
    if facts.asks_root_id:
        for root_id in config.root_ids:
            if root_id and not (facts.data_holds(root_id.encode()) or facts.data_holds(root_id.encode("utf-16-le"))):
                yield note(
                    "root-id",
                    f"the runtime config names the root id {root_id!r}, and the module holds no such text",
                    "name the root id that the code registers, in rootIds of runtime-config.json",
                )
    says = abi.spoken(facts).version
    known = {name: proxies.old_name(name) for name in config.abi_versions}
    meant = {each.abi for each in known.values() if each}
    if says and meant and says not in meant and all(known.values()):
        names = ", ".join(config.abi_versions)
        yield note(
            "abi-versions",
            f"the runtime config says {names}, the module ABI {says}",
            f"only the original wasme reads abiVersions; v{says} would be right",
        )
    yield from _platforms(config.abi_versions, facts)
    if config.type not in ("", "envoy_proxy"):
        yield note("runtime-type", f"the runtime config's type is {config.type!r}", "Envoy's filters say envoy_proxy")
    if not config.type and not config.has_config and not config.abi_versions:
        yield note("no-runtime-config", "the image has no runtime config", "the root id must be given with --root-id")


def _platforms(names: tuple[str, ...], facts: Module) -> Iterator[Finding]:
    """Proxies that the runtime config names and that are older than the module needs."""
    needed = proxies.needs(facts)
    if needed.oldest is None:
        return
    known = (proxies.old_name(name) for name in names)
    old = dict.fromkeys(each.meaning for each in known if each and each.newest and each.newest < needed.oldest)
    if old:
        since = [(each.label, each.oldest(needed.oldest)) for each in proxies.PROXIES]
        yield note(
            "platforms",
            f"the runtime config names proxies that cannot run the module: {'; '.join(old)}",
            f"it needs {needed.because}: "
            + ", ".join(f"{label} 1.{minor}" for label, minor in since if minor is not None)
            + " and later have it",
        )
