"""After the node cache's folder was taken from a pod template: somebody may have deployed a filter that needs it, by
hand and at that moment.

``wasme deploy`` stores its object and looks at the templates then. Who takes the folder must look at the objects after
that, or neither sees the other (see ``deploy.istio.meanwhile``). The watch of the objects looks for us: it is a few
seconds old at most, so what was there when the folder went is known after these.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from wasme.deploy.cache.protocol import CACHE_LABEL
from wasme.deploy.cluster import Cluster
from wasme.deploy.istio.meanwhile import put_back
from wasme.deploy.istio.workloads import Workload
from wasme.errors import LeadershipLost, WasmeError
from wasme.operator.informers.stores import Stores
from wasme.operator.options import HASTY
from wasme.operator.targets.mesh.shapes import Place

log = logging.getLogger(__name__)

WATCHED = 8.0
"""Seconds after which a change is known by its watch, however bad that is."""
_ATTEMPTS = 8


class Meanwhile:
    """Looks once more, by one thread that is there while there is anything to look at.

    Args:
        cluster: where; its writes are guarded by the lease.
        stores: what is known of it.
    """

    def __init__(self, cluster: Cluster, stores: Stores) -> None:
        self._cluster = cluster
        self._stores = stores
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._stripped: dict[Place, tuple[Workload, int]] = {}
        self._thread: threading.Thread | None = None

    def written(self, place: Place, before: Workload | None, after: dict[str, Any]) -> bool:
        """A workload was written; ``before`` is how it was, as far as that was known.

        Returns:
            Whether that took the folder away.
        """
        if before is None or CACHE_LABEL not in before.template_labels:
            return False
        if CACHE_LABEL in Workload(before.kind, after).template_labels:
            return False
        with self._lock:
            self._remember(place, before, _ATTEMPTS)
        return True

    def close(self) -> None:
        """Look no more: this process does not lead any longer, and may not write. What is being written ends first."""
        self._stop.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(HASTY + 1.0)

    def _remember(self, place: Place, before: Workload, attempts: int) -> None:
        self._stripped[place] = before, attempts
        if self._thread is None and not self._stop.is_set():
            thread = threading.Thread(target=self._run, name="meanwhile", daemon=True)
            try:
                thread.start()  # it takes the lock first
            except RuntimeError as error:  # none is left; what is remembered waits for the next one
                log.warning("a folder may be missing in pods", extra={"fields": {"reason": str(error)}})
                return
            self._thread = thread

    def _run(self) -> None:
        while True:
            with self._lock:
                waiting, self._stripped = self._stripped, {}
                if not waiting:
                    self._thread = None
                    return
            # All that wait now have waited as long when they are looked at, whatever comes meanwhile.
            if self._stop.wait(WATCHED):
                return
            for place, (before, attempts) in waiting.items():
                if self._stop.is_set():
                    return
                self._look(place, before, attempts)

    def _look(self, place: Place, before: Workload, attempts: int) -> None:
        fields = {"namespace": place.namespace, "workload": f"{place.kind}/{place.name}"}
        try:
            if self._stores.carriers.cache_users(place.namespace, before.template_labels):
                put_back(self._cluster, [before])
        except LeadershipLost:
            self._stop.set()
        except WasmeError as error:
            log.warning("a folder may be missing in pods", extra={"fields": {**fields, "reason": error.message}})
            if attempts > 1:
                with self._lock:
                    self._remember(place, before, attempts - 1)
        except Exception:
            log.exception("a bug in wasme: a folder may be missing in pods", extra={"fields": fields})
