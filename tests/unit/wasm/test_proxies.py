"""Which proxies have what a module needs. The facts behind the tables are the history of proxy-wasm-cpp-host."""

from __future__ import annotations

import pytest

from tests.fixtures import filters
from wasme.wasm import abi, proxies
from wasme.wasm.module import parse

REACTOR = '(func (export "_initialize"))'


def wasi(name: str) -> str:
    return filters.wat_import("wasi_snapshot_preview1", name, abi.WASI_FUNCTIONS[name])


PLAIN = {version: filters.module(version=version.replace(".", "_")) for version in abi.VERSIONS}
GO = filters.module(REACTOR, imports=wasi("sched_yield"), version="0_2_0")


@pytest.mark.parametrize(
    ("raw", "proxy", "version", "runs"),
    [
        # Istio 1.5 and 1.6 know the first marker only, 1.7 two, 1.8 all three.
        (PLAIN["0.1.0"], "istio", "1.5.0", "yes"),
        (PLAIN["0.2.0"], "istio", "1.6.14", "no"),
        (PLAIN["0.2.0"], "istio", "1.7.x", "yes"),
        (PLAIN["0.2.1"], "istio", "1.7.8-distroless", "no"),
        (PLAIN["0.2.1"], "istio", "1.8.0", "yes"),
        (PLAIN["0.1.0"], "istio", "1.30.3", "yes"),
        (PLAIN["0.1.0"], "istio", "1.4.10", "no"),
        # Reactors came with Envoy 1.17, which is Istio 1.9 and Gloo 1.6.
        (filters.module(REACTOR), "istio", "1.8.6", "no"),
        (filters.module(REACTOR), "istio", "1.9", "yes"),
        (filters.module(REACTOR), "gloo", "1.5.x", "no"),
        (filters.module(REACTOR), "gloo", "1.6.x", "yes"),
        (filters.module(REACTOR + '(func (export "_start"))'), "istio", "1.8.6", "yes"),
        # Envoy itself has Wasm since 1.17, Envoy Gateway since 1.1.
        (PLAIN["0.1.0"], "envoy", "1.16.5", "no"),
        (PLAIN["0.2.1"], "envoy", "v1.17.0", "yes"),
        (PLAIN["0.2.1"], "envoy", "1.40.0", "yes"),
        (PLAIN["0.2.1"], "envoy-gateway", "v1.0.2", "no"),
        (PLAIN["0.2.1"], "envoy-gateway", "1.1.0", "yes"),
        # What Go imports is there since 1.33, and nobody wrote down which Envoy Gloo 1.20 has.
        (GO, "envoy", "1.32.13", "no"),
        (GO, "envoy", "1.33.0", "yes"),
        (GO, "istio", "1.24.1", "no"),
        (GO, "istio", "1.25.0", "yes"),
        (GO, "envoy-gateway", "1.2.8", "no"),
        (GO, "envoy-gateway", "1.3.0", "yes"),
        (GO, "gloo", "1.17.2", "no"),
        (GO, "gloo", "1.20.0", "unknown"),
        (filters.module(imports=wasi("sock_accept")), "envoy", "1.38.8", "no"),
        (filters.module(imports=wasi("sock_accept")), "envoy", "1.39.0", "yes"),
        # No version, and one that is none.
        (GO, "envoy", "latest", "yes"),
        (GO, "envoy", "", "yes"),
        (GO, "envoy", "main", "unknown"),
        (PLAIN["0.2.1"], "envoy", "2.0", "yes"),
        (filters.module(version="0_2_100"), "envoy", "1.40.0", "no"),
        (filters.module(imports='(import "env" "abort" (func))'), "envoy", "", "no"),
    ],
)
def test_can_run(raw: bytes, proxy: str, version: str, runs: str) -> None:
    """A proxy can run what its host has: the marker, the start function, every import; the reason is one line."""
    answer = proxies.can_run(parse(raw), proxy, version)
    assert answer.runs == runs, answer
    assert answer.reason
    assert "\n" not in answer.reason


def test_reasons_name_the_lack_and_the_first_version_without_it() -> None:
    """A refusal says what is lacking and which version has it."""
    answer = proxies.can_run(parse(GO), "istio", "1.24.1")
    assert answer.reason == "Istio 1.24.1 lacks wasi_snapshot_preview1.sched_yield; Istio 1.25 and later have it"
    answer = proxies.can_run(parse(PLAIN["0.2.1"]), "envoy", "1.16.0")
    assert answer.reason == "Envoy 1.16.0 has no Wasm; Envoy 1.17 is the first that has"


def test_every_import_that_is_offered_has_an_oldest_envoy() -> None:
    """No function that `check` lets pass is unknown here, and the newest Envoy has them all."""
    for version in abi.VERSIONS:
        offered = [("env", name, type_) for name, type_ in abi.HOST[version].items()]
        offered += [(where, name, type_) for where in abi.WASI for name, type_ in abi.WASI_FUNCTIONS.items()]
        for where, name, type_ in offered:
            raw = filters.module(imports=filters.wat_import(where, name, type_), version=version.replace(".", "_"))
            needs = proxies.needs(parse(raw))
            assert needs.oldest is not None
            assert 13 <= needs.oldest <= 40


def test_a_newer_proxy_runs_no_less() -> None:
    """Whatever a version can run, the next one can."""
    modules = [*PLAIN.values(), GO, filters.module(REACTOR)]
    for raw in modules:
        facts = parse(raw)
        for proxy in proxies.PROXIES:
            runs = [proxies.can_run(facts, proxy.name, f"1.{minor}").runs for minor in range(1, 45)]
            assert "no" not in runs[runs.index("yes") :] if "yes" in runs else True


def test_of_a_version_alone() -> None:
    """Without a module: what any module of an ABI version needs at the least."""
    assert proxies.can_run(proxies.of_version("0.2.1"), "istio", "1.8.x").runs == "yes"
    assert proxies.can_run(proxies.of_version("0.2.1", initialises=True), "istio", "1.8.x").runs == "no"


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("v0-097b7f2e4cc1fb490cc1943d0d633655ac3c522f", "0.1.0"),
        ("v0-4689a30309abf31aee9ae36e73d34b1bb182685f", "0.2.0"),
        ("v0-edc016b1fa5adca3ebd3d7020eaed0ad7b8814ca", "0.1.0"),
        ("v0-541b2c1155fffb15ccde92b8324f3e38f7339ba6", "0.1.0"),
        ("v0-6d525c67f39b36cdff9d688697f266c1b55e9cb7", None),
        ("v0.2.1", "0.2.1"),
        ("0.1.0", "0.1.0"),
    ],
)
def test_old_names(name: str, version: str | None) -> None:
    """Every name that the original wrote into abiVersions has a meaning, and the ABI version of its day."""
    known = proxies.old_name(name)
    assert known is not None
    assert known.abi == version
    assert known.meaning


def test_names_that_nobody_knows() -> None:
    """Other names have none."""
    assert proxies.old_name("v0.2.100") is None
    assert proxies.old_name("") is None
