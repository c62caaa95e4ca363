"""Will Envoy load this module? The answer without an Envoy, in Envoy's own words.

Envoy takes a module in four steps, and each has its own complaint:

1. it walks the sections by itself, looking for the version marker and the names of functions (`walk`);
2. V8 decodes and compiles the bytes;
3. the imports are linked, the first that cannot be ends it, and the module is instantiated (`linking`);
4. the callbacks and the allocator are looked up, and each one's type is compared.

``check`` goes the same way in the same order, so its first error is the line that Envoy would print; what loads and
still goes wrong follows (`advice`). It knows all of a module but its function bodies: code that V8 does not accept, and
code that traps when it starts, only Envoy can tell. The texts are those of Envoy 1.40; a test compares every one with
the real Envoy's.
"""

from __future__ import annotations

from collections.abc import Callable

from wasme.errors import ModuleError, ModuleRefused
from wasme.wasm import abi, advice, linking, walk
from wasme.wasm.finding import Finding, error
from wasme.wasm.module import Module, parse
from wasme.wasm.reader import Cursor

__all__ = ["Finding", "check", "examine", "require_loadable"]

_CORRUPT = "Failed to parse corrupted Wasm module"
_NO_VERSION = "Missing or unknown Proxy-Wasm ABI version"
_MARKER_HINT = (
    "build it with a Proxy-Wasm SDK, and keep the SDK's exports when linking "
    "(clang: -Wl,--export-dynamic; Rust: crate-type cdylib)"
)


def check(module: bytes | Module) -> list[Finding]:
    """Everything that can be told about how Envoy takes a module.

    Args:
        module: the bytes, or what ``parse`` made of them.

    Returns:
        Errors in the order in which Envoy meets them, then warnings and notes; [] if there is nothing to say.
    """
    return examine(module)[0]


def examine(module: bytes | Module) -> tuple[list[Finding], Module | None]:
    """The findings, and the facts if the module could be read."""
    raw = module.raw if isinstance(module, Module) else module
    if not raw:
        return [error("empty", "failed to load", "the file is empty; Envoy gives no reason for it")], None
    try:
        facts = module if isinstance(module, Module) else parse(raw)
    except ModuleError as reason:
        return [_unreadable(raw, reason)], None
    names = next((each for each in facts.customs if each.name == "name"), None)
    if names and not walk.names_readable(Cursor(raw, names.start, names.end)):
        damaged = "its name section is damaged; strip it: wasm-strip, or build it again"
        return [error("corrupt", _CORRUPT, damaged)], facts
    version = abi.spoken(facts).version
    if version is None:
        return [error("abi", _NO_VERSION, _version_hint(facts))], facts
    return [*linking.errors(facts, version), *advice.findings(facts, version)], facts


def require_loadable(module: bytes | Module, tell: Callable[[Finding], None] = lambda _finding: None) -> Module:
    """The module's facts, if Envoy would load it as far as anyone can tell without running it.

    Args:
        tell: gets what is no error, if the module is loadable.

    Raises:
        ModuleRefused: with Envoy's first reason, and what to do in the hint.
    """
    findings, facts = examine(module)
    errors = [each for each in findings if each.severity == "error"]
    if errors or facts is None:
        first = errors[0]
        more = f" (and {len(errors) - 1} more of the kind)" if len(errors) > 1 else ""
        raise ModuleRefused(f"Envoy would refuse this module: {first.text}{more}", hint=first.hint)
    for finding in findings:
        tell(finding)
    return facts


def _unreadable(raw: bytes, reason: ModuleError) -> Finding:
    """Envoy's own walk over the sections complains before V8 does, but sees less."""
    hint = f"{reason.message}; {reason.hint}" if reason.hint else reason.message
    marked = walk.marker_of(raw)
    if marked is None:
        return error("corrupt", _CORRUPT, hint)
    return error("bytecode", linking.BYTECODE, hint) if marked else error("abi", _NO_VERSION, hint)


def _version_hint(facts: Module) -> str:
    foreign = abi.spoken(facts).foreign
    if "proxy_abi_version_0_2_100" in foreign:
        return "it is built for Higress (ABI 0.2.100), which Envoy does not know: build it with the SDK of proxy-wasm"
    if foreign:
        return f"it exports {foreign[0]}; Envoy knows {', '.join(abi.VERSIONS)}"
    if not any(each.kind == "function" for each in facts.exports):
        return f"it exports no function at all: {_MARKER_HINT}"
    return f"it exports no function proxy_abi_version_*, so it is no Proxy-Wasm filter: {_MARKER_HINT}"
