"""The auth example's service is a real one."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request

_PROGRAM = [sys.executable, "-m", "wasme.cli.demo.auth_service"]


def _ask(port: int, path: str, **headers: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def test_it_says_ok_to_admin_alone_counts_and_ends_with_its_input() -> None:
    """`ok` for userId admin, `fail` for anyone else; the count is the number of questions; no orphan is left."""
    process = subprocess.Popen(_PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdin
    try:
        port = int(process.stdout.readline())
        answers = [_ask(port, "/auth", userId="admin"), _ask(port, "/auth", userId="mark"), _ask(port, "/auth")]
        assert answers == ["ok", "fail", "fail"]
        assert _ask(port, "/requests") == "3"
        process.stdin.close()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_it_stops_when_asked_to_also_in_the_background() -> None:
    """A shell's background jobs ignore Ctrl-C's signal, and hand that on to all that they start; it stops even so."""
    shell = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *_PROGRAM]
    process = subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdin
    try:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()
