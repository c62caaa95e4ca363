"""Will Envoy load this module? The answer without an Envoy, in Envoy's own words.

Envoy takes a module in four steps, and each has its own complaint:

1. it walks the sections by itself, looking for the version marker and the names of functions;
2. V8 decodes and compiles the bytes;
3. the imports are linked, the first that cannot be ends it, and the module is instantiated;
4. the callbacks and the allocator are looked up, and each one's type is compared.

``check`` goes the same way in the same order, so its first error is the line that Envoy would print. It knows all of a
module but its function bodies: code that V8 does not accept, and code that traps when it starts, only Envoy can tell.
The texts are those of Envoy 1.40; a test compares every one with the real Envoy's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from wasme.errors import ModuleError, ModuleRefused
from wasme.wasm import abi
from wasme.wasm.module import MAGIC, PAGE, Export, Import, Limits, Module, parse
from wasme.wasm.reader import Cursor

_MOST_PAGES = 16_384  # Envoy's 1 GiB
_MOST_WASM_PAGES = 65_536
_CORRUPT = "Failed to parse corrupted Wasm module"
_BYTECODE = "Failed to load Wasm bytecode"
_NO_VERSION = "Missing or unknown Proxy-Wasm ABI version"
_NO_INSTANCE = "Failed to create new Wasm instance"
_CRASH = "unreachable code"
_MARKER_HINT = (
    "build it with a Proxy-Wasm SDK, and keep the SDK's exports when linking "
    "(clang: -Wl,--export-dynamic; Rust: crate-type cdylib)"
)
# Types that V8's embedding interface, which Envoy uses, can name.
_NAMEABLE = frozenset({"i32", "i64", "f32", "f64", "funcref", "externref", "ref func", "ref extern", ""})
# Host calls that are of no use without a callback: call, callback, code, what it is for, what happens.
_ANSWERS = (
    (
        "proxy_http_call",
        "proxy_on_http_call_response",
        "no-call-response",
        "make HTTP calls",
        "a request paused for the answer never goes on",
    ),
    ("proxy_grpc_call", "proxy_on_grpc_receive", "no-grpc-answer", "make gRPC calls", "it never sees the answer"),
    ("proxy_grpc_stream", "proxy_on_grpc_receive", "no-grpc-answer", "open gRPC streams", "it never sees a message"),
    ("proxy_set_tick_period_milliseconds", "proxy_on_tick", "no-tick", "set a timer", "the timer calls nobody"),
)
_GONE = {
    "listener_direction": "xds.listener_direction",
    "upstream_host_metadata": "xds.upstream_host_metadata",
    "cluster_metadata": "xds.cluster_metadata",
    "route_metadata": "xds.route_metadata",
    "listener_metadata": "xds.listener_metadata",
    "cluster_name": "xds.cluster_name",
    "route_name": "xds.route_name",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a module.

    Attributes:
        severity: ``error``: Envoy does not load it; ``warning``: it loads, and will probably not do what it should;
            ``note``: worth knowing.
        code: a short name that stays the same, for programs.
        text: for an error the decisive line of Envoy's log, else what is so.
        hint: what to do about it, in plain words.
    """

    severity: Literal["error", "warning", "note"]
    code: str
    text: str
    hint: str


def check(module: bytes | Module) -> list[Finding]:
    """Everything that can be told about how Envoy takes a module.

    Args:
        module: the bytes, or what ``parse`` made of them.

    Returns:
        Errors in the order in which Envoy meets them, then warnings and notes; [] if there is nothing to say.
    """
    return _examine(module)[0]


def _examine(module: bytes | Module) -> tuple[list[Finding], Module | None]:
    """The findings, and the facts if the module could be read."""
    raw = module.raw if isinstance(module, Module) else module
    if not raw:
        return [_error("empty", "failed to load", "the file is empty; Envoy gives no reason for it")], None
    try:
        facts = module if isinstance(module, Module) else parse(raw)
    except ModuleError as error:
        return [_unreadable(raw, error)], None
    names = next((each for each in facts.customs if each.name == "name"), None)
    if names and not _names_readable(Cursor(raw, names.start, names.end)):
        damaged = "its name section is damaged; strip it: wasm-strip, or build it again"
        return [_error("corrupt", _CORRUPT, damaged)], facts
    version = abi.spoken(facts).version
    if version is None:
        return [_error("abi", _NO_VERSION, _version_hint(facts))], facts
    errors = [*_compilation(facts)]
    if not errors:
        errors = [*_crashes(facts), *_links(facts, version), *_instance(facts)]
        errors += _functions(facts, version)
    return [*errors, *_warnings(facts)], facts


def require_loadable(module: bytes | Module, tell: Callable[[Finding], None] = lambda _finding: None) -> Module:
    """The module's facts, if Envoy would load it as far as anyone can tell without running it.

    Args:
        tell: gets what is no error, if the module is loadable.

    Raises:
        ModuleRefused: with Envoy's first reason, and what to do in the hint.
    """
    findings, facts = _examine(module)
    errors = [each for each in findings if each.severity == "error"]
    if errors or facts is None:
        first = errors[0]
        more = f" (and {len(errors) - 1} more of the kind)" if len(errors) > 1 else ""
        raise ModuleRefused(f"Envoy would refuse this module: {first.text}{more}", hint=first.hint)
    for finding in findings:
        tell(finding)
    return facts


def _error(code: str, text: str, hint: str) -> Finding:
    return Finding("error", code, text, hint)


def _unreadable(raw: bytes, error: ModuleError) -> Finding:
    """Envoy's own walk over the sections complains before V8 does, but sees less."""
    reason = f"{error.message}; {error.hint}" if error.hint else error.message
    marked = _envoys_walk(raw)
    if marked is None:
        return _error("corrupt", _CORRUPT, reason)
    return _error("bytecode", _BYTECODE, reason) if marked else _error("abi", _NO_VERSION, reason)


def _envoys_walk(raw: bytes) -> bool | None:
    """What Envoy finds in bytes that are no module: None: corrupt; else whether a known marker is exported."""
    if len(raw) < 8:
        return False  # Envoy skips its header check for so few bytes, and finds nothing in them
    if raw[:4] != MAGIC:
        return None
    marked: bool | None = None
    named = False
    cursor = Cursor(raw, 8, len(raw))
    try:
        while cursor.at < cursor.end:
            id_ = cursor.byte()
            section = cursor.part(_short(cursor))
            if id_ == 7 and marked is None:
                marked = _has_marker(section)
                if not marked:
                    return False
            if id_ == 0:
                name = section.part(_short(section))
                if raw[name.at : name.end] == b"name" and not named:
                    named = True
                    if not _names_readable(section):
                        return None
    except ModuleError:
        # The marker is looked for first: without one, nothing behind the exports matters.
        return None
    return bool(marked)


def _has_marker(section: Cursor) -> bool:
    count = section.count(0xFFFFFFFF, "exports")
    rest = Cursor(section.data, section.at, len(section.data))
    for _ in range(count):
        name = Cursor(section.data, rest.at, section.end)
        name = name.part(_short(name))
        rest.at = name.end
        # Envoy lets these two reach behind the section's end.
        if rest.byte() == 0 and section.data[name.at : name.end].decode("latin-1") in abi.MARKERS:
            return True
        _short(rest)
    return False


def _short(cursor: Cursor) -> int:
    """A length as Envoy's walk reads it: below 2^30."""
    value = cursor.unsigned()
    if value >> 30:
        raise cursor.fail("a length of more than 1 GiB")
    return value


def _names_readable(cursor: Cursor) -> bool:
    """Whether the content of the first ``name`` section is well formed: Envoy reads it, V8 does not mind."""
    try:
        while cursor.at < cursor.end:
            id_ = cursor.byte()
            part = cursor.part(_short(cursor))
            if id_ != 1:
                continue
            for _ in range(_short(part)):
                _short(part)
                part.skip(_short(part))
            if part.at != part.end:
                return False
    except ModuleError:
        return False
    return True


def _version_hint(facts: Module) -> str:
    foreign = abi.spoken(facts).foreign
    if "proxy_abi_version_0_2_100" in foreign:
        return "it is built for Higress (ABI 0.2.100), which Envoy does not know: build it with the SDK of proxy-wasm"
    if foreign:
        return f"it exports {foreign[0]}; Envoy knows {', '.join(abi.VERSIONS)}"
    if not any(each.kind == "function" for each in facts.exports):
        return f"it exports no function at all: {_MARKER_HINT}"
    return f"it exports no function proxy_abi_version_*, so it is no Proxy-Wasm filter: {_MARKER_HINT}"


def _compilation(facts: Module) -> Iterator[Finding]:
    for memory in facts.memories:
        if not memory.wide and max(memory.minimum, memory.maximum or 0) > _MOST_WASM_PAGES:
            yield _error("bytecode", _BYTECODE, "it asks for more memory than WebAssembly has (4 GiB)")


def _crashes(facts: Module) -> Iterator[Finding]:
    """Types that the interface between Envoy and V8 has no name for end the whole Envoy, not only the filter."""
    met: list[Import | Export] = [*facts.imports, *facts.exports]
    for each in met:
        label = f"its {each.kind} {each.name!r}"
        values = [each.value_type, *(each.type.parameters + each.type.results if each.type else ())]
        odd = [value for value in values if value not in _NAMEABLE]
        if each.kind == "tag":
            yield _crash(label, "is an exception tag")
        elif odd:
            yield _crash(label, f"has the type {odd[0]}")
    if sum(each.kind == "memory" for each in facts.imports) > 1:
        yield _error("crash", _NO_INSTANCE, "it imports more than one memory, which may even crash Envoy")


def _crash(label: str, why: str) -> Finding:
    return _error("crash", _CRASH, f"Envoy itself crashes on this module: {label} {why}; do not import or export it")


def _links(facts: Module, version: str) -> Iterator[Finding]:
    for each in facts.imports:
        if each.kind == "global":
            text = f"Failed to load Wasm module due to a missing import: {each.full_name}"
            yield _error("import-missing", text, "Envoy offers no globals to modules: build it without -fPIC")
        elif each.kind == "function":
            offered = abi.host_function(version, each.module, each.name)
            if offered is None:
                text = f"Failed to load Wasm module due to a missing import: {each.full_name}"
                yield _error("import-missing", text, _missing_hint(each, version))
            elif offered != each.type:
                text = (
                    f"Failed to load Wasm module due to an import type mismatch: {each.full_name}, "
                    f"want: {each.type}, but host exports: {offered}"
                )
                yield _error("import-type", text, "its SDK declares the host function wrongly: use another version")


def _missing_hint(each: Import, version: str) -> str:
    others = [other for other in abi.VERSIONS if abi.host_function(other, each.module, each.name)]
    if others:
        return (
            f"{each.name} belongs to the Proxy-Wasm ABI {' and '.join(others)}, and this module says {version}: "
            "take one version of the SDK for all of it"
        )
    if each.full_name == "env.abort":
        return "compile AssemblyScript with --use abort=abort_proc_exit"
    if each.name.startswith("proxy_redis"):
        return "Redis calls exist in Higress only"
    if each.module == "env" and each.name.startswith("proxy_"):
        return f"Envoy has no host function {each.name}: it is misspelled, or the module is built for another host"
    if each.module == "env":
        return f"{each.name} was left undefined when linking: link the library that has it"
    return f"Envoy offers no module {each.module!r}: build for Proxy-Wasm, not for this host"


def _instance(facts: Module) -> Iterator[Finding]:
    imported = [each.limits for each in facts.imports if each.kind == "memory" and each.limits]
    for memory in imported:
        if memory.minimum > _MOST_PAGES:
            yield _error("memory", "Failed to initialize Wasm code", _memory_hint(memory))
        elif memory.wide or memory.shared:
            yield _error("memory", _NO_INSTANCE, "it imports a shared or 64-bit memory, and Envoy offers neither")
    own = facts.memories[len(imported) :]
    for memory in own:
        if memory.minimum > _MOST_PAGES:
            yield _error("memory", _NO_INSTANCE, _memory_hint(memory))
    if facts.memories:
        room = facts.memories[0].minimum * PAGE
        for segment in facts.data:
            if segment.address is not None and segment.address + segment.end - segment.start > room:
                yield _error("memory", _NO_INSTANCE, "a data segment lies outside its initial memory")
                break


def _memory_hint(memory: Limits) -> str:
    return f"it asks for {memory.minimum * PAGE >> 20} MiB of memory at the start, and Envoy gives 1024 MiB at most"


def _functions(facts: Module, version: str) -> Iterator[Finding]:
    """In Envoy's order: start functions, allocator, callbacks."""
    initialises = facts.export("_initialize") is not None
    for name in ("_initialize", "main", "__main_void") if initialises else ("_start",):
        yield from _wrong_type(facts.export(name), name, version)
    allocator = next(filter(None, map(facts.export, abi.ALLOCATORS)), None)
    if allocator is None:
        hint = "export malloc or proxy_on_memory_allocate (clang: -Wl,--export=malloc); the SDKs do so"
        yield _error("allocator", "Wasm module is missing malloc function.", hint)
    else:
        yield from _wrong_type(allocator, allocator.name, version)
    for name in abi.CALLBACKS[version]:
        yield from _wrong_type(facts.export(name), name, version)


def _wrong_type(export: Export | None, name: str, version: str) -> Iterator[Finding]:
    if export is None:
        return
    wanted = abi.ALLOCATOR if name in abi.ALLOCATORS else abi.START.get(name) or abi.CALLBACKS[version][name]
    if export.type == wanted:
        return
    text = f"Bad function signature for: {name}, want: {wanted}, but the module exports: {export.type}"
    other = next((each for each in abi.VERSIONS if abi.CALLBACKS[each].get(name) == export.type), None)
    hint = (
        f"that is the form of ABI {other}, and the module says {version}: take one version of the SDK for all of it"
        if other
        else f"declare {name} with the parameters Envoy wants"
    )
    yield _error("export-type", text, hint)


def _warnings(facts: Module) -> Iterator[Finding]:
    """What loads and still goes wrong, and what is good to know."""
    if not any(each.kind == "memory" for each in facts.exports) and not any(
        each.kind == "memory" for each in facts.imports
    ):
        yield Finding(
            "warning", "no-memory", "it exports no memory", "Envoy crashes at the first host call: export 'memory'"
        )
    wasi = [each.name for each in facts.imports if each.module in abi.WASI]
    if wasi and facts.start is None and not (facts.export("_initialize") or facts.export("_start")):
        yield Finding(
            "warning",
            "no-start",
            "it exports neither _initialize nor _start",
            "constructors of static objects never run: link it as a reactor (-mexec-model=reactor)",
        )
    for called, callback, code, text, hint in _ANSWERS:
        if facts.imports_function(called) and not facts.export(callback):
            yield Finding("warning", code, f"it can {text} but exports no {callback}", hint)
    useless = sorted(abi.FILES_AND_SOCKETS.intersection(wasi))
    if useless:
        yield Finding(
            "note",
            "files",
            f"it imports {', '.join(useless)}",
            "Envoy answers these with an error: no files, no sockets",
        )
    yield from _gone_properties(facts)
    if facts.start is not None:
        yield Finding(
            "note", "start-section", "it has a start section", "that code runs before Envoy has given it a context"
        )
    for memory in facts.memories:
        if memory.maximum is not None and memory.maximum == memory.minimum:
            size = memory.maximum * PAGE >> 10
            yield Finding("note", "fixed-memory", f"its memory is fixed at {size} KiB", "it cannot grow under load")


def _gone_properties(facts: Module) -> Iterator[Finding]:
    if not facts.imports_function("proxy_get_property"):
        return
    if facts.data_holds(b"xds") or facts.data_holds("xds".encode("utf-16-le")):
        return
    for old, new in _GONE.items():
        if facts.data_holds(old.encode()) or facts.data_holds(old.encode("utf-16-le")):
            yield Finding(
                "warning", "gone-property", f"it names the property {old}", f"current Envoys have {new} instead"
            )
            return
