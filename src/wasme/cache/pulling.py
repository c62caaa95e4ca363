"""One image from its registry into the folder: resolve, read the manifest, and get the module unless it is here.

All that arrives is verified on its way (size and digest), bounded in size, and must keep a pace: a registry that sends
a byte a minute is as dead as one that sends none. One module is downloaded once, whoever asks for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import NamedTuple

from wasme.cache.doors import Doors, Names
from wasme.cache.folder import Folder
from wasme.cache.metrics import Counters
from wasme.errors import ContentMismatch, Forbidden, RemoteNotFound, Unauthorized, Unreachable, UnsupportedImage
from wasme.image import layouts, manifest, tarball
from wasme.image.content import Readable, Verified
from wasme.image.descriptor import Descriptor
from wasme.image.reference import Reference
from wasme.registry.repository import Repository
from wasme.registry.session import Session

log = logging.getLogger(__name__)

LARGEST = tarball.MAX_UNPACKED
"""Bytes of a module: what Istio and Envoy Gateway take."""
_CHUNK = 128 << 10
_GRACE_SECONDS = 60.0
_SLOWEST = 1024.0
"""Bytes a second, on average, after the grace."""
_AWAY_SECONDS = 3.0
"""Seconds for which a registry that did not answer is taken to be away, so that its other images need not wait."""
_QUICK_SECONDS = 1.0
_MOST_AWAY = 1000
_PATIENCE = 10.0
"""Seconds without a byte after which one no longer waits for another's download of the same module."""
_LOOK_SECONDS = 0.5

Known = Callable[[str], tuple[str, int] | None]
"""The module, and its size, of an image that was read before, by its manifest's digest."""


class Found(NamedTuple):
    """What a reference stands for, its module being in the folder.

    Attributes:
        manifest: digest that the reference resolved to.
        module: digest of the module.
        size: bytes of the module.
    """

    manifest: str
    module: str
    size: int


class Stopped(Exception):
    """The agent ends."""


class _Flight:
    """A download under way.

    Attributes:
        landed: what comes of it.
        moved: when its last bytes came, of the monotonic clock.
        outside: it is for a stranger, who chose the registry.
    """

    def __init__(self, *, outside: bool) -> None:
        self.landed: Future[tuple[str, int]] = Future()
        self.moved = time.monotonic()
        self.outside = outside


class Puller:
    """Pulls images; safe from threads.

    Args:
        folder: where modules go.
        doors: how registries are asked.
        counters: what is counted.
    """

    def __init__(self, folder: Folder, doors: Doors, counters: Counters) -> None:
        self._folder = folder
        self._doors = doors
        self._counters = counters
        self._away: dict[str, tuple[float, str]] = {}
        self._flights: dict[str, _Flight] = {}
        self._lock = threading.Lock()
        self.stopping = threading.Event()

    def pull(
        self,
        reference: Reference,
        known: Known,
        *,
        namespaces: Names = frozenset(),
        anonymous: bool = False,
        outside: bool = False,
        largest: int = LARGEST,
    ) -> Found:
        """Get an image's module into the folder.

        Args:
            reference: the image; a digest in it is what is got.
            known: what earlier pulls found.
            namespaces: whose filters need it, and whose pull secrets may so be used.
            anonymous: use no credential of the agent's.
            outside: connect neither to this machine nor to link-local addresses.
            largest: bytes that a module may have.

        Raises:
            RegistryError, ImageError: the registry does not give it, or it is no filter.
            NoRoom, CacheError: the disk does not take it.
        """
        first: Unauthorized | Forbidden | RemoteNotFound | None = None
        nobody = [self._doors.anonymous(outside=outside)] if anonymous else None
        for session in nobody or self._doors.of(reference, namespaces, outside=outside):
            try:
                found = self._through(session, reference, known, largest, outside=outside)
            except (Unauthorized, Forbidden, RemoteNotFound) as error:
                # A registry may hide what one may not see, and says 404; who was let in knows better.
                if first is None or (isinstance(error, RemoteNotFound) and not isinstance(first, RemoteNotFound)):
                    first = error
                continue
            if not anonymous:
                self._doors.opened(reference, session, namespaces)
            return found
        assert first is not None
        raise first

    def _through(self, session: Session, reference: Reference, known: Known, largest: int, *, outside: bool) -> Found:
        repository = Repository(session, reference)
        root = self._resolve(repository, reference)
        remembered = known(root.digest)
        if remembered is not None and self._folder.holds(remembered[0]):
            return Found(root.digest, *remembered)
        _, _, parsed = manifest.fetch_manifest(repository, root)
        layout, layer = layouts.identify(parsed)
        if layer.size > largest:
            raise UnsupportedImage(f"{reference}: a module of {layer.size} bytes; the limit is {largest}")
        if layout != "compat" and layer.algorithm == "sha256" and self._folder.holds(layer.digest):
            return Found(root.digest, layer.digest, layer.size)
        packed = layout == "compat"
        return Found(root.digest, *self._layer(repository, layer, largest, packed=packed, outside=outside))

    def _resolve(self, repository: Repository, reference: Reference) -> Descriptor:
        """What the reference stands for; a registry that has just been found away is not waited for again."""
        until, told = self._away.get(reference.domain, (0.0, ""))
        if time.monotonic() < until:
            raise Unreachable(told)
        begun = time.monotonic()
        try:
            return repository.resolve(reference)
        except Unreachable as error:
            if time.monotonic() - begun > _QUICK_SECONDS:
                if len(self._away) > _MOST_AWAY:
                    self._away.clear()
                self._away[reference.domain] = (time.monotonic() + _AWAY_SECONDS, error.message)
            raise

    def _layer(
        self, repository: Repository, layer: Descriptor, largest: int, *, packed: bool, outside: bool = False
    ) -> tuple[str, int]:
        """Digest and size of the module in a layer, downloaded unless somebody else does so already."""
        key = f"{layer.digest} {packed}"
        mine = _Flight(outside=outside)
        while True:
            with self._lock:
                other = self._flights.get(key)
                # Strangers choose how slow their registry is; what the node must have does not wait for them.
                if other is None or (other.outside and not outside):
                    self._flights[key] = mine
                    break
            if not self._wait(other):
                return self._download(repository, layer, largest, mine, packed=packed)
            if other.landed.exception() is None:
                return other.landed.result()
            # It failed, perhaps for want of a right that this one has: the next one flies, and the others wait for it.
        try:
            result = self._download(repository, layer, largest, mine, packed=packed)
        except BaseException as error:
            self._land(key, mine)
            mine.landed.set_exception(error)
            raise
        self._land(key, mine)
        mine.landed.set_result(result)
        return result

    def _wait(self, other: _Flight) -> bool:
        """Whether another's download has ended; False once nothing more comes of it."""
        while not wait_for([other.landed], _LOOK_SECONDS).done:
            if self.stopping.is_set():
                raise Stopped
            if time.monotonic() - other.moved > _PATIENCE:
                return False
        return True

    def _land(self, key: str, flight: _Flight) -> None:
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]

    def _download(
        self, repository: Repository, layer: Descriptor, largest: int, flight: _Flight, *, packed: bool
    ) -> tuple[str, int]:
        begun = time.monotonic()
        with repository.fetch(layer) as opened, self._folder.writing() as incoming:
            source = Verified(_Paced(opened, layer.digest, self._counters, self.stopping, flight), layer)
            if packed:
                tarball.read(source, incoming.write, max_unpacked=largest)
                source.drain()
            else:
                while block := source.read(_CHUNK):
                    incoming.write(block)
            log.info("writing image to %s", self._folder.file(incoming.digest))
            module = incoming.finish()
        if not packed and layer.algorithm == "sha256" and module != layer.digest:
            raise ContentMismatch(f"the content promised as {layer.digest} is {module}")
        self._counters.took(time.monotonic() - begun)
        return module, incoming.size


class _Paced:
    """A download that must keep going."""

    def __init__(
        self, source: Readable, digest: str, counters: Counters, stopping: threading.Event, flight: _Flight
    ) -> None:
        self._source = source
        self._digest = digest
        self._counters = counters
        self._stopping = stopping
        self._flight = flight
        self._begun = time.monotonic()
        self._size = 0

    def read(self, size: int, /) -> bytes:
        block = self._source.read(min(size, _CHUNK))
        if self._stopping.is_set():
            raise Stopped
        self._flight.moved = time.monotonic()
        self._size += len(block)
        self._counters.add("downloaded_bytes", len(block))
        spent = time.monotonic() - self._begun
        if spent > _GRACE_SECONDS and self._size < _SLOWEST * spent:
            raise Unreachable(f"{self._digest}: {self._size} bytes in {spent:.0f} s are too few; the registry is stuck")
        return block
