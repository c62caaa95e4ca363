"""Getting in: Basic, Bearer in all its forms, where credentials are found, credential helpers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import faulty
from tests.fixtures.faults import status
from tests.fixtures.faulty import Registry
from tests.fixtures.registries import DockerRegistry, Run, push_one, resolve, write
from wasme.errors import Unauthorized
from wasme.image.layouts import Draft
from wasme.image.reference import Reference
from wasme.registry.credentials import Keychain
from wasme.registry.repository import Repository


def test_bearer_by_get(faulty_registry: Registry, holds_image: Callable[..., Draft]) -> None:
    """A password goes by GET with Basic, with the service and one scope for the whole push."""
    faulty_registry.auth = "bearer"
    resolve(faulty_registry, Keychain("scout", "s3cret"), push=True)
    asked = [seen for seen in faulty_registry.requests if seen.path == "/token"]
    assert [seen.method for seen in asked] == ["GET"]
    assert asked[0].query == {"account": ["scout"], "service": ["test"], "scope": ["repository:a/b:pull,push"]}
    assert asked[0].authorization == faulty.basic("scout", "s3cret")


def test_bearer_by_post_where_get_is_refused(faulty_registry: Registry, holds_image: Callable[..., Draft]) -> None:
    """405 on GET leads to OAuth2's POST with grant_type=password."""
    holds_image(faulty_registry, "a/b", "v1")
    faulty_registry.auth = "bearer-post"
    resolve(faulty_registry, Keychain("scout", "s3cret"))
    assert faulty_registry.lines("/token") == ["GET /token", "POST /token"]


def test_anonymous_bearer(faulty_registry: Registry, holds_image: Callable[..., Draft]) -> None:
    """Public images need a token too, and no credentials."""
    holds_image(faulty_registry, "a/b", "v1")
    faulty_registry.auth = "bearer"
    resolve(faulty_registry)
    assert all(seen.authorization is None for seen in faulty_registry.requests if seen.path == "/token")
    with pytest.raises(Unauthorized, match="wants a login"):
        resolve(faulty_registry, push=True)


def test_a_challenge_without_a_scope_is_answered_bug(
    faulty_registry: Registry, holds_image: Callable[..., Draft]
) -> None:
    """[BUG] the original failed with "no scope specified for token auth challenge" (OCIR); here the call's is sent."""
    holds_image(faulty_registry, "a/b", "v1")
    faulty_registry.auth, faulty_registry.names_scope = "bearer", False
    resolve(faulty_registry, Keychain("scout", "s3cret"))
    assert [seen.query["scope"] for seen in faulty_registry.requests if seen.path == "/token"] == [
        ["repository:a/b:pull"]
    ]


def test_an_identity_token_is_a_refresh_token(
    faulty_registry: Registry, holds_image: Callable[..., Draft], home: Path
) -> None:
    """identitytoken in config.json goes by POST as grant_type=refresh_token."""
    holds_image(faulty_registry, "a/b", "v1")
    faulty_registry.auth = "bearer"
    entry = {"auths": {faulty_registry.host: {"identitytoken": Registry.identity_token}}}
    write(home / ".docker" / "config.json", entry)
    resolve(faulty_registry)
    assert faulty_registry.lines("/token") == ["POST /token"]
    assert b"grant_type=refresh_token" in next(s.body for s in faulty_registry.requests if s.path == "/token")


def test_an_identity_token_falls_back_to_get(
    faulty_registry: Registry, holds_image: Callable[..., Draft], home: Path
) -> None:
    """A token service without POST gets it as Basic, with the user's name."""
    holds_image(faulty_registry, "a/b", "v1")
    faulty_registry.auth = "bearer"
    faulty_registry.fault("POST /token", status(405))
    entry = {"username": "scout", "password": "ignored", "identitytoken": Registry.identity_token}
    write(home / ".docker" / "config.json", {"auths": {faulty_registry.host: entry}})
    resolve(faulty_registry)
    assert faulty_registry.lines("/token") == ["POST /token", "GET /token"]


def test_a_stale_token_is_fetched_anew_once(faulty_registry: Registry, holds_image: Callable[..., Draft]) -> None:
    """A token that the registry has forgotten costs one more request for a token, not an error and not a loop."""
    holds_image(faulty_registry, "a/b", "v1")
    faulty_registry.auth = "bearer"
    session = resolve(faulty_registry)
    faulty_registry.tokens.clear()
    reference = Reference.parse(f"{faulty_registry.host}/a/b:v1")
    Repository(session, reference).resolve(reference)
    assert len(faulty_registry.lines("/token")) == 2
    faulty_registry.fault(
        "(HEAD|GET) /v2/", status(401, WWW_Authenticate=f'Bearer realm="http://{faulty_registry.host}/token"')
    )
    with pytest.raises(Unauthorized):
        Repository(session, reference).resolve(reference)
    assert len(faulty_registry.lines("/token")) == 3


def test_wrong_credentials_say_where_they_come_from(login_registry: DockerRegistry, run: Run, home: Path) -> None:
    """The message names the file, and never the password."""
    file = write(
        home / ".wasme/credentials.json", {"auths": {login_registry.host: {"username": "scout", "password": "0ld"}}}
    )
    result = push_one(run, login_registry.host, ok=False)
    assert f"does not accept the credentials from {file}" in result.stderr
    assert "0ld" not in result.stderr
    missing = push_one(run, login_registry.host, "-u", "scout", "-p", "b4d", ok=False)
    assert "the command line" in missing.stderr


def test_verbose_lines_hold_no_secret(login_registry: DockerRegistry, run: Run) -> None:
    """-v shows every request, and neither password nor Authorization nor an upload's state."""
    said = push_one(run, login_registry.host, "-v", "-u", "scout", "-p", "s3cret", seed=77).stderr
    assert "method=PUT" in said
    assert "authorization=(hidden)" in said or 'authorization="(hidden)"' in said
    assert "s3cret" not in said
    assert faulty.basic("scout", "s3cret").split()[1] not in said
    assert "_state=…" in said


@pytest.mark.parametrize("place", ["-c", "credentials.json", "config.json", "DOCKER_CONFIG", "-u"])
def test_where_credentials_are_found(
    login_registry: DockerRegistry, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Each place that the keychain knows gets a push through, which without any ends with a 401."""
    assert f"{login_registry.host} wants a login" in push_one(run, login_registry.host, ok=False).stderr
    content = {"auths": {f"http://{login_registry.host}/v1/": {"auth": faulty.basic("scout", "s3cret").split()[1]}}}
    flags: list[str | Path] = []
    if place == "-c":
        flags = ["-c", home / "absent.json", "-c", write(home / "mine.json", content)]
    elif place == "credentials.json":
        write(home / ".wasme" / "credentials.json", content)
    elif place == "config.json":
        write(home / ".docker" / "config.json", content)
    elif place == "DOCKER_CONFIG":
        write(home / "elsewhere" / "config.json", content)
        monkeypatch.setenv("DOCKER_CONFIG", str(home / "elsewhere"))
    else:
        flags = ["-u", "scout", "-p", "s3cret"]
    push_one(run, login_registry.host, *flags)


def test_a_broken_file_makes_nobody_anonymous_bug(login_registry: DockerRegistry, run: Run, home: Path) -> None:
    """[BUG] in the original an unparsable file made all credentials anonymous in silence; here it is told, with its
    path, the next file is asked, and public images are pulled all the same."""
    broken = home / ".wasme" / "credentials.json"
    broken.parent.mkdir()
    broken.write_text("{")
    entry = {"auths": {login_registry.host: {"username": "scout", "password": "s3cret"}}}
    write(home / ".docker" / "config.json", entry)
    assert str(broken) in push_one(run, login_registry.host).stderr


def test_a_broken_file_does_not_block_public_images(
    docker_registry: DockerRegistry, login_registry: DockerRegistry, run: Run, home: Path
) -> None:
    """[BUG] in the original a failing helper was fatal even for public images; here it is told where it matters."""
    file = write(home / ".docker" / "config.json", {"credsStore": "not-installed"})
    assert "not-installed" not in push_one(run, docker_registry.host).stderr
    refused = push_one(run, login_registry.host, ok=False).stderr
    assert f"{file}: names the credential helper docker-credential-not-installed" in refused
    assert f"{login_registry.host} wants a login" in refused


HELPER = """#!/bin/sh
echo "$1 $(cat)" >> "$HOME/asked"
case "$(tail -n1 "$HOME/asked")" in
  "get {host}") echo '{{"ServerURL":"{host}","Username":"scout","Secret":"s3cret"}}';;
  *) echo "credentials not found in native keychain"; exit 1;;
esac
"""


@pytest.mark.parametrize("how", ["credHelpers", "credsStore"])
def test_docker_credential_helpers(
    login_registry: DockerRegistry, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A docker-credential-* program on the PATH is asked by Docker's protocol."""
    program = home / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(HELPER.format(host=login_registry.host))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    content = {how: {login_registry.host: "test"} if how == "credHelpers" else "test"}
    write(home / ".docker" / "config.json", content)
    push_one(run, login_registry.host)
    assert (home / "asked").read_text() == f"get {login_registry.host}\n"


# TLS.
