"""Which languages, platforms and versions `init` takes."""

import pytest

from wasme.errors import ScaffoldError
from wasme.scaffold import bases

OLD = [f"istio 1.{minor}.x" for minor in (5, 6, 7, 8, 9)] + [f"gloo 1.{minor}.x" for minor in (3, 5, 6)]
NEW = ["istio 1.10.x", "istio 1.30.x", "istio 1.24", "istio 1.24.3", "istio v1.24.3-distroless", "gloo 1.22.x"]


@pytest.mark.parametrize("target", [*OLD, *NEW, "envoy ", "envoy 1.40.x", "envoy-gateway 1.9.0", "envoy-gateway "])
def test_known_targets(target: str) -> None:
    """Every platform and version of the original's table, and the current ones, have an AssemblyScript base."""
    platform, _, version = target.partition(" ")
    assert bases.find("assemblyscript", platform, version).language == "assemblyscript"


@pytest.mark.parametrize(
    "target", ["istio 1.4.x", "istio 1.31.x", "istio 2.0", "istio 1.9x", "gloo 1.4.x", "istio ", "istio latest"]
)
def test_unknown_versions(target: str) -> None:
    """A version that no template is for is refused with the original's words, and the hint says which there are."""
    platform, _, version = target.partition(" ")
    with pytest.raises(ScaffoldError, match=r"^no filter base found for language assemblyscript") as caught:
        bases.find("assemblyscript", platform, version)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(f"{platform}: 1.")


def test_unknown_language() -> None:
    """The original's message, word for word."""
    with pytest.raises(ScaffoldError) as caught:
        bases.find("go", "istio", "1.9.x")
    assert caught.value.message == "go is not a supported language. available: [cpp rust assemblyscript tinygo]"


@pytest.mark.parametrize("language", ["cpp", "rust", "tinygo"])
def test_languages_to_come(language: str) -> None:
    """A language that this version has no template of says so in one line."""
    with pytest.raises(ScaffoldError, match=f"scaffolds assemblyscript only, not {language}"):
        bases.find(language, "istio", "1.9.x")


def test_unknown_platform() -> None:
    """A platform nobody knows is named, with those that are known."""
    with pytest.raises(ScaffoldError, match=r"nginx is not a supported platform. available: \[envoy envoy-gateway"):
        bases.find("assemblyscript", "nginx", "1")


def test_first_match_wins() -> None:
    """Bases are looked through in the original's order."""
    first = next(base for base in bases.BASES if base.supports("istio", 9))
    assert first == bases.BASES[1]


def test_the_prompt_names_the_platforms() -> None:
    """A base is offered as a list of platform:version, Gloo first, as the original did."""
    label = bases.for_language("assemblyscript")[0].label
    assert label.startswith("gloo:1.3.x, gloo:1.5.x, gloo:1.6.x, istio:1.5.x, istio:1.6.x, istio:1.7.x")


def test_old_proxies_are_known_to_be_too_old() -> None:
    """Istio before 1.9 and Gloo before 1.6 do not load ABI 0.2.1."""
    assert [bases.speaks_abi("istio", f"1.{minor}.x") for minor in (8, 9, 10)] == [False, True, True]
    assert [bases.speaks_abi("gloo", f"1.{minor}.x") for minor in (5, 6)] == [False, True]
    assert bases.speaks_abi("envoy", "")
