"""Running one compiler: its own process group, its output whole, nothing left when we are stopped."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from wasme.build.interruption import terminated_as_exit
from wasme.build.toolchain import Tell
from wasme.errors import BuildFailed, ToolMissing

_KILL_AFTER = 3.0
# The end of the output, which comes with the end of the program, is seen at once; only where something else holds the
# output open does the program's own end have to be looked for.
_LOOK_EVERY = 0.1
_CHUNK = 1 << 16
_MOST_IN_A_PIPE = 1 << 20
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
    output = _Output(noise)
    with terminated_as_exit():
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise ToolMissing(f"cannot run {argv[0]}: {error.strerror}") from None
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        try:
            if _read_while_it_runs(process, pipe, output):
                # Something it has left behind holds the pipe open: take what is in it, and wait for no more.
                _signal(process, signal.SIGKILL)
                _drain(pipe, output)
            output.end()
        except BaseException:
            _signal(process, signal.SIGTERM)
            _wait_unreaped(process, _KILL_AFTER)
            raise
        finally:
            # Whatever the compiler has left behind ends with it. Until it is waited for, its number is nobody else's.
            _signal(process, signal.SIGKILL)
            status = process.wait()
            process.stdout.close()
    if status:
        ended = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        raise BuildFailed(f"{shlex.join(argv)} {ended}:\n{output.text().strip() or '(it said nothing)'}")
    return output.text()


class _Output:
    """What a program says: bytes come in as they are read, lines go out as they are said.

    Args:
        noise: hears each line.
    """

    def __init__(self, noise: Tell) -> None:
        self._noise = noise
        self._decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
        self._begun: list[str] = []
        self._said: list[str] = []
        self._size = 0

    def take(self, data: bytes, *, final: bool = False) -> None:
        """Bytes as they were read."""
        *lines, rest = self._decoder.decode(data, final).split("\n")
        for line in lines:
            self._tell("".join([*self._begun, line]), "\n")
            self._begun.clear()
        if rest:
            self._begun.append(rest)

    def end(self) -> None:
        """Nothing more comes."""
        self.take(b"", final=True)
        if self._begun:
            self._tell("".join(self._begun), "")

    def text(self) -> str:
        """All that was said; of endless output, the beginning."""
        return "".join(self._said)

    def _tell(self, line: str, end: str) -> None:
        self._noise(line)
        self._size += len(line) + len(end)
        if self._size <= _MOST_OUTPUT:
            self._said.append(line + end)


def _read_while_it_runs(process: subprocess.Popen[bytes], pipe: int, output: _Output) -> bool:
    """Read until the program itself has ended; whether the pipe is still open then."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not _has_ended(process):
            if selector.select(_LOOK_EVERY):
                data = os.read(pipe, _CHUNK)
                if not data:
                    _wait_unreaped(process, None)
                    return False
                output.take(data)
    return True


def _drain(pipe: int, output: _Output) -> None:
    """Read what is in the pipe, and no more than a pipe holds: whoever still writes does so for ever."""
    os.set_blocking(pipe, False)
    left = _MOST_IN_A_PIPE
    with contextlib.suppress(BlockingIOError):
        while left > 0 and (data := os.read(pipe, min(left, _CHUNK))):
            output.take(data)
            left -= len(data)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the program itself has ended; it stays a zombie."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _wait_unreaped(process: subprocess.Popen[bytes], seconds: float | None) -> None:
    """Wait until it has ended, or for so long; it stays a zombie, so that its group can still be named."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return
    if seconds is None:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return
    deadline = time.monotonic() + seconds
    while not _has_ended(process) and time.monotonic() < deadline:
        time.sleep(0.02)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
