"""What gets past the router: paths, names, listen addresses."""

import pytest

from wasme.errors import UsageError
from wasme.hub.application import split
from wasme.hub.names import check_digest, check_repository, is_tag, is_user, namespace
from wasme.hub.refusal import Refusal
from wasme.hub.settings import Settings, is_loopback, parse_listen, parse_proxies

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/", ("base", "", "")),
        ("/v2", ("base", "", "")),
        ("/v2/_catalog", ("catalog", "", "")),
        ("/v2/a/b/manifests/v1", ("manifest", "a/b", "v1")),
        (f"/v2/a/blobs/{DIGEST}", ("blob", "a", DIGEST)),
        ("/v2/a/blobs/uploads/", ("uploads", "a", "")),
        ("/v2/a/blobs/uploads", ("uploads", "a", "")),
        ("/v2/a/blobs/uploads/0123", ("upload", "a", "0123")),
        ("/v2/a/tags/list", ("tags", "a", "")),
        (f"/v2/a/referrers/{DIGEST}", ("referrers", "a", DIGEST)),
        # repositories that are called like endpoints
        ("/v2/blobs/manifests/v1", ("manifest", "blobs", "v1")),
        ("/v2/a/manifests/manifests/v1", ("manifest", "a/manifests", "v1")),
        ("/v2/a/blobs/uploads/manifests/v1", ("manifest", "a/blobs/uploads", "v1")),
        ("/v2/a/tags/tags/list", ("tags", "a/tags", "")),
        ("/v2/a", ("unknown", "", "")),
        ("/v2x/a/manifests/b", ("none", "", "")),
        ("/", ("none", "", "")),
    ],
)
def test_the_last_components_of_a_path_decide_what_it_means(path: str, expected: tuple[str, str, str]) -> None:
    assert split(path) == expected


@pytest.mark.parametrize("name", ["a", "a/b", "a.b/c_d/e__f/g-h/i--j", "0/1", "a" * 255])
def test_names_of_the_specification_are_taken(name: str) -> None:
    assert check_repository(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "a/",
        "/a",
        "a//b",
        "..",
        "../a",
        "a/../b",
        "a/.",
        "a b",
        "a\0",
        "a\n",
        "é",
        "a___b",
        "-a",
        "a.",
        "a" * 256,
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_repository(name)
    assert (refused.value.status, refused.value.code) == (400, "NAME_INVALID")


def test_a_long_hostile_name_is_refused_at_once() -> None:
    """No input makes the grammar backtrack: 200 letters and a bad end take no time."""
    with pytest.raises(Refusal):
        check_repository("a-" * 120 + "!")


@pytest.mark.parametrize(
    "text", ["", None, "sha256:abc", "sha256:" + "A" * 64, "md5:" + "a" * 32, DIGEST + "0", "../x"]
)
def test_only_whole_digests_are_taken(text: str | None) -> None:
    with pytest.raises(Refusal) as refused:
        check_digest(text)
    assert refused.value.code == "DIGEST_INVALID"


def test_tags_and_users() -> None:
    """Tags may have upper case and not begin with a dot; users must be able to begin a repository's name."""
    assert is_tag("V1.0_x-y")
    assert is_tag("a" * 128)
    assert not any(map(is_tag, ["", ".a", "-a", "a/b", "a" * 129, "ä", "a\n"]))
    assert is_user("demo")
    assert is_user("a.b-c_d")
    assert not any(map(is_user, ["", "Demo", "a/b", "a:b", "..", "a" * 65, "a\n"]))
    assert namespace("demo/a/b") == "demo"
    assert namespace("demo") == "demo"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:80", ("localhost", 80)),
        (":5000", ("0.0.0.0", 5000)),
    ],
)
def test_listen_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize("text", ["", "localhost", "5000", "a:", "a:b", "a:65536", "::1:5000", "a:-1", "a:٣"])
def test_other_listen_addresses_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        parse_listen(text)


@pytest.mark.parametrize("text", ["proxy.example.org", "192.0.2.1:80", "[::1]", "10.0.0.1/8", "", "192.0.2", "*"])
def test_other_proxies_are_usage_errors(text: str) -> None:
    """A proxy that would never be recognised is said at the start, not found out when nobody can log in."""
    with pytest.raises(UsageError, match="--trusted-proxy"):
        parse_proxies([text])


def test_loopback() -> None:
    """127/8, ::1 and localhost are this machine, however they are written; nothing else is."""
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost", "hub.localhost", "LocalHost", "0::1",
                                 "::ffff:127.0.0.1"]))  # fmt: skip
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example.org"]))


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"open": True, "host": "0.0.0.0"}, "--open"),
        ({"open": True, "private": True}, "contradict"),
        ({"workers": 0}, "--workers"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, more: dict[str, object], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Settings(data=tmp_path, **more)
