"""Who may get a password, and which addresses are inside."""

from __future__ import annotations

import pytest

from wasme.errors import UnsafeAnswer
from wasme.registry import guards
from wasme.registry.origin import Origin

GOOD = [
    ("https://registry-1.docker.io", "https://auth.docker.io/token"),
    ("https://ghcr.io", "https://ghcr.io/token"),
    ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
    ("https://docker.company.co.uk", "https://company.co.uk/token"),
    ("https://company.co.uk", "https://login.company.co.uk/token"),
    ("https://harbor.example:8443", "https://harbor.example:8443/service/token"),
    ("https://registry.redhat.io", "https://sso.redhat.com/token"),
    ("https://10.0.0.5:5000", "https://10.0.0.5:5001/token"),
    ("http://localhost:5000", "http://localhost:5001/token"),
    ("http://127.0.0.1:5000", "https://127.0.0.1:5001/token"),
]
BAD = [
    ("https://registry.example.com", "https://evil.example.net/token"),
    ("https://registry.example.com", "http://registry.example.com/token"),
    ("http://registry.example.com", "http://evil.example.com/token"),
    ("https://good.co.uk", "https://evil.co.uk/token"),
    ("https://registry.alice.duckdns.org", "https://evil.duckdns.org/token"),
    ("https://registry.example.com", "https://login.example.com/token"),
    ("https://1.8.8.8", "https://8.8.8/token"),
    ("https://good.azurecr.io", "https://evil.azurecr.io/token"),
    ("https://1.dkr.ecr.us-east-1.amazonaws.com", "https://evil.s3.us-east-1.amazonaws.com/"),
    ("https://example.com", "https://example.com.evil.net/token"),
    ("https://registry.example.com", "https://notexample.com/token"),
    ("https://registry.example.com", "https://example.com@evil.net/token"),
    ("https://registry.example.com", "https://evil.net\\@registry.example.com/token"),
    ("https://8.8.8.8", "https://9.8.8.8/token"),
    ("https://com", "https://evil.com/token"),
    ("https://registry.example.com", "file:///etc/passwd"),
    ("https://registry.example.com", "//evil.net/token"),
    ("https://registry.example.com", ""),
]
INSIDE = [
    "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "::1", "fe80::1%eth0",
    "fd00::1", "::ffff:10.0.0.1", "100.64.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
]  # fmt: skip


@pytest.mark.parametrize(("registry", "realm"), GOOD)
def test_realms_that_real_registries_use(registry: str, realm: str) -> None:
    """They get the password."""
    guards.check_realm(realm, Origin.of(registry), with_secret=True)


@pytest.mark.parametrize(("registry", "realm"), BAD)
def test_realms_that_get_nothing(registry: str, realm: str) -> None:
    """Strangers, and those who only look like family, do not."""
    with pytest.raises(UnsafeAnswer):
        guards.check_realm(realm, Origin.of(registry), with_secret=True)


def test_a_stranger_may_give_an_anonymous_token() -> None:
    """Where no secret goes along, another domain is no danger."""
    guards.check_realm("https://tokens.example.net/", Origin.of("https://registry.example.com"), with_secret=False)


def test_the_user_may_trust_a_realm() -> None:
    """authRealms in the settings opens that one door."""
    registry = Origin.of("https://registry.example.com")
    guards.check_realm("https://sso.example.net/t", registry, with_secret=True, trusted=["sso.example.net"])
    with pytest.raises(UnsafeAnswer, match="stranger"):
        guards.check_realm("https://evil.example.net/t", registry, with_secret=True, trusted=["sso.example.net"])


@pytest.mark.parametrize("address", INSIDE)
def test_nobody_outside_leads_inside(address: str) -> None:
    """Whatever the address is wrapped in, and where the source's own is not known."""
    to, source = Origin.of("https://inside.example"), Origin.of("https://registry.example.com")
    for known in ("8.8.8.8", "2001:4860:4860::8888", ""):
        with pytest.raises(UnsafeAnswer, match="inside this network"):
            guards.check_reach(to, address, source, known)


def test_where_one_may_lead() -> None:
    """To the Internet, within one's own network, through a proxy to any name; never to a cloud's metadata."""
    to, source = Origin.of("https://b.example"), Origin.of("https://a.example")
    open_ways = [("8.8.8.8", "9.9.9.9"), ("10.0.0.1", "127.0.0.1"), ("8.8.8.8", "10.0.0.1"), ("b.example", "")]
    for address, known in open_ways:
        guards.check_reach(to, address, source, known)
    with pytest.raises(UnsafeAnswer):
        guards.check_reach(to, "169.254.169.254", source, "127.0.0.1")


def test_redirects_that_are_followed() -> None:
    """To a public store; never from TLS to none."""
    guards.check_redirect(Origin.of("https://registry.example.com"), "https://bucket.s3.amazonaws.com/x?sig=1")
    with pytest.raises(UnsafeAnswer, match="without TLS"):
        guards.check_redirect(Origin.of("https://registry.example.com"), "http://registry.example.com/x")


def test_a_stranger_s_error_names_the_line_to_add() -> None:
    """Who knows better can say so."""
    with pytest.raises(UnsafeAnswer) as caught:
        guards.check_realm("https://login.x.com/t", Origin.of("https://registry.x.com:5000"), with_secret=True)
    assert "authRealms: {registry.x.com:5000: login.x.com}" in str(caught.value.hint)


def test_credentials_stay_with_scheme_host_and_port() -> None:
    """Any difference takes them away, in whatever case the header is written."""
    here = Origin.of("https://a.example")
    headers = {"authorization": "x", "Cookie": "y", "Range": "bytes=1-"}
    assert guards.without_credentials(headers, here, Origin.of("https://a.example:443")) == headers
    for other in ("http://a.example", "https://a.example:8443", "https://b.example"):
        assert guards.without_credentials(headers, here, Origin.of(other)) == {"Range": "bytes=1-"}


def test_a_servers_words_are_tamed() -> None:
    """One line, no escapes, bounded."""
    assert guards.printable("a\x1b[31m\r\nb\u202ec") == "a [31m bc"
    assert len(guards.printable("x" * 10_000)) == 300
