"""When credentials end: a server that refuses them says only 401, so it is read from the credentials themselves."""

from __future__ import annotations

import base64
import datetime
import json

from wasme.deploy.cluster.access import Access


def told(access: Access, now: datetime.datetime | None = None) -> str:
    """What is known of credentials that were refused, in words and without a secret; "" where nothing is.

    Args:
        access: what was shown to the server.
        now: the time to compare with (aware); None for the clock's.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    who = f"the user {access.user} of {access.origin}" if access.user else ""
    ends, what = None, ""
    if access.certificate is not None:
        ends, what = certificate_end(access.certificate), "client certificate"
    elif access.token:
        ends, what = token_end(access.token), "token"
    if ends is not None and ends < now:
        return f"{who}: the {what} expired on {ends:%Y-%m-%d %H:%M} UTC"
    if access.token_file is not None:
        return f"{who} (token file {access.token_file})"
    return who


def token_end(token: str) -> datetime.datetime | None:
    """``exp`` of a JSON web token (RFC 7519 §4.1.4); None where it has none, or is no such token."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.datetime.fromtimestamp(float(claims["exp"]), datetime.UTC)
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return None


def certificate_end(pem: bytes) -> datetime.datetime | None:
    """``notAfter`` of the first certificate of a PEM file (RFC 5280 §4.1); None where it cannot be read."""
    _, _, rest = pem.partition(b"-----BEGIN CERTIFICATE-----")
    body, end, _ = rest.partition(b"-----END CERTIFICATE-----")
    if not end:
        return None
    try:
        der = base64.b64decode(body)
        # Certificate { TBSCertificate { [0] version, serial, signature, issuer, Validity { notBefore, notAfter } ...
        inside = _parts(_parts(_parts(der)[0][1])[0][1])
        validity = inside[4 if inside[0][0] == 0xA0 else 3][1]
        tag, text = _parts(validity)[1]
        form = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"
        return datetime.datetime.strptime(text.decode("ascii"), form).replace(tzinfo=datetime.UTC)
    except (ValueError, IndexError):
        return None


def _parts(der: bytes) -> list[tuple[int, bytes]]:
    """The values of a DER sequence's content, each as tag and content (X.690 §8.1)."""
    found = []
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[at : at + size], "big")
            at += size
        if at + length > len(der):
            raise ValueError("cut")
        found.append((tag, der[at : at + length]))
        at += length
    return found
