"""References: Docker's normalisation, with digests honoured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.errors import InvalidReference
from wasme.image.reference import FULL, Reference

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("typed", "full"),
    [
        ("testimage", "docker.io/library/testimage:latest"),
        ("user/image", "docker.io/user/image:latest"),
        ("docker.io/x", "docker.io/library/x:latest"),
        ("index.docker.io/a/b:c", "docker.io/a/b:c"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost", "docker.io/library/localhost:latest"),
        ("localhost:8080/taco/tuesdays:v1", "localhost:8080/taco/tuesdays:v1"),
        ("webassemblyhub.io/hxpmark/auth:0.01", "webassemblyhub.io/hxpmark/auth:0.01"),
        ("a.b/c__d/e--f.g", "a.b/c__d/e--f.g:latest"),
        ("HOST.example/x:Tag_1.2-3", "HOST.example/x:Tag_1.2-3"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        (f"x@sha256:{HEX}", f"docker.io/library/x@sha256:{HEX}"),
        (f"h:1/x:v@sha256:{HEX}", f"h:1/x:v@sha256:{HEX}"),
        (f"{HEX}:v1", f"docker.io/library/{HEX}:v1"),
    ],
)
def test_full_reference_is_dockers(typed: str, full: str) -> None:
    """What was typed becomes Docker's full reference; a digest stays [BUG of the original: it was dropped]."""
    assert Reference.parse(typed).full == full


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "invalid reference format"),
        ("a:", "the tag"),
        ("a:" + "x" * 129, "the tag"),
        ("a:-x", "the tag"),
        ("a@sha256:12", "the digest"),
        ("a@", "the digest"),
        (f"a@md5:{HEX}", "the digest"),
        ("a//b", "invalid reference format"),
        ("/a", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("../x", "invalid reference format"),
        ("-h.io/x", "invalid reference format"),
        ("h.io:123456/x", "invalid reference format"),
        ("https://h.io/x", "invalid reference format"),
        ("h.io/Upper", "repository name must be lowercase"),
        ("Upper/x", "repository name must be lowercase"),
        ("h.io/" + "a" * 251, "must not be more than 255 characters"),
        (HEX, "cannot specify 64-byte hexadecimal strings"),
    ],
)
def test_refused(typed: str, words: str) -> None:
    """What names nothing is refused, in Docker's words."""
    with pytest.raises(InvalidReference, match=words):
        Reference.parse(typed)


def test_hint_shows_the_lower_case_name() -> None:
    """An upper-case name is the commonest slip: the hint is the reference to type, the tag left as it is."""
    with pytest.raises(InvalidReference) as raised:
        Reference.parse("h.io/Demo/Auth:V1")

    assert raised.value.hint == "use 'h.io/demo/auth:V1'"


@given(st.text())
def test_anything_parses_or_is_refused(text: str) -> None:
    """No text raises anything but InvalidReference, and what parses is its own full reference's parse."""
    try:
        parsed = Reference.parse(text)
    except InvalidReference:
        return

    assert Reference.parse(parsed.full) == parsed


@given(st.from_regex(FULL, fullmatch=True) | st.from_regex(r"(index\.)?docker\.io/[a-z]{1,3}:x", fullmatch=True))
def test_short_cut_finds_the_same(text: str) -> None:
    """What lists recognise in one step is exactly what parsing finds, and Docker's own hub is left to parsing."""
    named = FULL.fullmatch(text)
    if named is None:
        assert Reference.parse(text).domain == "docker.io"
    elif len(named[1]) <= 255:
        parsed = Reference.parse(text)
        assert (parsed.name, parsed.tag, parsed.digest) == (named[1], named[2], None)


_COMPONENT = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", fullmatch=True)
_DOMAIN = st.from_regex(
    r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,6}[a-zA-Z0-9])?(\.[a-z0-9]{1,6}){1,2}(:[0-9]{1,5})?", fullmatch=True
)


@given(
    _DOMAIN,
    st.lists(_COMPONENT, min_size=1, max_size=4),
    st.none() | st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}", fullmatch=True),
    st.none() | st.from_regex(r"sha256:[a-f0-9]{64}", fullmatch=True),
)
def test_every_part_is_kept(domain: str, path: list[str], tag: str | None, digest: str | None) -> None:
    """A reference put together by the grammar is taken apart into the same parts, and written the same."""
    typed = f"{domain}/{'/'.join(path)}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")

    parsed = Reference.parse(typed)

    if domain not in {"docker.io", "index.docker.io"}:
        assert (parsed.domain, parsed.path) == (domain, "/".join(path))
    assert parsed.tag == (tag if tag or digest else "latest")
    assert parsed.digest == digest
    assert Reference.parse(parsed.full) == parsed
