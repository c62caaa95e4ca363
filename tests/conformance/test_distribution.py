"""The OCI distribution specification 1.1 and what has been added to it since, from its text, over plain HTTP.

Every test runs against our hub, and against docker-registry 2.8, which must fail in the places that are known: a check
that cannot fail says nothing. `fails_at_docker_registry` names them; they are strict, so a check that turns soft is
noticed there.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conformance.registries import DockerRegistry
from tests.fixtures.hubs import Answer, Hub, ask
from tests.fixtures.tools import need

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = b"{}"
OCTETS = {"Content-Type": "application/octet-stream"}

fails_at_docker_registry = pytest.mark.fails_at_docker_registry


class Registry:
    """A registry and a repository name that no other test uses."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.name = f"conformance/{uuid.uuid4().hex}"

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request; a path without a leading slash is below `/v2/NAME/`, and a Location may be absolute."""
        if "://" in path:
            parts = urlsplit(path)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
        elif not path.startswith("/"):
            path = f"/v2/{self.name}/{path}"
        return ask(
            self.host, method, path, body, headers={key.replace("_", "-"): value for key, value in headers.items()}
        )

    def start(self, query: str = "") -> str:
        answer = self("POST", f"blobs/uploads/{query}", b"")
        assert answer.status == 202
        return answer.headers["location"]

    def push(self, content: bytes, algorithm: str = "sha256") -> str:
        name = digest(content, algorithm)
        answer = self("PUT", at(self.start(), digest=name), content, **OCTETS)
        assert answer.status == 201, answer
        return name

    def put(self, reference: str, manifest: dict[str, Any] | bytes, kind: str = MANIFEST) -> Answer:
        body = manifest if isinstance(manifest, bytes) else encode(manifest)
        return self("PUT", f"manifests/{reference}", body, Content_Type=kind)

    def image(self, reference: str, **more: Any) -> tuple[str, bytes]:
        """Push an image of one layer; its digest and bytes."""
        layer = os.urandom(40)
        self.push(layer)
        self.push(EMPTY)
        body = encode(image(layer, **more))
        answer = self.put(reference, body)
        assert answer.status == 201, answer
        return digest(body), body


def digest(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def descriptor(content: bytes, kind: str = "application/octet-stream") -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(content), "size": len(content)}


def image(*layers: bytes, **more: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(EMPTY, "application/vnd.example.config+json"),
        "layers": [descriptor(each) for each in layers],
        **more,
    }


def at(location: str, **query: str) -> str:
    joined = "&".join(f"{key}={value}" for key, value in query.items())
    return location + ("&" if "?" in location else "?") + joined


@pytest.fixture(scope="module")
def hub_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    hub = Hub(tmp_path_factory.mktemp("hub"), "--open")
    yield hub.host
    hub.stop()


@pytest.fixture(scope="module")
def docker_registry_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    registry = DockerRegistry(need("docker-registry"), tmp_path_factory.mktemp("docker-registry"))
    yield registry.host
    registry.stop()


@pytest.fixture(params=["hub", "docker_registry"])
def registry(request: pytest.FixtureRequest) -> Registry:
    if request.param == "docker_registry" and (mark := request.node.get_closest_marker("fails_at_docker_registry")):
        errors = (AssertionError, KeyError, ValueError, HTTPException, OSError)
        request.node.add_marker(pytest.mark.xfail(reason=mark.args[0], strict=True, raises=errors))
    return Registry(request.getfixturevalue(f"{request.param}_host"))


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


def test_end_3_a_manifest_comes_back_as_it_went_in(registry: Registry) -> None:
    """Byte for byte, under the Content-Type it was pushed with, by tag and by digest."""
    name, body = registry.image("v1")
    for reference in ("v1", name):
        answer = registry("GET", f"manifests/{reference}", Accept=MANIFEST)
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["content-type"] == MANIFEST
        assert answer.headers["docker-content-digest"] == name
        head = registry("HEAD", f"manifests/{reference}", Accept=MANIFEST)
        assert (head.status, head.headers["content-length"]) == (200, str(len(body)))
        assert head.headers["docker-content-digest"] == name


def test_end_3_a_manifest_without_a_media_type_is_taken(registry: Registry) -> None:
    """The original wasme writes none."""
    registry.push(EMPTY)
    body = encode({"schemaVersion": 2, "config": descriptor(EMPTY), "layers": []})
    assert registry.put("v1", body).status == 201
    answer = registry("GET", "manifests/v1", Accept=MANIFEST)
    assert (answer.body, answer.headers["content-type"]) == (body, MANIFEST)


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


# Push manifests


def test_end_7a_a_manifest_with_missing_content_is_refused(registry: Registry) -> None:
    registry.push(EMPTY)
    answer = registry.put("v1", image(b"never pushed"))
    assert answer.status in (400, 404)
    assert answer.code == "MANIFEST_BLOB_UNKNOWN"
    assert registry("GET", "manifests/v1", Accept=MANIFEST).status == 404


def test_end_7a_by_digest(registry: Registry) -> None:
    registry.push(EMPTY)
    body = encode(image())
    assert registry.put(digest(body), body).status == 201
    wrong = registry.put(digest(b"other"), body)
    assert (wrong.status, wrong.code) == (400, "DIGEST_INVALID")


def test_end_7a_four_megabytes_are_taken(registry: Registry) -> None:
    registry.push(EMPTY)
    spare = 4 * 1024 * 1024 - len(encode(image(annotations={"x": ""})))
    body = encode(image(annotations={"x": "y" * spare}))
    assert len(body) == 4 * 1024 * 1024
    assert registry.put("large", body).status == 201
    assert registry("GET", "manifests/large", Accept=MANIFEST).body == body


@fails_at_docker_registry("it answers 400")
def test_end_7a_more_is_413(registry: Registry) -> None:
    registry.push(EMPTY)
    body = encode(image(annotations={"x": "y" * 4 * 1024 * 1024}))
    assert registry.put("larger", body).status == 413


@fails_at_docker_registry("it takes the manifest under its own digest only")
def test_end_7b_several_tags_at_once(registry: Registry) -> None:
    registry.push(EMPTY)
    body = encode(image())
    tags = [f"t{number}" for number in range(10)]
    answer = registry.put(digest(body) + "?" + "&".join(f"tag={tag}" for tag in tags), body)
    told = [value for name, value in answer.all_headers if name == "oci-tag"]
    assert (answer.status, sorted(tag.strip() for line in told for tag in line.split(","))) == (201, tags)
    assert all(registry("HEAD", f"manifests/{tag}", Accept=MANIFEST).status == 200 for tag in tags)


@fails_at_docker_registry("it asks for the layer")
def test_layers_that_must_not_be_distributed_need_not_be_pushed(registry: Registry) -> None:
    registry.push(EMPTY)
    layer = descriptor(b"licensed", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
    assert registry.put("v1", {**image(), "layers": [layer]}).status == 201


def test_indexes_may_nest(registry: Registry) -> None:
    _, body = registry.image("a")
    inner = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(body, MANIFEST)]})
    outer = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(inner, INDEX)]})
    assert registry.put("inner", inner, INDEX).status == 201
    assert registry.put("outer", outer, INDEX).status == 201
    assert registry("GET", "manifests/outer", Accept=INDEX).body == outer


def test_a_manifest_that_is_no_json_is_refused(registry: Registry) -> None:
    for body in (b"", b"nonsense", b"[]"):
        answer = registry.put("v1", body)
        assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


# Tags


def test_end_8a_tags_are_listed(registry: Registry) -> None:
    for tag in ("v1", "a", "Z"):
        registry.image(tag)
    answer = registry("GET", "tags/list")
    assert answer.status == 200
    assert (answer.json["name"], sorted(answer.json["tags"])) == (registry.name, ["Z", "a", "v1"])


@fails_at_docker_registry("it knows neither pages nor an order")
def test_end_8b_tags_are_listed_in_order_and_in_pages(registry: Registry) -> None:
    for tag in ("v1", "v10", "v2", "a", "Z"):
        registry.image(tag)
    order = registry("GET", "tags/list").json["tags"]
    assert order in (sorted(order), sorted(order, key=str.lower))
    first = registry("GET", "tags/list?n=2")
    assert first.json["tags"] == order[:2]
    assert 'rel="next"' in first.headers["link"]
    following = first.headers["link"].partition("<")[2].partition(">")[0]
    assert registry("GET", following).json["tags"] == order[2:4]
    assert registry("GET", f"tags/list?last={order[3]}").json["tags"] == order[4:]
    last = registry("GET", f"tags/list?n=2&last={order[3]}")
    assert (last.json["tags"], last.headers.get("link")) == (order[4:], None)


@fails_at_docker_registry("it answers with all of them")
def test_end_8b_n_0_is_an_empty_list(registry: Registry) -> None:
    registry.image("v1")
    answer = registry("GET", "tags/list?n=0")
    assert (answer.status, answer.json["tags"], answer.headers.get("link")) == (200, [], None)


@fails_at_docker_registry("it answers 404")
def test_end_8a_a_repository_without_tags_has_an_empty_list(registry: Registry) -> None:
    registry.push(b"only a blob")
    answer = registry("GET", "tags/list")
    assert (answer.status, answer.json["tags"]) == (200, [])


# Delete


@fails_at_docker_registry("it cannot delete tags")
def test_end_9_deleting_a_tag_leaves_the_manifest(registry: Registry) -> None:
    name, _ = registry.image("v1")
    assert registry("DELETE", "manifests/v1").status == 202
    assert registry("GET", "manifests/v1", Accept=MANIFEST).status == 404
    assert registry("GET", f"manifests/{name}", Accept=MANIFEST).status == 200


def test_end_9_deleting_a_manifest_takes_its_tags_along(registry: Registry) -> None:
    name, _ = registry.image("v1")
    assert registry("DELETE", f"manifests/{name}").status == 202
    assert registry("GET", f"manifests/{name}", Accept=MANIFEST).status == 404
    assert registry("GET", "manifests/v1", Accept=MANIFEST).status == 404
    assert registry("DELETE", f"manifests/{name}").status == 404


def test_end_10_deleting_a_blob(registry: Registry) -> None:
    name = registry.push(os.urandom(50))
    assert registry("DELETE", f"blobs/{name}").status == 202
    assert registry("GET", f"blobs/{name}").status == 404
    assert registry("DELETE", f"blobs/{name}").status == 404


# Referrers


@fails_at_docker_registry("it has no referrers API")
def test_end_12_referrers(registry: Registry) -> None:
    """Listed under their subject with artifact type and annotations; the subject may be missing or come later."""
    registry.push(EMPTY)
    subject_body = encode(image(annotations={"subject": "yes"}))
    subject = descriptor(subject_body, MANIFEST)
    expected = {}
    for kind in ("application/vnd.example.sbom", "application/vnd.example.signature", None):
        more = {"artifactType": kind} if kind else {}
        body = encode(image(subject=subject, annotations={"kind": str(kind)}, **more))
        answer = registry.put(digest(body), body)
        assert (answer.status, answer.headers["oci-subject"]) == (201, subject["digest"])
        expected[digest(body)] = kind or "application/vnd.example.config+json"
    body = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": subject})
    assert registry.put(digest(body), body, INDEX).status == 201
    expected[digest(body)] = None
    assert registry.put("subject", subject_body).status == 201
    answer = registry("GET", f"referrers/{subject['digest']}")
    assert (answer.status, answer.headers["content-type"]) == (200, INDEX)
    assert {each["digest"]: each.get("artifactType") for each in answer.json["manifests"]} == expected
    assert {each["annotations"]["kind"] for each in answer.json["manifests"] if "annotations" in each} >= {"None"}
    filtered = registry("GET", f"referrers/{subject['digest']}?artifactType=application/vnd.example.sbom")
    assert [each["artifactType"] for each in filtered.json["manifests"]] == ["application/vnd.example.sbom"]
    assert filtered.headers["oci-filters-applied"] == "artifactType"


@fails_at_docker_registry("it has no referrers API")
def test_end_12_no_referrers_is_an_empty_index_and_a_bad_digest_400(registry: Registry) -> None:
    answer = registry("GET", f"referrers/{digest(b'nothing')}")
    assert (answer.status, answer.json["manifests"], answer.json["schemaVersion"]) == (200, [], 2)
    assert registry("GET", "referrers/sha256:xyz").status == 400


@fails_at_docker_registry("it has no referrers API")
def test_end_12_many_referrers_come_in_pages(registry: Registry) -> None:
    registry.push(EMPTY)
    subject = descriptor(b"missing", MANIFEST)
    expected = set()
    for number in range(5):
        body = encode(image(subject=subject, annotations={"number": str(number)}))
        registry.put(digest(body), body)
        expected.add(digest(body))
    seen: list[str] = []
    path: str | None = f"referrers/{subject['digest']}?n=2"
    while path:
        answer = registry("GET", path)
        seen.extend(each["digest"] for each in answer.json["manifests"])
        path = answer.headers.get("link", "").partition("<")[2].partition(">")[0] or None
    assert (len(seen), set(seen)) == (5, expected)


def test_the_catalog_lists_what_holds_something(registry: Registry) -> None:
    """Not of the specification, but clients ask: repositories in pages."""
    registry.image("v1")
    names: list[str] = []
    path = "/v2/_catalog?n=3"
    while path:
        answer = registry("GET", path)
        names.extend(answer.json["repositories"])
        path = answer.headers.get("link", "").partition("<")[2].partition(">")[0]
    assert registry.name in names
    assert names == sorted(set(names))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("UPPER/case", marks=fails_at_docker_registry("it takes upper case")),
        pytest.param("a" * 300, marks=fails_at_docker_registry("it answers 500")),
        "a//b",
        "a/../b",
        "a/.b",
        "a/b_",
        "-a",
    ],
)
def test_names_outside_the_grammar_are_refused(registry: Registry, name: str) -> None:
    """Whatever the status, nothing is stored under such a name."""
    assert registry("POST", f"/v2/{name}/blobs/uploads/", b"").status in (301, 400, 404)
