"""Answers that no honest registry gives, drawn at random: each is used, or told in words; never a bug of ours."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import Result
from tests.fixtures import faulty
from tests.fixtures.faults import raw, status
from tests.fixtures.faulty import Registry
from tests.fixtures.registries import QUICK, stored
from wasme.errors import ContentMismatch, RegistryError, UnsafeAnswer, WasmeError
from wasme.image.content import from_bytes
from wasme.image.descriptor import describe
from wasme.image.reference import Reference
from wasme.image.store import open_store
from wasme.registry import guards, transfer
from wasme.registry.origin import Origin, join
from wasme.registry.repository import Repository
from wasme.registry.retry import Policy
from wasme.registry.search import published
from wasme.registry.session import Session
from wasme.registry.transport import ConnectionOptions, Request

DRAWN = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ONCE = ConnectionOptions(connect_timeout=20, read_timeout=20, retry=Policy(attempts=1))
SMALL, LARGE = b"x" * 100, bytes(range(256)) * 400
DIGITS = "9" * 5000
HEADER = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)
LOCATION = st.one_of(
    HEADER,
    st.builds("http://[{}".format, HEADER),
    st.builds("//127.0.0.1:{}/".format, HEADER),
    st.sampled_from(["http://[", "http://127.0.0.1:99999999/", f"http://127.0.0.1:{DIGITS}/", "//[::1", "http:", "?"]),
)


def repository(registry: Registry) -> Repository:
    return Repository(Session(ONCE), Reference.parse(f"{registry.host}/a/b:v1"))


@DRAWN
@given(base=st.sampled_from(["http://127.0.0.1:5000/v2/a", "https://registry.example"]), location=LOCATION)
@example(base="https://registry.example", location="http://[")
def test_any_location_is_a_url_or_told(base: str, location: str) -> None:
    """What `join` gives can be asked; anything else is unsafe."""
    with contextlib.suppress(UnsafeAnswer):
        assert Origin.of(join(base, location)).port


@DRAWN
@given(location=LOCATION)
@example(location="http://[")
def test_any_redirect_is_followed_or_told(faulty_registry: Registry, location: str) -> None:
    """A blob's redirect to whatever a header can hold."""
    faulty_registry.heal()
    faulty_registry.fault("GET /v2/a/b/blobs/", status(307, Location=location))
    with pytest.raises(WasmeError), repository(faulty_registry).fetch(describe(LARGE, "application/wasm")) as stream:
        stream.read(1)


@DRAWN
@given(location=LOCATION)
@example(location="http://[")
def test_any_upload_location_is_used_or_told(faulty_registry: Registry, location: str) -> None:
    """An upload that shall go to whatever a header can hold."""
    faulty_registry.heal()
    faulty_registry.fault("POST /v2/a/b/blobs/uploads/", status(202, Location=location))
    with contextlib.suppress(RegistryError):
        repository(faulty_registry).push(describe(SMALL, "application/wasm"), from_bytes(SMALL))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_location_that_is_no_url_is_told(faulty_registry: Registry, scheme: str) -> None:
    """A redirect and an upload's location that no parser takes."""
    location = f"{scheme}://["
    faulty_registry.fault("GET /v2/a/b/blobs/", status(307, Location=location))
    faulty_registry.fault("POST /v2/a/b/blobs/uploads/", status(202, Location=location))
    with pytest.raises(UnsafeAnswer, match="no URL"):
        repository(faulty_registry).push(describe(SMALL, "application/wasm"), from_bytes(SMALL))
    with (
        pytest.raises(UnsafeAnswer, match="no URL"),
        repository(faulty_registry).fetch(describe(LARGE, "application/wasm")),
    ):
        pass


@DRAWN
@given(st.one_of(HEADER, st.from_regex(r"bytes \d+-\d+/(\d+|\*)", fullmatch=True)))
@example(f"bytes 0-{DIGITS}/*")
def test_any_range_is_right_or_told(header: str) -> None:
    """Only the part that was asked for passes."""
    with contextlib.suppress(ContentMismatch):
        guards.check_range(header, 0, 100, "sha256:x")
        assert re.fullmatch(r"bytes 0*0-0*99/(0*100|\*)", header)


@DRAWN
@given(st.one_of(HEADER, st.from_regex(r"(bytes=)?0-\d+", fullmatch=True), st.integers().map("0-{}".format)))
@example(f"0-{DIGITS}")
@example("0-9999999999")
@example("0--1")
@example("0-0")
def test_whatever_a_registry_says_has_arrived_the_blob_gets_there(faulty_registry: Registry, told: str) -> None:
    """After a break the registry tells any Range at all; the push goes on, or begins anew, and ends well."""
    faulty_registry.heal()
    faulty_registry.blobs.clear()
    faulty_registry.fault("PATCH ", faulty.Handler.hang_up, times=1)
    faulty_registry.fault("GET /v2/a/b/blobs/uploads/", status(204, Range=told), times=1)
    session = Session(ConnectionOptions(read_timeout=20, retry=Policy(attempts=3, base=0.001)))
    with contextlib.suppress(RegistryError):
        Repository(session, Reference.parse(f"{faulty_registry.host}/a/b:v1")).push(
            describe(LARGE, "application/wasm"), from_bytes(LARGE)
        )
        assert list(faulty_registry.blobs.values()) == [LARGE]


@DRAWN
@given(st.one_of(HEADER, st.datetimes(timezones=st.timezones()).map(datetime.isoformat)))
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T23:59:59-23:59")
def test_any_time_a_hub_tells_is_a_time(faulty_registry: Registry, run: Callable[..., Result], told: str) -> None:
    """`list` shows it in UTC, or as 1970."""
    faulty_registry.heal()
    row = {"name": "a/b", "tag": "v1", "size": 1, "digest": "sha256:x", "updated": told}
    faulty_registry.fault("GET /api/v1/search", status(200, json.dumps({"results": [row]}).encode()))
    (found,) = published(Session(ONCE), faulty_registry.host)
    assert found.updated.tzinfo is UTC
    assert "a/b" in run("list", "--published", "-s", faulty_registry.host).stdout


# Plain http to this machine, and registries there that want TLS.


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_a_400_is_no_wish_for_tls(faulty_registry: Registry, method: str, kind: str) -> None:
    """A registry on loopback that answers 400 to one request is still spoken to in plain http,
    and its words are told."""
    said = b'{"errors":[{"code":"NAME_INVALID","message":"no such thing"}]}'
    faulty_registry.fault(f"{method} /v2/a/", status(400, said, kind))
    session = Session(ONCE)
    request = Request(method, "/v2/a/")
    with pytest.raises(RegistryError) as caught:
        session.call(faulty_registry.host, request, what="looking", expect=(200,))
    assert method == "HEAD" or "no such thing" in caught.value.message
    session.call(faulty_registry.host, Request("GET", "/v2/"), what="looking", expect=(200,)).drain()
    assert session.endpoint(faulty_registry.host).origin.scheme == "http"


def test_another_servers_wish_for_tls_is_not_the_registrys(faulty_registry: Registry, stranger: Registry) -> None:
    """Behind a redirect somebody else complains about plain http: the registry is not turned to TLS."""
    faulty_registry.fault("GET /v2/a/", status(307, Location=f"http://{stranger.host}/x"))
    words = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    stranger.fault("GET /x", raw(words))
    session = Session(ONCE)
    with pytest.raises(RegistryError):
        session.call(faulty_registry.host, Request("GET", "/v2/a/"), what="looking", expect=(200,))
    assert session.endpoint(faulty_registry.host).origin.scheme == "http"


# Uploads that the registry forgets.


def test_an_upload_forgotten_between_two_requests_is_begun_anew(faulty_registry: Registry) -> None:
    """A session that was still there when asked, and gone when the bytes came: a new one, by PATCH and not whole."""
    reference = stored(open_store(), f"{faulty_registry.host}/a/b:v1", 3_000_000)

    def break_off(handler: faulty.Handler) -> None:
        handler.patch(handler.registry.uploads[handler.route.rpartition("/")[2]], handler.route, limit=1_000_000)

    def forget(handler: faulty.Handler) -> None:
        handler.registry.uploads.pop(handler.route.rpartition("/")[2])
        handler.error(404, "BLOB_UPLOAD_UNKNOWN")

    faulty_registry.fault("PATCH ", break_off, times=1)
    faulty_registry.fault("PATCH ", forget, times=1)
    faulty_registry.fault("PATCH ", break_off, times=1)
    transfer.push(open_store(), reference, Session(QUICK))
    # Broken, gone, begun anew and broken once more, and gone on with.
    assert len(faulty_registry.lines("PATCH ")) == 4
    assert faulty_registry.manifests["a/b", "v1"]


@pytest.mark.parametrize("fault", [status(503), faulty.Handler.hang_up])
def test_a_blob_sent_in_one_put_is_sent_again(faulty_registry: Registry, fault: faulty.Fault) -> None:
    """A registry that takes no PATCH and fails once in the PUT gets it once more, and no second PATCH."""
    faulty_registry.takes_patch = False
    reference = stored(open_store(), f"{faulty_registry.host}/a/b:v1", 3_000_000)
    module = open_store().image(reference).module.digest
    faulty_registry.fault(rf"PUT /v2/a/b/blobs/.*{module}", fault, times=1)
    transfer.push(open_store(), reference, Session(QUICK))
    assert len(faulty_registry.lines("PATCH ")) == 1
    assert faulty_registry.manifests["a/b", "v1"]


def test_early_hints_are_no_answer(faulty_registry: Registry) -> None:
    """103 (RFC 8297) comes before the answer, which is the one that counts; also in the middle of an upload."""

    def hint(handler: faulty.Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        handler.wfile.flush()
        handler.normal()

    faulty_registry.fault("", hint)
    reference = stored(open_store(), f"{faulty_registry.host}/a/b:v1", 8_000_000)
    transfer.push(open_store(), reference, Session(ONCE))
    transfer.pull(open_store(), reference, Session(ONCE))
    assert open_store().image(reference).module.size == 8_000_000
