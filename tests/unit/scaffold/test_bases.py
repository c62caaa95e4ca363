"""Which languages, platforms and versions `init` takes."""

import pytest

from wasme.errors import ScaffoldError
from wasme.scaffold import bases
from wasme.wasm import abi, proxies

DECEMBER_2019 = "v0-097b7f2e4cc1fb490cc1943d0d633655ac3c522f"
AUGUST_2020 = "v0-4689a30309abf31aee9ae36e73d34b1bb182685f"
GLOO = "v0-541b2c1155fffb15ccde92b8324f3e38f7339ba6"
ISTIO_57, ISTIO_79 = ["istio:1.5.x", "istio:1.6.x"], ["istio:1.7.x", "istio:1.8.x", "istio:1.9.x"]

# The original's table: language, the prompt's item, the platforms, abiVersions.
ORIGINAL = [
    ("cpp", "istio:1.5.x, istio:1.6.x", [DECEMBER_2019]),
    ("cpp", "istio:1.7.x, istio:1.8.x, istio:1.9.x", [AUGUST_2020]),
    ("cpp", "gloo:1.5.x, gloo:1.6.x", [GLOO, "v0.2.1"]),
    (
        "assemblyscript",
        "gloo:1.3.x, gloo:1.5.x, gloo:1.6.x, istio:1.5.x, istio:1.6.x, istio:1.7.x, istio:1.8.x, istio:1.9.x",
        [GLOO, DECEMBER_2019, AUGUST_2020, "v0.2.1"],
    ),
    (
        "rust",
        "istio:1.5.x, istio:1.6.x, istio:1.7.x, gloo:1.6.x, istio:1.8.x, istio:1.9.x",
        [DECEMBER_2019, AUGUST_2020, "v0.2.1"],
    ),
    ("tinygo", "istio:1.7.x, gloo:1.6.x, istio:1.8.x, istio:1.9.x", [AUGUST_2020, "v0.2.1"]),
]
COMBINATIONS = [
    (language, *target.split(":"), item, versions)
    for language, item, versions in ORIGINAL
    for target in item.split(", ")
]
CURRENT = [
    *("istio 1.10.x", "istio 1.30.x", "istio 1.31.0", "istio 1.24", "istio 1.24.3", "istio v1.24.3-distroless"),
    *("gloo 1.7.x", "gloo 1.22.x", "envoy ", "envoy 1.40.x", "envoy-gateway 1.9.0", "envoy-gateway "),
]


@pytest.mark.parametrize(("language", "platform", "version", "item", "versions"), COMBINATIONS)
def test_each_combination_of_the_originals(
    language: str, platform: str, version: str, item: str, versions: list[str]
) -> None:
    """Every language, platform and version of the original's leads to the base it led to: by item and ABI versions."""
    base = bases.find(language, platform, version)
    assert base.label == item
    assert list(base.abi_versions) == versions


@pytest.mark.parametrize("language", bases.LANGUAGES)
@pytest.mark.parametrize("target", CURRENT)
def test_every_language_runs_on_every_current_platform(language: str, target: str) -> None:
    """Envoy, Envoy Gateway, and Istio and Gloo since the original, are for every language alike."""
    platform, _, version = target.partition(" ")
    base = bases.find(language, platform, version)
    assert (base.language, base.template, base.platforms) == (language, language, ())
    assert base.abi_versions == (("v0.2.0", "v0.2.1") if language == "tinygo" else ("v0.2.1",))


@pytest.mark.parametrize("target", ["istio 1.4.x", "istio 2.0", "istio 1.9x", "gloo 1.4.x", "istio ", "istio latest"])
def test_unknown_versions(target: str) -> None:
    """A version that no template is for is refused with the original's words, and the hint says which there are."""
    platform, _, version = target.partition(" ")
    with pytest.raises(ScaffoldError, match=r"^no filter base found for language assemblyscript") as caught:
        bases.find("assemblyscript", platform, version)
    known = {"istio": "istio: 1.5.x and later", "gloo": "gloo: 1.3.x, 1.5.x and later"}
    assert caught.value.hint == known[platform]


def test_the_hint_tells_of_this_language_only() -> None:
    """TinyGo began with Istio 1.7, C++ with Gloo 1.5."""
    for language, platform, hint in (("tinygo", "istio", "istio: 1.7.x and later"), ("cpp", "gloo", "gloo: 1.5.x and")):
        with pytest.raises(ScaffoldError) as caught:
            bases.find(language, platform, "1.3.x")
        assert (caught.value.hint or "").startswith(hint)


def test_unknown_language() -> None:
    """The original's message, word for word."""
    with pytest.raises(ScaffoldError) as caught:
        bases.find("go", "istio", "1.9.x")
    assert caught.value.message == "go is not a supported language. available: [cpp rust assemblyscript tinygo]"


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        ("go golang Go TinyGo", "tinygo"),
        ("c++ CPP C++ cxx", "cpp"),
        ("typescript ts js as AssemblyScript asemblyscript", "assemblyscript"),
        ("rs Rust", "rust"),
    ],
)
def test_other_names_of_a_language(names: str, meant: str) -> None:
    """What people call a language otherwise leads to its name here."""
    for name in names.split():
        with pytest.raises(ScaffoldError) as caught:
            bases.offered(name)
        assert caught.value.hint == f"did you mean {meant}?"


@pytest.mark.parametrize("target", ["istio 1.9.x.x", "gloo 1.6.0.1", "envoy 1.9.x.x", "envoy x", "envoy-gateway v"])
def test_what_is_no_version(target: str) -> None:
    """A malformed version is refused, on platforms too whose version does not matter."""
    with pytest.raises(ScaffoldError, match=f"^no filter base found for language cpp on {target}$"):
        bases.find("cpp", *target.split(" "))


@pytest.mark.parametrize(
    "target", ["istio 1.99.x", "envoy 1.99", "envoy 2", "envoy latest", "envoy-gateway v9.5.0-rc.1"]
)
def test_versions_newer_than_known(target: str) -> None:
    """What may have been released since is taken."""
    assert bases.find("cpp", *target.split(" ")).platforms == ()


def test_versions_in_a_row_in_fewer_words() -> None:
    """For where the original's words do not fit on a line; the oldest and the newest are there."""
    old = bases.find("assemblyscript", "istio", "1.5.x")
    assert old.short_label_for("") == "gloo:1.3.x, gloo:1.5.x … 1.6.x, istio:1.5.x … 1.9.x"
    assert bases.find("rust", "istio", "1.5.x").short_label_for("istio") == "istio:1.5.x … 1.9.x"


def test_unknown_platform() -> None:
    """A platform nobody knows is named, with those that are known."""
    with pytest.raises(ScaffoldError, match=r"nginx is not a supported platform. available: \[envoy envoy-gateway"):
        bases.find("assemblyscript", "nginx", "1")


@pytest.mark.parametrize("language", bases.LANGUAGES)
def test_the_prompt_offers_the_originals_items_behind_what_is_current(language: str) -> None:
    """What is current stands first and fits on a line; behind it the original's items in its order and its words."""
    first, *rest = [base.label for base in bases.offered(language)]
    assert first == "envoy, envoy-gateway, istio:1.10.x and later, gloo:1.7.x and later"
    assert len(first) < 78
    assert rest == [item for of, item, _ in ORIGINAL if of == language]


def test_the_prompt_leaves_out_what_is_for_other_platforms() -> None:
    """Of C++'s four bases, two are for Gloo and three for Istio."""
    assert [len(bases.offered("cpp", platform)) for platform in ("", "gloo", "istio", "envoy")] == [4, 2, 3, 1]


def test_rust_has_the_crate_of_the_platforms_day() -> None:
    """Up to Istio 1.9 and Gloo 1.6 it is proxy-wasm 0.1, later 0.2."""
    assert bases.find("rust", "istio", "1.9.x").template == bases.find("rust", "gloo", "1.6.x").template == "rust-0.1"
    assert bases.find("rust", "istio", "1.10.x").template == bases.find("rust", "gloo", "1.7.x").template == "rust"


@pytest.mark.parametrize("base", [base for base in bases.BASES if base.platforms], ids=lambda base: base.label[:20])
def test_cpp_and_rust_run_on_every_old_platform(base: bases.Base) -> None:
    """They have an SDK for each ABI; ours for AssemblyScript knows the newest only, and Go itself is newer still."""
    runs = {target: proxies.can_run(base.needs, *target.split(":")).runs == "yes" for target in base.platforms}
    if base.language in ("cpp", "rust"):
        assert all(runs.values())
    elif base.language == "assemblyscript":
        assert {target for target in runs if runs[target]} == {"gloo:1.6.x", "istio:1.9.x"}
    else:
        assert not any(runs.values())


def test_cpp_speaks_the_newest_abi_that_all_platforms_of_a_base_take() -> None:
    """An older one would give away callbacks for nothing."""
    for base in bases.BASES:
        if base.language == "cpp" and base.platforms:
            takes = {
                version: all(
                    proxies.can_run(proxies.of_version(version), *target.split(":")).runs == "yes"
                    for target in base.platforms
                )
                for version in abi.VERSIONS
            }
            assert base.abi == max(version for version in takes if takes[version])
