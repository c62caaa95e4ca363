"""Distribution specification: the base, pulling blobs, pushing blobs (end-1, 2, 4, 5, 6, 11, 13, 14)."""

from __future__ import annotations

import os
import uuid
from urllib.parse import urlsplit

import pytest

from tests.conformance.registries import OCTETS, Registry, at, digest, fails_at_docker_registry

# Pull


def test_end_1_the_base_answers_200_or_401(registry: Registry) -> None:
    assert registry("GET", "/v2/").status in (200, 401)


def test_end_2_a_blob_is_served_with_its_digest_and_length(registry: Registry) -> None:
    content = os.urandom(5000)
    name = registry.push(content)
    for method, body in (("GET", content), ("HEAD", b"")):
        answer = registry(method, f"blobs/{name}")
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["docker-content-digest"] == name
        assert answer.headers["content-length"] == "5000"


def test_end_2_and_3_what_is_not_there_is_404(registry: Registry) -> None:
    """In a repository that exists and in one that does not, for blobs, tags and digests."""
    missing = digest(b"missing")
    for _ in range(2):
        for path in (f"blobs/{missing}", f"manifests/{missing}", "manifests/none"):
            for method in ("GET", "HEAD"):
                assert registry(method, path).status == 404
        registry.push(b"now it exists")


def test_error_bodies_are_the_specifications(registry: Registry) -> None:
    registry.push(b"x")
    missing = digest(b"missing")
    assert registry("GET", f"blobs/{missing}").code == "BLOB_UNKNOWN"
    assert registry("GET", f"manifests/{missing}").code == "MANIFEST_UNKNOWN"
    assert registry("GET", "/v2/conformance/never/tags/list").code == "NAME_UNKNOWN"
    place = registry.start()
    registry("DELETE", place)
    assert registry("GET", place).code == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [("500-1499", 500, 1500), ("500-", 500, 2000), ("-500", 1500, 2000), ("1900-9999", 1900, 2000)],
)
def test_end_2_ranges(registry: Registry, asked: str, first: int, end: int) -> None:
    content = os.urandom(2000)
    answer = registry("GET", f"blobs/{registry.push(content)}", Range=f"bytes={asked}")
    assert (answer.status, answer.body) == (206, content[first:end])
    assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/2000"
    assert answer.headers["content-length"] == str(end - first)


@fails_at_docker_registry("it cuts the connection")
@pytest.mark.parametrize("asked", ["500-0", "5000-10000"])
def test_end_2_ranges_outside_are_416(registry: Registry, asked: str) -> None:
    answer = registry("GET", f"blobs/{registry.push(os.urandom(2000))}", Range=f"bytes={asked}")
    assert answer.status == 416


# Push blobs


def test_end_4a_and_6_post_then_put(registry: Registry) -> None:
    content = os.urandom(3000)
    answer = registry("PUT", at(registry.start(), digest=digest(content)), content, **OCTETS)
    assert answer.status == 201
    assert answer.headers["docker-content-digest"] == digest(content)
    assert registry("GET", answer.headers["location"]).body == content


def test_end_4b_a_single_post_is_taken_or_falls_back(registry: Registry) -> None:
    content = os.urandom(3000)
    answer = registry("POST", f"blobs/uploads/?digest={digest(content)}", content, **OCTETS)
    assert answer.status in (201, 202)
    if answer.status == 202:
        answer = registry("PUT", at(answer.headers["location"], digest=digest(content)), content, **OCTETS)
    assert registry("GET", answer.headers["location"]).body == content


@fails_at_docker_registry("it computes sha256 whatever was asked for")
def test_end_4c_sha512(registry: Registry) -> None:
    content = os.urandom(3000)
    name = digest(content, "sha512")
    place = registry.start("?digest-algorithm=sha512")
    place = registry("PATCH", place, content, **OCTETS).headers["location"]
    answer = registry("PUT", at(place, digest=name))
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, name)
    fetched = registry("GET", f"blobs/{name}")
    assert (fetched.status, fetched.headers["docker-content-digest"]) == (200, name)


@pytest.mark.parametrize("last_by_put", [False, True])
def test_end_5_chunks_in_order(registry: Registry, last_by_put: bool) -> None:
    content = os.urandom(10_000)
    place = registry.start()
    cuts = [(0, 4000), (4000, 8000), (8000, 10_000)]
    for first, end in cuts[:2] if last_by_put else cuts:
        answer = registry("PATCH", place, content[first:end], Content_Range=f"{first}-{end - 1}", **OCTETS)
        assert (answer.status, answer.headers["range"]) == (202, f"0-{end - 1}")
        place = answer.headers["location"]
        status = registry("GET", place)
        assert (status.status, status.headers["range"]) == (204, f"0-{end - 1}")
        place = status.headers["location"]
    place = at(place, digest=digest(content))
    if last_by_put:
        answer = registry("PUT", place, content[8000:], Content_Range="8000-9999", **OCTETS)
    else:
        answer = registry("PUT", place)
    assert answer.status == 201
    assert registry("GET", answer.headers["location"]).body == content


@fails_at_docker_registry("it answers 202, and keeps the chunk")
@pytest.mark.parametrize("bad", ["200-299", "50-149", "0-99", "x-y", "100"])
def test_end_5_a_chunk_out_of_order_is_416_and_changes_nothing(registry: Registry, bad: str) -> None:
    content = os.urandom(200)
    place = registry.start()
    place = registry("PATCH", place, content[:100], Content_Range="0-99", **OCTETS).headers["location"]
    assert registry("PATCH", place, content[100:], Content_Range=bad, **OCTETS).status == 416
    assert registry("PUT", at(place, digest=digest(content)), content[100:], Content_Range=bad, **OCTETS).status == 416
    status = registry("GET", place)
    assert (status.status, status.headers["range"]) == (204, "0-99")
    place = registry("PATCH", place, content[100:], Content_Range="100-199", **OCTETS).headers["location"]
    assert registry("PUT", at(place, digest=digest(content))).status == 201


def test_end_5_a_stream_needs_no_length(registry: Registry) -> None:
    """Chunked transfer encoding, no Content-Range: everything in one PATCH."""
    from http.client import HTTPConnection

    content = os.urandom(100_000)
    parts = urlsplit(registry.start())
    connection = HTTPConnection(registry.host, timeout=30)
    pieces = (content[start : start + 7000] for start in range(0, len(content), 7000))
    connection.request("PATCH", parts.path + (f"?{parts.query}" if parts.query else ""), body=pieces, headers=OCTETS)
    answer = connection.getresponse()
    place = answer.headers["Location"]
    assert (answer.status, answer.read()) == (202, b"")
    connection.close()
    assert registry("PUT", at(place, digest=digest(content))).status == 201
    assert registry("GET", f"blobs/{digest(content)}").body == content


def test_end_6_a_wrong_digest_is_400_and_stores_nothing(registry: Registry) -> None:
    """By every way of pushing; and text that is no digest at all."""
    claimed = digest(b"right")
    answers = [registry("PUT", at(registry.start(), digest=claimed), b"wrong", **OCTETS)]
    place = registry("PATCH", registry.start(), b"wrong", **OCTETS).headers["location"]
    answers.append(registry("PUT", at(place, digest=claimed)))
    answers.append(registry("PUT", at(registry.start(), digest="sha256:xyz"), b"wrong", **OCTETS))
    assert [(answer.status, answer.code) for answer in answers] == [(400, "DIGEST_INVALID")] * 3
    assert registry("HEAD", f"blobs/{claimed}").status == 404


def test_end_11_mounting_from_another_repository(registry: Registry) -> None:
    content = os.urandom(100)
    name = registry.push(content)
    source, registry.name = registry.name, f"conformance/{uuid.uuid4().hex}"
    answer = registry("POST", f"blobs/uploads/?mount={name}&from={source}", b"")
    assert answer.status == 201
    assert registry("GET", answer.headers["location"]).body == content


def test_end_11_what_cannot_be_mounted_begins_an_upload(registry: Registry) -> None:
    content = os.urandom(100)
    answer = registry("POST", f"blobs/uploads/?mount={digest(content)}&from=conformance/nowhere", b"")
    assert answer.status == 202
    assert registry("PUT", at(answer.headers["location"], digest=digest(content)), content, **OCTETS).status == 201


def test_end_14_a_cancelled_upload_is_gone(registry: Registry) -> None:
    place = registry.start()
    assert registry("DELETE", place).status == 204
    assert registry("GET", place).status == 404
    assert registry("PUT", at(place, digest=digest(b"")), b"", **OCTETS).status == 404


def test_the_empty_blob_is_a_blob(registry: Registry) -> None:
    name = registry.push(b"")
    answer = registry("GET", f"blobs/{name}")
    assert (answer.status, answer.body) == (200, b"")
