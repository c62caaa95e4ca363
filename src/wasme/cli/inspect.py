"""``wasme inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wasme.cli.grammar import command, exactly, stored_images
from wasme.cli.options import auth_options, output_option, registry_map_option, store_option

if TYPE_CHECKING:
    from wasme.inspect.explanation import Explanation, ImageFacts, ModuleFacts

_Row = tuple[str, str]
_LARGE = 10_000
_MOST_SECTIONS = 12


@command(
    "inspect",
    use="inspect <image or file>",
    args=exactly(1),
    complete=stored_images,
    help="Explain a filter without running it: the image around it, the module, and who can pull and run it.\n\n"
    "<image or file> is a .wasm file, - for a module on standard input, an image of the local store or of a folder "
    "with an OCI image layout (DIR or DIR:NAME), or else an image at its registry, of which nothing is "
    "kept. Host calls are what the module imports, so what it can do, not what it does.\n\n"
    "--output json has the keys name, source, digest, size, loads, image (reference, layout, manifestDigest, "
    "configDigest, indexDigest, size, annotations, runtimeType, abiVersions, rootIds, pulledBy), module (abi, markers, "
    "origin, start, allocator, memory, functions, sections, customs, hostCalls, callbacks, asksRootId), runsIn and "
    "findings; sizes are bytes. The exit code is 1 if the bytes are no module.",
    examples="wasme inspect localhost:5000/demo/auth:v1\nwasme inspect build/filter.wasm --output json",
)
@auth_options
@store_option
@registry_map_option
@output_option
def inspect(args: tuple[str, ...], store: str, output: str, **connection: Any) -> int:
    """Print everything about one filter."""
    from wasme.cli import subjects
    from wasme.inspect.explanation import explain, plain

    explanation = explain(subjects.found(args[0], store, connection))
    if output == "json":
        subjects.tell_json(plain(explanation))
    else:
        subjects.tell(_lines(explanation))
    return int(explanation.module is None)


def _lines(told: Explanation) -> list[str]:
    """The table: a heading, then rows of a name and what it is."""
    from wasme.cli.subjects import PLACES, findings, shown
    from wasme.cli.terminal import heading

    lines = [f"{heading(shown(told.name))} ({PLACES[told.source]})"]
    sections: list[tuple[str, list[_Row]]] = []
    if told.image:
        sections.append(("Image", _image(told.image)))
        sections.append(("Pulled by", [(each.who, _answer(each.can, each.why)) for each in told.image.pulled_by]))
    sections.append(("Module", _module(told)))
    if told.module:
        sections.append(("Sections", _sizes(told.module, told.size)))
        sections.append(("Callbacks", _names(told.module.callbacks, "proxy_on_")))
        sections.append(("Host calls", _names(told.module.host_calls, "proxy_")))
        sections.append(
            (
                "Runs in",
                [
                    (each.proxy, f"{each.since} and later, {each.why}" if each.since else each.why)
                    for each in told.runs_in
                ],
            )
        )
    width = max(len(shown(name)) for _, rows in sections for name, _ in rows) + 2
    for title, rows in sections:
        if rows:
            lines += ["", heading(title)]
            lines += [f"  {shown(name):<{width}}{shown(text)}".rstrip() for name, text in rows]
    if told.findings:
        lines += ["", heading("Findings"), *findings(told.findings, "  ")]
    return lines


def _answer(can: bool, why: str) -> str:
    return f"{'yes' if can else 'no'}: {why}"


def _image(image: ImageFacts) -> list[_Row]:
    from wasme.cli.output import human_size

    rows = [
        ("layout", image.layout),
        ("manifest", image.manifest_digest),
        ("configuration", image.config_digest),
        ("index", image.index_digest or ""),
        ("size", human_size(image.size)),
        ("runtime", image.runtime_type or "not said"),
        ("root ids", ", ".join(image.root_ids) or "none"),
        *(("ABI versions" if not at else "", f"{each.name} ({each.meaning})")
          for at, each in enumerate(image.abi_versions)),
        *(("annotations" if not at else "", f"{key}={value}")
          for at, (key, value) in enumerate(sorted(image.annotations.items()))),
    ]  # fmt: skip
    return [row for row in rows if row[1]]


def _module(told: Explanation) -> list[_Row]:
    from wasme.cli.output import human_size

    rows = [("digest", told.digest), ("size", human_size(told.size))]
    if told.module:
        rows += _facts(told.module)
    rows.append(("Envoy", "would load it" if told.loads else "would refuse it"))
    return [row for row in rows if row[1]]


def _facts(module: ModuleFacts) -> list[_Row]:
    origin, memory = module.origin, module.memory
    most = "no maximum" if memory is None or memory.maximum is None else f"at most {_kib(memory.maximum)}"
    return [
        ("ABI", f"Proxy-Wasm {module.abi}" if module.abi else ", ".join(module.markers) or "none"),
        ("language", f"{origin.language}, told by {origin.sign}" if origin.language else "not to be told"),
        ("SDK", origin.sdk),
        ("compiler", origin.compiler),
        ("memory", f"{_kib(memory.initial)} at the start, {most}" if memory else "none"),
        ("allocator", module.allocator or "none"),
        ("starts with", module.start or "nothing"),
        ("functions", str(module.functions)),
        ("root id", "it asks the host for it" if module.asks_root_id else ""),
    ]


def _kib(size: int) -> str:
    """Bytes of memory, which come in pages of 64 KiB."""
    return f"{size >> 10:,} KiB".replace(",", " ") if size < 10 << 20 else f"{size / (1 << 20):.1f} MiB"


def _sizes(module: ModuleFacts, whole: int) -> list[_Row]:
    """Rows of a section and its size, the largest first; custom sections by name, the small ones together."""
    from wasme.cli.output import human_size

    plain = [(each.name, each.size) for each in module.sections if each.name != "custom"]
    plain += [(f"custom: {each.name}", each.size) for each in module.customs]
    plain.sort(key=lambda row: -row[1])
    large = [(name, size) for name, size in plain if size * 100 >= whole or size >= _LARGE][:_MOST_SECTIONS]
    rest = [row for row in plain if row not in large]
    if len(rest) == 1:
        large += rest
    elif rest:
        large.append((f"{len(rest)} small ones", sum(size for _, size in rest)))
    return [(name, f"{human_size(size):<9}{size * 100 / whole:4.0f} %") for name, size in large]


def _names(by_kind: dict[str, tuple[str, ...]], prefix: str) -> list[_Row]:
    """Rows of a kind and its names, without what they all begin with."""
    return [(kind, ", ".join(name.removeprefix(prefix) for name in names)) for kind, names in by_kind.items()]
