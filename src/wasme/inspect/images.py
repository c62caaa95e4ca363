"""Images as `subject` finds them: in the store, in a folder of any tool's, at a registry."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from wasme.errors import ImageNotFound, RemoteNotFound, UnsupportedImage
from wasme.image import layouts, manifest, media_types
from wasme.image.content import Fetcher, Source
from wasme.image.descriptor import Descriptor
from wasme.image.layouts import FilterImage
from wasme.image.reference import Reference
from wasme.image.store import open_store
from wasme.inspect.subject import LARGEST, Subject, read

log = logging.getLogger(__name__)

_LOCAL = Reference("localhost", "image", None)

Remote = Callable[[Reference], AbstractContextManager[Source]]
"""Opens the repository of a reference at its registry."""


def stored(word: str, folder: Path | None) -> Subject:
    """An image of a store.

    Raises:
        InvalidReference: the word names no image.
        ImageNotFound: the store has none of that name.
        ImageError: it is damaged.
    """
    reference = Reference.parse(word)
    store = open_store(folder)
    image = store.image(reference)
    if image.module.size > LARGEST:
        return Subject(str(reference), "store", b"", image.module.size, image=image)
    path = store.module_path(reference)
    content, size = read(path, str(reference))
    return Subject(str(reference), "store", content, size, path, image)


def remote(word: str, opened: Remote, unknown: ImageNotFound) -> Subject:
    """An image at its registry, of which nothing is kept.

    Raises:
        ImageNotFound: there is none, here or there.
        RegistryError, ImageError: what else kept it from being read.
    """
    reference = Reference.parse(word)
    log.info("not in the local store, looking at the registry", extra={"fields": {"image": str(reference)}})
    with opened(reference) as source:
        try:
            descriptor = source.resolve(reference)
        except RemoteNotFound as elsewhere:
            raise ImageNotFound(
                f"{unknown.message}, and its registry has none: {elsewhere.message}", hint=unknown.hint
            ) from None
        return _read(source, descriptor, reference, str(reference), "registry")


def in_folder(folder: Path, name: str) -> Subject:
    """An image of an OCI image layout that any tool wrote.

    Args:
        folder: with ``oci-layout`` and ``index.json`` in it.
        name: which of its images: a tag, a full reference or a digest; "" where there is only one.

    Raises:
        UnsupportedImage: the folder's index cannot be read.
        ImageNotFound: it has no image of that name, or several where none was named.
    """
    images = _images_of(folder)
    chosen = [each for each in images if not name or name in each[0] or name == each[1].digest]
    if len(chosen) != 1:
        names = ", ".join(sorted({each for known, _ in images for each in known})[:10]) or "images without names"
        raise ImageNotFound(
            f"{folder} has {len(chosen) or 'no'} images{f' called {name}' if name else ''}; it holds {names}",
            hint=f"name one of them: {folder}:NAME",
        )
    shown = f"{folder}:{name}" if name else str(folder)
    return _read(open_store(folder), chosen[0][1], _LOCAL, shown, "folder")


def _images_of(folder: Path) -> list[tuple[set[str], Descriptor]]:
    content, size = read(folder / "index.json", str(folder / "index.json"))
    try:
        if size > manifest.MAX_BYTES:
            raise ValueError("it is too large")
        rows = json.loads(content)["manifests"]
        return [_named(row) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as reason:
        raise UnsupportedImage(f"{folder / 'index.json'} is no image index: {reason}") from None


def _named(row: dict[str, object]) -> tuple[set[str], Descriptor]:
    told = row.get("annotations") or {}
    if not isinstance(told, dict):
        raise ValueError("annotations that are no object")
    names = {str(told[key]) for key in (media_types.REF_NAME, "io.containerd.image.name") if key in told}
    names |= {name.rpartition(":")[2] for name in names}
    size = row.get("size")
    if not isinstance(size, int):
        raise ValueError("an image without a size")
    return names, Descriptor(media_type=str(row.get("mediaType") or ""), digest=str(row.get("digest")), size=size)


def _read(
    fetcher: Fetcher, descriptor: Descriptor, reference: Reference, name: str, source: Literal["registry", "folder"]
) -> Subject:
    """An image that is in no store: its parts are read and verified, the module at the end."""
    parts: list[bytes] = []
    taken = 0

    def take(part: bytes) -> None:
        nonlocal taken
        taken += len(part)
        if taken <= LARGEST:
            parts.append(part)

    image = layouts.read(fetcher, descriptor, reference, take)
    if image.module.size > LARGEST:
        content = b""
    elif image.layout == "compat":
        content = b"".join(parts)
    else:
        content = manifest.fetch(fetcher, image.module, LARGEST)
    platform = _child_platform(fetcher, descriptor, image) if image.chosen_from else ("", "")
    return Subject(name, source, content, image.module.size, None, image, platform)


def _child_platform(fetcher: Fetcher, index: Descriptor, image: FilterImage) -> tuple[str, str]:
    parsed = manifest.parse(manifest.fetch(fetcher, index))
    if isinstance(parsed, manifest.Index):
        for child in parsed.manifests:
            if child.digest == image.manifest.digest:
                told = child.platform or {}
                return str(told.get("os") or ""), str(told.get("architecture") or "")
    return "", ""
