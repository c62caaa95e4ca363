"""Running one compiler: its own process group, its output whole, nothing left when we are stopped."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wasme.build.toolchain import Tell
from wasme.errors import BuildFailed, ToolMissing

_KILL_AFTER = 3.0
_MOST_OUTPUT = 4 << 20


def run(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], noise: Tell) -> str:
    """Run a program to its end, without standard input.

    Args:
        argv: the program and its arguments.
        cwd: where it runs.
        env: its whole environment.
        noise: hears each line as it comes.

    Returns:
        What it said on stdout and stderr, in order.

    Raises:
        ToolMissing: there is no such program.
        BuildFailed: it ended with another status than 0; the message ends with all that it said.
    """
    said: list[str] = []
    size = 0
    with _terminated_as_exit():
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise ToolMissing(f"cannot run {argv[0]}: {error.strerror}") from None
        try:
            assert process.stdout is not None
            for line in process.stdout:
                noise(line.rstrip("\n"))
                size += len(line)
                if size <= _MOST_OUTPUT:
                    said.append(line)
            _wait_unreaped(process, None)
        except BaseException:
            _signal(process, signal.SIGTERM)
            _wait_unreaped(process, _KILL_AFTER)
            raise
        finally:
            # Whatever the compiler has left behind ends with it. Until it is waited for, its number is nobody else's.
            _signal(process, signal.SIGKILL)
            status = process.wait()
            if process.stdout is not None:
                process.stdout.close()
    output = "".join(said)
    if status:
        ended = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        raise BuildFailed(f"{shlex.join(argv)} {ended}:\n{output.strip() or '(it said nothing)'}")
    return output


def _wait_unreaped(process: subprocess.Popen[str], seconds: float | None) -> None:
    """Wait until it has ended, or for so long; it stays a zombie, so that its group can still be named."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return
    options = os.WEXITED | os.WNOWAIT
    if seconds is None:
        os.waitid(os.P_PID, process.pid, options)
        return
    deadline = time.monotonic() + seconds
    while os.waitid(os.P_PID, process.pid, options | os.WNOHANG) is None and time.monotonic() < deadline:
        time.sleep(0.02)


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@contextlib.contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """While a compiler runs, SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that it is ended with us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
