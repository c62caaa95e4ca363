"""wasme login and logout: what is checked, what is stored, what a person is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures import faulty
from tests.fixtures.faults import status
from tests.fixtures.faulty import Registry
from tests.fixtures.hubs import Hub
from tests.fixtures.registries import QUICK, DockerRegistry, Run, filter_image, push_one, write
from wasme.errors import Unauthorized
from wasme.image.reference import Reference
from wasme.image.store import open_store
from wasme.registry.login import login
from wasme.registry.session import Session

# wasme login.


def test_login_to_any_registry_stores_what_was_checked(login_registry: DockerRegistry, run: Run, home: Path) -> None:
    """A login that docker-registry accepts is stored, with tabs as the original writes, and push uses it; [BUG] the
    original's file was readable by everyone, here it is its owner's alone."""
    result = run("login", "-s", login_registry.host, "-u", "scout", "-p", "s3cret")
    assert 'msg="Successfully logged in as scout (scout)"' in result.stderr
    file = home / ".wasme" / "credentials.json"
    assert f'msg="stored credentials in {file}"' in result.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert '\n\t"auths": {\n\t\t"' in file.read_text()
    push_one(run, login_registry.host)


def test_a_wrong_password_is_refused_and_not_stored(login_registry: DockerRegistry, run: Run, home: Path) -> None:
    """docker-registry says no: exit 1, a clear line, no file, and no secret in it."""
    result = run("login", "-s", login_registry.host, "-u", "scout", "-p", "n0tit", ok=False)
    assert result.exit_code == 1
    assert "wrong username or password" in result.stderr
    assert "n0tit" not in result.stderr
    assert not (home / ".wasme" / "credentials.json").exists()


def test_login_keeps_the_other_registries_bug(login_registry: DockerRegistry, run: Run, home: Path) -> None:
    """[BUG] the original lost every other login; here they stay, unknown keys too."""
    other = {"auths": {"other.example": {"auth": "YTpi"}}, "credHelpers": {"x.example": "y"}, "HttpHeaders": {"a": "b"}}
    file = write(home / ".wasme" / "credentials.json", other)
    file.chmod(0o644)
    run("login", "-s", login_registry.host, "-u", "scout", "-p", "s3cret")
    content = json.loads(file.read_text())
    assert content["auths"].pop(login_registry.host)["auth"]
    assert content == other
    assert file.stat().st_mode & 0o777 == 0o600


def test_login_leaves_a_broken_file_alone(login_registry: DockerRegistry, run: Run, home: Path) -> None:
    """A file that is no JSON is told, with its path, and not overwritten."""
    file = home / ".wasme" / "credentials.json"
    file.parent.mkdir()
    file.write_text('{"auths": oops')
    result = run("login", "-s", login_registry.host, "-u", "scout", "-p", "s3cret", ok=False)
    assert str(file) in result.stderr
    assert file.read_text() == '{"auths": oops'


def test_parallel_logins_lose_nothing(login_registry: DockerRegistry, home: Path) -> None:
    """Eight processes log in to eight names at once; all eight are stored."""
    script = (
        "import sys; from pathlib import Path; from wasme.registry.credential_file import remember;"
        "[remember(Path.home() / '.wasme/credentials.json', f'{sys.argv[1]}-{n}.example', 'u', 'p') for n in range(10)]"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(number)]) for number in range(8)]
    assert [process.wait(30) for process in running] == [0] * 8
    assert len(json.loads((home / ".wasme" / "credentials.json").read_text())["auths"]) == 80


def test_password_from_standard_input(
    login_registry: DockerRegistry, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--password-stdin reads one password, without the line's end; it needs a user and excludes -p."""
    read, write_end = os.pipe()
    os.write(write_end, b"s3cret\r\n")
    os.close(write_end)
    with os.fdopen(read) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        run("login", "-s", login_registry.host, "-u", "scout", "--password-stdin")
    assert run("login", "-s", "x.example", "-u", "a", "-p", "b", "--password-stdin", ok=False).exit_code == 2
    assert "--password-stdin needs --username" in run("push", "x/y", "--password-stdin", ok=False).stderr


def test_nobody_there_to_ask(run: Run) -> None:
    """Without a terminal, what is missing is told in the original's words."""
    assert "must specify username" in run("login", "-s", "x.example", ok=False).stderr
    assert "must specify password" in run("login", "-s", "x.example", "-u", "a", ok=False).stderr


def test_logout_forgets_one_registry(run: Run, home: Path) -> None:
    """logout removes that host's login alone, and says so if there is none."""
    file = write(home / ".wasme" / "credentials.json", {"auths": {"a.example": {"auth": "YTpi"}, "b.example": {}}})
    run("logout", "a.example")
    assert json.loads(file.read_text()) == {"auths": {"b.example": {}}}
    assert "no credentials for a.example" in run("logout", "a.example", ok=False).stderr


def test_login_to_our_hub(hub: Hub, run: Run) -> None:
    """A hub's account logs in by the original's call; a wrong password does not."""
    hub.add_user("scout", "s3cret-and-long")
    done = run("login", "-s", hub.host, "-u", "scout", "-p", "s3cret-and-long", "--plaintext")
    assert "Successfully logged in as scout" in done.stderr
    wrong = run("login", "-s", hub.host, "-u", "scout", "-p", "something-else", "--plaintext", ok=False)
    assert "wrong username or password" in wrong.stderr


def test_push_pull_and_search_on_our_hub(hub: Hub, run: Run, tmp_path: Path) -> None:
    """The main job's middle: log in, push, find it, pull it."""
    hub.add_user("scout", "s3cret-and-long")
    run("login", "-s", hub.host, "-u", "scout", "-p", "s3cret-and-long")
    reference = Reference.parse(f"{hub.host}/scout/add-header:v1")
    open_store().add(reference, filter_image(3_000_000))
    pushed = run("push", str(reference), "-o", "json").json
    rows = run("list", "--search", "header", "-s", hub.host, "-o", "json").json
    assert [(row["name"], row["tag"], row["manifestDigest"]) for row in rows] == [
        (reference.name, "v1", pushed["manifestDigest"])
    ]
    got = run("pull", str(reference), "--store", tmp_path / "other", "-o", "json").json
    assert rows[0]["moduleDigest"] == got["digest"]


def test_harbor_tells_the_real_name(faulty_registry: Registry) -> None:
    """The original's login call, as webassemblyhub.io answered it."""
    user = {"user_id": 7, "username": "scout", "realname": "Scout Finch", "sysadmin_flag": False}
    faulty_registry.fault("GET /api/users/current", status(200, json.dumps(user).encode()))
    assert login(Session(QUICK), faulty_registry.host, "scout", "x") == "Scout Finch"
    assert faulty_registry.requests[0].authorization == faulty.basic("scout", "x")


@pytest.mark.parametrize("auth", ["basic", "bearer", "bearer-post"])
def test_login_checks_every_kind_of_door(faulty_registry: Registry, auth: str) -> None:
    """Right passwords get in and wrong ones do not, whatever the registry asks for."""
    faulty_registry.auth = auth
    assert login(Session(QUICK), faulty_registry.host, "scout", "s3cret") == "scout"
    with pytest.raises(Unauthorized, match="wrong username or password"):
        login(Session(QUICK), faulty_registry.host, "scout", "wrong")


def test_login_where_nobody_asks(faulty_registry: Registry, run: Run) -> None:
    """A registry open to all accepts anything; that the password could not be checked is told."""
    result = run("login", "-s", faulty_registry.host, "-u", "a", "-p", "b")
    assert "could not be checked" in result.stderr


# Getting in.


def test_a_person_is_asked(login_registry: DockerRegistry, home: Path) -> None:
    """On a terminal both are asked for, the password is not shown, and a password in the arguments is warned about."""
    import pty

    def talk(*flags: str, answers: dict[str, str]) -> str:
        process, terminal = pty.fork()
        if process == 0:
            os.execv(sys.executable, [sys.executable, "-m", "wasme", "login", "-s", login_registry.host, *flags])
        said = ""
        while True:
            try:
                part = os.read(terminal, 4096).decode()
            except OSError:
                break
            said += part
            for question in [question for question in answers if question in said]:
                os.write(terminal, answers.pop(question).encode() + b"\n")
        os.close(terminal)
        assert os.waitpid(process, 0)[1] == 0, said
        return said

    said = talk(answers={"Enter username": "scout", "Enter password": "s3cret"})
    assert "Successfully logged in as scout" in said
    assert "s3cret" not in said
    assert "--password-stdin" in talk("-u", "scout", "-p", "s3cret", answers={})
