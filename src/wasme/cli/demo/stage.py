"""Where the demo plays: a folder of its own, commands shown as typed, processes that are stopped at the end."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from wasme.cli.terminal import has_colour
from wasme.errors import WasmeError

_READY_WITHIN = 60.0
_STOP_WITHIN = 10.0


class DemoFailed(WasmeError):
    """A step did not show what it should."""


@dataclass
class Background:
    """A process that goes on while the demo does."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""

    def stop(self) -> None:
        """Ask it to stop, as Ctrl-C would; kill it where it does not.

        Raises:
            DemoFailed: it had to be killed.
        """
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise DemoFailed(f"{self.name} did not stop within {_STOP_WITHIN:.0f} s and was killed") from None


@dataclass
class Stage:
    """The folder, the environment and the processes of one demo.

    Attributes:
        folder: everything happens below it; HOME is ``folder/home``, so nothing of the user's is touched.
        out: where the play is shown.
        keep: leave processes and folder when it is over.
    """

    folder: Path
    out: TextIO
    keep: bool = False
    processes: list[Background] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        self.environment = {
            **_npm_settings(),
            **{name: value for name, value in os.environ.items() if not name.startswith(("WASM", "DOCKER_CONFIG"))},
            "HOME": str(self.home),
            "TMPDIR": str(temporary),
            "WASME_LOG_FORMAT": "text",  # as a terminal shows them, whoever reads the demo
        }
        self.bold, self.green, self.plain = ("\033[1m", "\033[32m", "\033[0m") if has_colour(self.out) else ("", "", "")

    def title(self, text: str) -> None:
        """Begin a scene."""
        self._write(f"\n{self.bold}# {text}{self.plain}\n")

    def run(
        self,
        *words: str,
        secret: str | None = None,
        variable: str = "PASSWORD",
        fails: bool = False,
        shows: str | None = None,
    ) -> str:
        """Run one wasme command to its end, showing it, its output and its time.

        Args:
            words: what stands after ``wasme``.
            secret: fed to standard input.
            variable: what stands for the secret in the command shown.
            fails: whether the command has to fail.
            shows: a pattern that the output has to show.

        Returns:
            What it wrote, stdout and stderr together as a terminal shows them.

        Raises:
            DemoFailed: the exit code or the output is not what it should be.
        """
        typed = f"wasme {shlex.join(words)}"
        if secret is not None:
            typed = f'printf %s "${variable}" | {typed}'
        self._write(f"\n{self.bold}$ {typed}{self.plain}\n")
        begun = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "wasme", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=self.environment,
        )
        try:
            output, _ = process.communicate(secret.encode() if secret is not None else b"")
        except BaseException:
            # Whoever stops the demo stops the command too, and lets it clear up after itself.
            Background(typed, process, self.folder).stop()
            raise
        text = output.decode(errors="replace")
        self._write(text)
        self._write(f"  ({time.monotonic() - begun:.2f} s)\n")
        if (process.returncode != 0) is not fails:
            wanted = "fail" if fails else "succeed"
            raise DemoFailed(f"`{typed}` exited {process.returncode}; it should {wanted}")
        if shows is not None and not re.search(shows, text):
            raise DemoFailed(f"`{typed}` does not show {shows!r}")
        return text

    def start(self, *words: str, ready: str, module: str | None = None) -> re.Match[str]:
        """Start a process in the background and wait for the line that says it is ready.

        Args:
            words: what stands after ``wasme``.
            ready: a pattern; its match is given back.
            module: another program than wasme, as a Python module.

        Raises:
            DemoFailed: it ended, or did not get ready in time.
        """
        command = [sys.executable, "-m", module or "wasme", *words]
        typed = shlex.join(["python", "-m", module, *words] if module else ["wasme", *words])
        self._write(f"\n{self.bold}$ {typed} &{self.plain}\n")
        begun = time.monotonic()
        log = self.folder / f"process-{len(self.processes)}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if self.keep or not module else subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
                start_new_session=True,
            )
        self.processes.append(Background(typed, process, log))
        while not (match := re.search(ready, log.read_text(errors="replace"), re.MULTILINE)):
            if process.poll() is not None:
                raise DemoFailed(f"`{typed}` ended with {process.returncode}:\n{log.read_text(errors='replace')}")
            if time.monotonic() - begun > _READY_WITHIN:
                raise DemoFailed(f"`{typed}` was not ready within {_READY_WITHIN:.0f} s")
            time.sleep(0.02)
        self._write(log.read_text(errors="replace"))
        self._write(f"  (ready after {time.monotonic() - begun:.2f} s)\n")
        return match

    def request(self, port: int, headers: dict[str, str] | None = None) -> str:
        """Send one HTTP request and show the raw answer, as ``curl -i`` does.

        Returns:
            Status line, headers and body.
        """
        headers = headers or {}
        options = "".join(f" -H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items())
        self._write(f"\n{self.bold}$ curl -i{options} http://127.0.0.1:{port}/{self.plain}\n")
        begun = time.monotonic()
        lines = ["GET / HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        text = answer.decode(errors="replace").replace("\r\n", "\n")
        self._write(text if text.endswith("\n") else text + "\n")
        self._write(f"  ({time.monotonic() - begun:.3f} s)\n")
        return text

    def check(self, claim: str, holds: bool) -> None:
        """Say what was just shown.

        Raises:
            DemoFailed: it does not hold.
        """
        if not holds:
            raise DemoFailed(f"not shown: {claim}")
        self._write(f"{self.green}✓{self.plain} {claim}\n")

    def close(self) -> None:
        """Stop what was started, last first, and remove the folder; with ``keep``, say what goes on.

        Raises:
            DemoFailed: a process had to be killed.
        """
        if self.keep:
            self._write("\nleft running (--keep):\n")
            for each in self.processes:
                self._write(f"  pid {each.process.pid}  {each.url}  {each.name}\n    log: {each.log}\n")
            alive = " ".join(str(each.process.pid) for each in self.processes if each.process.poll() is None)
            self._write(f"stop it all with: kill -INT {alive}; rm -r {self.folder}\n")
            return
        failure: DemoFailed | None = None
        for each in reversed(self.processes):
            try:
                each.stop()
            except DemoFailed as error:
                failure = error
            with contextlib.suppress(OSError):
                if each.process.stdin:
                    each.process.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if failure:
            raise failure

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


def free_port() -> int:
    """A port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _npm_settings() -> dict[str, str]:
    """npm's cache and settings stay the user's: only wasme gets a new home."""
    mine = Path.home()
    return {"NPM_CONFIG_CACHE": str(mine / ".npm"), "NPM_CONFIG_USERCONFIG": str(mine / ".npmrc")}
