"""Copying an image between two places: what pull, push, tag and the caches are.

The order keeps every place whole at every moment: blobs first (several at a time, each digest once), then the
manifest, then the name. Whatever stops a copy half-way leaves blobs that nothing names, never a name without its
blobs; the next copy finds them there. Of an index, the one manifest that wasme runs is copied, not its siblings.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wasme.errors import ContentMismatch
from wasme.image import layouts, manifest, media_types
from wasme.image.content import Fetcher, Leased, Readable, Source, Target, from_bytes
from wasme.image.descriptor import Descriptor
from wasme.image.reference import Reference

if TYPE_CHECKING:
    from threading import Event

OnBlob = Callable[[Descriptor, int], None]
"""Told how far a blob is: its descriptor and the bytes that the destination has of it. Called from several threads."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied.

    Attributes:
        root: what the source's reference stood for: a manifest or an index.
        manifest: the image manifest that was copied; the root itself, or a child of it.
        layout: how the filter lies in it (see `layouts`).
        blobs: its blobs, each once.
    """

    root: Descriptor
    manifest: Descriptor
    layout: str
    blobs: tuple[Descriptor, ...]


def copy_image(
    src: Source,
    src_ref: Reference,
    dst: Target,
    dst_ref: Reference,
    *,
    on_blob: OnBlob | None = None,
    workers: int = 4,
) -> Copied:
    """Copy one image and name it.

    Args:
        src: where it is.
        src_ref: what it is called there; a digest in it must be the one found.
        dst: where it shall be.
        dst_ref: what it shall be called there.
        on_blob: told about progress.
        workers: how many blobs move at a time; with one, no thread is begun.

    Raises:
        ContentMismatch: something is not what it was promised to be.
        UnsupportedImage: it is no filter; nothing has been copied then.
        WasmeError: whatever either place raises.
    """
    root = src.resolve(src_ref)
    chosen, document, parsed = manifest.fetch_manifest(src, root)
    chosen_from = (root.annotations or {}).get(media_types.CHOSEN_FROM)
    if chosen.digest != root.digest:
        chosen_from = root.digest
    if src_ref.digest not in {None, chosen.digest, chosen_from}:
        raise ContentMismatch(f"{src_ref} was asked for, and {root.digest} was found")
    layout, _ = layouts.identify(parsed)
    named = chosen
    if chosen_from:
        named = Descriptor(
            media_type=chosen.media_type,
            digest=chosen.digest,
            size=chosen.size,
            annotations={media_types.CHOSEN_FROM: chosen_from},
        )
    with dst.writing() if isinstance(dst, Leased) else nullcontext():
        _push_all(src, parsed.blobs, dst, on_blob, workers)
        dst.push(chosen, from_bytes(document))
        dst.tag(named, dst_ref)
    return Copied(root, chosen, layout, parsed.blobs)


def _push_all(src: Fetcher, blobs: tuple[Descriptor, ...], dst: Target, on_blob: OnBlob | None, workers: int) -> None:
    from threading import Event

    stop = Event()

    def push(blob: Descriptor) -> None:
        def open_at(offset: int) -> AbstractContextManager[Readable]:
            return _Watched(src.fetch(blob, offset), blob, offset, on_blob, stop)

        if not stop.is_set():
            dst.push(blob, open_at)
            if on_blob:
                on_blob(blob, blob.size)

    if workers == 1:
        for blob in blobs:
            push(blob)
        return
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    pool = ThreadPoolExecutor(min(workers, len(blobs)), thread_name_prefix="copy")
    patient = False
    try:
        running = [pool.submit(push, blob) for blob in blobs]
        done, _ = wait(running, return_when=FIRST_EXCEPTION)
        patient = True
        for future in done:
            future.result()
    finally:
        stop.set()  # one failure, or Ctrl-C, ends the others at their next read
        # After Ctrl-C nobody waits for a place that has stalled: who opened it closes it, and that ends its readers.
        pool.shutdown(wait=patient, cancel_futures=True)


class _Stopped(Exception):
    """Another blob of the same image has failed."""


class _Watched:
    """A blob being read: tells how far it is, and ends early where the copy as a whole has failed."""

    def __init__(
        self,
        opened: AbstractContextManager[Readable],
        blob: Descriptor,
        offset: int,
        on_blob: OnBlob | None,
        stop: Event,
    ) -> None:
        self._opened = opened
        self._blob = blob
        self._position = offset
        self._on_blob = on_blob
        self._stop = stop

    def __enter__(self) -> _Watched:
        self._source = self._opened.__enter__()
        self._tell()
        return self

    def __exit__(self, *raised: object) -> bool | None:
        return self._opened.__exit__(*raised)  # type: ignore[arg-type]

    def read(self, size: int, /) -> bytes:
        if self._stop.is_set():
            raise _Stopped
        part = self._source.read(size)
        self._position += len(part)
        self._tell()
        return part

    def _tell(self) -> None:
        if self._on_blob:
            self._on_blob(self._blob, self._position)
