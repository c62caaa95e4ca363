"""Uploads of blobs, manifests, and taking them away again. The caller's right has been checked before."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from wasme.hub import manifest as manifests
from wasme.hub.exchange import Request, Response
from wasme.hub.names import check_digest, check_repository, is_digest, is_tag
from wasme.hub.refusal import Refusal, disk_full
from wasme.hub.repositories import Repositories
from wasme.hub.settings import MAX_MANIFEST
from wasme.hub.uploads import Session, Uploads

log = logging.getLogger(__name__)

T = TypeVar("T")
_BATCH = 1024 * 1024
_CONTENT_RANGE = re.compile(r"(\d{1,18})-(\d{1,18})")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MAX_TAGS = 100


class Pushes:
    """Takes what clients push.

    Args:
        repositories: the metadata.
        uploads: the uploads under way.
        files: threads for what waits for the disk.
        data: the hub's folder, to see what still fits.
    """

    def __init__(self, repositories: Repositories, uploads: Uploads, files: ThreadPoolExecutor, data: Path) -> None:
        self._repositories = repositories
        self._uploads = uploads
        self._files = files
        self._data = data

    async def start_upload(self, request: Request, repository: str, who: str | None) -> Response:
        """POST ``/v2/NAME/blobs/uploads/``: begin, or mount, or take everything at once."""
        check_repository(repository)
        mounted = request.parameter("mount")
        if mounted is not None and is_digest(mounted):
            done = await self._run(self._repositories.mount, repository, mounted, request.parameter("from"))
            if done:
                return _created(f"/v2/{repository}/blobs/{mounted}", mounted)
        digest = request.parameter("digest")
        if digest is not None and mounted is None:
            check_digest(digest)
            upload_id = self._uploads.start(repository)
            try:
                return await self._complete(request, repository, upload_id, digest, who)
            except BaseException:
                self._forget(repository, upload_id)
                raise
        algorithm = request.parameter("digest-algorithm")
        if algorithm not in (None, "sha256", "sha512"):
            raise Refusal(400, "DIGEST_INVALID", "the hub computes sha256 and sha512")
        return _progress(repository, self._uploads.start(repository), 0, 202)

    def status(self, repository: str, upload_id: str) -> Response:
        """GET of an upload."""
        return _progress(repository, upload_id, self._uploads.offset(repository, upload_id), 204)

    def cancel(self, repository: str, upload_id: str) -> Response:
        """DELETE of an upload."""
        self._uploads.cancel(repository, upload_id)
        return Response(204)

    async def append(self, request: Request, repository: str, upload_id: str) -> Response:
        """PATCH of an upload: one chunk with Content-Range, or a stream."""
        with self._uploads.open(repository, upload_id) as session:
            await self._receive(request, repository, session)
            return _progress(repository, upload_id, session.offset, 202)

    async def finish_upload(self, request: Request, repository: str, upload_id: str, who: str | None) -> Response:
        """PUT of an upload, with the last bytes or all of them."""
        digest = check_digest(request.parameter("digest"))
        return await self._complete(request, repository, upload_id, digest, who)

    async def put_manifest(self, request: Request, repository: str, reference: str, who: str | None) -> Response:
        """PUT ``/v2/NAME/manifests/TAG-or-DIGEST``."""
        check_repository(repository)
        body = await request.body(MAX_MANIFEST)
        if is_digest(reference):
            tags = request.query.get("tag", [])
            algorithm = reference.partition(":")[0]
            if len(tags) > _MAX_TAGS:
                raise Refusal(414, "UNSUPPORTED", f"more than {_MAX_TAGS} tags at once")
        else:
            tags, algorithm = [reference], "sha256"
        for tag in tags:
            if not is_tag(tag):
                raise Refusal(
                    400, "MANIFEST_INVALID", "a tag is up to 128 of A-Z a-z 0-9 _ . - and does not begin with . or -",
                    detail={"tag": tag[:200]},
                )  # fmt: skip
        digest = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
        if is_digest(reference) and digest != reference:
            raise _wrong_digest(reference, digest)
        manifest = manifests.parse(body, request.header("content-type"))
        await self._run(self._repositories.put_manifest, repository, digest, manifest, tags, who)
        log.info(
            "pushed manifest",
            extra={"fields": {"repository": repository, "tag": ",".join(tags), "digest": digest, "user": who or ""}},
        )
        response = _created(f"/v2/{repository}/manifests/{reference}", digest)
        if manifest.subject:
            response.headers.append(("oci-subject", manifest.subject))
        if is_digest(reference):
            response.headers.extend(("oci-tag", tag) for tag in tags)
        return response

    async def delete_manifest(self, repository: str, reference: str, who: str | None) -> Response:
        """DELETE of a tag, or of a manifest with all its tags."""
        if is_digest(reference):
            await self._run(self._repositories.delete_manifest, repository, reference)
        else:
            await self._run(self._repositories.delete_tag, repository, reference)
        log.info("deleted", extra={"fields": {"repository": repository, "reference": reference, "user": who or ""}})
        return Response(202)

    async def delete_blob(self, repository: str, digest: str) -> Response:
        """DELETE of a blob."""
        await self._run(self._repositories.delete_blob, repository, check_digest(digest))
        return Response(202)

    async def _complete(
        self, request: Request, repository: str, upload_id: str, digest: str, who: str | None
    ) -> Response:
        algorithm = digest.partition(":")[0]
        with self._uploads.open(repository, upload_id) as session:
            session.expect(algorithm)
            await self._receive(request, repository, session)
            found = await self._run(session.finish, algorithm)
            if found != digest:
                self._forget(repository, upload_id)
                raise _wrong_digest(digest, found)
            await self._run(self._repositories.add_blob, repository, digest, session.offset, session.path)
        log.debug("pushed blob", extra={"fields": {"repository": repository, "digest": digest, "user": who or ""}})
        return _created(f"/v2/{repository}/blobs/{digest}", digest)

    async def _receive(self, request: Request, repository: str, session: Session) -> None:
        """Append the request's body. Without its end everything that came is kept, so that the client can go on."""
        begun = session.offset
        expected = _check_range(request, repository, session)
        if (request.content_length or 0) > shutil.disk_usage(self._data).free:
            raise disk_full()
        pending: list[bytes] = []
        held = 0
        try:
            try:
                async for chunk in request.chunks():
                    pending.append(chunk)
                    held += len(chunk)
                    if held >= _BATCH:
                        batch, pending, held = b"".join(pending), [], 0
                        await self._run(session.write, batch)
            finally:
                if pending:
                    await self._run(session.write, b"".join(pending))
        except OSError as error:
            session.rewind(begun)
            if error.errno in _FULL:
                raise disk_full() from error
            raise
        if expected is not None and session.offset - begun != expected:
            session.rewind(begun)
            raise Refusal(400, "SIZE_INVALID", f"Content-Range promises {expected} bytes, {request.received} came")

    def _forget(self, repository: str, upload_id: str) -> None:
        try:
            self._uploads.cancel(repository, upload_id)
        except Refusal:
            return  # it has become a blob

    async def _run(self, function: Callable[..., T], *args: object) -> T:
        """Run on a thread that may wait for the disk.

        A client that goes away cancels the waiting, not the work: the thread must end before its file is closed.
        """
        work = asyncio.get_running_loop().run_in_executor(self._files, partial(function, *args))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise


def _check_range(request: Request, repository: str, session: Session) -> int | None:
    """The length that ``Content-Range`` promises, after a look at its place; None without one.

    Raises:
        Refusal: 416 for a chunk out of order.
    """
    text = request.header("content-range")
    if text is None:
        return None
    found = _CONTENT_RANGE.fullmatch(text)
    first, last = (int(group) for group in found.groups()) if found else (-1, -1)
    if found is None or first != session.offset or last < first:
        there = _progress(repository, session.id, session.offset, 416)
        raise Refusal(
            416,
            "BLOB_UPLOAD_INVALID",
            f"{session.offset} bytes have arrived, Content-Range {text[:60]!r} does not go on there",
            headers=there.headers,
        )  # fmt: skip
    return last - first + 1


def _progress(repository: str, upload_id: str, offset: int, status: int) -> Response:
    return Response(
        status,
        [
            ("location", f"/v2/{repository}/blobs/uploads/{upload_id}"),
            ("range", f"0-{max(0, offset - 1)}"),
            ("docker-upload-uuid", upload_id),
        ],
    )


def _created(location: str, digest: str) -> Response:
    return Response(201, [("location", quote(location, safe="/:")), ("docker-content-digest", digest)])


def _wrong_digest(named: str, found: str) -> Refusal:
    return Refusal(400, "DIGEST_INVALID", f"the content is {found}, not what was named", detail={"digest": named})
