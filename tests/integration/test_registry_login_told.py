"""What a person is told who logs in, and what happens to what was typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.faulty import Registry
from tests.fixtures.registries import DockerRegistry, filter_image
from tests.fixtures.terminals import on_terminal
from wasme.image.reference import Reference
from wasme.image.store import open_store

Run = Callable[..., Result]


def test_no_password_to_a_word(faulty_registry: Registry, run: Run) -> None:
    """The original passed a positional over; here it is refused before anything is asked, and -s is told."""
    told = run("login", faulty_registry.host, "-u", "a", "-p", "b", ok=False)
    assert told.exit_code == 2
    assert f"-s {faulty_registry.host}" in told.stderr
    assert not faulty_registry.requests


def test_one_host_is_one_login(login_registry: DockerRegistry, run: Run, home: Path) -> None:
    """http://HOST, HOST/ and HOST are the same registry, kept under one key, and forgotten by any of them."""
    file = home / ".wasme" / "credentials.json"
    for server in (f"http://{login_registry.host}", f"{login_registry.host}/", login_registry.host):
        run("login", "-s", server, "-u", "scout", "-p", "s3cret")
        assert list(json.loads(file.read_text())["auths"]) == [login_registry.host]
    run("logout", f"http://{login_registry.host}/")
    assert json.loads(file.read_text()) == {"auths": {}}


def test_no_success_is_told_where_nothing_is_stored(login_registry: DockerRegistry, run: Run, home: Path) -> None:
    """A file that cannot be written is the only outcome."""
    (home / "in-the-way").write_text("x")
    told = run(
        "login", "-s", login_registry.host, "-u", "scout", "-p", "s3cret",
        "--credentials-file", home / "in-the-way" / "file", ok=False,
    )  # fmt: skip
    assert "cannot be written" in told.stderr
    assert "Successfully" not in told.stderr


def test_a_mapped_login_names_the_host_that_is_asked(login_registry: DockerRegistry, run: Run) -> None:
    """Who gets the password is told, before and in the refusal."""
    told = run(
        "login", "-s", "hub.example", "--registry-map", f"hub.example={login_registry.host}",
        "-u", "scout", "-p", "wrong", ok=False,
    )  # fmt: skip
    assert f"hub.example is led to {login_registry.host}" in told.stderr
    assert f"logging in to hub.example ({login_registry.host}) as scout" in told.stderr


def test_a_password_shows_as_stars(login_registry: DockerRegistry, home: Path) -> None:
    """One star for each character, backspace and Ctrl-U work, and nothing of it is shown."""
    keys = "wröng".encode() + b"\x15s3cretX\x7f\n"
    code, screen = on_terminal(["login", "-s", login_registry.host, "-u", "scout"], [("Enter password: ", keys)])
    assert code == 0, screen
    assert "*****" + "\b \b" * 5 + "*******" + "\b \b" in screen
    assert "s3cret" not in screen


def test_ctrl_c_gives_the_terminal_back(home: Path) -> None:
    """Echo is on again after an interrupted question."""
    import pty
    import signal
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    asked = [sys.executable, "-m", "wasme", "login", "-s", "x.example", "-u", "scout"]
    with subprocess.Popen(asked, stdin=slave, stdout=slave, stderr=slave) as process:
        screen = b""
        while b"Enter password: " not in screen:
            screen += os.read(master, 1024)
        assert not termios.tcgetattr(slave)[3] & termios.ECHO
        process.send_signal(signal.SIGINT)
        assert process.wait(20) != 0
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize("pair", ["webassemblyhub.io=", "=x", "a=x:port", "a/b=x"])
def test_a_registry_map_that_leads_nowhere(run: Run, pair: str) -> None:
    """Refused as a wrong call, for whatever registry is asked."""
    told = run("pull", "h.example/a/b:v1", "--registry-map", pair, ok=False)
    assert told.exit_code == 2
    assert "registry-map" in told.stderr


def test_files_given_are_the_only_ones(login_registry: DockerRegistry, run: Run, home: Path) -> None:
    """-c replaces the default files, as in the original; one that is missing is told."""
    run("login", "-s", login_registry.host, "-u", "scout", "-p", "s3cret")
    names = [f"{login_registry.host}/told/x{number}:v1" for number in range(3)]
    for number, name in enumerate(names):
        open_store().add(Reference.parse(name), filter_image(seed=number))
    run("push", names[0])
    told = run("push", names[1], "-c", home / "nofile", ok=False)
    assert told.exit_code == 1
    assert f"{home / 'nofile'}: cannot be read: no such file" in told.stderr
    run("push", names[2], "-c", home / ".wasme" / "credentials.json")
