"""Host calls and callbacks by what they are for."""

from __future__ import annotations

from tests.fixtures import filters
from wasme.wasm import abi, purpose
from wasme.wasm.module import parse


def test_every_host_function_has_a_purpose() -> None:
    """Nothing that Envoy offers is unknown, and each name stands under one purpose."""
    for version in abi.VERSIONS:
        offered = [("env", name, type_) for name, type_ in abi.HOST[version].items()]
        offered += [("wasi_unstable", name, type_) for name, type_ in abi.WASI_FUNCTIONS.items()]
        imports = "".join(filters.wat_import(*each) for each in offered)
        told = purpose.host_calls(parse(filters.module(imports=imports, version=version.replace(".", "_"))))
        assert purpose.UNKNOWN not in told
        assert sorted(name for names in told.values() for name in names) == sorted(name for _, name, _ in offered)


def test_every_callback_has_a_kind() -> None:
    """Each callback of each version stands under one kind of event."""
    for version in abi.VERSIONS:
        exports = "".join(filters.wat_export(*each) for each in abi.CALLBACKS[version].items())
        told = purpose.callbacks(parse(filters.module(exports, version=version.replace(".", "_"))))
        assert sorted(name for names in told.values() for name in names) == sorted(abi.CALLBACKS[version])


def test_what_envoy_does_not_know() -> None:
    """Other imports are told by their full names, once each, at the end."""
    raw = filters.module(
        imports='(import "env" "abort" (func)) (import "other" "thing" (func)) (import "other" "thing" (func))'
        + filters.CALL
    )
    assert list(purpose.host_calls(parse(raw)).items()) == [
        ("HTTP calls", ("proxy_http_call",)),
        (purpose.UNKNOWN, ("abort", "other.thing")),
    ]
