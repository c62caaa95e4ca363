"""What of an image does not fit its module."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures import filters
from wasme.image import layouts
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.image.store import open_store
from wasme.inspect.find import find
from wasme.inspect.subject import LARGEST, Subject
from wasme.inspect.verdict import judge

ASKS = filters.module(
    '(data (i32.const 16) "plugin_root_id") (data (i32.const 64) "add_header")'
    + filters.wat_export("proxy_on_tick", "i32 -> void"),
    imports=filters.wat_import("env", "proxy_get_property", "i32 i32 i32 i32 -> i32"),
)


def codes(raw: bytes, config: RuntimeConfig, tmp_path: Path) -> list[tuple[str, str]]:
    reference = Reference.parse("localhost/demo:v1")
    open_store(tmp_path).add(reference, layouts.build("oci", raw, config))
    return [(each.severity, each.code) for each in judge(find(str(reference), tmp_path)).findings]


@pytest.mark.parametrize(
    ("raw", "config", "code"),
    [
        (ASKS, RuntimeConfig("envoy_proxy", ("v0.2.1",), ("other_id",)), "root-id"),
        (ASKS, RuntimeConfig("envoy_proxy", ("v0.1.0",), ("add_header",)), "abi-versions"),
        (ASKS, RuntimeConfig("nginx", ("v0.2.1",), ("add_header",)), "runtime-type"),
        (ASKS, RuntimeConfig(), "no-runtime-config"),
    ],
)
def test_what_does_not_fit(raw: bytes, config: RuntimeConfig, code: str, tmp_path: Path) -> None:
    """A runtime config that contradicts the module is told as a note, and one that fits is passed in silence."""
    fits = codes(raw, RuntimeConfig("envoy_proxy", ("v0-4689a30309abf31aee9ae36e73d34b1bb182685f", "v0.2.1"),
                                    ("add_header",)), tmp_path / "fits")  # fmt: skip
    found = codes(raw, config, tmp_path / "odd")
    assert fits == []
    assert ("note", code) in found


def test_names_that_nobody_knows_are_no_contradiction(tmp_path: Path) -> None:
    """An abiVersions of another program's is left alone."""
    config = RuntimeConfig("envoy_proxy", ("v9.9.9", "v0.1.0"), ("add_header",))
    assert "abi-versions" not in {code for _, code in codes(ASKS, config, tmp_path)}


_DECEMBER_2019 = "v0-097b7f2e4cc1fb490cc1943d0d633655ac3c522f"
_GLOO = "v0-541b2c1155fffb15ccde92b8324f3e38f7339ba6"
_AUGUST_2020 = "v0-4689a30309abf31aee9ae36e73d34b1bb182685f"


@pytest.mark.parametrize(
    ("version", "start", "names", "said"),
    [
        ("0_1_0", "_initialize", (_DECEMBER_2019, _AUGUST_2020), ["Istio 1.5 and 1.6"]),
        ("0_2_1", "_start", (_DECEMBER_2019, "v0.2.1"), ["Istio 1.5 and 1.6"]),
        ("0_2_1", "_initialize", (_GLOO, _DECEMBER_2019, _AUGUST_2020), ["Gloo 1.3; Envoy of December 2019"]),
        ("0_1_0", "_start", (_DECEMBER_2019, _AUGUST_2020), []),
        ("0_2_1", "_initialize", (_AUGUST_2020, "v0.2.1", "v9", "v0.1.0"), []),
    ],
)
def test_platforms_that_are_too_old(
    version: str, start: str, names: tuple[str, ...], said: list[str], tmp_path: Path
) -> None:
    """A proxy that the runtime config names and that cannot run the module is told, with those that can."""
    raw = filters.module(f'(func (export "{start}"))', version=version)
    reference = Reference.parse("localhost/demo:v1")
    open_store(tmp_path).add(reference, layouts.build("oci", raw, RuntimeConfig("envoy_proxy", names)))
    found = [each for each in judge(find(str(reference), tmp_path)).findings if each.code == "platforms"]
    assert [each.severity for each in found] == ["note"] * len(said)
    for each, words in zip(found, said, strict=True):
        assert words in each.text
        assert "cannot run the module" in each.text
        assert "Istio 1.9" in each.hint or "Istio 1.8" in each.hint


def test_order_and_sum() -> None:
    """Errors stand first, then warnings, then notes; an error is no loading, a warning no spotless record."""
    raw = filters.module("(memory 4 4)", memory="", imports='(import "env" "nosuch" (func))' + filters.CALL)
    verdict = judge(Subject("x.wasm", "file", raw, len(raw)))
    assert [each.severity for each in verdict.findings] == ["error", "warning", "warning", "note", "note"]
    assert not verdict.loads
    assert not verdict.spotless
    good = judge(Subject("x.wasm", "file", filters.adds_config(), 1))
    assert good.loads
    assert good.spotless


def test_too_large_is_one_finding() -> None:
    """A module that was not read is one error, with its size."""
    verdict = judge(Subject("x.wasm", "file", b"", LARGEST + 1))
    assert [(each.severity, each.code) for each in verdict.findings] == [("error", "too-large")]
    assert str(LARGEST + 1) in verdict.findings[0].text
