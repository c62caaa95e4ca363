"""The command line of a builder image's container, and who builds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.engines import Recorder
from wasme.build import builder, container, find, order
from wasme.build.builder import Wish
from wasme.build.container import Container, Engine, Orders
from wasme.build.languages import LANGUAGES, Language
from wasme.build.toolchain import Inputs, Listener, Tool
from wasme.errors import InputError, ToolMissing

MakeEngine = Callable[..., Recorder]
DOCKER = Engine("docker", "docker")


class Native:
    """A toolchain of this machine's that says what it was asked."""

    language = "rust"
    sdk: Path | None = None

    def compile(self, source: Path, scratch: Path, listener: Listener) -> Path:
        raise ToolMissing("cargo is not on this machine", hint="install Rust")

    def inputs(self, source: Path) -> Inputs | None:
        return Inputs((source,))

    def tools(self) -> tuple[Tool, ...]:
        return ()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "GOPROXY"):
        monkeypatch.delenv(name, raising=False)


def made(folder: Path, *names: str) -> Path:
    for name in ("runtime-config.json", *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def placed(folder: Path, build_dir: str = "") -> order.Order:
    return order.read(str(folder), tag="a/b:1", build_dir=build_dir, precompiled=False)


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        (
            container.bazel(":filter.wasm", "filter.wasm", "."),
            ["BUILD_BASE=.", "BAZEL_OUTPUT=filter.wasm", "TARGET=:filter.wasm", "BUILD_TOOL=bazel"],
        ),
        (container.npm(), ["BUILD_TOOL=npm"]),
        (container.npm("me", "secret"), ["BUILD_TOOL=npm"]),
        (container.npm("me", "s3cret", "m@x"), ["BUILD_TOOL=npm", "NPM_USERNAME=me", "NPM_PASSWORD", "NPM_EMAIL=m@x"]),
        (container.tinygo(), ["BUILD_TOOL=tinygo"]),
    ],
)
def test_the_originals_command_line(orders: Orders, words: list[str]) -> None:
    """Word for word and in its order, a name before the image; a password is not among the words."""
    made = Container("rust", DOCKER, "IMAGE", orders, Path("/src"))
    assert made.argv(Path("/tmp/out"), "NAME") == [
        *("docker", "run", "--rm", "-v", "/src:/src/workspace", "-v", "/tmp/out:/build_output"),
        *("-w", "/src/workspace"),
        *(word for each in words for word in ("-e", each)),
        *("--name", "NAME", "IMAGE"),
    ]
    assert "s3cret" not in repr(made)


def test_the_proxies_of_the_original_go_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its four variables in its order, a set and empty one too; one with an account is no word for all to read."""
    monkeypatch.setenv("GOPROXY", "direct")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", "http://me:s3cret@proxy:3128")
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://other:1")
    words = Container("tinygo", DOCKER, "IMAGE", container.tinygo(), Path("/src")).argv(Path("/out"), "N")
    pairs = [word for before, word in itertools.pairwise(words) if before == "-e"]
    assert pairs == ["BUILD_TOOL=tinygo", "http_proxy=http://proxy:3128", "https_proxy", "no_proxy=", "GOPROXY=direct"]


@pytest.mark.parametrize(
    ("target", "output", "build_dir", "label", "file"),
    [
        (":filter", "filter.wasm", ".", ":filter", "filter.wasm"),
        (":filter", "filter.wasm", "sub/dir", "//sub/dir:filter", "sub/dir/filter.wasm"),
        (":f", "sub/f.wasm", "sub", "//sub:f", "sub/f.wasm"),
        ("//x:f", "x/f.wasm", "sub", "//x:f", "x/f.wasm"),
    ],
)
def test_build_dir_is_the_targets_package(target: str, output: str, build_dir: str, label: str, file: str) -> None:
    """[BUG] of the original: its image never read BUILD_BASE, so --build-dir did nothing."""
    told = container.bazel(target, output, build_dir).variables
    assert (told["TARGET"], told["BAZEL_OUTPUT"], told["BUILD_BASE"]) == (label, file, build_dir)


def test_a_path_with_a_colon_cannot_be_mounted() -> None:
    """It is said, with what to do."""
    with pytest.raises(InputError, match=r"docker cannot mount /a:b") as caught:
        Container("rust", DOCKER, "I", container.tinygo(), Path("/a:b")).argv(Path("/out"), "N")
    assert "--builder native" in (caught.value.hint or "")


def test_volumes_are_labelled_where_selinux_is_enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a label a container may not read the sources there; elsewhere the words are the original's."""
    (tmp_path / "enforce").write_text("1")
    monkeypatch.setattr(container, "_SELINUX", tmp_path / "enforce")
    words = Container("tinygo", DOCKER, "I", container.tinygo(), Path("/src")).argv(Path("/out"), "N")
    assert words[4:7:2] == ["/src:/src/workspace:z", "/out:/build_output:z"]
    (tmp_path / "enforce").write_text("0")
    words = Container("tinygo", DOCKER, "I", container.tinygo(), Path("/src")).argv(Path("/out"), "N")
    assert words[4] == "/src:/src/workspace"


def test_the_engine_that_answers_is_taken(engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """docker first; podman where docker does not answer; none where neither does."""
    engine("podman")
    found = container.answering()
    assert found is not None
    assert found.name == "podman"
    engine("docker")
    found = container.answering()
    assert found is not None
    assert found.name == "docker"
    engine("docker").turn("down")
    assert container.answering() is None


def test_wasme_use_podman(engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original's variable turns docker into podman."""
    engine("podman")
    assert container.named("docker").name == "docker"
    monkeypatch.setenv("WASME_USE_PODMAN", "1")
    assert container.named("docker").name == "podman"


def test_an_engine_that_is_not_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """--builder docker without docker is one line."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="docker is not on PATH: it runs the builder image"):
        container.named("docker")


@pytest.mark.parametrize(
    ("wish", "answers", "files", "image"),
    [
        (Wish(), True, ["Cargo.toml"], None),
        (Wish("native", "X"), True, ["Cargo.toml"], None),
        (Wish("auto", "X"), True, ["Cargo.toml"], "X"),
        (Wish("auto", "X"), False, ["Cargo.toml"], None),
        (Wish("docker"), True, ["Cargo.toml"], container.DEFAULT_IMAGE),
        (Wish("docker", "X"), False, ["Cargo.toml"], "X"),
        (Wish(), True, ["WORKSPACE", "BUILD", "filter.rs"], container.DEFAULT_IMAGE),
        (Wish(), True, ["WORKSPACE", "BUILD", "Cargo.toml"], None),
        (Wish("native"), True, ["WORKSPACE", "BUILD", "filter.rs"], None),
    ],
)
def test_who_builds(
    engine: MakeEngine, tmp_path: Path, wish: Wish, answers: bool, files: list[str], image: str | None
) -> None:
    """Natively first; in a container what was asked for and what nothing else builds."""
    if not answers:
        engine("docker").turn("down")
    engine("docker")
    chosen = builder.choose(LANGUAGES["rust"], Native(), placed(made(tmp_path / "p", *files)), wish)
    assert (chosen.image if isinstance(chosen, Container) else None) == image


def test_a_bazel_project_without_an_engine(engine: MakeEngine, tmp_path: Path) -> None:
    """One line says that it needs a container, and one how to get there."""
    engine("docker").turn("down")
    with pytest.raises(ToolMissing, match="is a Bazel project, which is built in a container") as caught:
        builder.choose(LANGUAGES["rust"], Native(), placed(made(tmp_path / "p", "WORKSPACE", "filter.rs")), Wish())
    assert "docker" in (caught.value.hint or "")
    assert "--sdk" not in (caught.value.hint or "")
    with pytest.raises(ToolMissing) as caught:
        builder.choose(LANGUAGES["cpp"], Native(), placed(made(tmp_path / "c", "WORKSPACE", "filter.cc")), Wish())
    assert "or build it with --sdk DIR if it uses nothing but the upstream SDK; or " in (caught.value.hint or "")


@pytest.mark.parametrize(("sdk", "files"), [(Path("/sdk"), ["WORKSPACE"]), (None, ["WORKSPACE", "proxy/proxy.h"])])
def test_a_cpp_project_with_its_sdk_is_built_natively(
    engine: MakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sdk: Path | None, files: list[str]
) -> None:
    """Bazel fetches the SDK; where it is here, Bazel is not needed."""
    engine("docker")
    monkeypatch.setattr(Native, "sdk", sdk)
    chosen = builder.choose(LANGUAGES["cpp"], Native(), placed(made(tmp_path / "p", *files)), Wish())
    assert not isinstance(chosen, Container)


def test_a_package_is_built_from_its_workspace(engine: MakeEngine, tmp_path: Path) -> None:
    """--build-dir: the container sees the workspace's root; a folder with a workspace of its own is seen by itself."""
    engine("docker")
    folder = made(tmp_path / "p", "WORKSPACE", "pkg/BUILD", "own/WORKSPACE")
    chosen = builder.choose(LANGUAGES["cpp"], Native(), placed(folder, "pkg"), Wish())
    assert isinstance(chosen, Container)
    assert (chosen.workspace, chosen.orders.variables["TARGET"]) == (folder, "//pkg:filter.wasm")
    chosen = builder.choose(LANGUAGES["cpp"], Native(), placed(folder, "own"), Wish())
    assert isinstance(chosen, Container)
    assert (chosen.workspace, chosen.orders.variables["TARGET"]) == (folder / "own", ":filter.wasm")


def test_no_compiler_and_no_engine(engine: MakeEngine, tmp_path: Path) -> None:
    """What is missing is said, and both ways to get on."""
    engine("docker").turn("down")
    language: Language = LANGUAGES["rust"]
    chosen = builder.choose(language, Native(), placed(made(tmp_path / "p", "Cargo.toml", "WORKSPACE")), Wish())
    with pytest.raises(ToolMissing, match="cargo is not on this machine") as caught:
        chosen.compile(tmp_path / "p", tmp_path, Listener())
    assert caught.value.hint == "install Rust; or install docker or podman, and start it"


def test_an_image_of_2021_is_not_asked_for_what_is_newer(engine: MakeEngine, tmp_path: Path) -> None:
    """A Cargo project, which the original's image cannot build, waits for its compiler, engine or not."""
    recorder = engine()
    folder = made(tmp_path / "p", "Cargo.toml")
    chosen = builder.choose(LANGUAGES["rust"], Native(), placed(folder), Wish())
    with pytest.raises(ToolMissing, match="cargo is not on this machine") as caught:
        chosen.compile(folder, tmp_path, Listener())
    assert caught.value.hint == "install Rust"
    assert not [call for call in recorder.calls() if "run" in call]


@pytest.mark.parametrize(
    ("language", "name", "content", "suits"),
    [
        ("assemblyscript", "package.json", '{"dependencies": {"@solo-io/proxy-runtime": "^0.1.1"}}', True),
        ("assemblyscript", "package.json", '{"devDependencies": {"assemblyscript": "0.28.20"}}', False),
        ("tinygo", "go.mod", "require github.com/tetratelabs/proxy-wasm-go-sdk v0.1.1", True),
        (
            "tinygo",
            "go.mod",
            "require github.com/proxy-wasm/proxy-wasm-go-sdk v0.0.0-20260105142703-44c7d5847745",
            False,
        ),
        ("cpp", "WORKSPACE", "", True),
        ("cpp", "filter.cc", "", False),
        ("tinygo", "main.go", "", False),
    ],
)
def test_what_an_image_of_2021_can_build(tmp_path: Path, language: str, name: str, content: str, suits: bool) -> None:
    """Bazel projects, and those on the SDKs of the original's templates."""
    (tmp_path / name).write_text(content)
    assert find.suits_builder_image(language, tmp_path) is suits


def test_no_compiler_and_an_engine(engine: MakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The container builds what this machine cannot, and one line says so."""
    recorder = engine()
    folder = made(tmp_path / "p", "Cargo.toml", "WORKSPACE", "made.wasm")
    (folder / "BUILD").write_text('copy(name = "filter", src = "made.wasm", out = "filter.wasm")')
    chosen = builder.choose(LANGUAGES["rust"], Native(), placed(folder), Wish())
    with caplog.at_level("INFO"):
        assert chosen.compile(folder, tmp_path, Listener()).read_text() == "{}"
    assert caplog.messages == ["building in a container: cargo is not on this machine"]
    assert len(recorder.calls()) == 1


def test_what_an_image_makes_depends_on_what_its_name_means_here(engine: MakeEngine, tmp_path: Path) -> None:
    """An image that is not here yet, or has been pulled anew, is run."""
    recorder = engine("docker")
    chosen = Container("tinygo", container.named("docker"), "I", container.tinygo(), tmp_path)
    assert chosen.inputs(tmp_path) is None
    recorder.turn("image", "sha256:1")
    first = chosen.inputs(tmp_path)
    recorder.turn("image", "sha256:2")
    assert first is not None
    assert chosen.inputs(tmp_path) not in (None, first)
