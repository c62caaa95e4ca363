"""push and pull: an image copied between the local store and a registry."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import msgspec

from wasme.errors import ContentMismatch, ImageNotFound, RegistryError
from wasme.image import layouts
from wasme.image.content import Source
from wasme.image.copy import copy_image
from wasme.image.descriptor import Descriptor
from wasme.image.layouts import FilterImage
from wasme.image.reference import Reference
from wasme.image.store import Store
from wasme.registry.repository import Repository
from wasme.registry.session import Session

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all), from several threads."""


class Pushed(msgspec.Struct, frozen=True):
    """What a push left on the registry.

    Attributes:
        reference: its name.
        manifest: the manifest's descriptor.
        module: the module's.
        layout: how the filter lies in it.
    """

    reference: Reference
    manifest: Descriptor
    module: Descriptor
    layout: str


def push(
    store: Store, reference: Reference, session: Session, layout: str | None = None, progress: Progress | None = None
) -> Pushed:
    """Push an image from the store to the registry its name says.

    Args:
        store: where it is.
        reference: what it is called, here and there.
        session: how to reach the registry.
        layout: one of ``layouts.LAYOUTS``; None pushes it as it is, byte for byte.
        progress: told how far it is.

    Raises:
        ImageNotFound: it is not in the store.
        ContentMismatch: it is damaged in the store.
        RegistryError: the registry did not take it.
    """
    try:
        image = store.image(reference)
    except ImageNotFound as error:
        raise ImageNotFound(
            "image not found. run `wasme list` to see locally cached images: "
            f"failed reading image {reference}: {error.message}",
            hint=error.hint,
        ) from None
    source: Source = store
    if layout is not None and layout != image.layout:
        source = layouts.build(layout, store.module_path(reference), image.config)
    plain = reference if layout is None else Reference(reference.domain, reference.path, reference.tag)
    target = Repository(session, reference, mount_from=_sibling(store, reference, image))
    try:
        copied = copy_image(source, plain, target, plain, on_blob=_Meter(progress).blob if progress else None)
    except (ContentMismatch, RegistryError):
        store.check_whole(reference)  # a damaged file is refused in the registry's words, which name no file
        raise
    log.debug("pushed", extra={"fields": {"image": str(reference), "digest": copied.manifest.digest}})
    return Pushed(reference, copied.manifest, image.module, copied.layout)


def pull(store: Store, reference: Reference, session: Session, progress: Progress | None = None) -> FilterImage:
    """Pull an image into the store.

    Args:
        store: where it shall be.
        reference: its name; a digest in it is what arrives, or nothing does.
        session: how to reach the registry.
        progress: told how far it is.

    Raises:
        RemoteNotFound: the registry has none of that name.
        RegistryError, ImageError: what else kept it from arriving.
    """
    store.check_writable()
    source = Repository(session, reference)
    copy_image(source, reference, store, reference, on_blob=_Meter(progress).blob if progress else None)
    return store.image(reference)


def _sibling(store: Store, reference: Reference, image: FilterImage) -> str | None:
    """Another repository on the same registry that probably has the module: `wasme tag` and then `push`."""
    for entry in store.entries():
        if entry.digest != image.module.digest or entry.problem:
            continue
        domain, _, path = entry.name.partition("/")
        if domain == reference.domain and path != reference.path:
            return path
    return None


class _Meter:
    """Adds up how far each blob is."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()

    def blob(self, descriptor: Descriptor, position: int) -> None:
        """One blob is at ``position``."""
        with self._lock:
            self._done[descriptor.digest] = position
            self._sizes[descriptor.digest] = descriptor.size
            done, whole = sum(self._done.values()), sum(self._sizes.values())
        self._progress(done, whole)
