"""One repository of a registry, as a place content comes from and goes to (image.content's protocols)."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from wasme.errors import NotARegistry, RemoteNotFound
from wasme.image import media_types
from wasme.image.content import Opener, Readable
from wasme.image.descriptor import Descriptor, sha256, verify
from wasme.image.reference import Reference
from wasme.registry import auth, guards
from wasme.registry.download import Download
from wasme.registry.session import Session
from wasme.registry.transport import Request, Response
from wasme.registry.uploads import Uploader

_MANIFESTS = media_types.MANIFESTS | media_types.INDEXES
_ACCEPT = ", ".join(
    (media_types.OCI_MANIFEST, media_types.OCI_INDEX, media_types.DOCKER_MANIFEST, media_types.DOCKER_INDEX, "*/*")
)


class Repository:
    """A remote repository: Fetcher, Pusher, Resolver and Tagger.

    Args:
        session: how to reach it.
        reference: names the repository; its tag and digest do not matter here.
        mount_from: another repository on the same registry that may hold the blobs already.
    """

    def __init__(
        self,
        session: Session,
        reference: Reference,
        *,
        mount_from: str | None = None,
    ) -> None:
        self._session = session
        self.name = reference.name
        self._registry = reference.domain
        endpoint = session.endpoint(reference.domain)
        self._path = endpoint.repository(reference.path)
        self._base = f"/v2/{self._path}"
        self._pull = auth.pull(self._path)
        source = endpoint.repository(mount_from) if mount_from and mount_from != reference.path else None
        self._push = auth.push(self._path, source)
        self._uploader = Uploader(session, self._registry, self._path, self._push, source)
        self._pushed: dict[str, bytes] = {}
        self._writing = False
        self._lock = threading.Lock()

    @property
    def _scopes(self) -> tuple[auth.Scope, ...]:
        # One token for the whole push, not one for asking and one for writing.
        return self._push if self._writing else self._pull

    def resolve(self, reference: Reference) -> Descriptor:
        """The manifest that the reference stands for now; a digest in it wins over its tag.

        Raises:
            RemoteNotFound: there is none.
            RegistryError: the registry did not tell.
        """
        wanted = reference.digest or reference.tag or "latest"
        what = f"looking up {reference}"
        response = self._manifest("HEAD", wanted, what, expect=(200, 400, 403, 404, 405, 501))
        kind = _media_type(response)
        digest, size = response.header("Docker-Content-Digest"), response.header("Content-Length")
        response.close()
        # A HEAD's refusal has no words in it, and some registries know no HEAD here: GET has both.
        if response.status == 200 and digest and size and size.isdigit() and int(size) and kind in _MANIFESTS:
            guards.check_digest(digest, reference.digest or digest, what)
            guards.check_size(int(size), guards.MANIFEST_LIMIT, f"the manifest of {reference}")
            try:
                return Descriptor(media_type=kind, digest=reference.digest or digest, size=int(size))
            except ValueError:
                raise NotARegistry(f"{what}: the registry names a digest that is none") from None
        content, kind, claimed = self._get_manifest(wanted, what)
        found = Descriptor(media_type=kind, digest=reference.digest or sha256(content), size=len(content))
        verify(content, found)
        guards.check_digest(claimed, found.digest, what)
        with self._lock:
            self._pushed[found.digest] = content
        return found

    @contextmanager
    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Iterator[Readable]:
        """Open a manifest or a blob from ``offset`` on.

        A blob streams, and goes on by itself where a connection breaks; it never gives more bytes than the descriptor
        promises. Its digest is for the receiver to check; a manifest's is checked here.

        Raises:
            RemoteNotFound, ContentMismatch, UnsafeAnswer, RegistryError: as told by the registry.
        """
        what = f"pulling {descriptor.digest} from {self.name}"
        if descriptor.media_type in _MANIFESTS:
            with self._lock:
                content = self._pushed.get(descriptor.digest)
            if content is None:
                content, _, claimed = self._get_manifest(descriptor.digest, what)
                guards.check_digest(claimed, descriptor.digest, what)
            verify(content, descriptor)
            yield io.BytesIO(content[offset:])
            return
        url = f"{self._base}/blobs/{descriptor.digest}"

        def ask(position: int) -> Response:
            headers = {"Range": f"bytes={position}-"} if position else {}
            return self._session.call(
                self._registry, Request("GET", url, headers), what=what, expect=(200, 206), scopes=self._scopes
            )

        download = Download(ask, descriptor, offset, self._session.options.retry, self._session.pause)
        try:
            yield download
        finally:
            download.close()

    def push(self, descriptor: Descriptor, opener: Opener) -> None:
        """Hold a manifest or a blob; a blob that is there already is not sent.

        A manifest goes up when it is named (`tag`): a registry takes both in one request, and frees what has no name.

        Raises:
            ContentMismatch: the content is not what the descriptor names, as seen here or by the registry.
            RegistryError: the registry did not take it.
        """
        self._writing = True
        if descriptor.media_type not in _MANIFESTS:
            self._uploader.push(descriptor, opener)
            return
        with opener(0) as source:
            content = _read(source, guards.MANIFEST_LIMIT)
        verify(content, descriptor)
        with self._lock:
            self._pushed[descriptor.digest] = content

    def tag(self, descriptor: Descriptor, reference: Reference) -> None:
        """Put the manifest up under the reference's tag, or by its digest alone where there is none.

        Raises:
            RegistryError: the registry did not take the name.
        """
        self._writing = True
        with self._lock:
            content = self._pushed.get(descriptor.digest)
        if content is None:
            content, _, _ = self._get_manifest(descriptor.digest, f"tagging {reference}")
            verify(content, descriptor)
        self._put_manifest(reference.tag or descriptor.digest, content, descriptor)

    def holds(self, descriptor: Descriptor) -> bool:
        """Whether the manifest is in this repository."""
        try:
            response = self._manifest(
                "HEAD", descriptor.digest, f"looking up {descriptor.digest} in {self.name}", (200,)
            )
        except RemoteNotFound:
            return False
        response.close()
        return True

    def _manifest(self, method: str, wanted: str, what: str, expect: tuple[int, ...]) -> Response:
        url = f"{self._base}/manifests/{quote(wanted, safe=':')}"
        request = Request(method, url, {"Accept": _ACCEPT})
        return self._session.call(self._registry, request, what=what, expect=expect, scopes=self._scopes)

    def _get_manifest(self, wanted: str, what: str) -> tuple[bytes, str, str | None]:
        with self._manifest("GET", wanted, what, expect=(200,)) as response:
            guards.check_size(response.length or 0, guards.MANIFEST_LIMIT, f"the manifest {wanted} of {self.name}")
            content = response.read_all(guards.MANIFEST_LIMIT)
            guards.check_size(len(content), guards.MANIFEST_LIMIT, f"the manifest {wanted} of {self.name}")
            return content, _media_type(response), response.header("Docker-Content-Digest")

    def _put_manifest(self, name: str, content: bytes, descriptor: Descriptor) -> None:
        what = f"pushing {self.name}{'@' if ':' in name else ':'}{name}"
        headers = {"Content-Type": descriptor.media_type or media_types.OCI_MANIFEST}
        request = Request("PUT", f"{self._base}/manifests/{quote(name, safe=':')}", headers, content)
        response = self._session.call(self._registry, request, what=what, expect=(200, 201, 202), scopes=self._push)
        response.drain()
        guards.check_digest(response.header("Docker-Content-Digest"), descriptor.digest, what)


def _media_type(response: Response) -> str:
    return (response.header("Content-Type") or "").partition(";")[0].strip().lower()


def _read(source: Readable, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit + 1
    while left > 0 and (part := source.read(left)):
        parts.append(part)
        left -= len(part)
    content = b"".join(parts)
    guards.check_size(len(content), limit, "the manifest")
    return content
