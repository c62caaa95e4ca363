"""Scenario files as values: what YAML means here, and what it may not do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.errors import InvalidScenario
from wasme.testing import mistakes
from wasme.testing.document import LARGEST, load


def complaint(call: Callable[[], object]) -> str:
    """What is wrong, or "" if nothing is."""
    try:
        call()
    except InvalidScenario as error:
        return error.message
    return ""


_TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn"), exclude_characters="\ufeff") | st.just("\n"), max_size=20
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(_VALUES)
def test_json_is_yaml(value: object) -> None:
    """JSON means as YAML what it means as JSON (but for escapes of surrogates, which YAML has not)."""
    assert load(json.dumps(value, ensure_ascii=False).encode(), "f").value == value


@pytest.mark.parametrize("word", ["on", "Yes", "off", "n", "12:30", "007", "0x10", "1_000", "2021-08-28", "=", "<<",
                                  ".5", "1.", "+1", ".inf", "/x"])  # fmt: skip
def test_words_stay_text(word: str) -> None:
    """What YAML 1.1 takes for a truth, a time, a date or an octal number stays the text it is."""
    assert load(f"a: {word}".encode(), "f").value == {"a": word}


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("False", False), ("~", None), ("", None), ("null", None), ("0", 0), ("-12", -12),
     ("1.5", 1.5), ("-2e3", -2000.0)],
)  # fmt: skip
def test_core_schema(text: str, value: object) -> None:
    """Truths, nulls and numbers are those of YAML 1.2's core schema as JSON writes them."""
    assert load(f"a: {text}".encode(), "f").value == {"a": value}


def test_aliases() -> None:
    """An alias stands for what it names."""
    assert load(b"a: &x {b: 1}\nc: *x", "f").value == {"a": {"b": 1}, "c": {"b": 1}}


def _bomb(depth: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_bomb(9), "stands for more than"),
        ("[" * 100_000, "nested too deeply"),
        ("- " * 100_000, "nested too deeply"),
        ("[" + "x," * 400_000 + "]", "holds more than"),
        ("x" * (LARGEST + 1), "larger than"),
        ("a: &a [*a]", "recursive"),
        ("a: *b", "line 1, column 4: found undefined alias"),
        ("a: 1\na: 2", "line 2, column 1: 'a' stands twice"),
        ("? [a]\n: b", "a name that is no text"),
        ("? {a: b}\n: c", "a name that is no text"),
        ("a: !!python/object/apply:os.system [id]", "the tag tag:yaml.org,2002:python/object/apply:os.system"),
        ("a: !!binary aGk=", "the tag"),
        ("a: !own b", "the tag !own is not known here"),
        ("a: !!int x", "no YAML"),
        ("a: 1\n---\nb: 2", "no YAML"),
        ("a: [", "no YAML: line"),
        ("a: \x01", "no YAML"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_refused(text: str, said: str) -> None:
    """Bombs, depth, cycles, foreign types and plain mistakes are one line, at once."""
    begun = time.thread_time()
    with pytest.raises(InvalidScenario) as caught:
        load(text.encode(), "f.test.yaml")
    assert said in caught.value.message
    assert caught.value.message.startswith("f.test.yaml: ")
    assert "\n" not in caught.value.message
    assert time.thread_time() - begun < 5


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("a: [12]/x", mistakes.QUOTES),
        ("a: /x\nb: [/[a]/]/]", mistakes.QUOTES),
        ("a: {x: /a[0-9]{2}/b}", mistakes.QUOTES),
        ("a: {x: b: c}", mistakes.QUOTES),
        ("a: [1, 2\nb: 3", "a closing bracket is missing"),
        ("a: b: c", mistakes.QUOTES),
        ("- name: a\n  request: b: c", mistakes.QUOTES),
        ("tests:\n  - name: a\n   request: GET /", mistakes.INDENT),
        ("tests:\n- name: a\n  request: GET /\n expect: {}", mistakes.INDENT),
        ("a: 1\n b: 2", mistakes.INDENT),
        ("tests:\n  - name a\n    request: GET /", mistakes.INDENT),
        ("a:\n  - b\n  c: d", mistakes.INDENT),
        ("tests:\n\t- name: a", "indent with spaces"),
        ("a: 1\na: 2", "take one of them away"),
        ("a: {b: 1, b: 2}", "take one of them away"),
        ("a: /x/\nb", "NAME: VALUE"),
        ('a: "b" c', "around the whole text"),
        ('a: "\\d+"', "a backslash is written twice"),
        ("a: 'xyz\nb: 3", "the closing quote is missing"),
        ("a: @x", "begins with @"),
        ("a: *x", "begins with *"),
        ("a: !own x", "begins with !"),
        ("a: 1\n---\nb: 1", "one document"),
        ("? [a]\n: b", None),
        ("a: \x01", None),
    ],
)
def test_advice(text: str, advice: str | None) -> None:
    """The hint is of the mistake that was made; where that cannot be told there is none."""
    with pytest.raises(InvalidScenario) as caught:
        load(text.encode(), "f.test.yaml")
    if advice is None:
        assert caught.value.hint is None
        return
    assert advice in (caught.value.hint or "")
    others = {mistakes.QUOTES, mistakes.INDENT} - {advice}
    assert advice == "a closing bracket is missing" or not any(each in (caught.value.hint or "") for each in others)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(content: bytes) -> None:
    """Whatever the bytes are, they are read or refused in one line."""
    assert "\n" not in complaint(lambda: load(content, "f"))
