"""A blob on its way up, in a session that outlives this process (distribution specification, end-4 to end-6, end-11,
end-13).

A small blob goes in one PUT. A larger one streams in one PATCH, as Docker's own client does, which every registry
takes; then an empty PUT names it. Where the upload goes is noted on disk before the first byte leaves, so after a
broken connection, or a kill, whoever pushes the same blob to the same place asks how much arrived and sends the rest.
A registry that forgot the session (docker-registry does, when a PATCH breaks) gets a new one.
"""

from __future__ import annotations

import logging
import re

from wasme.errors import ContentMismatch, NotARegistry, RegistryError, RemoteNotFound
from wasme.image.content import Opener
from wasme.image.descriptor import Descriptor
from wasme.registry import answers, guards
from wasme.registry.auth import Scope
from wasme.registry.connecting import ConnectionLost
from wasme.registry.origin import Origin, join, redact, target, with_query
from wasme.registry.resumption import Note, Notebook
from wasme.registry.retry import RETRYABLE
from wasme.registry.session import Session
from wasme.registry.transport import Request, Response, Upload

log = logging.getLogger(__name__)

ONE_PUT = 64 * 1024
_OCTETS = {"Content-Type": "application/octet-stream"}
_GONE = frozenset((404, 416))
_NO_PATCH = frozenset((400, 404, 405, 411, 415, 416, 501))


class _Again(Exception):
    """The registry failed in a way that may pass (5xx, 429) while a body streamed."""

    def __init__(self, refusal: RegistryError, retry_after: str | None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.retry_after = retry_after


class _TakesNoPatch(Exception):
    """The registry takes a blob in one PUT and in no other way."""


class Uploader:
    """Uploads blobs to one repository.

    Args:
        session: how to reach it.
        registry: its name as typed.
        path: the repository on the server.
        scopes: what a token must be good for.
        mount_from: a repository on the same server whose blobs may be mounted, or None.
    """

    def __init__(
        self,
        session: Session,
        registry: str,
        path: str,
        scopes: tuple[Scope, ...],
        mount_from: str | None,
    ) -> None:
        self._session = session
        self._registry = registry
        self._path = path
        self._base = f"/v2/{path}"
        self._scopes = scopes
        self._mount_from = mount_from

    def push(self, blob: Descriptor, opener: Opener) -> None:
        """Upload a blob unless it is there.

        Raises:
            ContentMismatch: its bytes are not those of its digest.
            RegistryError: the registry did not take it.
        """
        if self._exists(blob):
            log.debug("blob exists", extra={"fields": {"digest": blob.digest, "repository": self._path}})
        elif blob.size <= ONE_PUT:
            location = self._begin(blob)
            if location is not None:
                self._put_whole(blob, opener, location)
        else:
            self._push_large(blob, opener)

    def _push_large(self, blob: Descriptor, opener: Opener) -> None:
        origin = self._session.endpoint(self._registry).origin
        with Notebook(f"{origin}/{self._path}", blob.digest) as notebook:
            note = notebook.read()
            location, offset = (note.location, self._arrived(note.location, blob)) if note else (None, None)
            if location is None or offset is None:
                location, offset = self._begin(blob), 0
                if location is None:
                    return
                notebook.write(Note(location))
            breaks, resumed, patches = 0, note is not None and location == note.location, True
            while location is not None:
                try:
                    if patches:
                        self._send_rest(blob, opener, location, offset, notebook, resumed=resumed)
                    else:
                        self._put_whole(blob, opener, location)
                    break
                except _TakesNoPatch:
                    notebook.forget()
                    patches, resumed, location = False, False, self._begin(blob)
                    continue
                except (ContentMismatch, RemoteNotFound) as error:
                    if not resumed:
                        raise
                    # What the registry had kept may be to blame: once more, from the beginning.
                    log.debug("upload begun anew", extra={"fields": {"reason": error.message}})
                    resumed, offset, location = False, 0, self._begin(blob)
                    if location is not None:
                        notebook.write(Note(location))
                    continue
                except (ConnectionLost, _Again) as error:
                    breaks += 1
                    self._wait(error, breaks)
                if self._exists(blob):
                    break
                if not patches:
                    location = self._begin(blob)
                    continue
                current = notebook.read()
                before, location = offset, current.location if current else location
                arrived = self._arrived(location, blob)
                if arrived is None:
                    location, offset, resumed = self._begin(blob), 0, False
                    if location is not None:
                        notebook.write(Note(location))
                else:
                    offset, resumed = arrived, True
                    breaks = 0 if offset > before else breaks
                log.debug("going on with a broken upload", extra={"fields": {"digest": blob.digest, "at": offset}})
            notebook.forget()

    def _wait(self, error: ConnectionLost | _Again, breaks: int) -> None:
        """Sleep before going on, or raise what cannot be mended."""
        policy = self._session.options.retry
        if isinstance(error, _Again):
            wait = policy.wait(breaks, error.retry_after)
            if wait is None:
                raise error.refusal
        else:
            wait = policy.wait(breaks, None)
            # A stall has already cost a whole time-out.
            if wait is None or (error.stalled and breaks > 1):
                raise error
        self._session.pause(wait)

    def _send_rest(
        self, blob: Descriptor, opener: Opener, location: str, offset: int, notebook: Notebook, *, resumed: bool
    ) -> None:
        if offset < blob.size:
            headers = dict(_OCTETS)
            if offset:
                headers["Content-Range"] = f"{offset}-{blob.size - 1}"
            body = Upload(opener, offset, blob.size - offset)
            expect = (201, 202, 204, *_NO_PATCH, *RETRYABLE)
            response = self._call("PATCH", location, blob, expect, headers, body)
            if response.status in RETRYABLE:
                raise _Again(answers.refusal(response, self._what(blob)), response.header("Retry-After"))
            if resumed and response.status in _GONE:
                # It says nothing about PATCH: the upload was forgotten, or holds other bytes than it told.
                raise RemoteNotFound(answers.refusal(response, self._what(blob)).message)
            response.drain()
            if response.status in _NO_PATCH:
                log.debug("registry takes no PATCH", extra={"fields": {"status": response.status}})
                raise _TakesNoPatch
            location = self._location(response, location)
            notebook.write(Note(location))
        self._commit(blob, location, b"", notebook)

    def _put_whole(self, blob: Descriptor, opener: Opener, location: str) -> None:
        if blob.size <= ONE_PUT:
            with opener(0) as source:
                content = b"".join(iter(lambda: source.read(ONE_PUT), b""))
            if len(content) != blob.size:
                raise ContentMismatch(f"{blob.digest}: {len(content)} bytes are here, {blob.size} were promised")
            body: bytes | Upload = content
        else:
            body = Upload(opener, 0, blob.size)
        self._commit(blob, location, body, None)

    def _commit(self, blob: Descriptor, location: str, body: bytes | Upload, notebook: Notebook | None) -> None:
        """The PUT that ends an upload, with its last bytes, and what its answer means."""
        url = with_query(location, ("digest", blob.digest))
        # The transport repeats what is in memory; what streams is for the caller to repeat.
        passing = RETRYABLE if isinstance(body, Upload) else ()
        response = self._call("PUT", url, blob, (201, 204, 400, 404, *passing), _OCTETS, body)
        if response.status in passing:
            raise _Again(answers.refusal(response, self._what(blob)), response.header("Retry-After"))
        if response.status in (201, 204):
            response.drain()
            guards.check_digest(response.header("Docker-Content-Digest"), blob.digest, self._what(blob))
            return
        if notebook is not None:
            # Whatever went wrong, these bytes are not to be continued.
            notebook.forget()
        error = answers.refusal(response, self._what(blob))
        # A PUT whose answer was lost and which was sent again: the upload is gone because the blob is there.
        if response.status == 404 and self._exists(blob):
            return
        if "DIGEST_INVALID" in error.message:
            raise ContentMismatch(error.message, hint="push again; it begins anew")
        raise error

    def _exists(self, blob: Descriptor) -> bool:
        # Some registries answer HEAD with 400 or 405 where they mean "not here"; the upload itself will tell.
        response = self._call("HEAD", f"{self._base}/blobs/{blob.digest}", blob, (200, 400, 404, 405))
        response.close()
        if response.status != 200:
            return False
        length = response.header("Content-Length")
        return length is None or not length.isdigit() or int(length) == blob.size

    def _begin(self, blob: Descriptor) -> str | None:
        """Open an upload: where to send the bytes, or None if the blob could be mounted."""
        url = f"{self._base}/blobs/uploads/"
        if self._mount_from:
            url = with_query(url, ("mount", blob.digest), ("from", self._mount_from))
        response = self._call("POST", url, blob, (201, 202, *((400, 401, 403, 404, 405) if self._mount_from else ())))
        response.drain()
        if response.status not in (201, 202):
            # Perhaps no right to read over there: then it is uploaded like any other.
            response = self._call("POST", f"{self._base}/blobs/uploads/", blob, (201, 202))
            response.drain()
        if response.status == 201:
            guards.check_digest(response.header("Docker-Content-Digest"), blob.digest, self._what(blob))
            log.debug("blob mounted", extra={"fields": {"digest": blob.digest, "from": str(self._mount_from)}})
            return None
        return self._location(response, None)

    def _arrived(self, location: str, blob: Descriptor) -> int | None:
        """How many bytes the registry holds of an upload; None where it is to be begun anew."""
        origin = self._session.endpoint(self._registry).origin
        try:
            guards.check_location(origin, location)
            response = self._call("GET", location, blob, (200, 202, 204))
        except ConnectionLost:
            raise
        except RegistryError as error:
            log.debug("upload begun anew", extra={"fields": {"reason": error.message}})
            return None
        response.drain()
        found = re.fullmatch(r"(?:bytes=)?0-(-?[0-9]{1,18})", response.header("Range") or "")
        if not found:
            return 0
        last = int(found[1])
        # docker-registry says 0-0 for an empty upload and for one of one byte; sending that byte again is refused by
        # registries that count, so an upload of one byte counts as lost.
        if last <= 0:
            return 0 if response.header("Range") in ("0-0", "bytes=0-0", "0--1") else None
        return last + 1 if last < blob.size else None

    def _location(self, response: Response, before: str | None) -> str:
        """Where the upload goes on, checked."""
        origin = self._session.endpoint(self._registry).origin
        header = response.header("Location")
        if not header:
            if before is not None:
                return before
            raise NotARegistry(f"{origin.netloc} opened an upload and did not say where")
        location = join(response.request.url, header)
        # A registry behind a proxy that ends TLS may think that it is spoken to in plain http: same host, our scheme.
        lowered = origin.scheme == "https" and location.startswith("http://")
        if lowered and Origin.of(location).host == origin.host:
            location = f"{origin}{target(location)}"
        guards.check_location(origin, location)
        return location

    def _call(
        self,
        method: str,
        url: str,
        blob: Descriptor,
        expect: tuple[int, ...],
        headers: dict[str, str] | None = None,
        body: bytes | Upload | None = None,
    ) -> Response:
        origin = self._session.endpoint(self._registry).origin
        home = "://" not in url or guards.may_carry_credentials(Origin.of(url), origin)
        if not home:
            log.debug("uploading to another server, without credentials", extra={"fields": {"to": redact(url)}})
        request = Request(
            method,
            url,
            headers or {},
            body,
            repeatable=not isinstance(body, Upload),
            timeout=self._session.options.commit_timeout if method == "PUT" else None,
            led_by=None if home else origin,
        )
        return self._session.call(
            self._registry, request, what=self._what(blob), expect=expect, scopes=self._scopes, credentials=home
        )

    def _what(self, blob: Descriptor) -> str:
        return f"pushing {blob.digest} to {self._registry}/{self._path}"
