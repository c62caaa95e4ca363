"""The one place that knows about colour, terminals and progress.

NO_COLOR (any value) and TERM=dumb turn colour off; FORCE_COLOR and CLICOLOR_FORCE (not 0) turn it on in a pipe.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_SHOW_AFTER = 1.0
_REDRAW_EVERY = 0.1


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads or types there."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def password_from_stdin() -> str:
    """What ``--password-stdin`` means everywhere: all of standard input, without the end of its last line."""
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


def ask_password(question: str) -> str:
    """What a person types on the terminal of standard input, shown as stars on stderr.

    The terminal is given back as it was, whatever ends the question; Ctrl-C is KeyboardInterrupt as everywhere.
    """
    import codecs
    import termios

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    silent = termios.tcgetattr(handle)
    silent[3] &= ~(termios.ECHO | termios.ICANON)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    typed: list[str] = []

    def show(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    try:
        termios.tcsetattr(handle, termios.TCSADRAIN, silent)
        show(f"{question}: ")
        while (key := os.read(handle, 1)) not in (b"", b"\r", b"\n", b"\x04"):
            if key in (b"\x7f", b"\b", b"\x15"):  # backspace takes one back, Ctrl-U all
                gone = typed[-1:] if key != b"\x15" else typed[:]
                del typed[len(typed) - len(gone) :]
                show("\b \b" * len(gone))
            elif (text := decoder.decode(key)).isprintable() and text:
                typed.append(text)
                show("*")
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
        show("\n")
    return "".join(typed)


def has_colour(stream: TextIO) -> bool:
    """Whether to colour what goes to ``stream``."""
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def heading(text: str) -> str:
    """A heading of a help text."""
    return f"\033[1m{text}\033[0m" if has_colour(sys.stdout) else text


def width() -> int:
    """Columns to wrap help to; wide in a pipe, so that a search finds whole phrases."""
    if not is_terminal(sys.stdout):
        return 200
    import shutil  # 2 ms that only help needs

    return shutil.get_terminal_size().columns


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """Bytes moved, on one line of a terminal, once it takes more than a second; silence in a pipe.

    Args:
        label: what moves, e.g. ``pushing``.

    Yields:
        A function to call with (bytes done, bytes in all); all may be 0 where it is not known. None in a pipe.
    """
    if not is_terminal(sys.stderr) or os.environ.get("TERM") == "dumb":
        yield None
        return
    begun = time.monotonic()
    drawn = begun + _SHOW_AFTER - _REDRAW_EVERY
    shown = False

    def draw(done: int, whole: int) -> None:
        nonlocal drawn, shown
        now = time.monotonic()
        if now - drawn < _REDRAW_EVERY:
            return
        drawn, shown = now, True
        share = f"{min(done / whole, 1):>4.0%} of {whole / 1e6:.1f} MB" if whole else f"{done / 1e6:.1f} MB"
        filled = round(20 * min(done / whole, 1)) if whole else 0
        bar = f"[{'#' * filled}{'.' * (20 - filled)}] " if whole else ""
        rate = done / 1e6 / max(now - begun, 1e-3)
        sys.stderr.write(f"\r\033[K{label} {bar}{share}, {rate:.1f} MB/s")
        sys.stderr.flush()

    try:
        yield draw
    finally:
        if shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """What is being done and for how long, on one line of a terminal once a step takes more than a second.

    Yields:
        A function to call with the name of each step when it begins; "" ends the line.
    """
    if not is_terminal(sys.stderr) or os.environ.get("TERM") == "dumb":
        yield lambda _step: None
        return
    import threading

    lock, over = threading.Lock(), threading.Event()
    step, begun, shown = "", time.monotonic(), False

    def erase() -> None:
        nonlocal shown
        if shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            shown = False

    def begin(name: str) -> None:
        nonlocal step, begun
        with lock:
            erase()
            step, begun = name, time.monotonic()

    def draw() -> None:
        nonlocal shown
        while not over.wait(0.25):
            with lock:
                passed = time.monotonic() - begun
                if step and passed >= _SHOW_AFTER:
                    sys.stderr.write(f"\r\033[K{step}… {passed:.0f} s")
                    sys.stderr.flush()
                    shown = True

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield begin
    finally:
        over.set()
        thread.join()
        erase()
