"""Every attack on a registry client that is known to have worked on others: held off, and shown to work on us too
as soon as its guard is switched off (so that the test proves the guard, not the weather)."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from tests.fixtures import faults
from tests.fixtures.faults import status
from tests.fixtures.faulty import Registry
from tests.fixtures.registries import QUICK, Certificates, filter_image
from wasme.errors import ContentMismatch, UnsafeAnswer, WasmeError
from wasme.image.content import from_bytes
from wasme.image.copy import copy_image
from wasme.image.descriptor import describe
from wasme.image.reference import Reference
from wasme.registry import guards
from wasme.registry.credentials import Keychain
from wasme.registry.repository import Repository
from wasme.registry.session import Session
from wasme.registry.settings import Settings
from wasme.registry.transport import ConnectionOptions

BLOB = bytes(range(256)) * 400
DESCRIPTOR = describe(BLOB, "application/wasm")


@dataclass
class Scene:
    """A registry that has been taken over, a stranger's server, one that speaks TLS, and a user with a password."""

    registry: Registry
    stranger: Registry
    secure: Registry
    monkeypatch: pytest.MonkeyPatch

    def session(self, *, proxied: bool = False) -> Session:
        """A session with a password; ``proxied``: registry.example.com in plain http, by way of the registry."""
        options = QUICK
        if proxied:
            self.monkeypatch.setenv("http_proxy", f"http://{self.registry.host}")
            options = ConnectionOptions(plain_http=True, read_timeout=5, retry=QUICK.retry)
        return Session(options, Keychain(Registry.user, Registry.password), settings=Settings())

    def repository(self, *, proxied: bool = False) -> Repository:
        host = "registry.example.com" if proxied else self.registry.host
        return Repository(self.session(proxied=proxied), Reference.parse(f"{host}/a/b:v1"))

    def read_blob(self, *, proxied: bool = False, offset: int = 0) -> bytes:
        with self.repository(proxied=proxied).fetch(DESCRIPTOR, offset) as stream:
            return b"".join(iter(lambda: stream.read(65536), b""))

    def push_image(self, *, proxied: bool = False) -> None:
        draft = filter_image(200_000)
        copy_image(draft, Reference.parse("x/y"), target := self.repository(proxied=proxied), Reference.parse("x/y:v1"))
        del target

    def leaked(self) -> bool:
        """Whether the stranger got credentials."""
        return any(seen.authorization for seen in self.stranger.requests)


def realm(scene: Scene) -> bool:
    """The challenge sends the password to a stranger (CVE-2020-15157, CVE-2026-48978)."""
    scene.registry.auth = "bearer"
    scene.registry.realm = f"http://localhost:{scene.stranger.port}/token"
    scene.repository().resolve(Reference.parse("x/y:v1"))
    return scene.leaked()


def realm_inside(scene: Scene) -> bool:
    """The challenge of a registry outside reaches into this network."""
    scene.registry.auth = "bearer"
    scene.registry.realm = f"https://localhost:{scene.secure.port}/token"
    scene.monkeypatch.setenv("http_proxy", f"http://{scene.registry.host}")
    options = ConnectionOptions(plain_http=True, insecure=True, read_timeout=5, retry=QUICK.retry)
    anonymous = Repository(Session(options, settings=Settings()), Reference.parse("registry.example.com/a/b:v1"))
    with contextlib.suppress(WasmeError):
        anonymous.resolve(Reference.parse("x/y:v1"))
    return bool(scene.secure.requests)


def redirect_leak(scene: Scene) -> bool:
    """A redirect to another port carries the password along (GHSA-vh4v-2xq2-g5cg)."""
    scene.registry.auth = "basic"
    scene.repository().resolve(Reference.parse("x/y:v1"))
    scene.registry.fault("GET /v2/a/b/blobs/", status(307, Location=f"http://{scene.stranger.host}/blob"))
    scene.stranger.fault("GET /blob", status(200, BLOB))
    repository = scene.repository()
    repository.resolve(Reference.parse("x/y:v1"))  # opens the door, so that the next request carries the password
    with repository.fetch(DESCRIPTOR) as stream:
        stream.read(10)
    return scene.leaked()


def redirect_inside(scene: Scene) -> bool:
    """A redirect of a registry outside reaches into this network."""
    scene.registry.fault("GET /v2/a/b/blobs/", status(307, Location=f"http://{scene.stranger.host}/admin"))
    scene.stranger.fault("GET /admin", status(200, BLOB))
    scene.read_blob(proxied=True)
    return bool(scene.stranger.requests)


def redirect_to_a_name_inside(scene: Scene) -> bool:
    """The same with a public name that stands for an address inside (as those of nip.io do)."""
    real = socket.getaddrinfo

    def resolver(host: str, *given: Any, **named: Any) -> Any:
        return real("127.0.0.1" if host == "public.example" else host, *given, **named)

    scene.monkeypatch.setattr(socket, "getaddrinfo", resolver)
    scene.monkeypatch.setenv("no_proxy", "public.example")
    port = scene.stranger.port
    scene.registry.fault("GET /v2/a/b/blobs/", status(307, Location=f"http://public.example:{port}/admin"))
    scene.stranger.fault("GET /admin", status(200, BLOB))
    scene.read_blob(proxied=True)
    return bool(scene.stranger.requests)


def secure_repository(scene: Scene) -> Repository:
    """Where the registry that speaks TLS is asked."""
    options = ConnectionOptions(insecure=True, read_timeout=5, retry=QUICK.retry)
    map_ = {"secure.example": f"https://localhost:{scene.secure.port}"}
    return Repository(Session(options, Keychain(), map_, settings=Settings()), Reference.parse("secure.example/a/b:v1"))


def redirect_down(scene: Scene) -> bool:
    """A redirect leads from TLS to none, where anyone on the way reads along."""
    scene.secure.fault("GET /v2/a/b/blobs/", status(307, Location=f"http://{scene.stranger.host}/blob"))
    scene.stranger.fault("GET /blob", status(200, BLOB))
    with secure_repository(scene).fetch(DESCRIPTOR) as stream:
        stream.read(10)
    return bool(scene.stranger.requests)


def location_down(scene: Scene) -> bool:
    """An upload's location leads from TLS to none."""
    scene.secure.fault("POST /v2/a/b/blobs/uploads/", status(202, Location=f"http://{scene.stranger.host}/up"))
    scene.stranger.fault("(PUT|PATCH) ", status(201))
    secure_repository(scene).push(describe(b"x", "application/wasm"), from_bytes(b"x"))
    return bool(scene.stranger.requests)


def foreign_challenge(scene: Scene) -> bool:
    """Behind a redirect, a stranger asks for the registry's password."""
    scene.registry.fault("GET /v2/a/b/blobs/", status(307, Location=f"http://{scene.stranger.host}/v2/a/b/blobs/x"))
    scene.stranger.auth = "bearer"
    scene.read_blob()
    return scene.leaked()


def location_leak(scene: Scene) -> bool:
    """An upload's location on another server gets the password (CVE-2026-50151)."""
    scene.registry.auth = "basic"
    scene.registry.fault("POST /v2/a/b/blobs/uploads/", status(202, Location=f"http://{scene.stranger.host}/v2/a/b/up"))
    scene.stranger.fault("(PUT|PATCH) ", status(201))
    scene.push_image()
    return scene.leaked()


def location_inside(scene: Scene) -> bool:
    """An upload's location of a registry outside reaches into this network."""
    scene.registry.fault("POST /v2/a/b/blobs/uploads/", status(202, Location=f"http://{scene.stranger.host}/admin"))
    scene.stranger.fault("(PUT|PATCH) ", status(201))
    scene.push_image(proxied=True)
    return bool(scene.stranger.requests)


def huge_manifest(scene: Scene) -> bool:
    """A manifest without end fills the memory (GHSA-f36w-mj3v-6jqv)."""
    content = json.dumps({"padding": "x" * (5 << 20)}).encode()
    kind = "application/vnd.oci.image.manifest.v1+json"
    scene.registry.put_image("a/b", "v1", manifest=content, media_type=kind)
    return scene.repository().resolve(Reference.parse(f"{scene.registry.host}/a/b:v1")).size > guards.MANIFEST_LIMIT


def lying_length(scene: Scene) -> bool:
    """A blob announces another length than its manifest promised."""
    scene.registry.fault("GET /v2/a/b/blobs/", status(200, BLOB + b"more"))
    with scene.repository().fetch(DESCRIPTOR) as stream:
        return bool(stream.read(10))


def endless_blob(scene: Scene) -> bool:
    """A blob without a length does not end where its manifest says."""
    chunk = b"%x\r\n" % len(BLOB) + BLOB + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    scene.registry.fault("GET /v2/a/b/blobs/", faults.raw(head + chunk * 3 + b"0\r\n\r\n"))
    return len(scene.read_blob()) > len(BLOB)


def other_range(scene: Scene) -> bool:
    """A resumed download gets another part than it asked for."""
    part = status(206, BLOB[1000:], Content_Range=f"bytes 0-{len(BLOB) - 1001}/{len(BLOB)}")
    scene.registry.fault("GET /v2/a/b/blobs/", part)
    return bool(scene.read_blob(offset=1000))


def lying_digest(scene: Scene) -> bool:
    """A registry stores something else than was pushed, and says so only in a header."""
    scene.registry.fault("PUT /v2/a/b/manifests/", status(201, Docker_Content_Digest="sha256:" + "0" * 64))
    scene.push_image()
    return True


def token_in_header(scene: Scene) -> bool:
    """A token that is more than a token goes into a header."""
    scene.registry.auth = "bearer"
    scene.registry.fault("GET /token", status(200, json.dumps({"token": "one two\x7f"}).encode()))
    with pytest.raises(WasmeError) as caught:
        scene.repository().resolve(Reference.parse("x/y:v1"))
    if isinstance(caught.value, UnsafeAnswer):
        raise caught.value
    return any("two" in (seen.authorization or "") for seen in scene.registry.requests)


def escape_sequences(scene: Scene) -> bool:
    """A registry's error message writes to the terminal."""
    content = json.dumps({"errors": [{"code": "DENIED", "message": "\x1b]0;owned\x07 \u202emoc.live"}]}).encode()
    scene.registry.fault("(GET|HEAD) /v2/a/b/manifests/", status(403, content))
    with pytest.raises(WasmeError) as caught:
        scene.repository().resolve(Reference.parse("x/y:v1"))
    assert "owned" in caught.value.message
    return "\x1b" in caught.value.message or "\u202e" in caught.value.message


def asked_by_a_stranger(scene: Scene) -> bool:
    """Somebody outside has this machine ask itself."""
    session = Session(replace(QUICK, outside=True), Keychain(), settings=Settings())
    Repository(session, Reference.parse(f"{scene.registry.host}/a/b:v1")).resolve(Reference.parse("x/y:v1"))
    return bool(scene.registry.requests)


Attack = Callable[[Scene], bool]
ATTACKS: list[tuple[Attack, str, object]] = [
    (realm, "check_realm", lambda *_, **__: None),
    (realm_inside, "check_reach", lambda *_: None),
    (asked_by_a_stranger, "check_outside", lambda *_: None),
    (redirect_leak, "without_credentials", lambda headers, *_: dict(headers)),
    (redirect_inside, "check_reach", lambda *_: None),
    (redirect_to_a_name_inside, "check_reach", lambda *_: None),
    (redirect_down, "check_redirect", lambda *_: None),
    (foreign_challenge, "answers_challenge", lambda *_: True),
    (location_leak, "may_carry_credentials", lambda *_: True),
    (location_inside, "check_reach", lambda *_: None),
    (location_down, "check_location", lambda *_: None),
    (huge_manifest, "check_size", lambda *_: None),
    (lying_length, "check_length", lambda *_: None),
    (endless_blob, "check_excess", lambda *_: None),
    (other_range, "check_range", lambda *_: None),
    (lying_digest, "check_digest", lambda *_: None),
    (token_in_header, "clean_token", lambda token: token),
    (escape_sequences, "printable", lambda text, *_: text),
]


@pytest.fixture
def scene(
    faulty_registry: Registry, stranger: Registry, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    kind = "application/vnd.oci.image.manifest.v1+json"
    faulty_registry.put_image("a/b", "v1", BLOB, manifest=b'{"schemaVersion": 2}', media_type=kind)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.certificate, certificates.key)
    secure = Registry(tls)
    yield Scene(faulty_registry, stranger, secure, monkeypatch)
    secure.close()


@pytest.mark.parametrize(("attack", "guard", "off"), ATTACKS, ids=[attack.__name__ for attack, _, _ in ATTACKS])
def test_attack_is_held_off_by_its_guard(scene: Scene, attack: Attack, guard: str, off: object) -> None:
    """With the guard on the attack gains nothing."""
    try:
        gained = attack(scene)
    except (UnsafeAnswer, ContentMismatch, WasmeError):
        gained = scene.leaked()
    assert not gained
    assert not scene.leaked()


@pytest.mark.parametrize(("attack", "guard", "off"), ATTACKS, ids=[attack.__name__ for attack, _, _ in ATTACKS])
def test_attack_works_without_its_guard(
    scene: Scene, attack: Attack, guard: str, off: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the guard off the same attack succeeds: the guard is what holds it."""
    monkeypatch.setattr(guards, guard, off)
    try:
        gained = attack(scene)
    except WasmeError:
        leading = (redirect_inside, redirect_to_a_name_inside, redirect_down, location_inside, location_down)
        reached = attack in leading and bool(scene.stranger.requests)
        gained = scene.leaked() or reached
    assert gained


def test_every_guard_has_an_attack() -> None:
    """No guard stands in guards.py without an attack that proves it."""
    public = {name for name, value in vars(guards).items() if callable(value) and not name.startswith("_")}
    own = {name for name in public if getattr(getattr(guards, name), "__module__", "") == guards.__name__}
    assert own == {guard for _, guard, _ in ATTACKS}


def test_redirects_without_end_are_given_up(scene: Scene) -> None:
    """A loop of redirects ends with an error, not never."""
    scene.registry.fault("GET /v2/a/b/blobs/", status(307, Location="?again"))
    with pytest.raises(UnsafeAnswer, match="without end"):
        scene.read_blob()


def test_a_known_blob_is_read_whole_with_all_guards_on(scene: Scene) -> None:
    """The guards let honest answers through: a redirect to another server, without credentials."""
    scene.registry.auth = "basic"
    scene.registry.fault("GET /v2/a/b/blobs/", status(307, Location=f"http://{scene.stranger.host}/blob"))
    scene.stranger.fault("GET /blob", status(200, BLOB))
    assert scene.read_blob() == BLOB
    assert not scene.leaked()


def test_push_to_a_location_elsewhere_works_without_credentials(scene: Scene) -> None:
    """An upload may go to another server on the same kind of network; it gets bytes and no password."""
    scene.registry.auth = "basic"
    scene.registry.fault("POST /v2/a/b/blobs/uploads/", status(202, Location=f"http://{scene.stranger.host}/up?sig=1"))
    scene.stranger.fault("PUT /up", status(201))
    small = b"x" * 100
    scene.repository().push(describe(small, "application/wasm"), from_bytes(small))
    assert scene.stranger.requests[0].body == small
    assert not scene.leaked()
