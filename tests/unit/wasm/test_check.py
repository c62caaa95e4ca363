"""What is told about a module, and what to do about it. That it is what Envoy says is tested with a real Envoy."""

from __future__ import annotations

import pytest

from tests.fixtures import filters
from tests.fixtures.modules import assemble
from wasme.errors import ModuleRefused
from wasme.wasm import abi
from wasme.wasm.check import check, require_loadable


def _imports(where: str, name: str, type_: str = "") -> bytes:
    return filters.module(imports=f'(import "{where}" "{name}" (func {type_}))')


def _host(name: str) -> bytes:
    """A module that imports a host function of Envoy's, by its right type."""
    return filters.module(imports=filters.wat_import("env", name, abi.HOST["0.2.1"][name]))


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        (_imports("env", "abort", "(param i32 i32 i32 i32)"), "--use abort=abort_proc_exit"),
        (_imports("env", "proxy_clear_route_cache", "(result i32)"), "belongs to the Proxy-Wasm ABI 0.1.0"),
        (_imports("env", "proxy_redis_call"), "Higress"),
        (_imports("env", "proxy_nosuch"), "no host function proxy_nosuch"),
        (_imports("env", "sqrt"), "left undefined when linking"),
        (_imports("wasi_snapshot_preview2", "x"), "no module 'wasi_snapshot_preview2'"),
        (filters.module(version="0_2_100"), "Higress"),
        (filters.module(version="0_3_0"), "exports proxy_abi_version_0_3_0; Envoy knows 0.1.0, 0.2.0, 0.2.1"),
        (assemble("(module (memory 1))"), "exports no function at all"),
        (assemble('(module (func (export "run")))'), "no Proxy-Wasm filter"),
        (b"\0asm\x0d\0\1\0", "not wasip2"),
        (b"(module)", "wat2wasm"),
        (
            filters.module('(func (export "proxy_on_request_headers") (param i32 i32) (result i32) unreachable)'),
            "form of ABI 0.1.0, and the module says 0.2.1",
        ),
    ],
)
def test_refused_with_advice(raw: bytes, hint: str) -> None:
    """A module that Envoy would refuse is refused in one line, and the hint says what to do in plain words."""
    with pytest.raises(ModuleRefused) as caught:
        require_loadable(raw)
    assert caught.value.message.startswith("Envoy would refuse this module: ")
    assert "\n" not in caught.value.message
    assert hint in (caught.value.hint or "")


def test_all_reasons_are_counted() -> None:
    """Every missing import is a finding of its own; the message names Envoy's first and counts the rest."""
    raw = filters.module(imports='(import "env" "a" (func))(import "env" "b" (func))(import "env" "c" (func))')
    assert [each.code for each in check(raw) if each.severity == "error"] == ["import-missing"] * 3
    with pytest.raises(ModuleRefused, match=r"missing import: env\.a \(and 2 more"):
        require_loadable(raw)


@pytest.mark.parametrize(
    ("raw", "code", "severity"),
    [
        (filters.module(memory=""), "no-memory", "warning"),
        (_imports("wasi_unstable", "proc_exit", "(param i32)"), "no-start", "warning"),
        (filters.module(imports=filters.CALL), "no-call-response", "warning"),
        (_host("proxy_grpc_call"), "no-grpc-answer", "warning"),
        (_host("proxy_grpc_stream"), "no-grpc-answer", "warning"),
        (_host("proxy_set_tick_period_milliseconds"), "no-tick", "warning"),
        (
            filters.module(
                '(data (i32.const 0) "listener_direction")',
                imports='(import "env" "proxy_get_property" (func (param i32 i32 i32 i32) (result i32)))',
            ),
            "gone-property",
            "warning",
        ),
        (_imports("wasi_unstable", "fd_read", "(param i32 i32 i32 i32) (result i32)"), "files", "note"),
        (filters.module("(func $s) (start $s)"), "start-section", "note"),
        (filters.module(memory='(memory (export "memory") 4 4)'), "fixed-memory", "note"),
        (filters.module(filters.marker("0_1_0")), "two-versions", "warning"),
        (filters.module(filters.wat_export("proxy_on_request_header", "i32 -> i32")), "unknown-callback", "warning"),
        (filters.module(filters.wat_export("proxy_on_redis_reply", "i32 -> void")), "unknown-callback", "note"),
        (filters.module(), "no-callback", "note"),
        (
            filters.module(
                '(data (i32.const 0) "plugin_root_id")',
                imports=filters.wat_import("env", "proxy_get_property", "i32 i32 i32 i32 -> i32"),
            ),
            "root-id",
            "note",
        ),
        (filters.module() + b"\0\x81\x80\2\4name" + bytes(32764), "debug", "note"),
    ],
)
def test_what_loads_and_still_goes_wrong(raw: bytes, code: str, severity: str) -> None:
    """A warning or a note is told, and does not refuse the module; a module without the fault is not warned of it."""
    assert (code, severity) in {(each.code, each.severity) for each in check(raw)}
    require_loadable(raw)
    assert code not in {each.code for each in check(filters.adds_config())}


_RUST_SDK = "".join(
    filters.wat_export(name, str(abi.CALLBACKS["0.2.1"][name]))
    for name in (
        "proxy_on_context_create",
        "proxy_on_new_connection",
        "proxy_on_queue_ready",
        "proxy_on_http_call_response",
    )
)


def _signed(language: str) -> bytes:
    """A ``producers`` section that says no more than the language."""
    name = bytes([len(language)]) + language.encode()
    content = b"\x09producers\x01\x08language\x01" + name + b"\x00"
    return bytes([0, len(content)]) + content


@pytest.mark.parametrize("more", ['(func (export "_initialize"))', '(func (export "_start"))', "(func $s) (start $s)"])
@pytest.mark.parametrize(("language", "hint"), [("Rust", "proxy_wasm::main!"), ("Go", "c-shared")])
def test_a_filter_that_nothing_sets_up(language: str, hint: str, more: str) -> None:
    """A module of Rust's SDK or of Go's that exports no start is dead, and one that does is not; by hand it may be."""
    dead = [each for each in check(filters.module(_RUST_SDK) + _signed(language)) if each.code == "no-start"]
    assert [each.severity for each in dead] == ["warning"]
    assert "every request fails" in dead[0].hint
    assert hint in dead[0].hint
    for alive in (filters.module(_RUST_SDK + more) + _signed(language), filters.module(_RUST_SDK)):
        assert "no-start" not in {each.code for each in check(alive)}


def test_rust_without_the_sdk_may_need_no_start() -> None:
    """A filter in Rust that exports its own callbacks registers nothing."""
    raw = filters.module(filters.wat_export("proxy_on_tick", "i32 -> void")) + _signed("Rust")
    assert "no-start" not in {each.code for each in check(raw)}


def test_nothing_to_say_of_a_good_module() -> None:
    """Good filters are passed in silence."""
    assert check(filters.adds_config()) == []
    assert check(filters.calls_out("auth")) == []
