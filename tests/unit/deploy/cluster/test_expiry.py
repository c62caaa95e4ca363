"""Credentials that have ended are told as such, without a secret."""

from __future__ import annotations

import base64
import datetime
import json

from wasme.deploy.cluster.access import Access
from wasme.deploy.cluster.expiry import certificate_end, token_end, told

THEN = datetime.datetime(2001, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)


def _certificate(end: datetime.datetime) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "jane")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=365))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def _token(claims: object) -> str:
    def part(obj: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(obj).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}.c2lnbmF0dXJl"


def test_the_end_of_a_certificate() -> None:
    """notAfter is read in both its forms (before and from 2050 on), and junk is nothing."""
    late = datetime.datetime(2061, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    for end in (THEN, late):
        assert certificate_end(_certificate(end)) == end
    whole = _certificate(THEN)
    for pem in (
        b"",
        b"junk",
        whole[:200],
        whole.replace(b"MII", b"AAA"),
        b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----",
    ):
        assert certificate_end(pem) is None


def test_the_end_of_a_token() -> None:
    """exp of a JSON web token; other tokens have none."""
    assert token_end(_token({"exp": THEN.timestamp()})) == THEN
    for token in ("", "abc", "a.b.c", _token([1]), _token({}), _token({"exp": "x"}), _token({"exp": 1e300})):
        assert token_end(token) is None


def test_what_is_told() -> None:
    """Expired credentials name user, file and day; the token itself is never shown."""
    secret = _token({"exp": THEN.timestamp()})
    access = Access("https://x", user="jane", origin="~/.kube/config", token=secret)
    assert told(access) == "the user jane of ~/.kube/config: the token expired on 2001-02-03 04:05 UTC"
    assert told(access, THEN - datetime.timedelta(days=1)) == "the user jane of ~/.kube/config"
    certified = Access("https://x", user="jane", origin="f", certificate=_certificate(THEN))
    assert told(certified) == "the user jane of f: the client certificate expired on 2001-02-03 04:05 UTC"
    assert told(Access("https://x")) == ""
