"""The flag grammar that scripts rely on, one parametrised test per rule."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wasme.cli import main
from wasme.cli.grammar import at_least, at_most, command, exactly, flag, group, option
from wasme.deploy.cache.telling import go_duration

seen: dict[str, Any] = {}


@command("leaf", use="leaf NAME", args=at_least(0), help="A leaf.")
@option("--tag", "-t", help="a string")
@option("--labels", "-l", kind="stringToString", help="pairs")
@option("--namespaces", "-n", kind="strings", help="a list")
@option("--config", "-c", kind="stringArray", help="repeated")
@option("--wait", "-w", kind="duration", default=60.0, help="a time")
@option("--count", kind="int", help="a number")
@option("--dry-run", "-d", kind="bool", help="a switch")
@option("--force", "-f", kind="bool", help="another")
@option("--mode", default="fast", choices=("fast", "slow"), help="one of two")
@option("--shape", choices=("round", "square"), help="one of two, or none")
def leaf(**values: Any) -> None:
    seen.clear()
    seen.update(values)


@command("one", use="one NAME", args=exactly(1), help="One.")
def one(args: tuple[str, ...]) -> None:
    seen.update(args=args)


@command("few", use="few [NAME]", args=at_most(1), help="Few.")
def few(args: tuple[str, ...]) -> None:
    seen.update(args=args)


@command("many", use="many NAME…", args=at_least(1), help="Many.")
def many(args: tuple[str, ...]) -> None:
    seen.update(args=args)


@command("place", use="falling PLACE", args=exactly(1), help="A place.")
@option("--tag", "-t", help="a string")
def place(**values: Any) -> None:
    seen.update(values)


nested = group(
    "nested",
    table={"leaf": ("wasme_test_commands:leaf", "A leaf.")},
    persistent=[flag("--id", help="an id"), flag("--quick", "-q", kind="bool", help="a switch")],
)

falling = group(
    "falling",
    table={
        "leaf": ("wasme_test_commands:leaf", "A leaf."),
        "place": ("wasme_test_commands:place", ""),
    },
    fallback="place",
    persistent=[flag("--id", "-i", help="an id"), flag("--quick", "-q", kind="bool", help="a switch")],
)


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own commands in the real root."""
    module = types.ModuleType("wasme_test_commands")
    module.__dict__.update(leaf=leaf, one=one, few=few, many=many, nested=nested, falling=falling, place=place)
    monkeypatch.setitem(sys.modules, "wasme_test_commands", module)
    for name in ("leaf", "one", "few", "many", "nested", "falling"):
        monkeypatch.setitem(main.COMMANDS, name, (f"wasme_test_commands:{name}", "For the tests."))
    seen.clear()


@pytest.mark.parametrize(
    "words",
    [("--tag", "x"), ("--tag=x",), ("-t", "x"), ("-t=x",), ("-tx",), ("--tag=y", "-t", "x")],
)
def test_a_value_may_stand_in_every_place_pflag_takes_it_from(run: Callable[..., Any], words: tuple[str, ...]) -> None:
    """`--tag x`, `--tag=x`, `-t x`, `-t=x` and `-tx` are the same; the last one given wins."""
    run("leaf", *words)
    assert seen["tag"] == "x"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--dry-run",), True),
        (("--dry-run=true",), True),
        (("--dry-run=false",), False),
        (("--dry-run=0",), False),
        (("--dry-run=T",), True),
        (("-d",), True),
        (("-d=false",), False),
        (("--dry-run", "--dry-run=false"), False),
        ((), False),
    ],
)
def test_a_switch_takes_a_value_only_with_an_equals_sign(
    run: Callable[..., Any], words: tuple[str, ...], expected: bool
) -> None:
    """`--flag=false` switches off, as Go's ParseBool reads it."""
    run("leaf", *words)
    assert seen["dry_run"] is expected


def test_a_switch_never_takes_the_next_word(run: Callable[..., Any]) -> None:
    """`--dry-run false` is a switch and a positional."""
    run("leaf", "--dry-run", "false")
    assert (seen["dry_run"], seen["args"]) == (True, ("false",))


@pytest.mark.parametrize("words", [("-dft", "x"), ("-dftx",), ("-df", "-t=x"), ("-dft=x",)])
def test_shorthands_cluster(run: Callable[..., Any], words: tuple[str, ...]) -> None:
    """`-dft x` is two switches and a value."""
    run("leaf", *words)
    assert (seen["dry_run"], seen["force"], seen["tag"]) == (True, True, "x")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("a", "-t", "x", "b"), ("a", "b")),
        (("--", "a", "-t"), ("a", "-t")),
        (("a", "--", "--tag"), ("a", "--tag")),
        (("-", "a"), ("-", "a")),
        (("-d", "", "a"), ("", "a")),
    ],
)
def test_positionals_mix_with_flags(run: Callable[..., Any], words: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Flags may follow positionals, `--` ends them, `-` and empty words are positionals."""
    run("leaf", *words)
    assert seen["args"] == expected


@pytest.mark.parametrize(
    "words",
    [
        ("nested", "--id", "x", "leaf", "a"),
        ("nested", "leaf", "--id", "x", "a"),
        ("--id", "x", "nested", "leaf", "a"),
        ("--id=x", "nested", "leaf", "a"),
        ("nested", "leaf", "a", "--id=x"),
        ("nested", "-q", "--id", "x", "leaf", "a"),
        ("nested", "-q=true", "leaf", "--id=x", "a"),
        ("-v", "nested", "--id", "x", "leaf", "a"),
        ("nested", "leaf", "a", "--id", "x", "-v"),
    ],
)
def test_a_groups_flag_stands_before_or_after_the_sub_command(run: Callable[..., Any], words: tuple[str, ...]) -> None:
    """Persistent flags are known everywhere below their group, and even before it."""
    run(*words)
    assert (seen["id"], seen["args"]) == ("x", ("a",))


@pytest.mark.parametrize("words", [("-t", "x", "leaf", "a"), ("--tag", "x", "leaf", "a"), ("--tag=x", "leaf", "a")])
def test_an_unknown_flag_before_the_sub_command_is_taken_to_have_a_value(
    run: Callable[..., Any], words: tuple[str, ...]
) -> None:
    """`wasme --tag x build …` works, as it did with cobra."""
    run(*words)
    assert (seen["tag"], seen["args"]) == ("x", ("a",))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1m0s", 60), ("0", 0), ("250ms", 0.25), ("1h2m3.5s", 3723.5), ("1.5h", 5400), ("10us", 1e-5), ("-5s", -5)],
)
def test_durations_are_gos(run: Callable[..., Any], text: str, seconds: float) -> None:
    """A duration is written as Go writes it, and reaches the command in seconds."""
    run("leaf", f"--wait={text}")
    assert seen["wait"] == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", "s", "1x", "", "1 s", "ten"])
def test_a_duration_without_a_unit_is_refused(run: Callable[..., Any], text: str) -> None:
    """Go refuses a bare number, and so do we, with an example."""
    result = run("leaf", f"--wait={text}", ok=False)
    assert result.exit_code == 2
    assert f'invalid argument "{text}" for "-w, --wait" flag: time: invalid duration' in result.stderr


def test_go_prints_durations_so() -> None:
    """Help shows defaults as Go prints them."""
    assert [go_duration(60), go_duration(0.5), go_duration(3600), go_duration(0)] == ["1m0s", "500ms", "1h0m0s", "0s"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-l", "a=1,b=2"), {"a": "1", "b": "2"}),
        (("-l", "a=1", "-l", "b=2"), {"a": "1", "b": "2"}),
        (("-l", "a=x,y"), {"a": "x,y"}),
        (("-l", '"a=1,2",b=3'), {"a": "1,2", "b": "3"}),
        (("-l", "a=b=c,d=e"), {"a": "b=c", "d": "e"}),
        ((), {}),
    ],
)
def test_string_to_string(run: Callable[..., Any], words: tuple[str, ...], expected: dict[str, str]) -> None:
    """`k=v,k2=v2`, repeatable; a single pair keeps its commas; CSV quotes work."""
    run("leaf", *words)
    assert seen["labels"] == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-n", "a,b", "-n", "c"), ["a", "b", "c"]),
        (("--namespaces=a",), ["a"]),
        (("-n", '"a,b",c'), ["a,b", "c"]),
        (("-n", ""), []),
        ((), []),
    ],
)
def test_a_comma_list_splits(run: Callable[..., Any], words: tuple[str, ...], expected: list[str]) -> None:
    """`strings` flags split at commas and repeat."""
    run("leaf", *words)
    assert seen["namespaces"] == expected


@pytest.mark.parametrize(("words", "expected"), [(("-c", "a,b", "-c", "c"), ("a,b", "c")), ((), ())])
def test_a_string_array_keeps_its_commas(
    run: Callable[..., Any], words: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """`stringArray` flags repeat and never split."""
    run("leaf", *words)
    assert seen["config"] == expected


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("one",), "accepts 1 arg(s), received 0"),
        (("one", "a", "b"), "accepts 1 arg(s), received 2"),
        (("few", "a", "b"), "accepts at most 1 arg(s), received 2"),
        (("many",), "requires at least 1 arg(s), only received 0"),
        (("leaf", "--nope"), "unknown flag: --nope"),
        (("leaf", "-dz"), "unknown shorthand flag: 'z' in -dz"),
        (("leaf", "--tag"), "flag needs an argument: --tag"),
        (("leaf", "-dt"), "flag needs an argument: 't' in -dt"),
        (("leaf", "--dry-run=maybe"), 'invalid argument "maybe" for "-d, --dry-run" flag: strconv.ParseBool'),
        (("leaf", "--count=x"), 'invalid argument "x" for "--count" flag: strconv.ParseInt'),
        (("leaf", "-l", "a"), 'invalid argument "a" for "-l, --labels" flag: a must be formatted as key=value'),
        (("leaf", "--mode=slwo"), 'invalid argument "slwo" for "--mode" flag: not one of fast, slow'),
        (("nope",), 'unknown command "nope" for "wasme"'),
        (("nested", "nope"), 'unknown command "nope" for "wasme nested"'),
        (("--nope",), "unknown flag: --nope"),
    ],
)
def test_wrong_usage_exits_2_with_the_originals_words_and_the_usage(
    run: Callable[..., Any], words: tuple[str, ...], complaint: str
) -> None:
    """Exit code 2 (a deliberate change from 1), `Error: …` and the usage text, all on stderr."""
    result = run(*words, ok=False)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {complaint}")
    assert "\nUsage:\n" in result.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("pul",), "Did you mean pull?"),
        (("nested", "laef"), "Did you mean leaf?"),
        (("leaf", "--tga=x"), "Did you mean --tag?"),
        (("leaf", "--mode=slwo"), "Did you mean slow?"),
    ],
)
def test_a_typing_error_gets_the_close_match(run: Callable[..., Any], words: tuple[str, ...], hint: str) -> None:
    """Commands, flags and choices are suggested."""
    assert f"Hint: {hint}" in run(*words, ok=False).stderr


@pytest.mark.parametrize(
    "words", [("leaf", "--help"), ("leaf", "-h"), ("help", "leaf"), ("leaf", "a", "b", "--help"), ("-h", "leaf")]
)
def test_help_is_asked_for_in_every_way(run: Callable[..., Any], words: tuple[str, ...]) -> None:
    """`-h`, `--help` anywhere and `wasme help X` print the same, on stdout, with success."""
    result = run(*words)
    assert result.stdout == run("leaf", "--help").stdout
    assert "  -t, --tag string " in result.stdout
    assert '(default "fast")' in result.stdout
    assert "(default 1m0s)" in result.stdout


def test_help_of_a_nested_command(run: Callable[..., Any]) -> None:
    """`wasme help nested leaf` walks down, and shows the group's flags as global ones."""
    text = run("help", "nested", "leaf").stdout
    assert text == run("nested", "leaf", "--help").stdout
    assert "--id string" in text.partition("Global Flags:")[2]


def test_bare_root_and_bare_group_print_help_with_success(run: Callable[..., Any]) -> None:
    """As the original: no sub-command is a question, not an error."""
    assert "Available Commands:" in run().stdout
    assert "Available Commands:" in run("nested").stdout


def test_a_wrong_default_from_the_environment_is_wrong_usage(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """$WASME_LOG_FORMAT is judged like --log-format, and --log-format goes before it."""
    monkeypatch.setenv("WASME_LOG_FORMAT", "xml")
    result = run("leaf", ok=False)
    assert (result.exit_code, "not one of auto, text" in result.stderr) == (2, True)
    run("leaf", "--log-format", "text")


def test_an_error_is_json_where_logs_are(run: Callable[..., Any]) -> None:
    """With --log-format json, stderr is one JSON object a line, the error and its hint too."""
    lines = run("--log-format", "json", "leaf", "--tga=x", ok=False).stderr.splitlines()
    told = [json.loads(line) for line in lines]
    assert told[-1]["msg"] == "unknown flag: --tga"


def test_version_is_one_line(run: Callable[..., Any]) -> None:
    """`wasme version V`, V without a leading v."""
    from wasme import __version__

    assert run("--version").stdout == f"wasme version {__version__}\n"


def test_a_bug_is_json_where_logs_are(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What no error foresaw ends as one JSON line too, and in words elsewhere."""

    def fails(**_: Any) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(leaf, "callback", fails)
    told = json.loads(run("--log-format", "json", "leaf", ok=False).stderr)
    assert told["msg"] == "a bug in wasme: ZeroDivisionError: oh"
    assert run("leaf", ok=False).stderr.startswith("Error: a bug in wasme: ZeroDivisionError: oh\nHint: ")


def test_a_choice_may_be_left_open(run: Callable[..., Any]) -> None:
    """A flag with choices and no default is "" where it is not given, as `push --layout` is."""
    run("leaf")
    assert seen["shape"] == ""


@pytest.mark.parametrize(
    ("words", "place_", "rest"),
    [
        (("./x",), "./x", {}),
        ((".",), ".", {}),
        (("x.wasm", "-t", "a", "-q"), "x.wasm", {"tag": "a", "quick": True}),
        (("-t", "a", "-i", "b", "./x"), "./x", {"tag": "a", "id": "b"}),
        (("-q", "./x", "--id=c"), "./x", {"quick": True, "id": "c"}),
        (("-t", "a", "--", "-x/y"), "-x/y", {"tag": "a"}),
        (("-t", "leaf", "./x"), "./x", {"tag": "leaf"}),
        (("here",), "here", {}),
    ],
)
def test_a_path_where_a_command_could_stand(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], place_: str,
    rest: dict[str, Any],
) -> None:  # fmt: skip
    """A group with a fallback takes what lies on the disk, or could, with its flags before and behind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "leaf").mkdir()
    run("falling", *words)
    assert seen["args"] == (place_,)
    assert {name: seen[name] for name in rest} == rest
    seen.clear()
    run("falling", "leaf", "-t", "a")  # a command's name is the command, whatever is on the disk
    assert (seen["tag"], seen["args"]) == ("a", ())


def test_a_word_that_is_neither(run: Callable[..., Any]) -> None:
    """Both readings are ruled out in one line; the hidden command's own name is no word."""
    for word in ("laef", "place"):
        result = run("falling", word, ok=False)
        assert result.exit_code == 2
        first = f"there is no folder or file {word}, and no such command of wasme falling: they are leaf\n"
        assert result.stderr.startswith(f"Error: {first}")
        assert len(result.stderr.splitlines()) < 9  # not the whole help: which commands there are, it has told
    assert "Did you mean leaf?" in run("falling", "laef", ok=False).stderr
    assert run("falling", "./x", "./y", ok=False).stderr.startswith("Error: accepts 1 arg(s), received 2")
    assert "wasme falling PLACE [flags]\n  wasme falling [command]\n" in run("falling", "--help").stdout
