"""From a reference to what a cluster is told: digests, root ids and what the module needs; nothing is kept here."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from wasme.errors import ImageError, ModuleError, RegistryError, RemoteNotFound, WasmeError
from wasme.image import layouts
from wasme.image.content import Fetcher, Verified
from wasme.image.descriptor import Descriptor
from wasme.image.layouts import FilterImage
from wasme.image.pullers import LARGEST, Pulled
from wasme.image.reference import Reference
from wasme.image.store import open_store
from wasme.registry.repository import Repository
from wasme.registry.session import Session
from wasme.wasm.check import Finding, require_loadable
from wasme.wasm.module import Module
from wasme.wasm.proxies import Needs, needs

log = logging.getLogger(__name__)

LARGEST_MODULE = 4 * LARGEST
"""Bytes of a module that are read into memory to look at it."""
SILENCE = 5.0
"""Seconds after which it is told what is waited for: a registry may take minutes to answer, or to be given up."""


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image of a registry, looked at once.

    Attributes:
        typed: the reference as the user typed it.
        reference: the same, in full.
        manifest: the manifest that the reference stood for; of an index, the child that is run.
        module: the bare module; its digest is the name of its file in the node cache.
        layout: as in ``image.layouts``.
        root_ids: those that the image's runtime config names.
        abi_versions: the names in its runtime config.
        needs: what the module asks of its host.
        address: where the cluster finds it: HOST[:PORT]/REPOSITORY, after the registry map.
        index: the digest of the index that the manifest was chosen from, or "".
        pulled: the image as those who pull it meet it (``image.pullers``).
    """

    typed: str
    reference: Reference
    manifest: Descriptor
    module: Descriptor
    layout: str
    root_ids: tuple[str, ...]
    abi_versions: tuple[str, ...]
    needs: Needs
    address: str
    index: str
    pulled: Pulled

    @property
    def pinned(self) -> str:
        """Where the cluster finds exactly this image: ``HOST/REPOSITORY@sha256:…``.

        The manifest's digest, not the index's: so every platform runs the module that was looked at.
        """
        return f"{self.address}@{self.manifest.digest}"


class Room:
    """Memory for modules that are looked at, where many are at once: large ones wait for each other.

    Args:
        large: bytes from which a module is large.
        at_once: how many of these there may be.
        patience: seconds that another one waits.
    """

    def __init__(self, *, large: int = 8 << 20, at_once: int = 2, patience: float = 10.0) -> None:
        self.large = large
        self._at_once = at_once
        self._patience = patience
        self._free = threading.Semaphore(at_once)

    @contextlib.contextmanager
    def taken(self, reference: Reference) -> Iterator[None]:
        """A place, until the end of the block.

        Raises:
            RegistryError: none became free in time.
        """
        if not self._free.acquire(timeout=self._patience):
            raise RegistryError(
                f"{reference}: its module is large, and {self._at_once} large modules are being looked at already",
                hint="it is tried again",
            )
        try:
            yield
        finally:
            self._free.release()


def resolve(image: str, session: Session, *, largest: int | None = None, room: Room | None = None) -> ResolvedImage:
    """Look at an image of a registry: manifest, runtime config and module are read once, and verified.

    Args:
        image: its reference; a digest in it wins over its tag.
        session: how to reach the registry.
        largest: bytes that its module may have; None is ``LARGEST_MODULE``.
        room: for large modules; None: there is enough.

    Raises:
        InvalidReference: ``image`` is no reference.
        RegistryError: the registry did not give it.
        ImageError: it is no filter, or not what it promises.
        ModuleRefused: Envoy would not load the module.
    """
    reference = Reference.parse(image)
    repository = Repository(session, reference)
    with waiting_for(session.endpoint(reference.domain).origin.netloc, image):
        try:
            descriptor = repository.resolve(reference)
        except RemoteNotFound as error:
            raise RemoteNotFound(error.message, hint=_push_hint(reference) or error.hint) from None
        with contextlib.ExitStack() as place:
            limits = _Limits(LARGEST_MODULE if largest is None else largest, room, place)
            found, module = _read(repository, descriptor, reference, limits)
    return ResolvedImage(
        typed=image,
        reference=reference,
        manifest=found.manifest,
        module=found.module,
        layout=found.layout,
        root_ids=found.config.root_ids,
        abi_versions=found.config.abi_versions,
        needs=needs(module),
        address=_address(reference, session),
        index=found.chosen_from or "",
        pulled=Pulled(found.parsed, found.manifest.media_type, found.module.size, found.layout == "compat"),
    )


@contextlib.contextmanager
def waiting_for(registry: str, image: str) -> Iterator[None]:
    """Tell once that a registry is waited for, when what is done inside takes longer than ``SILENCE``.

    Args:
        registry: HOST[:PORT] of it.
        image: what is wanted of it, as typed.
    """
    timer = threading.Timer(
        SILENCE, log.info, ("waiting for the registry",), {"extra": {"fields": {"registry": registry, "image": image}}}
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _push_hint(reference: Reference) -> str | None:
    """What is missing where the image is here, in the local store."""
    try:
        open_store(None).image(reference)
    except WasmeError:
        return None
    return f"it is in the local store; a cluster pulls it from the registry: wasme push {reference}"


def _address(reference: Reference, session: Session) -> str:
    """Where the image lies, as others write it: docker's own hub by its name, not by its server's."""
    endpoint = session.endpoint(reference.domain)
    host = endpoint.origin.netloc
    return f"{'docker.io' if host == 'registry-1.docker.io' else host}/{endpoint.repository(reference.path)}"


@dataclass(frozen=True, slots=True)
class _Limits:
    """Of one module's bytes in memory."""

    largest: int
    room: Room | None
    place: contextlib.ExitStack

    def require(self, before: int, size: int, reference: Reference) -> None:
        """Before ``size`` bytes are held, of which ``before`` are already."""
        if size > self.largest:
            raise ImageError(f"{reference}: its module has more than {_told(self.largest)}")
        if self.room is not None and before < self.room.large <= size:
            self.place.enter_context(self.room.taken(reference))


def _told(size: int) -> str:
    return f"{size >> 20} MiB" if size >> 20 else f"{size} bytes"


def _read(
    fetcher: Fetcher, descriptor: Descriptor, reference: Reference, limits: _Limits
) -> tuple[FilterImage, Module]:
    """The image, and what its module is: its bytes unpacked on the way, or its layer read after.

    They are held once: BytesIO gives what it holds without a copy.
    """
    raw = io.BytesIO()

    def keep(part: bytes) -> None:
        limits.require(raw.tell(), raw.tell() + len(part), reference)
        raw.write(part)

    found = layouts.read(fetcher, descriptor, reference, sink=keep)
    if found.layout != "compat":
        # A size that is only promised takes no place: what comes does.
        if found.module.size > limits.largest:
            limits.require(0, found.module.size, reference)
        with contextlib.ExitStack() as stack:
            verified = Verified(stack.enter_context(fetcher.fetch(found.module)), found.module)
            while part := verified.read(1 << 20):
                keep(part)
    return found, _load(raw.getvalue(), reference)


def _load(raw: bytes, reference: Reference) -> Module:
    def tell(finding: Finding) -> None:
        if finding.severity == "warning":
            log.warning(finding.text, extra={"fields": {"image": str(reference), "meaning": finding.hint}})

    try:
        return require_loadable(raw, tell)
    except ModuleError as error:
        raise type(error)(f"{reference}: {error.message}", hint=error.hint) from None
