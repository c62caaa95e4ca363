"""What a word on the command line names: a module's file, an image of the store, of a folder, or of a registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wasme.errors import ImageNotFound, InputError, InvalidReference, WasmeError
from wasme.inspect.subject import Subject, read

if TYPE_CHECKING:
    from wasme.inspect.images import Remote

_HINT = "name a module's file, or an image of `wasme list` or of a registry: HOST/NAME:TAG"
_SUFFIXES = (
    *(".cc", ".cpp", ".go", ".h", ".js", ".json", ".lock", ".md", ".mod", ".rs", ".toml", ".ts", ".txt"),
    *(".wasm", ".wat", ".yaml", ".yml", ".gz", ".tar", ".tgz", ".zip"),
)


def find(word: str, store: Path | None = None, remote: Remote | None = None) -> Subject:
    """Find what a word names, and read it.

    A path of a ``.wasm`` file, or one that begins like a path, is a file or a folder with an OCI layout (``DIR`` or
    ``DIR:NAME``); all else is an image, looked for in the store, then at its registry, where nothing is kept of it.

    Args:
        word: as typed.
        store: the store's folder; None for the user's own.
        remote: how to reach a registry; None where it is not to be asked.

    Raises:
        InputError: a file or folder that cannot be read, or is none.
        ImageError: there is no such image, or it is damaged.
        RegistryError: the registry did not give it.
    """
    if _is_path(word):
        return _local(word)
    from wasme.inspect import images

    try:
        return images.stored(word, store)
    except InvalidReference as reason:
        if Path(word).exists():
            return _local(word)
        raise InvalidReference(
            f"there is no file {word}, and no image is called so: {reason.message}", hint=_HINT
        ) from None
    except ImageNotFound as unknown:
        if Path(word).exists():
            return _local(word)
        if _looks_like_a_file(word):
            raise ImageNotFound(f"there is no file {word}, and {unknown.message}", hint=_HINT) from None
        if remote is None:
            raise
        try:
            return images.remote(word, remote, unknown)
        except WasmeError as failed:
            if _looks_like_a_path(word):
                # What went wrong at the registry stays the kind of error that it is.
                failed.message = f"there is no file {word}, and no image of that name was got: {failed.message}"
                failed.args = (failed.message,)
            raise


def _looks_like_a_path(word: str) -> bool:
    """Whether it could be a path just as well: an image's name has a tag or a digest, or begins with its registry."""
    first = word.partition("/")[0]
    return "/" in word and not set(":@") & set(word) and "." not in first and first != "localhost"


def _looks_like_a_file(word: str) -> bool:
    """Whether nobody who types it means an image of a registry's."""
    return (_looks_like_a_path(word) or not set("/:@") & set(word)) and word.endswith(_SUFFIXES)


def _is_path(word: str) -> bool:
    if word.startswith(("/", "./", "../", "~")) or word in (".", ".."):
        return True
    return word.endswith(".wasm") and (Path(word).exists() or not set(":@") & set(word))


def _local(word: str) -> Subject:
    """A file or a folder."""
    path = Path(word).expanduser()
    folder, name = path, ""
    if not path.exists():
        cuts = [at for at, letter in enumerate(word) if letter == ":"]
        folder, name = next(
            ((known, word[at + 1 :]) for at in cuts if (known := Path(word[:at]).expanduser()).is_dir()), (path, "")
        )
    if folder.is_dir():
        from wasme.inspect import images

        if not (folder / "oci-layout").is_file():
            raise InputError(
                f"{folder} is a folder without an OCI image layout", hint="name the .wasm file in it, or an image"
            )
        return images.in_folder(folder, name)
    content, size = read(path, word)
    return Subject(word, "file", content, size, path.absolute())
