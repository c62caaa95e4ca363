"""A filter in an Envoy of one's own, on this machine."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from wasme.deploy import ability
from wasme.deploy import container as containers
from wasme.deploy import runtime as runtimes
from wasme.deploy.failure import explained
from wasme.deploy.provider import Rendered, Status
from wasme.deploy.screen import Screen
from wasme.deploy.source import Source
from wasme.deploy.spec import FilterSpec
from wasme.envoy.address import Address
from wasme.envoy.binary import find_envoy
from wasme.envoy.callouts import HOST_CALL, RefusedCalls
from wasme.envoy.config import DEFAULT_ADMIN, DEFAULT_LISTEN, WasmPlugin, admin, default_bootstrap
from wasme.envoy.document import Document, parse, to_yaml
from wasme.envoy.patch import add_clusters, admin_address, cluster_names, has_admin, insert_filter, listener_addresses
from wasme.envoy.process import Ended, Envoy
from wasme.errors import EnvoyError, UsageError
from wasme.wasm.module import Module

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """What Envoy is to be like, beside the filter.

    Attributes:
        listen, admin: where the default bootstrap listens; None for the defaults.
        upstream: where its requests go; None for the built-in echo.
        clusters: what filters may call out to, by name.
        bootstrap: a bootstrap of the user's, YAML or JSON, instead of the default one.
        bootstrap_name: what to call it in an error.
    """

    listen: Address | None = None
    admin: Address | None = None
    upstream: Address | None = None
    clusters: Mapping[str, Address] = field(default_factory=dict)
    bootstrap: str | None = None
    bootstrap_name: str = "the bootstrap"


@dataclass(frozen=True, slots=True)
class Running:
    """How Envoy is run.

    Attributes:
        runtime: ``native``, ``docker`` or ``podman``.
        image: the container's image.
        container_args, envoy_args: the user's own arguments of ``docker run`` and of Envoy.
        ready_timeout: seconds; 0 is no limit.
        verbose: show Envoy's own lines too.
        show: gets each line of Envoy's log that a user should see.
        stdout: what Envoy's standard output goes to; None is wasme's own.
    """

    runtime: str = "native"
    image: str = containers.DEFAULT_IMAGE
    container_args: Sequence[str] = ()
    envoy_args: Sequence[str] = ()
    ready_timeout: float = 60.0
    verbose: bool = False
    show: Callable[[str], None] = lambda _line: None
    stdout: int | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """What is known of an Envoy that was started.

    Attributes:
        url: of its first listener, or None if it has none on TCP.
        admin: of its administration interface, or None.
        container: the container's name, or "".
        state: ``ready``; ``started`` where nothing tells when it is; ``ended``, well, and a detached container goes on.
    """

    url: str | None
    admin: str | None
    container: str = ""
    state: Literal["ready", "started", "ended"] = "ready"


class LocalEnvoy:
    """Runs one filter in one Envoy on this machine; a ``Provider``.

    Args:
        source: the module.
        target: what Envoy is to be like.
        running: how it is run.
        module: the module's facts, for telling refused calls; None does without.
    """

    def __init__(self, source: Source, target: Target, running: Running, module: Module | None = None) -> None:
        self._source = source
        self._target = target
        self._running = running
        self._module = module
        self._spec: FilterSpec | None = None
        self._envoy: Envoy | None = None
        self._folder: Path | None = None
        self._screen: Screen | None = None
        self._started = Started(None, None)
        self._ready = False
        self._document = Document({})
        self._problem = ""
        self._stopping = threading.Event()

    def document(self, spec: FilterSpec) -> Document:
        """The whole bootstrap with the filter in it; a user's own keeps its comments.

        Raises:
            InvalidBootstrap: the user's bootstrap cannot take the filter.
            UsageError: flags of the default bootstrap were given beside one of the user's.
        """
        target = self._target
        self._spec = spec
        plugin = WasmPlugin(spec.id, spec.root_id, spec.config, str(self._source.path))
        if target.bootstrap is None:
            root = default_bootstrap(
                plugin,
                listen=self._listens(target.listen, DEFAULT_LISTEN, "--listen"),
                admin_address=self._listens(target.admin, DEFAULT_ADMIN, "--admin"),
                upstream=target.upstream,
                clusters=target.clusters,
            )
            return Document(root)
        given = [name for name in ("listen", "admin", "upstream") if getattr(target, name) is not None]
        if given:
            raise UsageError(
                f"--{given[0]} and --bootstrap do not go together",
                hint="addresses and routes are what your bootstrap says; --cluster adds clusters to it",
            )
        changed = parse(target.bootstrap, target.bootstrap_name)
        insert_filter(changed.root, plugin)
        add_clusters(changed.root, target.clusters)
        return changed

    def facts(self, spec: FilterSpec) -> None:
        """Nothing: what is known of this machine is in ``target`` and ``running``."""

    def render(self, spec: FilterSpec, facts: None = None) -> Sequence[Rendered]:  # noqa: ARG002
        """The bootstrap, as the one object of this provider."""
        return [self.document(spec).values()]

    def apply(self, objects: Sequence[Rendered]) -> None:
        """Start Envoy with the rendered bootstrap and wait until it answers.

        Raises:
            EnvoyError: it did not start, or was not ready in time.
            ToolError: there is nothing to run it with.
        """
        self.start(Document(objects[0]))
        self.wait_ready()

    def start(self, document: Document) -> None:
        """Start Envoy; `wait_ready` tells when it answers.

        Raises:
            ToolError: there is nothing to run it with.
        """
        if self._stopping.is_set():
            return
        if self._running.runtime == "native":
            self._start_native(document)
        else:
            self._start_container(document)
        if self._stopping.is_set():
            self.ask_to_stop()  # it was asked for before there was an Envoy to tell

    def wait_ready(self) -> Started | None:
        """Wait until Envoy answers.

        Returns:
            Where; None if it was asked to stop before, or Envoy itself ended well.

        Raises:
            EnvoyError: it did not start, or was not ready in time; it is stopped then.
        """
        if self._envoy is None or self._screen is None:
            return None
        try:
            ready = self._envoy.wait_ready(self._running.ready_timeout, slow=self._screen.release)
        except EnvoyError as error:
            self._problem = error.message
            self._screen.release()
            self.remove("")
            raise
        finally:
            self._drop_folder()  # Envoy has read it, or never will
        self._screen.release()
        self._ready = ready is not None
        if not self._started.container:
            self._started = Started(ready.url, ready.admin) if ready else self._started
        elif ready is None and not self._stopping.is_set():
            return replace(self._started, state="ended")
        return self._started if ready else None

    def wait(self) -> None:
        """Wait until Envoy ends.

        Raises:
            EnvoyError: it ended by itself, and not well.
        """
        if self._envoy:
            self._envoy.wait()

    def ask_to_stop(self) -> None:
        """Ask Envoy to end, also before it has started; fit for a signal handler."""
        self._stopping.set()
        if self._envoy:
            self._envoy.ask_to_stop()

    def remove(self, filter_id: str) -> None:  # noqa: ARG002 - there is only one
        """Stop Envoy."""
        if self._envoy:
            self._envoy.stop()
        self._drop_folder()
        self._ready = False

    def status(self, filter_id: str) -> Status:
        """How it does."""
        if self._problem:
            return Status("failed", self._problem)
        if self._envoy is None or self._spec is None or filter_id != self._spec.id or not self._envoy.running:
            return Status("absent")
        if not self._ready:
            return Status("pending")
        known = (("url", self._started.url), ("admin", self._started.admin))
        return Status("ready", addresses=tuple((name, value) for name, value in known if value))

    def _start_native(self, document: Document) -> None:
        binary = find_envoy()
        if self._module:
            ability.require_program(binary, self._module)
        log.debug("running envoy", extra={"fields": {"path": binary.path, "found": binary.origin}})
        self._folder = Path(tempfile.mkdtemp(prefix="wasme-envoy-"))
        config = self._folder / ("bootstrap.json" if document.layout is None else "bootstrap.yaml")
        if not has_admin(document.root):
            # Else nothing tells when Envoy is ready.
            document = Document({**document.root, "admin": admin(Address("127.0.0.1", 0))}, document.layout)
        config.write_text(json.dumps(document.root) if document.layout is None else to_yaml(document))
        given = runtimes.given_value(self._running.envoy_args, "--admin-address-path")
        admin_file = Path(given) if given else self._folder / "admin"
        if given:
            admin_file.unlink(missing_ok=True)
        argv = runtimes.native_argv(
            binary.path,
            config,
            admin_file,
            self._running.envoy_args,
            verbose=self._running.verbose,
            traced=self._watches,
        )
        self._run(argv, document, admin_file=admin_file)

    def _start_container(self, document: Document) -> None:
        assert self._spec
        running, target = self._running, self._target
        if self._module:
            ability.require_image(running.image, self._module)
        tool = containers.container_tool(running.runtime)
        listeners, admin = listener_addresses(document.root), admin_address(document.root)
        bound = [*listeners, *([admin] if admin else [])]
        given = [target.listen, target.admin] if target.bootstrap is None else [None] * len(bound)
        published = [containers.Published.of(each, wanted) for each, wanted in zip(bound, given, strict=True)]
        shared = containers.shares_network(running.container_args)
        if not shared:
            self._warn(tool, listeners, admin)
        at = [containers.reachable(*each, shared=shared) for each in zip(bound, published, strict=True)]
        name = containers.container_name(self._spec.id)
        admin_at = at[-1] if admin else None
        self._started = Started(
            url=next((f"http://{each}" for each in at[: len(listeners)] if each), None),
            admin=f"http://{admin_at}" if admin_at else None,
            container=name,
            state="ready" if admin_at else "started",
        )
        text = to_yaml(document)
        container = containers.Container(
            tool=tool,
            name=name,
            image=running.image,
            module=self._source.path,
            published=[each for each in published if each.port],
            run_args=running.container_args,
        )
        log.info("mounting filter file at " + str(self._source.path))
        log.debug("using bootstrap config: " + text)
        fields = {"container_name": name, "envoy_image": running.image, "filter_image": self._source.name}
        log.info("running envoy-in-docker", extra={"fields": fields})
        self._run(container.argv(text, running.envoy_args), document, admin=admin_at)

    def _warn(self, tool: str, listeners: Sequence[Address], admin: Address | None) -> None:
        """Of addresses that mean something else inside a container."""
        upstream = [("--upstream", self._target.upstream)] if self._target.upstream else []
        targets = [*upstream, *((f"--cluster {name}", each) for name, each in self._target.clusters.items())]
        bound = [*(("listener", each) for each in listeners), *([("admin interface", admin)] if admin else [])]
        for text, hint in [*containers.of_the_container_itself(tool, targets), *containers.out_of_reach(bound)]:
            log.warning(text, extra={"fields": {"hint": hint}})

    def _run(
        self, argv: list[str], document: Document, *, admin_file: Path | None = None, admin: Address | None = None
    ) -> None:
        log.debug("exec", extra={"fields": {"argv": argv if admin_file else [*argv[:10], "…"]}})
        watch = None
        if self._watches and self._module and self._spec:
            module = self._module
            texts = [*module.initial_runs(), self._spec.config.encode()]
            watch = RefusedCalls(module.initial_memory, texts, cluster_names(document.root))
        running = self._running
        self._document = document
        self._screen = Screen(
            running.show,
            self._hidden,
            watch,
            holds=not (running.verbose or self._asked_for_log),
            container=running.runtime != "native",
        )
        self._envoy = Envoy(
            argv,
            admin_file=admin_file,
            admin=admin,
            sink=self._screen,
            stdout=running.stdout,
            explained=self._explained,
        )

    def _explained(self, ended: Ended) -> EnvoyError:
        assert self._screen
        self._screen.settle(ended.reason.kind)
        name = None if self._target.bootstrap is None else self._target.bootstrap_name
        return explained(ended, name, self._document.values())

    @property
    def _watches(self) -> bool:
        """Whether the filter can make calls that Envoy could refuse."""
        return self._running.runtime == "native" and bool(self._module and self._module.imports_function(HOST_CALL))

    @property
    def _asked_for_log(self) -> bool:
        """Whether the user wants more or less of Envoy's log."""
        return any(word.startswith(("-l", "--log-level", "--component-log-level")) for word in self._running.envoy_args)

    @property
    def _hidden(self) -> frozenset[str]:
        """The levels that are not shown, because wasme asked for them and not the user."""
        if any("trace" in word for word in self._running.envoy_args):
            return frozenset()
        return frozenset({"trace"} if self._asked_for_log or self._running.verbose else {"trace", "debug"})

    def _listens(self, given: Address | None, default: Address, flag: str) -> Address:
        if self._running.runtime == "native":
            return given or default
        return containers.inside(given, default, self._running.container_args, flag)

    def _drop_folder(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def parse_clusters(words: Sequence[str]) -> dict[str, Address]:
    """Read ``NAME=HOST:PORT``; the name may hold ``=`` and ``|``, the last ``=`` counts.

    Raises:
        UsageError: one is of another form, or names a cluster twice.
    """
    clusters: dict[str, Any] = {}
    for word in words:
        name, equals, address = word.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--cluster: {word!r} is not NAME=HOST:PORT", hint="such as auth-cluster=127.0.0.1:9000")
        if name in clusters:
            raise UsageError(f"--cluster: {name!r} is given twice")
        clusters[name] = Address.parse(address, f"--cluster {name}")
    return clusters
