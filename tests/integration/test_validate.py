"""What `wasme.wasm` says about a module is what the real Envoy says."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import filters
from tests.fixtures.envoys import Verdict, filter_only
from wasme.wasm import abi
from wasme.wasm.check import check

Judge = Callable[[bytes], Verdict]


@pytest.fixture
def envoy(validate: Callable[[str], Verdict], tmp_path: Path) -> Judge:
    def judge(raw: bytes) -> Verdict:
        path = tmp_path / "filter.wasm"
        path.write_bytes(raw)
        return validate(filter_only(path))

    return judge


@pytest.mark.parametrize("case", filters.CORPUS, ids=lambda case: case.name)
def test_same_verdict_and_same_line(case: filters.Case, envoy: Judge) -> None:
    """Envoy's verdict is the expected one with the expected line, and `check` foretells both where it can."""
    raw = case.make()
    verdict = envoy(raw)
    errors = [finding for finding in check(raw) if finding.severity == "error"]
    assert verdict.accepted == (case.decisive is None), verdict.log
    if case.decisive is not None:
        assert case.decisive in verdict.log
    if case.seen:
        assert bool(errors) == (case.decisive is not None), errors
    if errors:
        assert case.decisive in errors[0].text
        assert errors[0].hint
    elif case.decisive is not None:
        assert not case.seen


def test_every_signature_is_envoys(envoy: Judge) -> None:
    """For each version, every host function and callback has the type that Envoy itself prints."""
    for version in abi.VERSIONS:
        marker = version.replace(".", "_")
        offered = [("env", name, type_) for name, type_ in abi.HOST[version].items()]
        if version == "0.2.1":
            offered += [(where, name, type_) for where in abi.WASI for name, type_ in abi.WASI_FUNCTIONS.items()]
        # All at once with the right types: accepted. Then a few, drawn anew each time, with a wrong one: told.
        imports = "".join(filters.wat_import(*each) for each in offered)
        exports = "".join(filters.wat_export(*each) for each in abi.CALLBACKS[version].items())
        verdict = envoy(filters.module(exports, imports=imports, version=marker))
        assert verdict.accepted, verdict.log
        for where, name, type_ in random.sample(offered, 3):
            wrong = filters.wat_import(where, name, "f64 -> void")
            log = envoy(filters.module(imports=wrong, version=marker)).log
            assert f"{where}.{name}, want: f64 -> void, but host exports: {type_}\n" in log
        wrong = "".join(filters.wat_export(name, "f64 -> void") for name in abi.CALLBACKS[version])
        told = re.findall(r"signature for: (\w+), want: (.*), but", envoy(filters.module(wrong, version=marker)).log)
        assert dict(told) == {name: str(type_) for name, type_ in abi.CALLBACKS[version].items()}


def test_no_false_alarm_on_damaged_modules(envoy: Judge) -> None:
    """Modules damaged at random: what `check` calls an error, Envoy refuses."""
    seed = random.randrange(1 << 30)
    draw = random.Random(seed)
    alarms = 0
    for _ in range(40):
        raw = bytearray(draw.choice([filters.adds_config(), filters.calls_out("auth")]))
        for _ in range(draw.randint(1, 2)):
            raw[draw.randrange(8, len(raw))] = draw.choice([0, 1, 0x7F, 0x80, draw.randrange(256)])
        errors = [each for each in check(bytes(raw)) if each.severity == "error"]
        if errors:
            alarms += 1
            verdict = envoy(bytes(raw))
            assert not verdict.accepted, (seed, errors, bytes(raw).hex())
    assert alarms > 3, seed
