"""The keychain: Docker's file format, hosts' names, broken files, helpers; and storing logins."""

from __future__ import annotations

import json
import os
import stat
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wasme.errors import InvalidSettings
from wasme.registry.credential_file import forget, remember
from wasme.registry.credentials import Keychain, default_file


def pair(user: str, password: str) -> str:
    return b64encode(f"{user}:{password}".encode()).decode()


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("r.example", "r.example"),
        ("https://r.example", "r.example"),
        ("https://r.example/v1/", "r.example"),
        ("http://r.example:5000/v2/", "r.example:5000"),
        ("R.Example", "r.example"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("index.docker.io", "registry-1.docker.io"),
    ],
)
def test_keys_that_mean_a_host(home: Path, key: str, host: str) -> None:
    """As Docker and old tools have written them."""
    write(default_file(), {"auths": {key: {"auth": pair("u", "p:w")}}})
    found = Keychain().lookup(host)
    assert found is not None
    assert (found.username, found.password) == ("u", "p:w")


@pytest.mark.parametrize("key", ["other.example", "r.example:5000", "r.example.evil", "evil-r.example", "example"])
def test_keys_that_mean_another_host(home: Path, key: str) -> None:
    """A password never goes to a host that only looks like its own."""
    write(default_file(), {"auths": {key: {"auth": pair("u", "p")}}})
    assert Keychain().lookup("r.example") is None


def test_the_order_of_places(home: Path) -> None:
    """The pair given, else the files given alone, else ~/.wasme, then Docker's; the first that knows the host."""
    docker = write(home / ".docker/config.json", {"auths": {h: {"auth": pair("docker", "p")} for h in "abc"}})
    write(default_file(), {"auths": {h: {"auth": pair("wasme", "p")} for h in "ab"}})
    mine = write(home / "mine.json", {"auths": {"a": {"auth": pair("mine", "p")}}})
    names = {}
    for host in "abcd":
        found = Keychain(files=[mine]).lookup(host)
        names[host] = found and found.username
    assert names == {"a": "mine", "b": None, "c": None, "d": None}
    assert Keychain().lookup("b").username == "wasme"  # type: ignore[union-attr]
    assert Keychain().lookup("c").origin == str(docker)  # type: ignore[union-attr]
    given = Keychain("me", "", files=[mine]).lookup("a")
    assert given is not None
    assert given.username == "me"


def test_a_mapped_name_is_asked_for_first(home: Path) -> None:
    """The name as typed, then the host it leads to."""
    write(default_file(), {"auths": {"typed": {"auth": pair("t", "p")}, "led": {"auth": pair("l", "p")}}})
    assert Keychain().lookup("typed", "led").username == "t"  # type: ignore[union-attr]
    assert Keychain().lookup("unknown", "led").username == "l"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "content",
    [
        "{", "[]", '{"auths": []}', '{"auths": {"r": 7}}', '{"auths": {"r": {"auth": "%%%"}}}',
        '{"auths": {"r": {"auth": "bm9jb2xvbg=="}}}', '{"auths": {"r": {"auth": 7}}}',
        '{"credHelpers": {"r": "no-such"}}',
        '{"credsStore": "../../bin/sh"}', "\x00\x01", "[" * 100_000, '{"auths": {"r": {"auth": "//8="}}}',
    ],
)  # fmt: skip
def test_a_broken_file_is_told_and_the_next_is_asked(
    home: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    """With its path, once, and without its content."""
    broken = write(default_file(), content)
    write(home / ".docker/config.json", {"auths": {"r": {"auth": pair("u", "p")}}})
    keychain = Keychain()
    for _ in range(2):
        found = keychain.lookup("r")
        assert found is not None
        assert found.username == "u"
    assert len(keychain.problems) == 1
    assert keychain.problems[0].startswith(f"{broken}: ")
    assert "bm9jb2xvbg" not in keychain.problems[0]


def test_a_file_given_that_is_not_there_is_told(home: Path) -> None:
    """-c with a typing error is no silence."""
    keychain = Keychain(files=["/no/such/file.json"])
    assert keychain.lookup("r") is None
    assert "/no/such/file.json: cannot be read: no such file or directory" in keychain.problems


def helper(home: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    program = write(home / "bin/docker-credential-x", f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    write(home / ".docker/config.json", {"credsStore": "x", "auths": {"r": {}}})
    return program


def test_helpers_give_identity_tokens(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user <token> means that the secret is one."""
    helper(home, monkeypatch, """echo '{"Username":"<token>","Secret":"abc"}'""")
    found = Keychain().lookup("r")
    assert found is not None
    assert (found.username, found.password, found.identity_token) == ("", None, "abc")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'vault is sealed' >&2; exit 1", "vault is sealed"),
        ("exit 3", "exit code 3"),
        ("echo nonsense", "something that is no credential"),
        ("""echo '{"Username":7,"Secret":"x"}'""", "something that is no credential"),
        ("printf '\\033[2J' >&2; exit 1", "exit code 1|\\[2J"),
    ],
)
def test_helpers_that_fail_are_told(home: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str) -> None:
    """In their own words, tamed; the user is anonymous then, and knows why."""
    import re

    helper(home, monkeypatch, script)
    keychain = Keychain()
    assert keychain.lookup("r") is None
    assert re.search(words, keychain.problems[0])
    assert "\x1b" not in keychain.problems[0]


def test_a_helper_that_knows_nothing_is_no_problem(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker's own words for it."""
    helper(home, monkeypatch, "echo 'credentials not found in native keychain'; exit 1")
    keychain = Keychain()
    assert keychain.lookup("r") is None
    assert keychain.problems == []


def test_docker_hub_is_asked_for_by_its_old_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://index.docker.io/v1/"""
    helper(home, monkeypatch, f"""cat > {home}/asked; echo '{{"Username":"u","Secret":"s"}}'""")
    assert Keychain().lookup("docker.io") is not None
    assert (home / "asked").read_text() == "https://index.docker.io/v1/"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"]), min_size=1),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_what_is_remembered_is_found(home: Path, username: str, password: str) -> None:
    """Any user and password, as text."""
    remember(default_file(), "r.example", username, password)
    found = Keychain().lookup("r.example")
    assert found is not None
    assert (found.username, found.password) == (username, password.rstrip("\0") if password else password)


def test_a_login_replaces_other_spellings(home: Path) -> None:
    """https://r.example/v1/ and r.example are one registry."""
    write(default_file(), {"auths": {"https://r.example/v1/": {"auth": pair("old", "p")}}})
    remember(default_file(), "r.example", "new", "p")
    assert list(json.loads(default_file().read_text())["auths"]) == ["r.example"]


def test_a_credentials_file_that_is_a_link_stays_one(home: Path) -> None:
    """Its target is replaced, not the link."""
    real = write(home / "vault" / "credentials.json", {})
    default_file().parent.mkdir()
    default_file().symlink_to(real)
    remember(default_file(), "r.example", "u", "p")
    assert default_file().is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written(home: Path) -> None:
    """One line, with the path."""
    (home / ".wasme").write_text("in the way")
    with pytest.raises(InvalidSettings, match="cannot be written"):
        remember(default_file(), "r.example", "u", "p")
    assert forget(default_file(), "r.example") is False
