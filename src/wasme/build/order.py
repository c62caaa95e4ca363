"""What to build, judged before anything runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wasme.build import find
from wasme.errors import InputError, InvalidReference, InvalidRuntimeConfig, UsageError
from wasme.image import runtime_config
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.image.store import open_store


@dataclass(frozen=True, slots=True)
class Order:
    """One build.

    Attributes:
        source: the project's folder, or the compiled module's file; absolute.
        folder: the folder in it that is built, which is mostly itself.
        typed_tag: the image's name as typed.
        tag: the same, parsed.
        config: the runtime config that goes into the image.
        store: the store's folder, or None for the default.
        scratch: the folder to work in, which stays; None for one that is taken away.
    """

    source: Path
    folder: Path
    typed_tag: str
    tag: Reference
    config: RuntimeConfig
    store: Path | None = None
    scratch: Path | None = None


def read(
    source: str,
    *,
    tag: str,
    config: str = "",
    store: str = "",
    tmp_dir: str = "",
    build_dir: str = "",
    precompiled: bool,
) -> Order:
    """Make an order of what was typed.

    Args:
        source: SOURCE_DIRECTORY, or COMPILED_FILTER_FILE.
        tag: ``--tag``.
        config: ``--config``; "" for runtime-config.json in the source folder, or in the current one for a module.
        store: ``--store``.
        tmp_dir: ``--tmp-dir``.
        build_dir: ``--build-dir``: a folder inside the source.
        precompiled: whether ``source`` is a module.

    Raises:
        UsageError: no tag.
        InvalidReference: a tag that cannot be one.
        InputError: no such source, or nothing in it that wasme builds.
        InvalidRuntimeConfig: no runtime config, or a wrong one.
        StoreError: nothing can be added to that store.
    """
    if not tag:
        raise UsageError("required flag --tag is missing: the name under which the image is kept, name:tag")
    reference = Reference.parse(tag)
    if reference.digest:
        raise InvalidReference(f"cannot build {tag!r}: an image's digest comes of its content", hint="leave @… away")
    path = Path(source).absolute()
    if precompiled and not path.is_file():
        raise InputError(f"there is no file {source}" if not path.is_dir() else f"{source} is a folder, not a module")
    if not precompiled and not path.is_dir():
        raise InputError(f"there is no folder {source}" if not path.exists() else f"{source} is not a folder")
    folder = _inside(path, build_dir)
    place = Path(store) if store else None
    open_store(place).check_writable()
    described = Path(config) if config else _default_config(path, folder, precompiled)
    if not precompiled and not described.exists() and not (find.is_bazel(path) or find.is_bazel(folder)):
        find.kind_of(path, build_dir)  # a folder without any project lacks more than its runtime config
    return Order(
        source=path,
        folder=folder,
        typed_tag=tag,
        tag=reference,
        config=_config(described),
        store=place,
        scratch=Path(tmp_dir).absolute() if tmp_dir else None,
    )


def _inside(source: Path, build_dir: str) -> Path:
    """The folder that is built.

    Raises:
        InputError: it is not there, or not inside the source.
    """
    folder = source / build_dir
    if os.path.normpath(folder) == os.path.normpath(source):
        return source
    if not folder.resolve().is_relative_to(source.resolve()):
        raise InputError(f"--build-dir {build_dir} is not inside {source}", hint="name it relative to SOURCE_DIRECTORY")
    if not folder.is_dir():
        raise InputError(f"there is no folder {build_dir} in {source}, which --build-dir names")
    return Path(os.path.normpath(folder))


def _default_config(source: Path, folder: Path, precompiled: bool) -> Path:
    """Of a module the current folder's; of a project the source's, else that of the folder which is built."""
    if precompiled:
        return Path.cwd() / runtime_config.FILE_NAME
    own, inner = source / runtime_config.FILE_NAME, folder / runtime_config.FILE_NAME
    return own if own.exists() or not inner.exists() else inner


def _config(path: Path) -> RuntimeConfig:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRuntimeConfig(
            f"cannot read the runtime config {path}: {error.strerror}",
            hint='name it with --config; a minimal one is {"type":"envoy_proxy","config":{"rootIds":["NAME"]}}',
        ) from None
    return runtime_config.parse(content, str(path))
