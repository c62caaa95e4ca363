"""What a registry's refusal means, in words, and what to do about it."""

from __future__ import annotations

import msgspec

from wasme.errors import Forbidden, NotARegistry, RegistryError, RemoteNotFound, Throttled, Unauthorized
from wasme.registry import guards
from wasme.registry.transport import Response

_MEANINGS = {
    "BLOB_UPLOAD_INVALID": "the upload went wrong",
    "BLOB_UPLOAD_UNKNOWN": "the upload has been forgotten",
    "DIGEST_INVALID": "it computed another digest",
    "MANIFEST_BLOB_UNKNOWN": "the manifest names a blob that it does not have",
    "NAME_INVALID": "it does not take that name",
}


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] | None = None


def _errors(body: bytes) -> list[_Error]:
    try:
        return msgspec.json.decode(body, type=_Errors).errors or []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


def said(body: bytes) -> str:
    """The registry's own words: its error codes and messages, bounded and printable; "" where there are none."""
    parts = []
    for error in _errors(body)[:3]:
        code, message = guards.printable(error.code, 60), guards.printable(error.message)
        meaning = _MEANINGS.get(code, "")
        parts.append(": ".join(filter(None, (code, message or meaning))))
    return guards.printable("; ".join(filter(None, parts)))


def claims_page(response: Response) -> bool:
    """Whether the answer says that it is a web page."""
    return (response.header("Content-Type") or "").lower().startswith("text/html")


def page(response: Response, what: str) -> NotARegistry:
    """The error for a web page where a registry was expected; the connection is let go."""
    response.close()
    return NotARegistry(
        f"{what}: {response.origin.netloc} answered {response.status} with a web page; it is no registry, "
        "or something stands before it",
        hint="check the host's name: a registry answers at /v2/, and a proxy or login page does not",
    )


def wants_tls(response: Response, body: bytes) -> bool:
    """Whether a TLS server complains, in plain text, about plain http (Go's words and nginx's)."""
    text = body[:2000].lower()
    return response.status == 400 and (b"to an https server" in text or b"sent to https port" in text)


def refusal(
    response: Response, what: str, *, credential: str | None = None, keychain_problems: str = ""
) -> RegistryError:
    """The error for an answer that was not the one hoped for; the body is read and the connection let go.

    Args:
        response: the answer.
        what: what was asked for, as in "pulling host/name:tag".
        credential: where the credentials came from; None where none were sent.
        keychain_problems: files of credentials that could not be read.
    """
    host = response.origin.netloc
    body = response.read_all(64 * 1024) if response.request.method != "HEAD" else b""
    response.close()
    status = response.status
    words = said(body)
    quoted = f" ({words})" if words else ""
    if wants_tls(response, body):
        return NotARegistry(f"{what}: {host} speaks https, not plain http", hint="leave out --plain-http")
    if status == 401:
        return _unauthorized(host, what, quoted, credential, keychain_problems)
    # Gateways before a registry put their 403, 413 and 5xx on pages too; those say enough by themselves.
    if (status < 400 or status in (404, 405, 501)) and (
        claims_page(response) or body.lstrip()[:6].lower() in (b"<!doct", b"<html>")
    ):
        return page(response, what)
    if status == 501 and not words and not response.header("Docker-Distribution-Api-Version"):
        return NotARegistry(
            f"{what}: {host} does not know the request: 501; it is no registry",
            hint="check the host's name: a registry answers at /v2/",
        )
    if status == 403:
        hint = (
            "ask the owner for the right"
            if credential
            else "log in with `wasme login -s " + host + "`, or check the name"
        )
        return Forbidden(f"{what}: {host} forbids it{quoted}", hint=hint)
    if status == 404:
        return RemoteNotFound(
            f"{what}: not found on {host}{quoted}",
            hint="check the name and the tag; some registries say so where a login or the repository is missing",
        )
    if status == 429:
        after = response.header("Retry-After")
        when = f"; it asks to wait {guards.printable(after, 40)} seconds" if after and after.isdigit() else ""
        return Throttled(f"{what}: {host} has had too many requests{when}{quoted}", hint="try again later")
    meanings = {
        400: ("does not accept the request", None),
        405: (
            "does not allow that here",
            "does the repository exist? some registries (ECR) want it made first; or the registry is read-only",
        ),
        413: ("takes nothing that large", "its keeper can raise the limit; often a proxy before it sets one"),
        415: ("does not take images of this kind", "try `wasme push --layout compat`"),
        507: ("is full", "its keeper must make room"),
    }
    other = ("failed", "try again later") if status >= 500 else ("refused", None)
    meaning, hint_text = meanings.get(status, other)
    return RegistryError(f"{what}: {host} {meaning}: {status}{quoted}", hint=hint_text)


def _unauthorized(host: str, what: str, quoted: str, credential: str | None, problems: str) -> Unauthorized:
    if credential is None:
        hint = f"log in with `wasme login -s {host}`"
        if problems:
            hint += f"; credentials that could not be read: {problems}"
        return Unauthorized(f"{what}: {host} wants a login{quoted}", hint=hint)
    return Unauthorized(
        f"{what}: {host} does not accept the credentials from {credential}{quoted}",
        hint=f"log in again with `wasme login -s {host}`, and check that the user may do this",
    )
