"""Choosing one item of a list on a terminal: arrow keys where they work, else its number."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from wasme.cli.terminal import is_terminal

_UP = ("\x1b[A", "\x1bOA", "k")
_DOWN = ("\x1b[B", "\x1bOB", "j")
_ENTER = ("\r", "\n")
_LEAVE = ("", "\x03", "\x04")


def can_ask() -> bool:
    """Whether somebody is there to answer."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def select(question: str, items: Sequence[str], shorter: Sequence[str] = ()) -> int:
    """Ask for one of ``items`` on stderr.

    Args:
        question: what is asked.
        items: what there is.
        shorter: the same in fewer words, for those that do not fit on a line of the terminal.

    Returns:
        Its index.

    Raises:
        KeyboardInterrupt: the user left.
    """
    if os.environ.get("TERM") in (None, "", "dumb"):
        return _by_number(question, items)
    try:
        import termios
        import tty
    except ImportError:  # not POSIX
        return _by_number(question, items)
    items = [_fitted(item, 2, *shorter[at : at + 1]) for at, item in enumerate(items)]
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    chosen = 0
    try:
        tty.setcbreak(descriptor, termios.TCSADRAIN)  # the default would drop what has been typed ahead
        _draw(question, items, chosen)
        for key in _keys(descriptor):
            if key in _ENTER:
                break
            if key in _LEAVE:
                raise KeyboardInterrupt
            if key in _UP:
                chosen = (chosen - 1) % len(items)
            elif key in _DOWN:
                chosen = (chosen + 1) % len(items)
            elif key.isdigit() and 0 < int(key) <= len(items):
                chosen = int(key) - 1
            _erase(len(items) + 1)
            _draw(question, items, chosen)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
    _erase(len(items) + 1)
    _say(f"{question.rstrip('?')}: {items[chosen]}\n")
    return chosen


def _keys(descriptor: int) -> Iterator[str]:
    """Key presses; an arrow key is three characters, and several keys may come in one read. "" at the end of input."""
    while True:
        typed = os.read(descriptor, 64).decode(errors="replace")
        if not typed:
            yield ""
        while typed:
            length = 3 if typed.startswith(("\x1b[", "\x1bO")) else 1
            yield typed[:length]
            typed = typed[length:]


def _draw(question: str, items: Sequence[str], chosen: int) -> None:
    _say(f"{question} (arrow keys, then Enter)\n")
    for index, item in enumerate(items):
        _say(f"{'>' if index == chosen else ' '} {item}\n")


def _fitted(text: str, used: int, shorter: str = "") -> str:
    """One line of the terminal, so that redrawing knows how many lines there are."""
    import shutil

    room = max(shutil.get_terminal_size().columns - used - 1, 20)
    fits = text if len(text) <= room else shorter or text
    return fits if len(fits) <= room else fits[: room - 1] + "…"


def _erase(lines: int) -> None:
    _say(f"\033[{lines}A\033[J")


def _by_number(question: str, items: Sequence[str]) -> int:
    _say(f"{question}\n")
    for index, item in enumerate(items, 1):
        _say(f"  {index}) {item}\n")
    while True:
        _say(f"1-{len(items)}: ")
        answer = sys.stdin.readline()
        if not answer:
            raise KeyboardInterrupt
        if answer.strip().isdigit() and 0 < int(answer) <= len(items):
            return int(answer) - 1


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
