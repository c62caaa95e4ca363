"""A project's npm packages: which it wants, whether they are there, and installing them.

npm writes what it has installed to ``node_modules/.package-lock.json``. Where that agrees with the project's lock
file, nothing is run and nothing is asked of the network.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wasme.build.toolchain import Listener
from wasme.errors import BuildFailed, InputError

if TYPE_CHECKING:
    from wasme.build.assemblyscript.node import Node

_KINDS = ("dependencies", "devDependencies", "optionalDependencies")
_NOT_IN_STEP = "can only install packages when your package.json and"
_NO_CONNECTION = re.compile(
    r"\b(?:ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED)\b"
)
_REQUESTED = re.compile(r"request to https?://(?:[^/\s@]*@)?([^/\s@]+)")
_TRACE = re.compile(r"^npm (?:error|ERR!) +at .*\n?", re.MULTILINE)
# How long npm waits before it asks a registry again, where nobody has set it: its own 10 and then 60 seconds are for
# machines that nobody watches. In milliseconds.
_WAITS = {"fetch-retry-mintimeout": ("10000", "1000"), "fetch-retry-maxtimeout": ("60000", "5000")}

log = logging.getLogger(__name__)


def package(source: Path) -> dict[str, Any]:
    """The project's package.json.

    Raises:
        InputError: there is none, or it is not a JSON object.
    """
    path = source / "package.json"
    if not path.is_file():
        raise InputError(
            f"{source} has no package.json, so it is no AssemblyScript project",
            hint="begin one with: wasme init DEST_DIRECTORY --language=assemblyscript",
        )
    return _object(path)


def install(source: Path, node: Node, environment: Mapping[str, str], listener: Listener) -> bool:
    """Bring ``node_modules`` to what the lock file says.

    Args:
        source: the project's folder.
        node: whose npm to use.
        environment: npm's environment.
        listener: who hears of it.

    Returns:
        Whether anything had to be installed.

    Raises:
        BuildFailed: npm's own words.
        InputError: nothing can be written into the project's folder.
    """

    if are_installed(source):
        log.debug("npm packages are installed already")
        return False
    _check_writable(source)
    listener.step("installing npm packages")
    environment = {**environment, **_waits(source, node, environment)}
    verb = ["ci", "--prefer-offline"] if _is_locked(source) else ["install"]
    argv = [*node.npm, *verb, "--no-audit", "--no-fund", "--loglevel=error"]
    log.debug("installing npm packages", extra={"fields": {"args": " ".join(argv)}})
    try:
        _run(argv, source, environment, listener)
    except BuildFailed as error:
        if _NOT_IN_STEP not in error.message:
            raise
        # npm sees a difference that we do not; the original ran `npm install` always.
        argv = [*node.npm, "install", *argv[len(node.npm) + len(verb) :]]
        _run(argv, source, environment, listener)
    return True


def _run(argv: Sequence[str], source: Path, environment: Mapping[str, str], listener: Listener) -> None:
    """Run npm.

    Raises:
        BuildFailed: its own words, and before them that the registry cannot be reached, where that is it.
    """
    from wasme.build import process

    try:
        process.run(argv, cwd=source, env=environment, noise=listener.noise)
    except BuildFailed as error:
        said = _TRACE.sub("", error.message)
        if not _NO_CONNECTION.search(said):
            raise
        asked = _REQUESTED.search(said)
        where = f" at {asked[1]}" if asked else ""
        raise BuildFailed(
            f"the npm registry{where} cannot be reached:\n{said}",
            hint="npm's settings name the registry and the proxy: `npm config list` in the project shows them",
        ) from None


def _check_writable(source: Path) -> None:
    """See that npm can install into a project.

    Raises:
        InputError: it cannot.
    """
    folder = source / "node_modules"
    try:
        if not folder.is_dir():
            folder.mkdir()
            folder.rmdir()
        elif not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(
            f"npm cannot install the compiler into {folder}: {error.strerror}",
            hint=f"{source} must be writable; or build a copy of it",
        ) from None


def _waits(source: Path, node: Node, environment: Mapping[str, str]) -> dict[str, str]:
    """Settings with which npm gives up sooner on a registry that does not answer; none that somebody has set."""
    import subprocess

    asked = subprocess.run(
        [*node.npm, "config", "get", *_WAITS],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    said = asked.stdout.split()
    if any(f"{name}={default}" not in said for name, (default, _) in _WAITS.items()):
        return {}
    return {f"npm_config_{name.replace('-', '_')}": ours for name, (_, ours) in _WAITS.items()}


def are_installed(source: Path) -> bool:
    """Whether everything the lock file names is in node_modules, in that version."""
    lock = _lock(source)
    present = source / "node_modules" / ".package-lock.json"
    if lock is None or not present.is_file():
        return False
    try:
        wanted, here = _packages(lock), dict(_versions(_packages(present)))
        if not _in_step(package(source), wanted):
            return False
        needed = dict(_versions(wanted))
    except InputError:
        return False  # npm says what is wrong with it
    return all(here.get(path) == version and (source / path).is_dir() for path, version in needed.items())


def are_pinned(source: Path) -> bool:
    """Whether the lock file says all: it was made for this package.json, and no package lies beside the project.

    Raises:
        InputError: package.json or the lock file cannot be read.
    """
    lock = _lock(source)
    if lock is None:
        return False
    wanted = _packages(lock)
    return _in_step(package(source), wanted) and all(map(_is_inside, _folders(wanted)))


def _folders(lock: Mapping[str, Any]) -> Iterator[str]:
    """The folders and archives that packages are taken from without a registry, relative to the project."""
    for path, entry in (lock.get("packages") or {}).items():
        resolved = str(entry.get("resolved") or "")
        yield path  # of a package beside node_modules, such as ../library
        if entry.get("link") or resolved.startswith("file:"):
            yield resolved.removeprefix("file:")
    for entry in (lock.get("dependencies") or {}).values():  # as before npm 7
        version = str(entry.get("version") or "")
        if version.startswith("file:"):
            yield version.removeprefix("file:")


def _is_inside(path: str) -> bool:
    return not path.startswith(("/", "~")) and ".." not in path.split("/")


def _is_locked(source: Path) -> bool:
    """Whether there is a lock file made for this package.json; npm renews one that is not."""
    lock = _lock(source)
    try:
        return lock is not None and _in_step(package(source), _packages(lock))
    except InputError:
        return True  # npm says what is wrong with it


def _lock(source: Path) -> Path | None:
    for name in ("npm-shrinkwrap.json", "package-lock.json"):
        if (source / name).is_file():
            return source / name
    return None


def _in_step(manifest: Mapping[str, Any], lock: Mapping[str, Any]) -> bool:
    """Whether the lock file was made for this package.json."""
    if "packages" in lock:
        root = lock["packages"].get("", {})
        return all((manifest.get(kind) or {}) == (root.get(kind) or {}) for kind in _KINDS)
    direct = {name for kind in _KINDS[:2] for name in _table(manifest.get(kind))}
    return direct <= set(lock.get("dependencies") or {})


def _versions(lock: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The packages of a lock file of any version, by their folder; those a platform may do without left out."""
    if "packages" in lock:
        for path, entry in lock["packages"].items():
            if path and not entry.get("optional") and not entry.get("link"):
                yield path, str(entry.get("version"))
    else:
        yield from _nested(_table(lock.get("dependencies")), "")


def _nested(entries: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """The form before npm 7: packages inside packages."""
    for name, entry in ((name, _table(entry)) for name, entry in entries.items()):
        path = f"{prefix}node_modules/{name}"
        if not entry.get("optional"):
            yield path, str(entry.get("version"))
            yield from _nested(_table(entry.get("dependencies")), path + "/")


def _packages(path: Path) -> dict[str, Any]:
    """A lock file.

    Raises:
        InputError: it is none.
    """
    lock = _object(path)
    tables = [lock.get(part, {}) for part in ("packages", "dependencies")]
    if not all(isinstance(table, dict) and all(isinstance(each, dict) for each in table.values()) for table in tables):
        raise InputError(f"{path} is no lock file of npm's")
    return lock


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is not a JSON object")
    return value
