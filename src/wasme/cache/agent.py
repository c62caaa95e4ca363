"""The agent of one node: the rooms of this package put together, started, and stopped by a signal."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import msgspec

from wasme import __version__
from wasme.cache import access, memory, metrics, secrets, tenancy, wishes
from wasme.cache.access import Access
from wasme.cache.doors import Doors
from wasme.cache.folder import Folder
from wasme.cache.guests import Guests
from wasme.cache.holdings import Change, Holdings, counts
from wasme.cache.kube import Kube
from wasme.cache.lanes import Lanes
from wasme.cache.loop import Loop
from wasme.cache.markers import Markers
from wasme.cache.metrics import Counters
from wasme.cache.pulling import Found, Puller
from wasme.cache.reporter import Reporter
from wasme.cache.secrets import PullSecret
from wasme.cache.server import Health, Server
from wasme.cache.sources import Listed, RefFile, Watch
from wasme.cache.upkeep import Upkeep
from wasme.deploy.cache import protocol
from wasme.deploy.cache.protocol import NodeStatus, Wanted
from wasme.errors import CacheError, InvalidSettings, UsageError, WasmeError
from wasme.registry.endpoint import check_map
from wasme.registry.transport import ConnectionOptions

log = logging.getLogger(__name__)

_SAVE_SECONDS = 1.0
_LINGER = 1.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent runs; times in seconds, sizes in bytes.

    Attributes:
        refs: images to hold from the start.
        directory: where modules lie; None is a temporary folder.
        ref_file: a file of references, read while there is no API server to watch.
        address, port: where HTTP is served; no port serves nothing.
        clear: empty the folder first.
        kube: whether to talk to an API server.
        kubeconfig: how; None finds out.
        namespace, cache: of the cache's ConfigMap.
        node: this node's name.
        tag_interval, grace, max_size, check_interval: see ``holdings`` and ``upkeep``.
        on_demand: see ``guests``.
        connection, username, password, files, registry_map: see ``doors``.
    """

    refs: tuple[str, ...] = ()
    directory: Path | None = None
    ref_file: Path | None = None
    address: str = ""
    port: int = protocol.PORT
    clear: bool = False
    kube: bool = True
    kubeconfig: Path | None = None
    namespace: str = protocol.NAMESPACE
    cache: str = protocol.NAME
    node: str = ""
    tag_interval: float = 60.0
    grace: float = 3600.0
    max_size: int = 0
    check_interval: float = 3600.0
    on_demand: str = "anonymous"
    connection: ConnectionOptions = ConnectionOptions()
    username: str = ""
    password: str = ""
    files: tuple[str, ...] = ()
    registry_map: Mapping[str, str] = {}


class Agent:
    """One agent.

    Args:
        options: how it runs.
        added: told of each reference of the command line and its module's digest, once it is here.
    """

    def __init__(self, options: Options, added: Callable[[str, str], None]) -> None:
        self._options = options
        self._added = added
        self._access = _access(options)
        self._scratch = "" if options.directory else tempfile.mkdtemp(prefix="wasme-cache-")
        directory = options.directory or Path(self._scratch)
        self._counters = Counters()
        self._folder = Folder(directory)
        self._folder.make()
        self._tenancy = tenancy.take(directory, self._read_from())  # before anything in it is touched
        self._folder.prepare(clear=options.clear)
        self._markers = Markers(directory)
        if options.clear:
            memory.forget(directory)
            self._markers.clear()
        self._memory = kept = memory.load(directory)
        if self._access is not None:  # without a list no marker would ever come back
            self._markers.withhold(kept)
        read = partial(_read_secrets, self._access, options.namespace, self._counters) if self._access else None
        self._doors = Doors(
            options.connection, username=options.username, password=options.password, files=options.files,
            registry_map=options.registry_map, secrets=read,
        )  # fmt: skip
        self._puller = Puller(self._folder, self._doors, self._counters)
        self._loop = Loop(self._settle)
        self._lanes = Lanes()
        self._holdings = Holdings(
            self._loop, self._lanes, self._puller, self._folder, kept, self._counters, given=options.refs,
            tag_interval=options.tag_interval, changed=self._changed, no_room=self._make_room,
        )  # fmt: skip
        self._upkeep = Upkeep(
            self._loop, self._lanes, self._folder, kept, self._holdings, self._counters, grace=options.grace,
            limit=options.max_size, check_interval=options.check_interval, settled=lambda: self._settled,
        )  # fmt: skip
        self._guests = Guests(
            self._loop, self._lanes, self._puller, self._folder, kept, self._holdings, policy=options.on_demand,
            room=self._upkeep.room,
        )  # fmt: skip
        self._reporter: Reporter | None = None
        self._watch: Watch | None = None
        self._file: RefFile | None = None
        self._server: Server | None = None
        self._settled = False
        self._read = False
        self._heard = False
        self._saving = False
        self._owner = ""
        self._problems: tuple[str, ...] = ()
        self._ready: set[str] = set()
        self._told: tuple[str, NodeStatus] | None = None
        self._connect()

    def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            CacheError: a reference of the command line cannot be had, or the port is taken.
        """
        # A command looks for cycles seldom, since it ends soon; what runs for months must look for them.
        gc.collect()
        gc.freeze()
        gc.set_threshold(700)
        try:
            asyncio.run(self._main())
        finally:
            self._stop()

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        options = self._options
        log.info("starting writing images to %s, reading from %s", self._folder.path, self._read_from())
        self._loop.call(self._begin)
        self._upkeep.start()
        self._loop.start()
        for each in (self._reporter, self._watch, self._file):
            if each is not None:
                each.start()
        ending = asyncio.ensure_future(stopped.wait())
        adding = asyncio.ensure_future(self._add())
        await asyncio.wait((ending, adding), return_when=asyncio.FIRST_COMPLETED)
        if not adding.done():
            adding.cancel()
            return
        adding.result()
        health = Health(self._alive, self._is_ready, self._metrics)
        self._server = server = Server(self._folder, self._guests, health, self._counters)
        if options.port:
            port = await server.start(options.address, options.port)
            log.info("serving images", extra={"fields": {"port": port}})
        await ending
        log.info("stopping")
        await server.stop()

    async def _add(self) -> None:
        """Wait for the references of the command line, and tell of each."""
        for ref in self._options.refs:
            waiter: Future[Found] = self._guests.fetch(ref, local=True)
            try:
                found = await asyncio.wrap_future(waiter)
            except WasmeError as error:
                raise CacheError(f"can't add image {ref}: {error.message}", hint=error.hint) from None
            self._added(ref, found.module)

    def _stop(self) -> None:
        """End all threads, none of which is waited for longer than a moment."""
        self._puller.stopping.set()
        self._lanes.stop()
        self._doors.close()
        for each in (self._watch, self._file, self._reporter):
            if each is not None:
                each.stop()
        self._lanes.join(_LINGER)  # so that what is half written is taken away, not left to the next agent
        self._loop.call(self._upkeep.save)
        self._loop.stop(2.0)
        os.close(self._tenancy)
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _connect(self) -> None:
        options = self._options
        if self._access is not None:
            self._reporter = Reporter(
                Kube(self._access, self._counters), options.namespace, options.cache, options.node
            )
            if not options.node:
                log.warning(
                    "the node has no name, so its status is not told", extra={"fields": {"flag": "--node-name"}}
                )
            self._watch = Watch(
                Kube(self._access, self._counters), options.namespace, options.cache, self._listed, self._counters
            )
        if options.ref_file is not None:
            watch = self._watch
            # The kubelet's copy may be a minute old: the watch gets a moment's start.
            self._file = RefFile(
                options.ref_file, self._listed, lambda: watch is not None and watch.synced, 3.0 if watch else 0.0
            )

    def _read_from(self) -> str:
        if self._access is not None:
            return f"ConfigMap {self._options.namespace}/{self._options.cache}"
        given = f"the command line ({' '.join(self._options.refs)})"
        return str(self._options.ref_file) if self._options.ref_file else given

    # On the loop's thread.

    def _begin(self) -> None:
        self._settled = self._watch is None and self._file is None
        self._holdings.want(Wanted(), whole=self._settled)

    def _listed(self, listed: Listed | None) -> None:
        """From the threads of the sources."""
        self._loop.call(partial(self._take, listed))

    def _take(self, listed: Listed | None) -> None:
        from_file = listed is not None and not listed.version
        if from_file and self._heard:
            return  # the file's last look; the watch knows better
        if listed is None:
            if self._settled or not self._owner:
                log.warning("there is no list of images; what is here is kept")
            # Whoever deleted the list by mistake makes it anew; nothing is thrown away before that.
            self._settled = False
            self._heard = True
            self._owner = ""
            return
        known = bool(listed.version) and (listed.uid, listed.version) == (self._owner, self._holdings.observed)
        # The file has no filters: where there is a list to watch, nothing is thrown away by what the file says.
        self._settled = not from_file or self._watch is None
        self._heard = not from_file
        self._read = True
        self._owner = listed.uid
        if known:  # read anew, and the same
            return
        problems = list(listed.wanted.problems)
        try:
            check_map(listed.wanted.registry_map)
            self._doors.lead(listed.wanted.registry_map)
        except InvalidSettings as error:
            problems.append(error.message)
        for problem in problems:
            if problem not in self._problems:
                log.error("the list cannot be read: %s", problem)
        self._problems = tuple(problems)
        self._holdings.want(listed.wanted, listed.version, whole=self._settled)
        # Markers of the last agent's are not left standing until all modules have been hashed.
        away = {line.namespace for line in listed.wanted.filters if not line.pending and not self._there(line.module)}
        self._markers.withdraw(away)
        if listed.version and self._memory.withheld:
            self._markers.write(set(self._memory.withheld) - wishes.gated(listed.wanted))
            self._memory.withheld = []
        self._upkeep.collect()

    def _there(self, module: str) -> bool:
        return self._folder.file(module).exists()

    def _settle(self) -> None:
        """After each batch of news: markers first, then what is told of them."""
        whole, missing = wishes.ready(self._holdings.wanted, self._holdings.items)
        self._markers.withdraw(missing)
        self._ready = self._markers.write(whole)
        if self._reporter is not None and self._owner and all(each.checked for each in self._holdings.items.values()):
            status = NodeStatus(
                node=self._options.node, agent=__version__, observed=self._holdings.observed,
                ready=tuple(sorted(self._ready)),
                images=tuple(item.status for item in self._holdings.items.values()), problems=self._problems,
            )  # fmt: skip
            if self._told != (self._owner, status):
                self._told = (self._owner, status)
                self._reporter.status(status, self._owner)

    def _changed(self, change: Change) -> None:
        if not self._saving:
            self._saving = True
            self._loop.later(_SAVE_SECONDS, self._save)
        if self._reporter is not None:
            self._reporter.event(change)

    def _save(self) -> None:
        self._saving = False
        self._upkeep.save()

    def _make_room(self) -> None:
        self._upkeep.collect(pressure=True)

    # From the server's thread.

    def _alive(self) -> str:
        return "" if self._loop.alive else "the cache does not come round any more"

    def _is_ready(self) -> str:
        if self._watch is not None and not self._watch.synced and not self._read:
            return "the list of images has not been read yet"
        return "" if self._loop.prompt else "the cache hangs"

    def _metrics(self) -> str:
        items = dict(self._holdings.items)
        lines = [
            *metrics.gauge("info", "The agent.", [({"version": __version__, "node": self._options.node}, 1)]),
            *metrics.gauge(
                "images", "Images that must be here.", [({"state": s}, n) for s, n in counts(items).items()]
            ),
            *metrics.gauge("files", "Modules in the folder.", [({}, self._upkeep.files)]),
            *metrics.gauge("bytes", "Size of the modules in the folder.", [({}, self._upkeep.size)]),
            *metrics.gauge("namespaces_ready", "Namespaces whose pods may start.", [({}, len(self._ready))]),
            *metrics.gauge("connections", "HTTP connections.", [({}, self._server.connections if self._server else 0)]),
            *self._counters.lines(),
        ]
        if self._watch is not None:
            lines += metrics.gauge("watch_connected", "Whether the list is watched.", [({}, self._watch.connected)])
        return "\n".join(lines) + "\n"


def _access(options: Options) -> Access | None:
    """How to reach the API server; None where there is none, or none is wanted.

    Raises:
        UsageError: then nothing says which images to hold.
        ClusterUnreachable: a kubeconfig cannot be used.
    """
    found = None
    # Who names images on a laptop means them, and not the list of the cluster that the laptop happens to know.
    if options.kube and (options.ref_file or options.kubeconfig or not options.refs):
        found = access.find(options.kubeconfig)
        if found is None and options.ref_file:
            log.warning("no API server is known: only the reference file is read, and no Events are written")
    if found is None and not options.refs and not options.ref_file:
        raise UsageError(
            "invalid number of arguments",
            hint="name images, or a --ref-file, or run where an API server is known (--kubeconfig)",
        )
    return found


def _read_secrets(reach: Access, namespace: str, counters: Counters) -> list[PullSecret]:
    """The labelled Secrets of the cache's namespace, read for one pull; nothing of them is kept but what opened.

    Raises:
        ClusterError: they cannot be read.
    """
    kube = Kube(reach, counters)
    try:
        selector = f"{protocol.PULL_SECRET_LABEL}={protocol.TRUE}"
        found = kube.get(f"/api/v1/namespaces/{namespace}/secrets", labelSelector=selector) or {}
    finally:
        kube.interrupt()
    return secrets.from_list(found)
