"""A request that the hub answers with an error, in the distribution API's shape."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from wasme.errors import HubError


class Refusal(HubError):
    """One request's error answer.

    Args:
        status: the HTTP status.
        code: the specification's error code, e.g. ``BLOB_UNKNOWN``.
        message: what is wrong and what to do, for a person.
        detail: anything more, as JSON; never a secret.
        headers: response headers that belong to this error.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: object = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = list(headers)

    def body(self) -> bytes:
        """``{"errors": [{"code", "message", "detail"}]}``."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return msgspec.json.encode({"errors": [error]})


def manifest_unknown(reference: str) -> Refusal:
    """404 for a manifest that the repository does not have."""
    return Refusal(
        404, "MANIFEST_UNKNOWN", "the repository has no such manifest", detail={"reference": reference[:200]}
    )


def blob_unknown(digest: str) -> Refusal:
    """404 for a blob that the repository does not have, be it somewhere else or nowhere."""
    return Refusal(404, "BLOB_UNKNOWN", "the repository has no such blob", detail={"digest": digest[:200]})


def name_unknown(repository: str) -> Refusal:
    """404 for a repository that does not exist."""
    return Refusal(404, "NAME_UNKNOWN", "there is no such repository", detail={"name": repository[:300]})


def disk_full() -> Refusal:
    """507 for a push that no longer fits."""
    return Refusal(507, "DENIED", "the hub's disk is full; its operator must make room")
