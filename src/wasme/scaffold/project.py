"""A project folder made of a template: everything or nothing.

The files are first written into a folder of their own beside the destination (inside it, where it exists already), and
then moved to their places. So a full disk or an interruption leaves no half project, and an existing file is never
touched unless ``force`` says so; what ``force`` replaces is kept until all are in, and given back if they cannot be.
Only a kill between two moves leaves some of the files, and the replaced ones in a folder ``.wasme-init-…-before``.
Symbolic links inside the destination are not followed: nothing is written outside.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from wasme.errors import ScaffoldError
from wasme.scaffold import bases

DEFAULT_EXAMPLE = "add-header"
_SDK_FOLDER = {"assemblyscript": "assembly/proxy"}
# A template's own .gitignore would be obeyed by whoever keeps the template.
_RENAMED = {"gitignore": ".gitignore"}
# What a file system says that has none, or not for this file.
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Created:
    """What was made.

    Attributes:
        directory: the project's absolute path.
        example: the example it began from.
        files: the paths in it, sorted.
        size: all their bytes.
    """

    directory: Path
    example: str
    files: tuple[str, ...]
    size: int


def create(
    destination: Path,
    language: str,
    platform: str = "",
    platform_version: str = "",
    example: str | None = None,
    *,
    base: bases.Base | None = None,
    force: bool = False,
) -> Created:
    """Make a project.

    Args:
        destination: its folder; made with its parents where it does not exist.
        language: ``assemblyscript`` (the rest is known by name only).
        platform: ``istio``, ``gloo``, ``envoy``, ``envoy-gateway``; "" for the language's first template.
        platform_version: such as ``1.9.x``.
        example: the filter to begin with; None for ``add-header``.
        base: the template, where it is known already; platform and version then only say what it is meant for.
        force: overwrite files that are there.

    Raises:
        ScaffoldError: an unknown combination, a file in the way, a link that leads elsewhere.
    """
    base = base or bases.find(language, platform, platform_version)
    chosen = example or DEFAULT_EXAMPLE
    content = render(base, chosen)
    # The folder may be a link of the user's own making; what is inside it may not.
    directory = Path(os.path.realpath(destination))
    _check(directory, content, force=force)
    if platform and not bases.speaks_abi(platform, platform_version):
        log.warning(
            "the filter speaks Proxy-Wasm ABI 0.2.1, which Istio 1.9, Gloo 1.6 and Envoy 1.17 were the first to load",
            extra={"fields": {"platform": f"{platform}:{platform_version}"}},
        )
    size = sum(map(len, content.values()))
    log.info("extracting %d bytes to %s", size, directory)
    _write(directory, content, force=force)
    return Created(directory, chosen, tuple(sorted(content)), size)


def examples(language: str) -> tuple[str, ...]:
    """The examples a language has, sorted."""
    return tuple(sorted(folder.name for folder in _template(language, "examples").iterdir() if folder.is_dir()))


def render(base: bases.Base, example: str) -> Mapping[str, bytes]:
    """The files of a project, by their path in it.

    Raises:
        ScaffoldError: the language has no such example.
    """
    known = examples(base.language)
    if example not in known:
        raise ScaffoldError(
            f"there is no example {example!r} for {base.language}", hint=f"examples: {', '.join(known)}"
        )
    content = dict(_tree(_template(base.language, "project")))
    content |= _tree(_template(base.language, "proxy"), _SDK_FOLDER[base.language] + "/")
    content |= _tree(_template(base.language, "examples").joinpath(example))
    return content


def _template(language: str, part: str) -> Traversable:
    return files("wasme.scaffold").joinpath("templates", language, part)


def _tree(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _tree(item, f"{prefix}{item.name}/")
        else:
            yield prefix + _RENAMED.get(item.name, item.name), item.read_bytes()


def _check(directory: Path, content: Mapping[str, bytes], *, force: bool) -> None:
    """Nothing may be in the way."""
    if os.path.lexists(directory) and not directory.is_dir():
        raise ScaffoldError(f"{directory} is not a folder")
    taken: set[str] = set()
    for name in sorted(content):
        path = PurePosixPath(name)
        for parent in reversed(path.parents[:-1]):
            at = directory / parent
            if at.is_symlink():
                raise ScaffoldError(
                    f"{at} is a symbolic link, and wasme writes nothing outside {directory}",
                    hint="take the link away, or choose another folder",
                )
            if os.path.lexists(at) and not at.is_dir():
                taken.add(str(parent))
        at = directory / path
        if at.is_dir() and not at.is_symlink():
            raise ScaffoldError(f"{at} is a folder, and a file has to stand there")
        if os.path.lexists(at) and not force:
            taken.add(name)
    if taken:
        raise ScaffoldError(
            f"these are in {directory} already: {', '.join(sorted(taken))}",
            hint="choose another folder, or overwrite them with --force",
        )


def _write(directory: Path, content: Mapping[str, bytes], *, force: bool) -> None:
    is_new = not directory.exists()
    directory.parent.mkdir(parents=True, exist_ok=True)
    token = f".wasme-init-{secrets.token_hex(6)}"
    staging = directory.parent / token if is_new else directory / token
    staging.mkdir()
    try:
        for name, data in content.items():
            at = staging / name
            at.parent.mkdir(parents=True, exist_ok=True)
            with at.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if is_new:
            staging.rename(directory)
        else:
            _move_in(staging, directory, content, force=force)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _move_in(staging: Path, directory: Path, content: Mapping[str, bytes], *, force: bool) -> None:
    """Put each file into its place; where one cannot be, undo it all."""
    kept = directory / f"{staging.name}-before"
    made: list[Path] = []
    replaced: list[str] = []
    try:
        for name in sorted(content):
            at = directory / name
            for folder in reversed(at.parents[: len(PurePosixPath(name).parents) - 1]):
                if not folder.is_dir():
                    folder.mkdir()
                    made.append(folder)
            if force and os.path.lexists(at):
                (kept / name).parent.mkdir(parents=True, exist_ok=True)
                replaced.append(name)
                _keep(at, kept / name)
                (staging / name).replace(at)
            else:
                _place(staging / name, at)
                made.append(at)
    except BaseException as error:
        _take_away(made)
        _give_back(replaced, directory, kept)
        if isinstance(error, OSError):
            raise ScaffoldError(f"cannot write {error.filename2 or error.filename}: {error.strerror}") from None
        raise
    shutil.rmtree(kept, ignore_errors=True)


def _take_away(made: list[Path]) -> None:
    for path in reversed(made):
        with contextlib.suppress(OSError):  # such as a folder that somebody else uses by now: the first error is told
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()


def _give_back(replaced: list[str], directory: Path, kept: Path) -> None:
    """Put kept files into their places again; where one cannot be, it stays where it is kept, and is told of."""
    left: list[str] = []
    for name in replaced:
        try:
            if os.path.lexists(kept / name):
                (kept / name).replace(directory / name)
        except OSError:
            left.append(name)
    if left:
        log.warning(
            "replaced files cannot be put back, and are kept in a folder of their own",
            extra={"fields": {"folder": str(kept), "files": ", ".join(left)}},
        )
    else:
        shutil.rmtree(kept, ignore_errors=True)


def _keep(source: Path, target: Path) -> None:
    """Give a file that is about to be replaced a second name, so that its first one is never empty."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        source.rename(target)


def _place(source: Path, target: Path) -> None:
    """Move a file to a name that is free; fails where something has appeared there."""
    try:
        os.link(source, target)  # unlike a rename, it never replaces
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS or os.path.lexists(target):
            raise
        source.rename(target)
