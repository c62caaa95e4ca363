"""GET and HEAD of manifests and blobs: the hot path. One SELECT each; bytes from memory or straight from the file."""

from __future__ import annotations

import re

from wasme.hub.blobs import Blobs, ByteCache
from wasme.hub.exchange import SAFE, Headers, Request, Response
from wasme.hub.names import check_repository, is_digest, is_tag
from wasme.hub.refusal import Refusal, blob_unknown, manifest_unknown
from wasme.hub.repositories import Repositories

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_BLOB = (
    ("content-type", "application/octet-stream"),
    ("accept-ranges", "bytes"),
    ("content-disposition", "attachment"),
    *SAFE,
)


class Pulls:
    """Answers what clients pull.

    Args:
        repositories: the metadata.
        blobs: the files.
        private: whether shared caches must not keep what is sent.
    """

    def __init__(self, repositories: Repositories, blobs: Blobs, *, private: bool) -> None:
        self._repositories = repositories
        self._blobs = blobs
        self._cache = ByteCache()
        scope = "private" if private else "public"
        self._forever = ("cache-control", f"{scope}, max-age=31536000, immutable")

    def manifest(self, request: Request, repository: str, reference: str) -> Response:
        """``/v2/NAME/manifests/TAG-or-DIGEST``.

        Raises:
            Refusal: 404 MANIFEST_UNKNOWN, 400 NAME_INVALID.
        """
        if request.method == "HEAD":
            head = self._repositories.manifest_head(repository, reference)
            if head is None:
                raise _no_manifest(repository, reference)
            digest, media_type, size = head
            return Response(200, self._manifest_headers(reference, digest, media_type), size=size)
        found = self._repositories.manifest(repository, reference)
        if found is None:
            raise _no_manifest(repository, reference)
        digest, media_type, body = found
        if _unchanged(request, digest):
            return Response(304, [("etag", f'"{digest}"'), ("docker-content-digest", digest)])
        return Response(200, self._manifest_headers(reference, digest, media_type), body=body)

    def blob(self, request: Request, repository: str, digest: str) -> Response:
        """``/v2/NAME/blobs/DIGEST``, whole or one range of it.

        Raises:
            Refusal: 404 BLOB_UNKNOWN, 416 for a range outside the blob, 400 NAME_INVALID or DIGEST_INVALID.
        """
        size = self._repositories.blob_size(repository, digest)
        if size is None:
            raise _no_blob(repository, digest)
        headers: Headers = [("docker-content-digest", digest), ("etag", f'"{digest}"'), self._forever, *_BLOB]
        if request.method == "HEAD":
            return Response(200, headers, size=size)
        if _unchanged(request, digest):
            return Response(304, headers[:3])
        wanted = request.header("range")
        if wanted is not None and (request.header("if-range") or f'"{digest}"') == f'"{digest}"':
            span = _span(wanted, size)
            if span is not None:
                start, end = span
                headers.append(("content-range", f"bytes {start}-{end - 1}/{size}"))
                return Response(206, headers, file=self._blobs.path(digest), start=start, end=end)
        if size <= self._cache.largest:
            return Response(200, headers, body=self._small(digest))
        return Response(200, headers, file=self._blobs.path(digest), end=size)

    def _small(self, digest: str) -> bytes:
        content = self._cache.get(digest)
        if content is None:
            content = self._blobs.path(digest).read_bytes()
            self._cache.put(digest, content)
        return content

    def _manifest_headers(self, reference: str, digest: str, media_type: str) -> Headers:
        fresh = self._forever if reference == digest else ("cache-control", "no-cache")
        return [("content-type", media_type), ("docker-content-digest", digest), ("etag", f'"{digest}"'), fresh, *SAFE]


def _unchanged(request: Request, digest: str) -> bool:
    held = request.header("if-none-match")
    return held is not None and f'"{digest}"' in held


def _span(header: str, size: int) -> tuple[int, int] | None:
    """A ``Range`` header's first byte and the one after its last; None to send everything (RFC 9110, 14.2)."""
    found = _RANGE.fullmatch(header.replace(" ", ""))
    if found is None or not any(found.groups()):
        return None  # several ranges, another unit, or no range at all: the whole is a right answer
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= end:
        raise Refusal(
            416, "SIZE_INVALID", f"the blob has {size} bytes, {header[:60]} is not among them",
            headers=[("content-range", f"bytes */{size}")],
        )  # fmt: skip
    return start, end


def _no_manifest(repository: str, reference: str) -> Refusal:
    check_repository(repository)
    if not is_tag(reference) and not is_digest(reference):
        return Refusal(404, "MANIFEST_UNKNOWN", "a manifest is named by a tag or a digest, and this is neither")
    return manifest_unknown(reference)


def _no_blob(repository: str, digest: str) -> Refusal:
    check_repository(repository)
    if not is_digest(digest):
        return Refusal(400, "DIGEST_INVALID", "a blob is named by a digest, sha256:<64 lower-case hex digits>")
    return blob_unknown(digest)
