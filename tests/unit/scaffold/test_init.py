"""`wasme init` as typed."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.terminals import on_terminal
from wasme.scaffold import bases

Run = Callable[..., Result]
FLAGS = ("--language=assemblyscript", "--platform=istio", "--platform-version=1.9.x", "--disable-prompt")


def test_prints_the_originals_line(run: Run, tmp_path: Path) -> None:
    """One line on stderr as users know it, nothing on stdout."""
    result = run("init", tmp_path / "p", *FLAGS)
    assert len(result.stderr.splitlines()) == 1
    assert f'msg="extracting {sum(p.stat().st_size for p in (tmp_path / "p").rglob("*") if p.is_file())} bytes' in (
        result.stderr
    )
    assert result.stdout == ""


def test_json(run: Run, tmp_path: Path) -> None:
    """--output json says what was made."""
    made = run("init", tmp_path / "p", *FLAGS, "--example=auth", "-o", "json").json
    assert made["directory"] == str(tmp_path / "p")
    assert made["example"] == "auth"
    assert sorted(made["files"]) == made["files"]


def test_here(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wasme init .` works."""
    monkeypatch.chdir(tmp_path)
    run("init", ".", *FLAGS)
    assert (tmp_path / "package.json").is_file()


def test_bug_disable_prompt_honours_the_platform_flags(run: Run, tmp_path: Path) -> None:
    """[BUG] of the original: with --disable-prompt it ignored the platform and took the language's first base."""
    flags = ("--language=assemblyscript", "--platform=istio", "--platform-version=1.4.x", "--disable-prompt")
    result = run("init", tmp_path / "p", *flags, ok=False)
    assert result.exit_code == 1
    assert "on istio 1.4.x" in result.stderr
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ((), "--language, --platform, --platform-version"),
        (("--language=assemblyscript",), "--platform, --platform-version"),
        (("--language=assemblyscript", "--platform=istio"), "--platform-version"),
        (("--platform=istio", "--platform-version=1.9.x"), "--language"),
        (("--language=assemblyscript", "--platform-version=1.9.x"), "--platform"),
    ],
)
@pytest.mark.parametrize("disabled", [True, False])
def test_missing_flags_are_named(
    run: Run, tmp_path: Path, given: tuple[str, ...], missing: str, disabled: bool
) -> None:
    """With --disable-prompt, and where there is no terminal, what is missing is named; exit code 2."""
    result = run("init", tmp_path / "p", *given, *(["--disable-prompt"] if disabled else []), ok=False)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {missing} must be given")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("platform", ["envoy", "envoy-gateway"])
def test_envoy_needs_no_version(run: Run, tmp_path: Path, platform: str) -> None:
    """The new platforms run the same module in every version."""
    run("init", tmp_path / "p", "--language=assemblyscript", f"--platform={platform}", "--disable-prompt")


OLD = "gloo:1.3.x, gloo:1.5.x, gloo:1.6.x, istio:1.5.x, istio:1.6.x, istio:1.7.x, istio:1.8.x, istio:1.9.x"


def down_to(item: str, items: Sequence[str]) -> bytes:
    """The arrow keys that lead to an item."""
    return b"\x1b[B" * list(items).index(item)


def test_prompts_as_the_original_did(tmp_path: Path) -> None:
    """On a terminal the missing language and platform are asked for, by arrow keys; the answers are honoured."""
    code, screen = on_terminal(
        ["init", str(tmp_path / "p")],
        [
            ("then Enter)", down_to("assemblyscript", bases.languages())),
            ("> assemblyscript", b"\r"),
            ("> envoy, envoy-gateway, istio:1.10.x and later, gloo:1.7.x and later", b"\x1b[B"),
            ("> gloo:1.3.x, gloo:1.5.x … 1.6.x, istio:1.5.x … 1.9.x", b"\r"),  # what does not fit, in fewer words
        ],
    )
    assert code == 0
    assert "What language do you wish to use for the filter" in screen
    assert "With which platforms do you wish to use the filter?" in screen
    assert "v0-097b7f2e" in (tmp_path / "p/runtime-config.json").read_text()
    assert f"wasme build assemblyscript {tmp_path}/p -t localhost:5000/me/add-header:v0.1" in screen
    assert (tmp_path / "p/assembly/index.ts").is_file()


def test_prompt_without_arrow_keys(tmp_path: Path) -> None:
    """On a terminal that cannot move its cursor, the number of an item is typed."""
    number = bases.languages().index("assemblyscript") + 1
    last = f"1-{len(bases.languages())}: "
    code, screen = on_terminal(
        ["init", str(tmp_path / "p")],
        [(last, b"9\n"), (last, f"{number}\n".encode()), ("1-2: ", b"1\n")],
        term="dumb",
    )
    assert code == 0
    assert f"{number}) assemblyscript" in screen
    assert f"2) {OLD}" in screen
    assert "v0-097b7f2e" not in (tmp_path / "p/runtime-config.json").read_text()
    assert (tmp_path / "p/assembly/index.ts").is_file()


def test_prompt_offers_what_the_platform_has(tmp_path: Path) -> None:
    """With --platform the bases for it are offered, and no others."""
    words = ["init", str(tmp_path / "p"), "--language=cpp", "--platform=gloo"]
    code, screen = on_terminal(words, [("1-2: ", b"2\n")], term="dumb")
    assert code == 0
    assert "1) gloo:1.7.x and later\r" in screen
    assert "2) gloo:1.5.x, gloo:1.6.x\r" in screen
    assert "istio" not in screen


@pytest.mark.parametrize("flags", [("--platform=istio", "--platform-version=1.10.x"), ("--platform=istio",), ()])
def test_the_prompt_warns_as_the_flags_do(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Go needs Istio 1.25: whoever chooses a base is told so like whoever names the platform."""
    steps = [] if len(flags) == 2 else [("1-2: ", b"1\n")]
    code, screen = on_terminal(["init", str(tmp_path / "p"), "--language=tinygo", *flags], steps, term="dumb")
    assert code == 0
    said = " ".join(screen.split())
    assert "Istio 1.25" in said
    assert "the WASI functions that Go's own compiler asks for" in said


def test_what_there_is_to_choose_from(run: Run, tmp_path: Path) -> None:
    """Where nobody can be asked, each missing flag comes with its values."""
    hint = run("init", tmp_path / "p", "--disable-prompt", ok=False).stderr.splitlines()[1]
    assert "--language: one of cpp, rust, assemblyscript, tinygo; --platform: one of envoy, " in hint
    assert "--platform-version: for istio and gloo only, such as 1.9.x" in hint


def test_prompt_asks_nothing_of_an_unknown_platform(tmp_path: Path) -> None:
    """What cannot be answered is told before anything is asked."""
    code, screen = on_terminal(
        ["init", str(tmp_path / "p"), "--language=assemblyscript", "--platform=nginx"], term="dumb"
    )
    assert code == 1
    assert "nginx is not a supported platform" in screen
    assert "With which" not in screen


def test_prompt_can_be_left(tmp_path: Path) -> None:
    """Ctrl-C at a prompt ends it, and nothing is made."""
    code, screen = on_terminal(["init", str(tmp_path / "p")], [("then Enter)", b"\x03")])
    assert code == 130
    assert "interrupted" in screen
    assert not (tmp_path / "p").exists()


def test_an_empty_destination_is_wrong_usage(run: Run) -> None:
    """An unset variable in a script does not fill the folder it runs in."""
    result = run("init", "", "--language=assemblyscript", "--platform=envoy", ok=False)
    assert result.exit_code == 2
    assert "the destination is empty" in result.stderr
