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
    """Its ABI is the base's, and no proxy that `init` gave without a warning is too old for it."""
    name, platform, version = LANGUAGES[language]
    base = bases.find(name, platform or "envoy", version)
    found = proxies.needs(parse(examples.built(language, example).module.read_bytes()))
    assert found.abi == base.abi
    assert found.oldest is not None
    assert base.needs.oldest is not None
    assert found.oldest <= base.needs.oldest, found.because
    if not base.platforms:
        assert f"v{found.abi}" in base.abi_versions  # else `validate` would say so


@pytest.mark.parametrize("base", [base for base in bases.BASES if base.template == "cpp"], ids=lambda base: base.abi)
@pytest.mark.parametrize("example", NAMES)
def test_cpp_is_built_for_the_proxies_of_its_base(examples: Examples, base: bases.Base, example: str) -> None:
    """One source for every ABI: each old platform of a C++ base can run each example that is built for it."""
    platform, _, version = (base.platforms[0] if base.platforms else "envoy:").partition(":")
    project = examples.folder / f"cpp-{platform}-{version}" / example
    examples._wasme(
        "init", project, "--language=cpp", f"--platform={platform}", f"--platform-version={version}",
        f"--example={example}",
    )  # fmt: skip
    try:
        built = examples.build(project, "cpp", f"localhost/{project.parent.name}/{example}:v1")
    except Exception as error:
        from wasme.errors import MissingExtra, ToolMissing

        if isinstance(error, ToolMissing | MissingExtra):
            pytest.skip(f"{error.message}: {error.hint}")
        raise
    module = parse(built.module.read_bytes())
    assert proxies.needs(module).abi == base.abi
    for target in base.platforms:
        answer = proxies.can_run(module, *target.split(":"))
        assert answer.runs == "yes", answer.reason
