"""The node's folder of modules: ``<64 hex digits of the module's digest>``, whole and verified, or not there at all.

Proxies open these files by name, so a name is given only to what has been written, hashed and synced. What lies there
already is believed after it has been hashed once in this process, and then for as long as inode, size and times stay
the same. Nothing but such files and this folder's own is ever touched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wasme.errors import CacheError
from wasme.image import durable

_NAME = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"\.wasme-[0-9a-f]{16}\.part")
_CHUNK = 128 << 10
_HINTS = {
    errno.ENOSPC: "free some space on the node, or lower --max-size",
    errno.EDQUOT: "free some space on the node, or lower --max-size",
    errno.EROFS: "give --directory a folder that can be written",
    errno.EACCES: "the agent must run as a user who may write there",
}


class NoRoom(CacheError):
    """The disk is full."""


class Stamp(NamedTuple):
    """What a file looks like from outside; if none of it has changed, neither has the content."""

    inode: int
    size: int
    modified: int
    changed: int


class Opened(NamedTuple):
    """A verified module, open for reading: a handle that the taker closes, and its size in bytes."""

    handle: int
    size: int


class Folder:
    """The modules of one node; safe from threads.

    Args:
        path: where they lie.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._prefix = f"{path}/"
        self._verified: dict[str, Stamp] = {}
        self._lock = threading.Lock()

    def make(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            CacheError: it cannot be made.
        """
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True, exist_ok=True)
                self.path.chmod(0o755)  # the proxies are other users, whatever the umask
        except OSError as error:
            raise explain(error, self.path) from None

    def prepare(self, *, clear: bool = False) -> None:
        """Make the folder, and take away what a killed agent left half written.

        Args:
            clear: take all modules away too.

        Raises:
            CacheError: it cannot be made or written.
        """
        self.make()
        try:
            for entry in os.scandir(self.path):
                if _PART.fullmatch(entry.name):
                    _unlink_orphan(self.path / entry.name)
                elif clear and _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    (self.path / entry.name).unlink(missing_ok=True)
            with self._part(b""):
                pass
        except OSError as error:
            raise explain(error, self.path) from None

    def file(self, module: str) -> Path:
        """Where the module of this digest is, or would be."""
        return self.path / _hex(module)

    def sizes(self) -> dict[str, int]:
        """All modules that lie here, verified or not: digest → size in bytes."""
        found = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    with contextlib.suppress(OSError):
                        facts = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(facts.st_mode):
                            found[f"sha256:{entry.name}"] = facts.st_size
        return found

    def holds(self, module: str) -> bool:
        """Whether the module is there; one that has not been looked at since it last changed is hashed."""
        try:
            stamp = _stamp_of(self.file(module).lstat())
        except OSError:
            self._forget(module)
            return False
        return stamp is not None and (self._verified.get(module) == stamp or self.check(module))

    def unchanged(self, module: str) -> bool:
        """Whether a verified module still looks as it did; nothing is read."""
        with contextlib.suppress(OSError):
            # Asked for every file every other second, so no Path is made for it.
            stamp = _stamp_of(os.lstat(f"{self._prefix}{_hex(module)}"))
            return stamp is not None and self._verified.get(module) == stamp
        return False

    def spoiled(self, module: str) -> str:
        """Why a verified module that looks changed cannot be what it was; "" where only hashing can tell."""
        try:
            stamp = _stamp_of(self.file(module).lstat())
        except FileNotFoundError:
            return "it was removed from the disk"
        except OSError as error:
            return f"it cannot be read: {(error.strerror or 'error').lower()}"
        known = self._verified.get(module)
        if stamp is None:
            return "it is no file any more"
        return "its size on disk has changed" if known is not None and known.size != stamp.size else ""

    def check(self, module: str) -> bool:
        """Hash the module, and note whether it is what its name says."""
        try:
            handle = self._open(module)
            try:
                stamp = _stamp_of(os.fstat(handle))
                hashed = hashlib.sha256()
                while part := os.read(handle, _CHUNK):
                    hashed.update(part)
                after = _stamp_of(os.fstat(handle))
            finally:
                os.close(handle)
        except OSError:
            self._forget(module)
            return False
        if stamp is None or stamp != after or f"sha256:{hashed.hexdigest()}" != module:
            self._forget(module)
            return False
        self._note(module, stamp)
        return True

    def size(self, module: str) -> int:
        """Bytes of a verified module; 0 of any other."""
        stamp = self._verified.get(module)
        return stamp.size if stamp else 0

    def open(self, module: str) -> Opened | None:
        """Open a verified module for reading; None where there is none, or where it has changed since."""
        try:
            handle = self._open(module)
        except OSError:
            return None
        stamp = _stamp_of(os.fstat(handle))
        if stamp is None or stamp != self._verified.get(module):
            os.close(handle)
            return None
        return Opened(handle, stamp.size)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Incoming]:
        """A new module on its way in; `Incoming.finish` gives it its name, and nothing of it stays without that.

        Raises:
            NoRoom: the disk is full.
            CacheError: it cannot be written.
        """
        with self._part() as incoming:
            yield incoming

    def remove(self, module: str) -> bool:
        """Take a module away; whether it was there. Whoever has it open reads on."""
        self._forget(module)
        try:
            self.file(module).unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise explain(error, self.file(module)) from None
        return True

    def _forget(self, module: str) -> None:
        with self._lock:
            self._verified.pop(module, None)

    def _note(self, module: str, stamp: Stamp | None) -> None:
        if stamp is not None:
            with self._lock:
                self._verified[module] = stamp

    def _open(self, module: str) -> int:
        """A handle on the file itself: neither a link nor a pipe, which could lead or hang."""
        return os.open(self.file(module), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)

    @contextlib.contextmanager
    def _part(self, first: bytes | None = None) -> Iterator[Incoming]:
        part = self.path / f".wasme-{os.urandom(8).hex()}.part"
        try:
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise explain(error, self.path) from None
        incoming = Incoming(self, handle, part)
        try:
            # Whoever finds such a file unlocked knows that its writer is dead.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if first is not None:
                incoming.write(first)
            yield incoming
        finally:
            os.close(handle)
            if not incoming.finished:
                with contextlib.suppress(OSError):
                    part.unlink()

    def finish(self, incoming: Incoming, module: str) -> None:
        """Sync, and give the final name: for `Incoming`."""
        os.fchmod(incoming.handle, 0o644)  # as for the folder
        os.fsync(incoming.handle)
        incoming.part.replace(self.file(module))
        incoming.finished = True
        durable.sync_folder(self.path)
        self._note(module, _stamp_of(os.fstat(incoming.handle)))


class Incoming:
    """A module that is being written.

    Attributes:
        handle: of the file, which has another name until it is finished.
        part: that name.
        finished: whether it has its own.
        size: bytes so far.
    """

    def __init__(self, folder: Folder, handle: int, part: Path) -> None:
        self._folder = folder
        self._hashed = hashlib.sha256()
        self.handle = handle
        self.part = part
        self.finished = False
        self.size = 0

    def write(self, block: bytes) -> None:
        """Take the next bytes.

        Raises:
            NoRoom, CacheError: the disk does not take them.
        """
        self._hashed.update(block)
        self.size += len(block)
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[os.write(self.handle, rest) :]
        except OSError as error:
            raise explain(error, self._folder.path) from None

    def finish(self) -> str:
        """Make it visible under the digest of what was written, which is returned.

        Raises:
            NoRoom, CacheError: the disk does not keep it.
        """
        module = f"sha256:{self._hashed.hexdigest()}"
        try:
            self._folder.finish(self, module)
        except OSError as error:
            raise explain(error, self._folder.path) from None
        return module

    @property
    def digest(self) -> str:
        """Of what was written so far."""
        return f"sha256:{self._hashed.hexdigest()}"


def explain(error: OSError, path: Path) -> CacheError:
    """What the operating system refused, in words."""
    number = error.errno or 0
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoRoom(f"{path} cannot be written: the disk is full", hint=_HINTS.get(number))
    reason = (error.strerror or str(error)).lower()
    return CacheError(f"{path} cannot be written: {reason}", hint=_HINTS.get(number))


def _hex(module: str) -> str:
    name = module.removeprefix("sha256:")
    if not _NAME.fullmatch(name):
        raise CacheError(f"{module[:100]!r} is not the digest of a module")
    return name


def _stamp_of(facts: os.stat_result) -> Stamp | None:
    if not stat.S_ISREG(facts.st_mode):
        return None
    return Stamp(facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _unlink_orphan(part: Path) -> None:
    """Remove a half-written file unless another agent, about to be replaced by this one, still writes it."""
    with contextlib.suppress(OSError):
        handle = os.open(part, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()
        finally:
            os.close(handle)
