"""Logging in and getting in: Basic, Bearer in all its forms, credential helpers, TLS, proxies."""

from __future__ import annotations

import datetime
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures import faulty
from tests.fixtures.faulty import Registry, status
from tests.fixtures.hubs import Hub
from tests.fixtures.registries import QUICK, Certificates, DockerRegistry, filter_image
from wasme.errors import NotARegistry, Unauthorized, Unreachable, WasmeError
from wasme.image.layouts import Draft
from wasme.image.reference import Reference
from wasme.image.store import open_store
from wasme.registry import transfer
from wasme.registry.credentials import Keychain
from wasme.registry.login import login
from wasme.registry.repository import Repository
from wasme.registry.session import Session
from wasme.registry.transport import ConnectionOptions, Request

Run = Callable[..., Result]


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def push_one(run: Run, host: str, *flags: str | Path, ok: bool = True, seed: int = 0) -> Result:
    reference = Reference.parse(f"{host}/login/x{seed}:v1")
    open_store().add(reference, filter_image(seed=seed))
    return run("push", str(reference), *flags, ok=ok)


# wasme login.


def test_login_to_any_registry_stores_what_was_checked(login_registry: DockerRegistry, run: Run, home: Path) -> None:
    """A login that docker-registry accepts is stored, 0600, with tabs as the original writes, and push uses it."""
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
    run("login", login_registry.host, "-u", "scout", "-p", "s3cret")
    content = json.loads(file.read_text())
    assert content["auths"].pop(login_registry.host)["auth"]
    assert content == other
    assert file.stat().st_mode & 0o777 == 0o600


def test_login_leaves_a_broken_file_alone(login_registry: DockerRegistry, run: Run, home: Path) -> None:
    """A file that is no JSON is told, with its path, and not overwritten."""
    file = home / ".wasme" / "credentials.json"
    file.parent.mkdir()
    file.write_text('{"auths": oops')
    result = run("login", login_registry.host, "-u", "scout", "-p", "s3cret", ok=False)
    assert str(file) in result.stderr
    assert file.read_text() == '{"auths": oops'


def test_parallel_logins_lose_nothing(login_registry: DockerRegistry, home: Path) -> None:
    """Eight processes log in to eight names at once; all eight are stored."""
    script = (
        "import sys; from pathlib import Path; from wasme.registry.logins import remember;"
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
        run("login", login_registry.host, "-u", "scout", "--password-stdin")
    assert run("login", "x.example", "-u", "a", "-p", "b", "--password-stdin", ok=False).exit_code == 2
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
    got = run("pull", str(reference), "--store", tmp_path, "-o", "json").json
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
    result = run("login", faulty_registry.host, "-u", "a", "-p", "b")
    assert "could not be checked" in result.stderr


# Getting in.


def resolve(registry: Registry, keychain: Keychain | None = None, *, push: bool = False) -> Session:
    session = Session(QUICK, keychain or Keychain())
    reference = Reference.parse(f"{registry.host}/a/b:v1")
    if push:
        open_store().add(reference, filter_image())
        transfer.push(open_store(), reference, session)
    else:
        Repository(session, reference).resolve(reference)
    return session


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
    """Each place that the keychain knows gets a push through."""
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


def test_a_broken_file_does_not_block_public_images(docker_registry: DockerRegistry, run: Run, home: Path) -> None:
    """[BUG] in the original a failing helper was fatal even for public images."""
    write(home / ".docker" / "config.json", {"credsStore": "not-installed"})
    push_one(run, docker_registry.host)


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


def test_tls_by_the_system_store(
    tls_registry: DockerRegistry, certificates: Certificates, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry on localhost that wants TLS gets it, trusted through SSL_CERT_FILE; plain http is never sent on."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    run("login", tls_registry.host, "-u", "scout", "-p", "s3cret")
    push_one(run, tls_registry.host)


def test_an_unknown_authority_is_told(tls_registry: DockerRegistry, run: Run) -> None:
    """Without its authority: no push, and the way out is named."""
    result = push_one(run, tls_registry.host, "-u", "scout", "-p", "s3cret", ok=False)
    assert f"the TLS certificate of {tls_registry.host}" in result.stderr
    assert "--insecure" in result.stderr


def test_insecure_takes_any_certificate_for_this_session_only(tls_registry: DockerRegistry, run: Run) -> None:
    """[BUG] the original's --insecure changed the whole process; here the next session checks again."""
    push_one(run, tls_registry.host, "-u", "scout", "-p", "s3cret", "--insecure")
    with pytest.raises(Unreachable, match="TLS certificate"):
        Session(QUICK).call(tls_registry.host, Request("GET", "/v2/"), what="looking", expect=(200,))


def test_plain_http_is_never_assumed_for_other_hosts(docker_registry: DockerRegistry) -> None:
    """Https to a port that speaks plain http is told with --plain-http, and nothing is sent in plain."""
    port = docker_registry.host.rpartition(":")[2]
    session = Session(QUICK, registry_map={"registry.example": f"https://127.0.0.1:{port}"})
    with pytest.raises(Unreachable, match="does not speak TLS") as caught:
        session.call("registry.example", Request("GET", "/v2/"), what="looking", expect=(200,))
    assert "--plain-http" in str(caught.value.hint)


@pytest.fixture
def bad_tls(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """Start a TLS port whose certificate is ``self-signed``, ``expired`` or for ``another`` name."""
    import trustme

    authority = trustme.CA()
    listeners: list[socket.socket] = []

    def start(kind: str) -> int:
        past = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
        issuer = trustme.CA() if kind == "self-signed" else authority
        leaf = (
            issuer.issue_cert("localhost", not_before=past, not_after=past + datetime.timedelta(days=1))
            if kind == "expired"
            else issuer.issue_cert("other.example" if kind == "another" else "localhost")
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(client, server_side=True).close()
                except OSError:
                    client.close()

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])

    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    ("kind", "words"),
    [("self-signed", "authority unknown|self-signed"), ("expired", "has expired"), ("another", "for another name")],
)
def test_bad_certificates_in_words(
    bad_tls: Callable[[str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    """Each fault of a certificate has its own words."""
    port = bad_tls(kind)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    session = Session(QUICK, registry_map={"r.example": f"https://localhost:{port}"})
    with pytest.raises(Unreachable, match=words):
        session.call("r.example", Request("GET", "/v2/"), what="looking", expect=(200,))


# Proxies and the registry map.


def test_http_proxy_is_used(
    faulty_registry: Registry, holds_image: Callable[..., Draft], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain http goes through http_proxy in absolute form, with the proxy's own password."""
    holds_image(faulty_registry, "a/b", "v1")
    monkeypatch.setenv("http_proxy", f"http://user:pa%40ss@{faulty_registry.host}")
    session = Session(ConnectionOptions(plain_http=True, retry=QUICK.retry))
    transfer.pull(open_store(), Reference.parse("registry.example/a/b:v1"), session)
    assert faulty_registry.requests[0].headers["host"] == "registry.example"
    assert faulty_registry.requests[0].headers["proxy-authorization"] == faulty.basic("user", "pa@ss")


def test_https_proxy_is_a_tunnel(
    tls_registry: DockerRegistry, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Https goes through CONNECT, and TLS is checked against the registry's own name."""
    port = int(tls_registry.host.rpartition(":")[2])
    proxy = faulty.Proxy(("127.0.0.1", port), password="pw")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    monkeypatch.setenv("https_proxy", f"http://user:pw@127.0.0.1:{proxy.port}")
    session = Session(QUICK, Keychain("scout", "s3cret"), {"r.example": "https://registry.example"})
    # The tunnel leads to a certificate for localhost, which is not registry.example.
    with pytest.raises(Unreachable, match="another name"):
        session.call("r.example", Request("GET", "/v2/"), what="looking", expect=(200,))
    assert [each.rpartition("/")[0] for each in proxy.asked] == ["CONNECT registry.example:443 HTTP"]
    insecure = Session(
        ConnectionOptions(insecure=True), Keychain("scout", "s3cret"), {"r.example": "https://registry.example"}
    )
    insecure.call("r.example", Request("GET", "/v2/"), what="looking", expect=(200,)).drain()
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(Unreachable, match=r"the proxy refused .*407"):
        Session(QUICK).call("x.example", Request("GET", "/v2/"), what="looking", expect=(200,))
    proxy.close()


def test_the_registry_map_leads_a_name(docker_registry: DockerRegistry, run: Run, home: Path, tmp_path: Path) -> None:
    """The name as typed stays the name; the traffic goes to HOST/PREFIX; by flag and by config.yaml."""
    reference = Reference.parse("webassemblyhub.io/scout/mapped:v1")
    open_store().add(reference, filter_image())
    pushed = run("push", str(reference), "--registry-map", f"webassemblyhub.io={docker_registry.host}/hub")
    assert f'msg="Pushed {reference}"' in pushed.stderr
    (home / ".wasme" / "config.yaml").write_text(f"registryMap:\n  webassemblyhub.io: {docker_registry.host}/hub\n")
    run("pull", str(reference), "--store", tmp_path / "a")
    run("pull", f"{docker_registry.host}/hub/scout/mapped:v1", "--store", tmp_path / "b")
    assert [entry.name for entry in open_store(tmp_path / "a").entries()] == [reference.name]


def test_the_hub_that_closed(run: Run) -> None:
    """webassemblyhub.io without a map: that it closed, and the line to add."""
    for command in (["pull", "webassemblyhub.io/a/b:v1"], ["login", "-u", "a", "-p", "b"], ["list", "--published"]):
        result = run(*command, ok=False)
        assert "webassemblyhub.io has closed" in result.stderr
        assert "registryMap: {webassemblyhub.io: HOST[/PREFIX]}" in result.stderr


def test_the_default_server_is_read_when_it_is_asked_for(
    login_registry: DockerRegistry, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WASM_IMAGE_REGISTRY replaces webassemblyhub.io where no server is named."""
    monkeypatch.setenv("WASM_IMAGE_REGISTRY", login_registry.host)
    run("login", "-u", "scout", "-p", "s3cret")
    run("logout")


# In words.


@pytest.mark.parametrize(
    ("fault", "words", "hint"),
    [
        (status(403, b'{"errors":[{"code":"DENIED","message":"not yours"}]}'), "forbids it (DENIED: not yours)", "log"),
        (status(404), "not found", "check the name"),
        (status(405), "does not allow that here: 405", "ECR"),
        (status(413), "takes nothing that large: 413", "limit"),
        (status(415), "does not take images of this kind: 415", "--layout compat"),
        (status(429, Retry_After="3600"), "asks to wait 3600 seconds", "later"),
        (status(500), "failed: 500", "later"),
        (status(200, b"<html>hi</html>", "text/html"), "web page", "/v2/"),
        (faulty.raw(b"220 mail.example ESMTP\r\n"), "does not speak HTTP", "port"),
        (faulty.hang_up, "broke off", ""),
    ],
)
def test_refusals_in_words(faulty_registry: Registry, fault: faulty.Fault, words: str, hint: str) -> None:
    """Each answer has its own words and a way on."""
    faulty_registry.fault("(GET|HEAD) /v2/", fault)
    with pytest.raises(WasmeError) as caught:
        resolve(faulty_registry)
    assert words in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "\n" not in caught.value.message


def test_no_such_host_and_nobody_listening() -> None:
    """Name resolution and a refused connection, in words."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for host, words in ((f"127.0.0.1:{port}", "refused the connection"), ("registry.invalid", "no such host")):
        with pytest.raises(Unreachable, match=words):
            Session(QUICK).call(host, Request("GET", "/v2/"), what="looking", expect=(200,))


def test_a_hub_that_is_no_hub(docker_registry: DockerRegistry) -> None:
    """Searching a plain registry says that it cannot be searched."""
    from wasme.registry.search import published

    with pytest.raises(WasmeError) as caught:
        published(Session(QUICK), docker_registry.host, "x")
    assert isinstance(caught.value, NotARegistry) or "not found" in caught.value.message


def test_harbor_is_searched_whole(faulty_registry: Registry) -> None:
    """[BUG] the original saw the first page only, and one failing repository hid all; here neither."""
    from urllib.parse import parse_qs

    from wasme.registry.search import published

    names = [f"scout/filter-{number}" for number in range(150)]

    def repositories(handler: faulty.Handler) -> None:
        page, size = int(handler.query["page"][0]), int(handler.query["page_size"][0])
        rows = [{"name": name} for name in names[(page - 1) * size : page * size]]
        handler.answer(200, json.dumps(rows).encode())

    tag = [{"name": "v1", "digest": "sha256:" + "a" * 64, "size": 5, "push_time": "2021-03-11T02:07:49.123456789Z"}]
    faulty_registry.fault("GET /api/v1/search", status(404))
    faulty_registry.fault(
        r"GET /api/projects\?page=1", status(200, b'[{"project_id":1,"repo_count":150},{"project_id":2}]')
    )
    faulty_registry.fault("GET /api/repositories/scout/filter-7/tags", status(500))
    faulty_registry.fault("GET /api/repositories/.*/tags", status(200, json.dumps(tag).encode()))
    faulty_registry.fault(r"GET /api/repositories\?project_id=1", repositories)
    found = published(Session(ConnectionOptions(retry=QUICK.retry)), faulty_registry.host)
    assert len(found) == 149
    assert found[0].name == f"{faulty_registry.host}/scout/filter-0"
    assert found[0].updated.isoformat() == "2021-03-11T02:07:49.123456+00:00"
    faulty_registry.fault(r"GET /api/search\?", status(200, b'{"repository":[{"repository_name":"scout/x"}]}'))
    assert len(published(Session(QUICK), faulty_registry.host, "a b&c=d")) == 1
    asked = next(seen for seen in faulty_registry.requests if seen.path == "/api/search")
    assert asked.query == parse_qs("q=a%20b%26c%3Dd")


def test_a_person_is_asked(login_registry: DockerRegistry, home: Path) -> None:
    """On a terminal both are asked for, the password is not shown, and a password in the arguments is warned about."""
    import pty

    def talk(*flags: str, answers: dict[str, str]) -> str:
        process, terminal = pty.fork()
        if process == 0:
            os.execv(sys.executable, [sys.executable, "-m", "wasme", "login", login_registry.host, *flags])
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


def test_a_captive_portal_takes_no_push(faulty_registry: Registry, run: Run, home: Path) -> None:
    """A server that says 200 with a page to everything is no registry, for push, pull and login alike."""
    faulty_registry.fault("", status(200, b"<!doctype html><h1>Welcome</h1>", "text/html; charset=utf-8"))
    assert "web page" in push_one(run, faulty_registry.host, ok=False).stderr
    assert "web page" in run("pull", f"{faulty_registry.host}/a/b", ok=False).stderr
    assert "web page" in run("login", faulty_registry.host, "-u", "a", "-p", "b", ok=False).stderr
    assert not (home / ".wasme" / "credentials.json").exists()


@pytest.mark.parametrize(
    ("code", "words"), [(502, "failed: 502"), (413, "takes nothing that large"), (403, "forbids it")]
)
def test_a_gateway_s_page_is_told_by_its_status(faulty_registry: Registry, code: int, words: str) -> None:
    """nginx before a registry answers with pages of its own; the status says what is wrong."""
    faulty_registry.fault("", status(code, b"<html>nginx</html>", "text/html"))
    with pytest.raises(WasmeError, match=words):
        resolve(faulty_registry)
