"""From what a user typed to a module that can be run: an image of the local store, or a file."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from wasme.deploy.spec import FilterSpec
from wasme.errors import ImageNotFound, InputError, InvalidReference, ModuleRefused
from wasme.image.reference import Reference
from wasme.image.store import open_store
from wasme.wasm.check import Finding, require_loadable
from wasme.wasm.module import Module

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """A module on this machine, verified.

    Attributes:
        name: the image's full reference, or the file's path.
        short_name: fit for an id: the repository's or the file's last part.
        path: the module's file.
        root_ids: those that the image's runtime config names.
        is_image: it has a runtime config that could name some.
    """

    name: str
    short_name: str
    path: Path
    root_ids: tuple[str, ...] = ()
    is_image: bool = True


def find(image: str, store: Path | None = None) -> Source:
    """As ``look_up``, with the original's words where there is no such image, which scripts wait for."""
    try:
        return look_up(image, store)
    except ImageNotFound as error:
        raise ImageNotFound(
            f"failed to retrieve image. make sure to run `wasme pull {image}` to pull the image to your local "
            f"storage.: {error.message}",
            hint=error.hint,
        ) from None


def look_up(image: str, store: Path | None = None) -> Source:
    """Find an image in the local store, or a module's file.

    Args:
        image: a reference; or the path of a file whose name ends in ``.wasm``.
        store: the store's folder; None for the user's own.

    Raises:
        ImageNotFound: there is no such image.
        InputError: the path of a file that is not there, or is none of a module.
        ImageError: it is damaged.
    """
    if image.endswith(".wasm") and Path(image).is_file():
        path = Path(image).absolute()
        return Source(str(path), path.stem, path, is_image=False)
    try:
        reference = Reference.parse(image)
        opened = open_store(store)
        found = opened.image(reference)
        path = opened.module_path(reference)
    except (ImageNotFound, InvalidReference):
        if _looks_like_a_path(image):
            raise _no_file(image) from None
        raise
    return Source(reference.full, reference.path.rpartition("/")[2], path.absolute(), found.config.root_ids)


def _looks_like_a_path(image: str) -> bool:
    """Whether somebody who types this means a file: only an image's name has a port, a tag or a digest."""
    return image.startswith(("/", "./", "../", "~")) or (image.endswith(".wasm") and not set(":@") & set(image))


def _no_file(image: str) -> InputError:
    path = Path(image)
    if path.is_dir():
        return InputError(f"{image} is a folder", hint="name the .wasm file in it, or an image of `wasme list`")
    if path.exists():
        return InputError(f"{image} is no .wasm file", hint="a module's file has a name that ends in .wasm")
    return InputError(f"there is no file {image}", hint="name a module's file, or an image of `wasme list`")


def complete(spec: FilterSpec, source: Source) -> FilterSpec:
    """Fill in what the user left out.

    The root id is the image's first one. Without any, the original refused to go on; but most modules have one
    nameless filter, so here it stays empty, which is said. The id is the root id, else the image's name.
    """
    root_id = spec.root_id or next(iter(source.root_ids), "")
    if not root_id:
        level = logging.INFO if source.is_image else logging.DEBUG  # a file has nowhere to name any
        log.log(
            level, "found no root_id on image or in params", extra={"fields": {"image": source.name, "root_id": ""}}
        )
    return replace(spec, root_id=root_id, id=spec.id or root_id or source.short_name)


def load(source: Source) -> Module:
    """Read the module, and warn of what will probably go wrong.

    Raises:
        ModuleRefused: Envoy would not load it.
    """
    try:
        raw = source.path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {source.path}: {error.strerror or error}") from None

    def tell(finding: Finding) -> None:
        if finding.severity == "warning":
            log.warning(finding.text, extra={"fields": {"image": source.name, "meaning": finding.hint}})

    try:
        return require_loadable(raw, tell)
    except ModuleRefused as error:
        raise ModuleRefused(f"{source.name}: {error.message}", hint=error.hint) from None
