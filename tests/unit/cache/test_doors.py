"""Which credentials an image is asked for with, and which it is never asked for with."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest

from wasme.cache import doors
from wasme.cache.doors import Doors
from wasme.cache.secrets import PullSecret
from wasme.errors import ClusterForbidden, ClusterUnreachable
from wasme.image.reference import Reference
from wasme.registry.auth import Credential
from wasme.registry.transport import ConnectionOptions

GHCR = "ghcr.io"


def given(name: str, host: str = GHCR, namespace: str = "", password: str = "pw") -> PullSecret:
    """A Secret with one entry; its user is its name."""
    content = {"auths": {host: {"username": name, "password": password}}}
    return PullSecret(name, {".dockerconfigjson": b64encode(json.dumps(content).encode()).decode()}, namespace)


class Live:
    """What is in the cluster now, and how often it was read."""

    def __init__(self, *secrets: PullSecret) -> None:
        self.secrets = list(secrets)
        self.reads = 0
        self.error: ClusterUnreachable | ClusterForbidden | None = None

    def read(self) -> list[PullSecret]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return list(self.secrets)


def credentials(found: Doors, ref: str, *namespaces: str) -> list[Credential]:
    """What the registry would get, in order."""
    reference = Reference.parse(ref)
    looked = [
        session.keychain.lookup(*session.endpoint(reference.domain).credential_hosts)
        for session in found.of(reference, frozenset(namespaces))
    ]
    return [each for each in looked if each is not None]


def users(found: Doors, ref: str, *namespaces: str) -> list[str | None]:
    return [each.username for each in credentials(found, ref, *namespaces)]


def doors_of(
    live: Live,
    led: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    files: tuple[str, ...] = (),
) -> Doors:
    found = Doors(ConnectionOptions(), secrets=live.read, registry_map=flags, files=files)
    found.lead(led or {})
    return found


@pytest.mark.parametrize("place", ["evil.example", "http://evil.example", "https://ghcr.io.evil.example/ghcr.io"])
@pytest.mark.parametrize("name", [GHCR, "docker.io", "GHCR.io"])
def test_map_of_the_list_steals_nothing(tmp_path: Path, place: str, name: str) -> None:
    """Whoever leads a registry's name elsewhere in the list does not get the credentials for that name: neither those
    of pull secrets nor those of the agent's own files.
    """
    own = tmp_path / "config.json"
    own.write_text(json.dumps({"auths": {name: {"auth": b64encode(b"own:pw").decode()}}}))
    found = doors_of(Live(given("a", name)), {name: place}, files=(str(own),))
    assert credentials(found, f"{name}/any/thing:v1") == []
    found.lead({})
    assert users(found, f"{name}/any/thing:v1")[-1] == "a", "its own registry gets it"


def test_map_of_the_list_leads_to_the_credentials_of_that_place() -> None:
    """What the list leads elsewhere gets the credentials that are for that place."""
    found = doors_of(Live(given("a"), given("b", "mirror.example:5000")), {GHCR: "mirror.example:5000/mirror"})
    assert users(found, "ghcr.io/any/thing:v1") == ["b"]
    assert users(doors_of(Live(given("a")), {"docker.io": GHCR}), "docker.io/any/thing:v1") == ["a"]


def test_map_of_the_list_takes_no_tls_away() -> None:
    """Over plain http no credential goes where the list leads, but to this machine."""
    assert users(doors_of(Live(given("a")), {GHCR: f"http://{GHCR}"}), "ghcr.io/any/thing:v1") == []
    local = doors_of(Live(given("a", "127.0.0.1:5000")), {GHCR: "http://127.0.0.1:5000"})
    assert users(local, "ghcr.io/any/thing:v1") == ["a"]


def test_map_that_changes_under_a_pull(tmp_path: Path) -> None:
    """A pull that was led elsewhere and still waits for an answer gets no credential when the list is put right."""
    own = tmp_path / "config.json"
    own.write_text(json.dumps({"auths": {GHCR: {"auth": b64encode(b"own:pw").decode()}}}))
    found = doors_of(Live(given("a")), {GHCR: "evil.example"}, files=(str(own),))
    reference = Reference.parse("ghcr.io/any/thing:v1")
    trying = found.of(reference)
    early = next(trying)
    assert early.endpoint(GHCR).origin.host == "evil.example"
    found.lead({})
    assert early.keychain.lookup(GHCR, "evil.example") is None
    found.lead({GHCR: "evil.example"})
    for late in trying:
        assert late.keychain.lookup(*late.endpoint(GHCR).credential_hosts) is None


def test_map_of_the_flags_is_trusted() -> None:
    """What the agent's own flag leads elsewhere keeps its credentials, whatever the list says."""
    found = doors_of(Live(given("a")), {GHCR: "evil.example"}, {GHCR: "mirror.example"})
    assert users(found, "ghcr.io/any/thing:v1") == ["a"]


def test_secret_of_a_namespace_is_for_that_namespace() -> None:
    """A namespace's credential serves its filters and nobody else's; one that names no namespace serves all."""
    live = Live(given("all"), given("shop", namespace="shop"), given("bank", namespace="bank"))
    found = doors_of(live)
    assert users(found, "ghcr.io/any/thing:v1", "shop") == ["shop", "all"]
    assert users(found, "ghcr.io/any/thing:v1", "bank") == ["bank", "all"]
    assert users(found, "ghcr.io/any/thing:v1", "other") == ["all"]
    assert users(found, "ghcr.io/any/thing:v1") == ["all"], "a line of images is nobody's"


def test_what_opened_for_one_namespace_is_not_remembered_for_another() -> None:
    """The session that opened a repository is tried first by the same namespace, and never by another."""
    found = doors_of(Live(given("all"), given("shop", namespace="shop")))
    reference = Reference.parse("ghcr.io/any/thing:v1")
    first = next(each for each in found.of(reference, frozenset({"shop"})) if users_of(each) == "shop")
    found.opened(reference, first, frozenset({"shop"}))
    assert users(found, "ghcr.io/any/thing:v1", "shop")[0] == "shop"
    assert users(found, "ghcr.io/any/thing:v1", "bank") == ["all"]
    assert users(found, "ghcr.io/any/thing:v1") == ["all"]


def users_of(session: object) -> str:
    found = session.keychain.lookup(GHCR)  # type: ignore[attr-defined]
    return found.username if found else ""


def test_many_namespaces_with_a_secret_each() -> None:
    """However many namespaces have a Secret for one registry, the right one is tried first."""
    found = doors_of(Live(*(given(f"n{number}", namespace=f"n{number}") for number in range(100))))
    assert users(found, "ghcr.io/any/thing:v1", "n99") == ["n99"]


def test_deleted_and_rotated_secrets_are_used_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Secret that opened a repository is used for as long as it is there as it was, and looked for now and then."""
    live = Live(given("shop", namespace="shop"))
    found = doors_of(live)
    reference = Reference.parse("ghcr.io/any/thing:v1")

    def remember() -> None:
        *_, last = found.of(reference, frozenset({"shop"}))
        found.opened(reference, last, frozenset({"shop"}))

    remember()
    reads = live.reads
    assert users(found, "ghcr.io/any/thing:v1", "shop") == ["shop"]
    assert live.reads == reads, "not read for each pull"
    live.secrets = [given("shop", namespace="shop", password="new")]
    found.lead({})  # the list has changed
    assert [each.password for each in credentials(found, "ghcr.io/any/thing:v1", "shop")] == ["new"]
    remember()
    live.secrets = []
    monkeypatch.setattr(doors, "_TRUSTED_SECONDS", 0.0)
    assert credentials(found, "ghcr.io/any/thing:v1", "shop") == []
    assert len(found._sessions) == 1, "nothing of it is kept"


def test_server_that_is_away_takes_no_secret_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the API server is away what opened goes on; without the right to read Secrets it does not."""
    live = Live(given("shop", namespace="shop"))
    found = doors_of(live)
    reference = Reference.parse("ghcr.io/any/thing:v1")
    *_, last = found.of(reference, frozenset({"shop"}))
    found.opened(reference, last, frozenset({"shop"}))
    monkeypatch.setattr(doors, "_TRUSTED_SECONDS", 0.0)
    live.error = ClusterUnreachable("away")
    assert users(found, "ghcr.io/any/thing:v1", "shop")[0] == "shop"
    live.error = ClusterForbidden("no right")
    assert users(found, "ghcr.io/any/thing:v1", "shop") == []
