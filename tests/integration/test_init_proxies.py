"""What `wasme init` promises about proxies is what the built modules need."""

from __future__ import annotations

import pytest

from tests.fixtures.examples import LANGUAGES, NAMES, Examples
from wasme.scaffold import bases
from wasme.wasm import proxies
from wasme.wasm.module import parse


@pytest.mark.parametrize("example", NAMES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_module_needs_what_its_base_says(examples: Examples, language: str, example: str) -> None:
    """Its ABI is the base's, and no proxy of the base that `init` did not warn of is too old for it."""
    name, platform, version = LANGUAGES[language]
    base = bases.find(name, platform or "envoy", version)
    found = proxies.needs(parse(examples.built(language, example).module.read_bytes()))
    assert found.abi == base.abi
    assert found.oldest is not None
    assert base.needs.oldest is not None
    assert found.oldest <= base.needs.oldest, found.because
    for target in base.platforms:  # of C++ and Rust: the bases for what is old
        answer = proxies.can_run(found, *target.split(":"))
        assert answer.runs == "yes", answer.reason
    if not base.platforms:
        assert f"v{found.abi}" in base.abi_versions  # else `validate` would say so
