"""What was typed, word by word, before click sees it (the rules stand in ``grammar``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wasme.cli.flags import Flag, close_matches
from wasme.errors import UsageError


def normalise(args: Sequence[str], known: Mapping[str, Flag]) -> tuple[list[str], list[str]]:
    """Split what was typed into ``--name=value`` words and positionals.

    Args:
        args: as typed.
        known: flags by ``--name`` and ``-n``.

    Raises:
        UsageError: an unknown flag, or one that lacks its value.
    """
    flags: list[str] = []
    positionals: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            positionals.extend(words)
        elif word.startswith("--"):
            name, has_value, value = word.partition("=")
            found = known.get(name)
            if found is None:
                longs = [each for each in known if each.startswith("--")]
                raise UsageError(f"unknown flag: {name}", hint=close_matches(name, longs))
            if not has_value:
                value = _value_after(found, words, found.long)
            flags.append(f"{found.long}={value}")
        elif word.startswith("-") and word != "-":
            flags.extend(_shorthands(word, words, known))
        else:
            positionals.append(word)
    return flags, positionals


def _shorthands(word: str, words: Iterable[str], known: Mapping[str, Flag]) -> Iterable[str]:
    """``-v``, ``-vd``, ``-tname``, ``-t=name``, ``-t name``."""
    rest = word[1:]
    while rest:
        letter, rest = rest[0], rest[1:]
        found = known.get("-" + letter)
        if found is None:
            raise UsageError(f"unknown shorthand flag: '{letter}' in {word}")
        if rest.startswith("="):
            value, rest = rest[1:], ""
        elif found.kind.is_switch:
            value = "true"
        elif rest:
            value, rest = rest, ""
        else:
            value = _value_after(found, words, f"'{letter}' in {word}")
        yield f"{found.long}={value}"


def _value_after(found: Flag, words: Iterable[str], label: str) -> str:
    if found.kind.is_switch:
        return "true"
    for value in words:
        return value
    raise UsageError(f"flag needs an argument: {label}")


def name_at(args: Sequence[str], known: Mapping[str, Flag]) -> int | None:
    """Where the sub-command's name stands; None if there is none."""
    skip = False
    for index, word in enumerate(args):
        if skip:
            skip = False
        elif word == "--":
            return None
        elif not word.startswith("-") or word == "-":
            return index
        elif "=" not in word:
            name = word if word.startswith("--") else "-" + word[-1]
            attached = not word.startswith("--") and len(word) > 2 and name not in known
            skip = not attached and not (name in known and known[name].kind.is_switch)
    return None
