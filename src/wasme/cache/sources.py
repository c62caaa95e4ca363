"""Where the list comes from: a watch of the cache's ConfigMap, or the file into which the kubelet mounts its images.

The watch is one request that stays open. It goes on from the last version seen when it is cut, and reads the object
anew only when the server no longer remembers that version. The file is looked at while there is no watch.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from wasme.cache.kube import Expired, Kube, Object
from wasme.cache.metrics import Counters
from wasme.deploy.cache import protocol
from wasme.deploy.cache.protocol import Wanted
from wasme.errors import ClusterError, ClusterUnreachable

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0
_FORBIDDEN_PAUSE = 60.0
_LARGEST_FILE = 4 << 20
_LINGER = 0.5
"""Seconds that the end waits for a thread; one that waits for a connection cannot be woken."""


class Listed(NamedTuple):
    """The list, as somebody wrote it.

    Attributes:
        wanted: what it asks for.
        version: resourceVersion of the ConfigMap; "" of a file.
        uid: of the ConfigMap; "" of a file.
    """

    wanted: Wanted
    version: str = ""
    uid: str = ""


Tell = Callable[[Listed | None], None]
"""Told of each new list; None: there is none (any more)."""


class Watch:
    """Follows the ConfigMap of a cache.

    Args:
        kube: a client for this thread alone.
        namespace, name: of the ConfigMap.
        tell: told of each version.
        counters: what is counted.
    """

    def __init__(self, kube: Kube, namespace: str, name: str, tell: Tell, counters: Counters) -> None:
        self._kube = kube
        self._path = f"/api/v1/namespaces/{namespace}/configmaps"
        self._query = {"fieldSelector": f"metadata.name={name}"}
        self._tell = tell
        self._counters = counters
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._told = ""
        self._since = ""
        self._failures = 0
        self.synced = False
        """Whether the list was read once."""
        self.connected = False
        """Whether the watch stands now."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End at once."""
        self._stopping.set()
        self._kube.interrupt()
        self._thread.join(_LINGER)

    def _run(self) -> None:
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                if not self._since:
                    self._list()
                self._follow()
            except Expired:
                self._since = ""
            except ClusterError as error:
                if self._stopping.is_set():
                    return
                if error.message != self._told:
                    self._told = error.message
                    log.warning("the cache's list cannot be watched", extra={"fields": {"reason": error.message}})
                if not isinstance(error, ClusterUnreachable):
                    self._since = ""
                self._failures += 1
                longest = _LONGEST_PAUSE if isinstance(error, ClusterUnreachable) else _FORBIDDEN_PAUSE
                pause = min(longest, _FIRST_PAUSE * 2.0 ** min(self._failures, 20))
                self._stopping.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311
            finally:
                self.connected = False
            # A server that ends each watch at once is not asked without end.
            if time.monotonic() - begun < _FIRST_PAUSE:
                self._stopping.wait(_FIRST_PAUSE)

    def _list(self) -> None:
        found = self._kube.get(self._path, **self._query) or {}
        self._since = _version(found)
        items = found.get("items") or []
        self._tell(listed(items[0]) if items else None)
        self.synced = True

    def _follow(self) -> None:
        self._counters.add("watch_restarts")
        for kind, obj in self._kube.watch(self._path, self._since, **self._query):
            if kind == "OPENED":
                self.connected, self._told, self._failures = True, "", 0
            elif kind == "ERROR":
                self._since = ""  # mostly 410; whatever it is, reading anew is right
                return
            self._since = _version(obj) or self._since
            if kind in ("ADDED", "MODIFIED"):
                self._tell(listed(obj))
            elif kind == "DELETED":
                self._tell(None)


class RefFile:
    """Looks at a mounted file every two seconds, by its time, until the watch knows better.

    Args:
        path: one reference a line.
        tell: told of each new content.
        idle: whether to leave it alone now.
        delay: seconds before the first look.
    """

    def __init__(self, path: Path, tell: Tell, idle: Callable[[], bool], delay: float = 0.0) -> None:
        self._path = path
        self._tell = tell
        self._idle = idle
        self._delay = delay
        self._seen: object = None
        self._told = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reference file", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(_LINGER)

    def look(self) -> None:
        """Look once."""
        try:
            facts = self._path.stat()
            seen = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
            if seen == self._seen:
                return
            with self._path.open("rb") as file:
                text = file.read(_LARGEST_FILE).decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            told = f"failed parsing refs file: {self._path}: {reason}"
            if told != self._told:
                self._told = told
                log.error(told)
            return
        self._seen, self._told = seen, ""
        self._tell(Listed(protocol.parse_wanted({protocol.IMAGES: text})))

    def _run(self) -> None:
        self._stopping.wait(self._delay)
        while not self._stopping.is_set() and not self._idle():
            self.look()
            self._stopping.wait(2.0)


def listed(obj: Object) -> Listed:
    """What a ConfigMap says."""
    meta = obj.get("metadata")
    uid = str(meta.get("uid") or "") if isinstance(meta, dict) else ""
    data = obj.get("data")
    texts: Mapping[str, str] = (
        {str(key): value for key, value in data.items() if isinstance(value, str)} if isinstance(data, dict) else {}
    )
    return Listed(protocol.parse_wanted(texts), _version(obj), uid)


def _version(obj: Object) -> str:
    with contextlib.suppress(AttributeError):
        return str((obj.get("metadata") or {}).get("resourceVersion") or "")
    return ""
