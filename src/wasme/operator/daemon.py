"""The operator: its parts put together, started, and stopped by a signal.

Informers follow the cluster all the time, also in a standby, so whoever takes over knows everything at once. A term
begins when the lease is held: a queue with every key, workers, places; and ends with it. Every write asks the lease.

Health. ``/healthz`` fails where only a new process helps: a worker is stuck, a thread has ended. ``/readyz`` fails
until everything has been read once, and while some kind has not been heard of for ten seconds; a standby is ready,
too. An API server that is away makes nothing of this unhealthy: starting anew would not bring it back.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping

import msgspec

from wasme import __version__
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.connect import connect
from wasme.errors import LeadershipLost
from wasme.operator.control.controller import Controller
from wasme.operator.control.lease import Leadership
from wasme.operator.control.queue import Queue
from wasme.operator.control.reconcile import Reconciler
from wasme.operator.control.roster import Roster
from wasme.operator.control.workers import Workers
from wasme.operator.informers.informer import WINDOW
from wasme.operator.informers.stores import Stores
from wasme.operator.informers.watched import Watched
from wasme.operator.metrics import Metrics, Sources
from wasme.operator.names import LEASE
from wasme.operator.nodecache.holding import Holding
from wasme.operator.options import HASTY, Options
from wasme.operator.registries.allowed import Allowed
from wasme.operator.registries.images import CONNECTION, Images
from wasme.operator.registries.routes import Routes
from wasme.operator.resources.events import Recorder
from wasme.operator.resources.wanted import Key, Provider
from wasme.operator.serving import Health, Serving
from wasme.operator.targets.gateways import Gateways
from wasme.operator.targets.mesh import Mesh
from wasme.operator.targets.places import InGateways, Place
from wasme.registry.settings import load

log = logging.getLogger(__name__)

STALE = 10.0
"""Seconds without a sign of life of a kind, after which this process is not ready."""
_ENDING = 20.0
"""Seconds for what is being written when the end comes; a pod gets sixty."""
_STUBBORN = 30.0
"""Seconds more, in which the last request has been given up."""
_READING = WINDOW + 2.0
"""Seconds for what is being read, where the API server is away."""
_REMIND = 30.0


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""


class _Status(msgspec.Struct):
    conditions: list[_Condition] = []


class _Told(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


def run(options: Options) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        ClusterUnreachable: there is no kubeconfig, or one that cannot be used.
        ClusterError: the port of the metrics is taken.
        LeadershipLost: what was under way did not end when the lease was lost.
    """
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with connect(options.kubeconfig, options.context) as cluster:
            Operator(cluster, options).run(stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Operator:
    """One operator.

    Args:
        cluster: where.
        options: how it runs.

    Raises:
        ClusterError: the port is taken.
        UsageError: the times of the lease do not go together.
    """

    def __init__(self, cluster: Cluster, options: Options) -> None:
        self._options = options
        self._read = cluster
        self._identity = identity()
        self._leadership = Leadership(cluster, options.namespace, LEASE, self._identity, options.timing)
        self._ending = threading.Event()
        self._cluster = cluster.guarded(self._require)
        # Events tell of what is done, and may still go when nothing else does.
        self._telling = cluster.guarded(self._leadership.require) if options.elect else cluster
        self._leads = False
        self._workers: Workers | None = None
        self._idle = Queue()  # what metrics tell of while another one leads
        cache = CacheOptions(name=options.cache_name, namespace=options.cache_namespace)
        self._stores = stores = Stores(cluster, cache)
        self._roster = Roster(stores, options.watched)
        self._controller = controller = Controller(stores, self._roster)
        self._watched = Watched(cluster, stores, controller.gateway_changed)
        own = {**load().registry_map, **options.registry_map}
        routes = Routes(cache, stores.cache_config, own, Allowed(options.registries))
        self._images = Images(
            cluster.hasty(HASTY), routes, controller.call, interval=options.tag_interval,
            connection=msgspec.structs.replace(
                CONNECTION, insecure=options.connection.insecure, plain_http=options.connection.plain_http
            ),
            files=options.files,
        )  # fmt: skip
        stores.config.subscribe(lambda _, old, new: self._images.led(old, new))
        self._holding = Holding(self._cluster, stores, cache, controller.call_all, routes)
        self._gateways = Gateways(self._cluster.hasty(HASTY))
        self._metrics = Metrics(
            Sources(self._queue, lambda: self._leads, self._silences, lambda: cluster.answers, self._conditions)
        )
        self._serving: Serving | None = None
        if options.port:
            self._serving = Serving(
                options.address, options.port, Health(self._wrong, self._unready, self._metrics.text)
            )

    def run(self, stop: threading.Event) -> None:
        """Run until ``stop`` is set; see ``run``."""
        log.info("started wasme version %s", __version__)
        if self._serving is not None:
            self._serving.start()
            log.info("serving metrics and probes", extra={"fields": {"port": self._serving.port}})
        over = threading.Event()
        self._stores.start(over)
        self._watched.start(over)
        try:
            if self._sync(stop):
                if self._options.elect:
                    self._leadership.run(stop, self._lead)
                else:
                    self._lead(stop)
            log.info("stopping")
        finally:
            over.set()
            if self._serving is not None:
                self._serving.stop()
            self._join()

    def _join(self) -> None:
        """Wait until nobody reads from the cluster any more, which is closed next."""
        until = time.monotonic() + _READING
        while not (self._stores.join(0.1) and self._watched.join(0.1)) and time.monotonic() < until:
            self._read.hang_up()

    def _sync(self, stop: threading.Event) -> bool:
        """Wait until everything has been read once, and say what is waited for; False where the end came before."""
        due = time.monotonic() + 3.0
        told = ""
        while not self._stores.wait_synced(0.2):
            if stop.is_set():
                return False
            if time.monotonic() >= due:
                late = next((each for each in self._stores.all if not each.synced.is_set()), None)
                reason = (late.problem or "it has not been read yet") if late else ""
                if late and (reason != told or time.monotonic() >= due + _REMIND):
                    fields = {"kind": late.kind.kind, "reason": reason}
                    log.warning("waiting for the API server", extra={"fields": fields})
                    told, due = reason, time.monotonic()
        if not self._stores.resources.served:
            log.warning(
                "waiting for the definition of FilterDeployment: kubectl apply -f wasme.io_v1_crds.yaml, or "
                "wasme operator install"
            )
        _settle_memory()
        log.info("synced", extra={"fields": {"filterdeployments": len(self._roster.keys())}})
        return not stop.is_set()

    def _lead(self, over: threading.Event) -> None:
        """One term."""
        self._ending = over
        queue = Queue()
        self._holding.begin(self._roster.all_wanted())
        recorder = Recorder(self._telling, self._identity)
        hasty = self._cluster.hasty(HASTY)
        mesh = Mesh(hasty, self._stores, self._holding, self._controller.call)
        places: dict[Provider, Place] = {
            "istio": mesh,
            "gloo": InGateways(self._gateways, "gloo"),
            "envoyGateway": InGateways(self._gateways, "envoyGateway"),
        }

        reconciler = Reconciler(hasty, self._stores, self._roster, self._images, places, mesh.owned, recorder.record)
        workers = Workers(queue, reconciler.look, self._options.workers, self._metrics.reconciled)
        recorder.start()
        self._leads = True
        try:
            self._controller.begin(queue)
            workers.start()
            self._workers = workers
            over.wait()
        finally:
            self._leads = False
            self._workers = None  # that they end now is nothing wrong
            self._controller.end()
            queue.stop()
            mesh.close()
            if not workers.stop(_ENDING):
                # Given back now, the lease would let another one write while this one's last request is under way.
                log.warning(
                    "some work does not end in time, and keeps the lease", extra={"fields": {"seconds": _ENDING}}
                )
                workers.stop(_STUBBORN)
            if not self._holding.commits.join(_STUBBORN):
                log.warning("the node cache's list is still being written, though the lease goes")
            recorder.stop()

    def _require(self) -> None:
        """Write only while the term goes on: a look at hundreds of workloads is to begin no more of them when its end
        is asked for, and who leads next goes on with it.

        Raises:
            LeadershipLost: it does not.
        """
        if self._options.elect:
            self._leadership.require()
        if self._ending.is_set():
            raise LeadershipLost("the operator is ending, so nothing more is written", hint="the next one goes on")

    # For probes and metrics; from other threads.

    def _queue(self) -> Queue:
        workers = self._workers
        return workers.queue if workers is not None else self._idle

    def _wrong(self) -> str:
        workers = self._workers
        return (workers.wrong() if workers is not None else "") or self._stores.wrong() or self._watched.wrong()

    def _unready(self) -> str:
        if not self._stores.synced:
            return "the cluster has not been read yet"
        kind, seconds = max(self._silences().items(), key=lambda each: each[1], default=("", 0.0))
        return f"nothing was heard of {kind} for {seconds:.0f} s" if seconds > STALE else self._wrong()

    def _silences(self) -> Mapping[str, float]:
        now = time.monotonic()
        found: dict[str, float] = {}
        for each in self._stores.all:
            if each.heard and each.served:
                found[each.kind.kind] = max(now - each.heard, found.get(each.kind.kind, 0.0))
        return found

    def _conditions(self) -> Iterator[tuple[Key, Mapping[str, str]]]:
        decoder = msgspec.json.Decoder(_Told)
        for each in self._stores.resources.store.all():
            try:
                found = decoder.decode(each.packed).status.conditions
            except msgspec.ValidationError:  # a status that somebody else wrote
                continue
            yield each.key, {one.type: one.status for one in found}


def identity() -> str:
    """This process' name among operators: its pod's; elsewhere the machine's, and something random."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


def _settle_memory() -> None:
    """A command looks for cycles seldom, since it ends soon; what runs for months must look for them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
