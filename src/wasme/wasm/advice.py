"""What Envoy loads and what still goes wrong, and what is good to know."""

from __future__ import annotations

from collections.abc import Iterator

from wasme.wasm import abi
from wasme.wasm.finding import Finding, note, warning
from wasme.wasm.module import PAGE, Module
from wasme.wasm.origin import origin

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
# Rust's SDK exports these whatever the filter is; its dispatcher traps in the first where nobody registered a filter.
_RUST_SDK = (
    "proxy_on_context_create",
    "proxy_on_new_connection",
    "proxy_on_queue_ready",
    "proxy_on_http_call_response",
)
_LIFE = frozenset(
    {"proxy_on_context_create", "proxy_on_vm_start", "proxy_on_configure", "proxy_validate_configuration"}
    | {"proxy_on_done", "proxy_on_delete"}
)
_DEBUG = (".debug_", "sourceMappingURL", "external_debug_info")
_MUCH_DEBUG = 16 << 10
_NO_START = "it exports neither _initialize nor _start"
_GONE = {
    "listener_direction": "xds.listener_direction",
    "upstream_host_metadata": "xds.upstream_host_metadata",
    "cluster_metadata": "xds.cluster_metadata",
    "route_metadata": "xds.route_metadata",
    "listener_metadata": "xds.listener_metadata",
    "cluster_name": "xds.cluster_name",
    "route_name": "xds.route_name",
}


def findings(facts: Module, version: str) -> list[Finding]:
    """Warnings, then notes, about a module that says ``version``."""
    found = [*_memory(facts), *_start(facts), *_calls(facts), *_callbacks(facts, version), *_properties(facts)]
    found += [*_markers(facts), *_ballast(facts)]
    return sorted(found, key=lambda each: each.severity == "note")


def _memory(facts: Module) -> Iterator[Finding]:
    if "memory" not in {each.kind for each in facts.exports} | {each.kind for each in facts.imports}:
        yield warning("no-memory", "it exports no memory", "Envoy crashes at the first host call: export 'memory'")
    for memory in facts.memories:
        if memory.maximum is not None and memory.maximum == memory.minimum:
            size = memory.maximum * PAGE >> 10
            yield note("fixed-memory", f"its memory is fixed at {size} KiB", "it cannot grow under load")


def _start(facts: Module) -> Iterator[Finding]:
    wasi = [each.name for each in facts.imports if each.module in abi.WASI]
    if facts.start is None and not (facts.export("_initialize") or facts.export("_start")):
        yield from _dead(facts) or _unmade(wasi)
    if facts.start is not None:
        yield note("start-section", "it has a start section", "that code runs before Envoy has given it a context")
    useless = sorted(abi.FILES_AND_SOCKETS.intersection(wasi))
    if useless:
        yield note(
            "files", f"it imports {', '.join(useless)}", "Envoy answers these with an error: no files, no sockets"
        )


def _dead(facts: Module) -> list[Finding]:
    """Modules that do not work at all before they are started: of Go always, of Rust those of the SDK.

    Modules of C++ and AssemblyScript without static objects need no start, nor do those that are written by hand.
    """
    language = origin(facts).language
    if language == "Rust" and all(facts.export(name) for name in _RUST_SDK):
        hint = "nothing registers the filter, so every request fails: register it in proxy_wasm::main!, or in _start"
        return [warning("no-start", _NO_START, hint)]
    if language in ("Go", "TinyGo"):
        hint = "Go's runtime is never started, so every request fails: go build -buildmode=c-shared"
        return [warning("no-start", _NO_START, hint)]
    return []


def _unmade(wasi: list[str]) -> list[Finding]:
    """Whatever is linked with a library of C's has something to construct."""
    hint = "constructors of static objects never run: link it as a reactor (-mexec-model=reactor)"
    return [warning("no-start", _NO_START, hint)] if wasi else []


def _calls(facts: Module) -> Iterator[Finding]:
    for called, callback, code, text, hint in _ANSWERS:
        if facts.imports_function(called) and not facts.export(callback):
            yield warning(code, f"it can {text} but exports no {callback}", hint)


def _callbacks(facts: Module, version: str) -> Iterator[Finding]:
    known = abi.CALLBACKS[version]
    names = {each.name for each in facts.exports if each.kind == "function"}
    for name in sorted(names):
        if not name.startswith("proxy_on_") or name in known or name in abi.ALLOCATORS:
            continue
        meant = _close(name, [each for each in known if each not in names])
        if meant:
            yield warning(
                "unknown-callback", f"it exports {name}, which Envoy never calls", f"perhaps {meant} is meant"
            )
        else:
            yield note("unknown-callback", f"it exports {name}", f"no Envoy calls it in ABI {version}")
    if not names.intersection(known).difference(_LIFE):
        yield note(
            "no-callback", "it exports no callback for requests, connections, timers or queues", "it does nothing"
        )


def _close(name: str, known: list[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(name, known, 1, 0.88)), None)


def _properties(facts: Module) -> Iterator[Finding]:
    if not facts.imports_function("proxy_get_property"):
        return
    if facts.asks_root_id:
        yield note(
            "root-id",
            "it asks Envoy for its root id",
            "deploy it with the root id that it registers: --root-id, or rootIds in runtime-config.json",
        )
    if facts.data_holds(b"xds") or facts.data_holds("xds".encode("utf-16-le")):
        return
    for old, new in _GONE.items():
        if facts.data_holds(old.encode()) or facts.data_holds(old.encode("utf-16-le")):
            yield warning("gone-property", f"it names the property {old}", f"current Envoys have {new} instead")
            return


def _markers(facts: Module) -> Iterator[Finding]:
    markers = [each.name for each in facts.exports if each.kind == "function" and each.name in abi.MARKERS]
    if len(markers) > 1:
        first, rest = markers[0], ", ".join(markers[1:])
        yield warning("two-versions", f"it exports {first} and {rest}", "Envoy takes the first: link one SDK only")


def _ballast(facts: Module) -> Iterator[Finding]:
    """Custom sections that no Envoy reads, where they are a good part of the module."""
    debug = sum(each.end - each.start for each in facts.customs if each.name == "name" or each.name.startswith(_DEBUG))
    if debug > _MUCH_DEBUG and debug * 5 > facts.size:
        yield note(
            "debug",
            f"{debug >> 10} KiB of its {facts.size >> 10} KiB are names and debug information",
            "strip it: wasm-strip, wasm-opt --strip-debug, or the compiler's own flag",
        )
