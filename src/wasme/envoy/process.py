"""One Envoy as a child process: start it, wait until it answers, stop it.

Envoy never outlives wasme: on Linux the kernel ends it with its parent, even when wasme is killed. It runs in a process
group of its own, so that Ctrl-C reaches wasme alone, which then stops Envoy in order.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wasme.envoy.address import Address
from wasme.envoy.log import Line, Reason, decisive, parse
from wasme.errors import EnvoyError

log = logging.getLogger(__name__)

_KEPT_LINES = 2000
_POLL = 0.003
_STOP_PATIENCE = 5.0
_SLOW = 5.0
_MOST_FAILURES = 0.5
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a started Envoy answers.

    Attributes:
        url: of its first listener, or None if it has none on TCP.
        admin: of its administration interface, or None.
    """

    url: str | None
    admin: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Attributes:
        program: its name.
        code: its exit code; negative for a signal.
        reason: why, from its log.
    """

    program: str
    code: int
    reason: Reason

    @property
    def how(self) -> str:
        """Such as ``envoy exited 1``."""
        ending = f"was ended by signal {-self.code}" if self.code < 0 else f"exited {self.code}"
        return f"{self.program} {ending}"


def explain(ended: Ended) -> EnvoyError:
    """The error for an Envoy that ended by itself, in Envoy's own words."""
    reason = ended.reason
    said = f" (the filter said: {reason.filter_said})" if reason.filter_said else ""
    return EnvoyError(f"{ended.how}: {reason.text or 'it gave no reason'}{said}")


class Envoy:
    """A running Envoy.

    Args:
        argv: the program and its arguments.
        admin_file: the file of ``--admin-address-path``; None where it cannot be used.
        admin: where the admin interface will be, if there is no such file.
        sink: gets every line of Envoy's standard error, from a thread of its own.
        stdout: what Envoy writes its standard output to; None is wasme's own.
        explained: makes the error of an Envoy that ended by itself.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        admin_file: Path | None = None,
        admin: Address | None = None,
        sink: Callable[[Line], None] = lambda _line: None,
        stdout: int | None = None,
        explained: Callable[[Ended], EnvoyError] = explain,
    ) -> None:
        self._explained = explained
        self.argv = list(argv)
        self._admin_file = admin_file
        self._admin = admin
        self._sink = sink
        # Whoever answers there already is not this Envoy, which will not get the address.
        self._taken = admin is not None and _answers(admin.reachable)
        self._lines: deque[Line] = deque(maxlen=_KEPT_LINES)
        self._asked_to_stop = False
        self._process = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            process_group=0,
            preexec_fn=death_with_parent(),  # noqa: PLW1509 - it only makes two system calls
        )
        self._reader = threading.Thread(target=self._read, name="envoy-log", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_ready(self, timeout: float, slow: Callable[[], None] = lambda: None) -> Ready | None:
        """Wait until Envoy answers requests.

        Args:
            timeout: seconds; 0 is no limit.
            slow: called once, when it takes long.

        Returns:
            Where; None if ``stop`` was called meanwhile, or the process ended well by itself.

        Raises:
            EnvoyError: it ended, or was not ready in time; the message holds Envoy's own reason.
        """
        begun = time.monotonic()
        told = False
        while True:
            if self._asked_to_stop:
                return None
            if not self.running:
                if self._process.returncode == 0:
                    return None
                raise self.failure()
            waited = time.monotonic() - begun
            ready = self._ask(waited)
            if ready is not None:
                return ready
            if 0 < timeout < waited:
                raise EnvoyError(
                    f"Envoy was not ready within {timeout:g} s{self._last_words()}",
                    hint="large modules compile for many seconds: --ready-timeout gives it more",
                )
            if waited > _SLOW and not told:
                told = True
                slow()
                log.info("envoy is still starting", extra={"fields": {"seconds": round(waited), "pid": self.pid}})
            time.sleep(_POLL)

    def wait(self) -> int:
        """Wait until it ends; its exit code, 0 if it was asked to end.

        Raises:
            EnvoyError: it ended by itself, and not well.
        """
        code = self._process.wait()
        self._reader.join(timeout=2)
        if code and not self._asked_to_stop:
            raise self.failure()
        return 0

    def ask_to_stop(self) -> None:
        """Send SIGTERM; the second time SIGKILL. Fit for a signal handler."""
        number = signal.SIGKILL if self._asked_to_stop else signal.SIGTERM
        self._asked_to_stop = True
        if self._process.returncode is None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """End it: in order within five seconds, else by force. Nothing happens if it has ended."""
        if self._process.poll() is None:
            self._asked_to_stop = True
            self._process.terminate()
            try:
                self._process.wait(_STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._reader.join(timeout=2)
        if self._process.stderr:
            self._process.stderr.close()

    def failure(self) -> EnvoyError:
        """Why it ended."""
        self._process.wait()
        self._reader.join(timeout=2)
        return self._explained(Ended(Path(self.argv[0]).name, self._process.returncode, decisive(list(self._lines))))

    def _last_words(self) -> str:
        levels = ("warning", "error", "critical")
        serious = [line.text for line in self._lines if line.level in levels and not line.is_noise]
        return f"; its log says: {serious[-1][:300]}" if serious else "; its log says nothing of it"

    def _read(self) -> None:
        stream = self._process.stderr
        if stream is None:
            return
        kept = True
        try:
            for raw in stream:
                line = parse(raw.decode("utf-8", "replace").rstrip("\r\n"))
                # What goes on from a line about Envoy's own workings is about them too, but for a crash's report.
                kept = not line.is_trace and (kept or bool(line.level) or line.raw.startswith("#"))
                if kept:
                    self._lines.append(line)
                self._sink(line)
        except ValueError:
            return  # closed by stop()

    def _ask(self, waited: float) -> Ready | None:
        """Where it answers, if it does; without an admin interface, whether it has not failed at once."""
        admin = self._admin
        if self._admin_file is not None:
            try:
                text = self._admin_file.read_text()
            except OSError:
                return None
            if not text:
                return None
            if text[0] in "/@":  # a Unix socket: nothing to ask by TCP, but Envoy is up
                return Ready(None, None)
            host, _, port = text.rpartition(":")
            admin = Address(host.strip("[]"), int(port))
        if self._taken:
            return None
        if admin is None:
            return Ready(None, None) if waited > _MOST_FAILURES else None
        target = admin.reachable
        if _get(target, "/ready")[0] != 200:
            return None
        return Ready(_first_listener(_get(target, "/listeners?format=json")[1]), f"http://{target}")


def _first_listener(body: bytes) -> str | None:
    """Where the first listener on TCP can be asked; None where the answer names none, or is not Envoy's."""
    try:
        for status in json.loads(body)["listener_statuses"]:
            address = status.get("local_address", {}).get("socket_address")
            if address:
                return f"http://{Address(address['address'], address['port_value']).reachable}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return None


def _answers(address: Address) -> bool:
    try:
        socket.create_connection((address.host, address.port), timeout=0.2).close()
    except OSError:
        return False
    return True


def _get(address: Address, path: str) -> tuple[int, bytes]:
    """One plain HTTP request; (0, b"") if nobody answers. (http.client costs a tenth of Envoy's whole start.)"""
    try:
        with socket.create_connection((address.host, address.port), timeout=2) as connection:
            head = f"GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
            connection.sendall(head.encode("ascii"))
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return 0, b""
    header, _, body = answer.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] ([0-9]{3})\b", header)
    if b"transfer-encoding: chunked" in header.lower():
        try:
            body = _unchunked(body)
        except ValueError:  # whatever answers there, it is not Envoy
            return 0, b""
    return (int(status[1]), body) if status else (0, b"")


def _unchunked(body: bytes) -> bytes:
    result = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        if length < 0:
            raise ValueError(size)
        if not length:
            return result
        result, body = result + body[:length], body[length + 2 :]


def death_with_parent() -> Callable[[], None] | None:
    """What a child does before it becomes Envoy: ask the kernel to end it with wasme (Linux only)."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # wasme ended before the kernel knew
            os._exit(1)

    return ask
