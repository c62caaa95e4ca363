"""An image and its module, explained: every fact that `wasme inspect` shows, as plain values."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from wasme.inspect.subject import Subject
from wasme.inspect.verdict import judge
from wasme.wasm import abi, proxies, purpose
from wasme.wasm.finding import Finding
from wasme.wasm.module import PAGE, Module
from wasme.wasm.origin import Origin, origin

if TYPE_CHECKING:
    from wasme.image.layouts import FilterImage

_SECTIONS = {
    0: "custom", 1: "types", 2: "imports", 3: "functions", 4: "tables", 5: "memories", 6: "globals", 7: "exports",
    8: "start", 9: "elements", 10: "code", 11: "data", 12: "data count", 13: "tags",
}  # fmt: skip


class Size(NamedTuple):
    """Bytes of one part."""

    name: str
    size: int


class AbiName(NamedTuple):
    """One of ``abiVersions``: the name, the ABI version it stands for (None if nobody knows), and what it means."""

    name: str
    abi: str | None
    meaning: str


class PulledBy(NamedTuple):
    """Whether a program can pull the image, and why."""

    who: str
    can: bool
    why: str


class ImageFacts(NamedTuple):
    """What the image says.

    Attributes:
        reference: its full name; "" for one of a folder.
        layout: how the module lies in it.
        manifest_digest, config_digest: of the manifest and its configuration blob.
        index_digest: of the index that the manifest was chosen from, or None.
        size: bytes of all its blobs and its manifest, each once.
        annotations: the manifest's.
        runtime_type, abi_versions, root_ids: the runtime config's.
        pulled_by: who can pull it.
    """

    reference: str
    layout: str
    manifest_digest: str
    config_digest: str
    index_digest: str | None
    size: int
    annotations: dict[str, str]
    runtime_type: str
    abi_versions: tuple[AbiName, ...]
    root_ids: tuple[str, ...]
    pulled_by: tuple[PulledBy, ...]


class Memory(NamedTuple):
    """A linear memory: bytes at the start and at the most (None: no limit of its own), and who provides it."""

    initial: int
    maximum: int | None
    imported: bool


class ModuleFacts(NamedTuple):
    """What the module says.

    Attributes:
        abi: its ABI version; None if none that Envoy knows, and ``markers`` has what it says instead.
        origin: its language, SDK and compiler.
        start: what runs first: ``_initialize``, ``_start``, ``start section`` or None.
        allocator: the function that Envoy gets memory from; None if there is none.
        memory: its linear memory; None if it has none.
        functions: how many, imported ones too.
        sections: bytes by section, in the module's order; custom ones are one here, and by name in ``customs``.
        host_calls: imported functions by purpose.
        callbacks: exported callbacks by kind of event.
        asks_root_id: whether it asks the host which root id it is to run as.
    """

    abi: str | None
    markers: tuple[str, ...]
    origin: Origin
    start: str | None
    allocator: str | None
    memory: Memory | None
    functions: int
    sections: tuple[Size, ...]
    customs: tuple[Size, ...]
    host_calls: dict[str, tuple[str, ...]]
    callbacks: dict[str, tuple[str, ...]]
    asks_root_id: bool


class RunsIn(NamedTuple):
    """Since which version a proxy can run the module; None: no version, or none that is known; and why."""

    proxy: str
    since: str | None
    why: str


class Explanation(NamedTuple):
    """Everything about one subject.

    Attributes:
        name, source: what it is called and where it was found.
        digest, size: the module's; digest is "" where it was too large to read.
        loads: whether Envoy would load it, as far as can be told without running it.
        image: None for a bare file.
        module: None where the bytes are no module; ``findings`` says why.
        runs_in: every proxy, where the module says a known ABI.
        findings: as `validate` gives them.
    """

    name: str
    source: str
    digest: str
    size: int
    loads: bool
    image: ImageFacts | None
    module: ModuleFacts | None
    runs_in: tuple[RunsIn, ...] = ()
    findings: tuple[Finding, ...] = ()


def explain(subject: Subject) -> Explanation:
    """Everything that can be told about an image or a file without running it; nothing is raised."""
    verdict = judge(subject)
    facts = verdict.module
    digest = subject.image.module.digest if subject.image else ""
    if not digest and not subject.unread:
        digest = f"sha256:{hashlib.sha256(subject.module).hexdigest()}"
    return Explanation(
        name=subject.name,
        source=subject.source,
        digest=digest,
        size=subject.size,
        loads=verdict.loads,
        image=_image(subject, subject.image) if subject.image else None,
        module=_module(facts) if facts else None,
        runs_in=runs_in(facts) if facts else (),
        findings=verdict.findings,
    )


def plain(explanation: Explanation) -> dict[str, Any]:
    """As plain values for JSON, keys in camelCase."""
    named: dict[str, Any] = _camel(explanation)
    return named


def runs_in(facts: Module) -> tuple[RunsIn, ...]:
    """Since which version each proxy can run the module."""
    wanted = proxies.needs(facts)
    if wanted.oldest is None:
        return tuple(RunsIn(each.label, None, wanted.because) for each in proxies.PROXIES)
    found = []
    for each in proxies.PROXIES:
        since = each.oldest(wanted.oldest)
        why = f"since it has {wanted.because}" if since != each.first else "since it has Wasm"
        if since is None:
            why = f"it must have {wanted.because}, and which Envoy its newer versions have is not known here"
        found.append(RunsIn(each.label, f"1.{since}" if since is not None else None, why))
    return tuple(found)


def _image(subject: Subject, image: FilterImage) -> ImageFacts:
    from wasme.image.pullers import Pulled, pullers

    pulled = Pulled(
        image.parsed,
        image.manifest.media_type,
        image.module.size,
        packed=image.layout == "compat",
        from_index=image.chosen_from is not None,
        platform=subject.platform,
    )
    return ImageFacts(
        reference="" if subject.source == "folder" else str(image.reference),
        layout=image.layout,
        manifest_digest=image.manifest.digest,
        config_digest=image.parsed.config.digest,
        index_digest=image.chosen_from,
        size=image.manifest.size + sum(blob.size for blob in image.parsed.blobs),
        annotations=dict(image.parsed.annotations or {}),
        runtime_type=image.config.type,
        abi_versions=tuple(_abi_name(name) for name in image.config.abi_versions),
        root_ids=image.config.root_ids,
        pulled_by=tuple(PulledBy(each.name, each.can, each.why) for each in pullers(pulled)),
    )


def _abi_name(name: str) -> AbiName:
    known = proxies.old_name(name)
    return AbiName(name, known.abi, known.meaning) if known else AbiName(name, None, "no name that is known")


def _module(facts: Module) -> ModuleFacts:
    spoken = abi.spoken(facts)
    start = next((name for name in ("_initialize", "_start") if facts.export(name)), None)
    limits = facts.memories[0] if facts.memories else None
    return ModuleFacts(
        abi=spoken.version,
        markers=spoken.foreign,
        origin=origin(facts),
        start=start or ("start section" if facts.start is not None else None),
        allocator=next((name for name in abi.ALLOCATORS if facts.export(name)), None),
        memory=Memory(
            limits.minimum * PAGE,
            None if limits.maximum is None else limits.maximum * PAGE,
            any(each.kind == "memory" for each in facts.imports),
        )
        if limits
        else None,
        functions=facts.functions,
        sections=_sections(facts),
        customs=tuple(Size(each.name, each.end - each.start) for each in facts.customs),
        host_calls=purpose.host_calls(facts),
        callbacks=purpose.callbacks(facts),
        asks_root_id=facts.asks_root_id,
    )


def _sections(facts: Module) -> tuple[Size, ...]:
    sizes: dict[str, int] = {}
    for each in facts.sections:
        name = _SECTIONS.get(each.id, str(each.id))
        sizes[name] = sizes.get(name, 0) + each.size
    return tuple(Size(name, size) for name, size in sizes.items())


def _camel(value: Any) -> Any:
    """Attributes under the names that JSON has for them; names from the module or the image stay as they are."""
    if hasattr(value, "_asdict"):
        return {
            head + "".join(word.title() for word in rest): _camel(each)
            for name, each in value._asdict().items()
            for head, *rest in [name.split("_")]
        }
    return [_camel(each) for each in value] if isinstance(value, tuple) else value
