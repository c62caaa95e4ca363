"""Group commit: many FilterDeployments write to the cache's one list, and each write carries what has gathered.

Each write of the list is a piece of work for every node: its agent reads all of it, and tells that it has. So there
are few: the first ones of a burst go out at once, the others in steps of a second, with all that came meanwhile.
Nobody waits in here: who submits goes on, and is told when his word is stored.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cluster import Cluster, kinds
from wasme.errors import CacheError, ClusterError, Conflict, LeadershipLost, WasmeError
from wasme.operator.informers.facts import ConfigFacts, Object, config
from wasme.operator.nodecache.intents import Edited, FilterId, Intents

log = logging.getLogger(__name__)

BURST = 6
"""Writes that go out at once after a time of silence."""
STEP = 1.0
"""Seconds between two writes after that."""
_GATHER = 0.02
"""Seconds for which the first word of a write waits for others."""
_PATIENCE = 30.0
"""Seconds for one write while others change the same ConfigMap."""

Done = Callable[[Mapping[FilterId, WasmeError | None]], None]
Sweep = Callable[[Iterable[FilterLine], Iterable[FilterLine]], None]


class Commits:
    """Writes the list.

    Args:
        cluster: where.
        options: which cache.
        known: the list as it is known, without a request; None where there is none.
        stored: takes the list as the API server answered a write.
        done: is told what came of each filter that was submitted; None for stored.
        sweep: takes away the pull secrets that nobody needs, of lines that went and of those that are left.
        step: seconds between writes.
    """

    def __init__(
        self,
        cluster: Cluster,
        options: CacheOptions,
        *,
        known: Callable[[], ConfigFacts | None],
        stored: Callable[[Object], None],
        done: Done,
        sweep: Sweep,
        step: float = STEP,
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._known = known
        self._stored = stored
        self._done = done
        self._sweep = sweep
        self._step = step
        self._lock = threading.Lock()
        self._intents = Intents()
        self._writing: Intents | None = None
        self._removed: set[FilterLine] = set()
        """Lines that were to go, whether the answer said so or was lost, and whose pull secrets may still be there."""
        self._thread: threading.Thread | None = None
        """Who writes, as long as there is anything to write."""
        self._tokens, self._at = float(BURST), time.monotonic()
        self.writes = 0
        """Requests that changed the list."""

    def submit(self, say: Callable[[Intents], None]) -> None:
        """Say what is to become of some lines; it is written soon, with what others say.

        Raises:
            RuntimeError: no thread can be started; who submits next starts it, and this is written, too.
        """
        with self._lock:
            say(self._intents)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="cache list", daemon=True)
                thread.start()  # it takes the lock first
                self._thread = thread

    def clear(self) -> None:
        """Another operator may have written meanwhile: what was said until now, and is not sent yet, is not written."""
        with self._lock:
            self._intents = Intents()
            self._writing = None
            self._removed = set()

    def join(self, seconds: float) -> bool:
        """Wait until nothing is being written any more, at most so long; whether that is so."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while True:
            self._wait()
            with self._lock:
                intents, self._intents = self._intents, Intents()
                if not intents:
                    self._thread = None
                    return
                self._writing = intents
            self._commit(intents)

    def _wait(self) -> None:
        """Until the next write may go."""
        time.sleep(_GATHER)
        now = time.monotonic()
        if self._step:
            self._tokens = min(float(BURST), self._tokens + (now - self._at) / self._step)
        self._at = now
        with self._lock:
            if not self._intents:
                return
        if self._tokens < 1 and self._step:
            pause = (1 - self._tokens) * self._step
            time.sleep(pause)
            self._tokens, self._at = 1.0, time.monotonic()
        self._tokens -= 1

    def _commit(self, intents: Intents) -> None:
        result: dict[FilterId, WasmeError | None]
        try:
            edited = self._write(intents)
            result = {name: edited.refused.get(name) if edited else None for name in intents.filters}
        except WasmeError as error:
            result = dict.fromkeys(intents.filters, error)
        except Exception as error:
            log.exception("a bug in wasme: the cache's list is not written")
            told = CacheError(f"the node cache's list: a bug in wasme: {type(error).__name__}")
            result = dict.fromkeys(intents.filters, told)
        try:
            self._done(result)
        except Exception:
            log.exception("a bug in wasme: nobody is told that the cache's list is written")

    def _write(self, intents: Intents) -> Edited | None:
        """Write it; None where there is no list, and nothing was to be added.

        Raises:
            CacheError: there is no list.
            ClusterError: the API server did not do it.
            LeadershipLost: what is to be written was said in a term that is over.
        """
        until = time.monotonic() + _PATIENCE
        wait = 0.05
        facts = self._known()
        while True:
            if facts is None:
                facts = self._read()
            if facts is None:
                if intents.lines:
                    raise absent(self._options)
                return None
            edited = intents.edit(facts.data)
            if edited.data == facts.data:
                break
            if self._writing is not intents:
                raise LeadershipLost("the cache's list is written by another operator", hint="it is looked at anew")
            self._removed.update(line.needed for line in edited.removed)
            try:
                self._send(facts, edited.data)
                break
            except Conflict:
                if time.monotonic() > until:
                    raise
                time.sleep(random.uniform(0, wait))  # noqa: S311 - nothing secret
                wait = min(wait * 1.6, 1.0)
                facts = None
        self._swept(edited.left, always=intents.sweeps)
        return edited

    def _read(self) -> ConfigFacts | None:
        live = self._cluster.get(kinds.CONFIG_MAP, self._options.name, self._options.namespace)
        if live is None or live["metadata"].get("deletionTimestamp"):
            return None
        return config(live)

    def _send(self, facts: ConfigFacts, data: Mapping[str, str]) -> None:
        changed: dict[str, str | None] = {key: value for key, value in data.items() if facts.data.get(key) != value}
        changed |= dict.fromkeys(facts.data.keys() - data.keys())
        meta = {"resourceVersion": facts.version, "uid": facts.uid}
        answer = self._cluster.patch(
            kinds.CONFIG_MAP, self._options.name, self._options.namespace, {"metadata": meta, "data": changed}
        )
        self.writes += 1
        self._stored(answer)

    def _swept(self, left: Iterable[FilterLine], *, always: bool) -> None:
        """Take the pull secrets away that only filters needed which are gone; what fails is tried again with the next.

        Args:
            left: lines that are there.
            always: also where no line went.
        """
        if not self._removed and not always:
            return
        removed = self._removed.difference(line.needed for line in left)
        try:
            self._sweep(removed, left)
        except (ClusterError, CacheError) as error:
            fields = {"cache": self._options.pair, "reason": error.message}
            log.warning("a pull secret may be left beside the cache", extra={"fields": fields})
        else:
            self._removed -= removed


def absent(options: CacheOptions) -> CacheError:
    """There is no list."""
    return CacheError(
        f"ConfigMap {options.namespace}/{options.name} is not there, so no node can be asked to hold the module",
        hint="wasme operator install, or wasme cache install, makes it",
    )
