"""Running a compiler: its words whole, its whole group ended with us."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.fixtures.envoys import alive
from wasme.build import process
from wasme.errors import BuildFailed, ToolMissing

SILENT = lambda _line: None  # noqa: E731


def run(*argv: str, cwd: Path, noise: object = SILENT) -> str:
    return process.run(argv, cwd=cwd, env=dict(os.environ), noise=noise)  # type: ignore[arg-type]


def test_output_is_whole_and_in_order(tmp_path: Path) -> None:
    """stdout and stderr come back together, and line by line as they are said."""
    heard: list[str] = []
    said = run("sh", "-c", "echo one; echo two >&2; echo three", cwd=tmp_path, noise=heard.append)
    assert said == "one\ntwo\nthree\n"
    assert heard == ["one", "two", "three"]


def test_failure_quotes_everything(tmp_path: Path) -> None:
    """A failing program's message ends with all that it said, and names its status."""
    with pytest.raises(BuildFailed) as caught:
        run("sh", "-c", "echo index.ts:3:7; echo bad >&2; exit 3", cwd=tmp_path)
    assert "exited with status 3:\nindex.ts:3:7\nbad" in caught.value.message


def test_killed_program(tmp_path: Path) -> None:
    """A program ended by a signal is told by its name."""
    with pytest.raises(BuildFailed, match="was ended by SIGKILL"):
        run("sh", "-c", "kill -9 $$", cwd=tmp_path)


def test_missing_program(tmp_path: Path) -> None:
    """A program that is not there is no traceback."""
    with pytest.raises(ToolMissing, match="cannot run no-such-program"):
        run("no-such-program", cwd=tmp_path)


def test_no_standard_input(tmp_path: Path) -> None:
    """A program that asks gets the end of input, not the user's keyboard."""
    assert run("sh", "-c", "cat; echo done", cwd=tmp_path) == "done\n"


def test_left_behind_children_are_ended(tmp_path: Path) -> None:
    """What a compiler leaves running in its group ends with it, and its hold on the output delays nobody."""
    began = time.monotonic()
    assert run("sh", "-c", f"echo hi; sleep 60 & echo $! > {tmp_path}/pid", cwd=tmp_path) == "hi\n"
    assert time.monotonic() - began < 30
    _gone(int((tmp_path / "pid").read_text()))


def test_a_daemon_holds_nobody_up(tmp_path: Path) -> None:
    """A child that has left the group keeps running with the output open, talks on, and the build ends all the same."""
    daemon = (
        "import os, sys, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "while True: os.write(1, b'.' * 1000 + b'\\n')\n"
    )
    wait = f"while [ ! -s {tmp_path}/pid ]; do sleep 0.01; done"
    heard: set[str] = set()
    script = f'{shlex.quote(sys.executable)} -c "$0"; {wait}; echo last >&2'
    began = time.monotonic()
    try:
        run("sh", "-c", script, daemon, cwd=tmp_path, noise=heard.add)
        assert time.monotonic() - began < 30
        assert heard >= {"." * 1000, "last"}
    finally:
        with contextlib.suppress(ProcessLookupError):  # nobody reads it any more, which may have ended it
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_output_before_the_end_is_whole(tmp_path: Path) -> None:
    """All that a program has written when it ends is read, however much, and however it is cut into pieces."""
    line = "é" * 999
    heard: list[str] = []
    code = f"import os; os.write(1, ({line!r} + chr(10)).encode() * 3000 + b'no end \\xff' + chr(13).encode() * 2)"
    said = run(sys.executable, "-c", code, cwd=tmp_path, noise=heard.append)
    assert said == f"{line}\n" * 3000 + "no end \ufffd\n\n"
    assert heard == [line] * 3000 + ["no end \ufffd", ""]


def test_a_program_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    """The end of the output is not the end of the program: its status counts."""
    with pytest.raises(BuildFailed, match="exited with status 4"):
        run("sh", "-c", "exec >/dev/null 2>&1; sleep 0.3; exit 4", cwd=tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_ends_the_whole_group(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and SIGHUP end the compiler, its children too, although they ignore it."""
    script = tmp_path / "compiler"
    script.write_text(f"trap '' INT TERM HUP\nsleep 60 &\necho $! $$ > {tmp_path}/pids\nwait\n")
    code = (
        "import os, sys; from pathlib import Path; from wasme.build import process; "
        f"process.run(['sh', {str(script)!r}], cwd=Path('.'), env=dict(os.environ), noise=print)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text().strip():
        time.sleep(0.01)
    parent.send_signal(number)
    assert parent.wait(30) != 0
    for pid in (tmp_path / "pids").read_text().split():
        _gone(int(pid))


def test_works_outside_the_main_thread(tmp_path: Path) -> None:
    """Signal handlers are the main thread's alone; a build elsewhere does without."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(run("echo", "hi", cwd=tmp_path)))
    thread.start()
    thread.join()
    assert said == ["hi\n"]


def _gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.02)
