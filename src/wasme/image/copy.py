"""Copying an image between two places: what pull, push, tag and the caches are.

The order keeps every place whole at every moment: blobs first (several at a time, each digest once), then the
manifest, then the name. Whatever stops a copy half-way leaves blobs that nothing names, never a name without its
blobs; the next copy finds them there. Of an index, the one manifest that wasme runs is copied, not its siblings.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from wasme.errors import ContentMismatch
from wasme.image import layouts, manifest, media_types
from wasme.image.content import Fetcher, Leased, Opener, Readable, Source, Target, from_bytes
from wasme.image.descriptor import Descriptor
from wasme.image.reference import Reference

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
        workers: how many blobs move at a time.

    Raises:
        ContentMismatch: something is not what it was promised to be.
        UnsupportedImage: it is no filter; nothing has been copied then.
        WasmeError: whatever either place raises.
    """
    root = src.resolve(src_ref)
    if src_ref.digest not in {None, root.digest, (root.annotations or {}).get(media_types.CHOSEN_FROM)}:
        raise ContentMismatch(f"{src_ref} was asked for, and {root.digest} was found")
    chosen, document, parsed = manifest.fetch_manifest(src, root)
    layout, _ = layouts.identify(parsed)
    chosen_from = (root.annotations or {}).get(media_types.CHOSEN_FROM)
    if chosen.digest != root.digest:
        chosen_from = root.digest
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
    def push(blob: Descriptor) -> None:
        dst.push(blob, _opener(src, blob, on_blob))
        if on_blob:
            on_blob(blob, blob.size)

    if workers < 2 or len(blobs) < 2:
        for blob in blobs:
            push(blob)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(workers, len(blobs)), thread_name_prefix="copy") as pool:
        running = [pool.submit(push, blob) for blob in blobs]
        try:
            for future in running:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _opener(src: Fetcher, blob: Descriptor, on_blob: OnBlob | None) -> Opener:
    def open_at(offset: int) -> AbstractContextManager[Readable]:
        opened = src.fetch(blob, offset)
        return _Told(opened, blob, offset, on_blob) if on_blob else opened

    return open_at


class _Told:
    """A blob being read, telling how far it is."""

    def __init__(
        self, opened: AbstractContextManager[Readable], blob: Descriptor, offset: int, on_blob: OnBlob
    ) -> None:
        self._opened = opened
        self._blob = blob
        self._position = offset
        self._on_blob = on_blob

    def __enter__(self) -> _Told:
        self._source = self._opened.__enter__()
        self._on_blob(self._blob, self._position)
        return self

    def __exit__(self, *raised: object) -> bool | None:
        return self._opened.__exit__(*raised)  # type: ignore[arg-type]

    def read(self, size: int, /) -> bytes:
        part = self._source.read(size)
        self._position += len(part)
        self._on_blob(self._blob, self._position)
        return part
