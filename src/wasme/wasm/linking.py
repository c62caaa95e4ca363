"""From compiled bytes to a running instance: what Envoy refuses of imports, memories, exports and their types."""

from __future__ import annotations

from collections.abc import Iterator

from wasme.wasm import abi
from wasme.wasm.finding import Finding, error
from wasme.wasm.module import PAGE, Export, Import, Limits, Module

_MOST_PAGES = 16_384  # Envoy's 1 GiB
_MOST_WASM_PAGES = 65_536
BYTECODE = "Failed to load Wasm bytecode"
_NO_INSTANCE = "Failed to create new Wasm instance"
_CRASH = "unreachable code"
# Types that V8's embedding interface, which Envoy uses, can name.
_NAMEABLE = frozenset({"i32", "i64", "f32", "f64", "funcref", "externref", "ref func", "ref extern", ""})


def errors(facts: Module, version: str) -> list[Finding]:
    """Everything that Envoy refuses of a module that says ``version``, in the order in which it meets it."""
    found = [*_compilation(facts)]
    if not found:
        found = [*_crashes(facts), *_links(facts, version), *_instance(facts), *_functions(facts, version)]
    return found


def _compilation(facts: Module) -> Iterator[Finding]:
    for memory in facts.memories:
        if not memory.wide and max(memory.minimum, memory.maximum or 0) > _MOST_WASM_PAGES:
            yield error("bytecode", BYTECODE, "it asks for more memory than WebAssembly has (4 GiB)")


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
        yield error("crash", _NO_INSTANCE, "it imports more than one memory, which may even crash Envoy")


def _crash(label: str, why: str) -> Finding:
    return error("crash", _CRASH, f"Envoy itself crashes on this module: {label} {why}; do not import or export it")


def _links(facts: Module, version: str) -> Iterator[Finding]:
    for each in facts.imports:
        if each.kind == "global":
            text = f"Failed to load Wasm module due to a missing import: {each.full_name}"
            yield error("import-missing", text, "Envoy offers no globals to modules: build it without -fPIC")
        elif each.kind == "function":
            offered = abi.host_function(version, each.module, each.name)
            if offered is None:
                text = f"Failed to load Wasm module due to a missing import: {each.full_name}"
                yield error("import-missing", text, _missing_hint(each, version))
            elif offered != each.type:
                text = (
                    f"Failed to load Wasm module due to an import type mismatch: {each.full_name}, "
                    f"want: {each.type}, but host exports: {offered}"
                )
                yield error("import-type", text, "its SDK declares the host function wrongly: use another version")


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
            yield error("memory", "Failed to initialize Wasm code", _memory_hint(memory))
        elif memory.wide or memory.shared:
            yield error("memory", _NO_INSTANCE, "it imports a shared or 64-bit memory, and Envoy offers neither")
    own = facts.memories[len(imported) :]
    for memory in own:
        if memory.minimum > _MOST_PAGES:
            yield error("memory", _NO_INSTANCE, _memory_hint(memory))
    if facts.stray_elements:
        yield error("memory", _NO_INSTANCE, "an element segment lies outside its table")
    if facts.stray_data:
        yield error("memory", _NO_INSTANCE, "a data segment lies outside its initial memory")


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
        yield error("allocator", "Wasm module is missing malloc function.", hint)
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
    yield error("export-type", text, hint)
