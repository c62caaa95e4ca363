"""Distribution specification: manifests, tags, deleting, referrers (end-3, 7 to 10, 12)."""

from __future__ import annotations

import os

import pytest

from tests.conformance.registries import (
    EMPTY,
    INDEX,
    MANIFEST,
    Registry,
    descriptor,
    digest,
    encode,
    fails_at_docker_registry,
    image,
)

# Pull


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
