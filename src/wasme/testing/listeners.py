"""Envoy's configuration for many tests at once, as plain values.

Each test has a listener, an upstream and a plugin of its own, so that a filter that Envoy does not take costs only its
own listener: listeners come by discovery (from a file), where one is refused without the others. One more listener has
no filter; it tells whether the worker still answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wasme.envoy.address import Address
from wasme.envoy.config import WasmPlugin, admin, chain, cluster, router
from wasme.envoy.log import FORMAT
from wasme.testing.journal import ACCESS, NAME
from wasme.testing.runner import Case

PROBE = "wasme-probe"
_ANY = Address("127.0.0.1", 0)
_LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
_STDERR = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog"


@dataclass(frozen=True, slots=True)
class Place:
    """One test in an Envoy.

    Attributes:
        number: unlike all others there.
        upstream: its upstream's port.
    """

    number: int
    case: Case
    upstream: int

    @property
    def name(self) -> str:
        """Of its listener, its plugin and its VM."""
        return NAME.format(self.number)


def discovered(places: Sequence[Place]) -> dict[str, Any]:
    """What listener discovery is to find."""
    listeners = [_listener(PROBE, [{**_EVERYTHING, "direct_response": {"status": 204}}], [])]
    for place in places:
        filter_ = place.case.filter
        plugin = WasmPlugin(place.name, filter_.root_id, place.case.test.config, str(filter_.path))
        route = {**_EVERYTHING, "route": {"cluster": f"{place.name}-upstream"}}
        text = {"text_format_source": {"inline_string": ACCESS.format(place.number)}}
        log = {"name": "stderr", "typed_config": {"@type": _STDERR, "log_format": text}}
        listeners.append(_listener(place.name, [route], [plugin.http_filter()], access_log=[log]))
    return {"version_info": "1", "resources": [{"@type": _LISTENER, **each} for each in listeners]}


def bootstrap(places: Sequence[Place], clusters: Mapping[str, int], listeners: Path) -> dict[str, Any]:
    """What Envoy starts with.

    Args:
        clusters: what filters may call out to: the name and the port on loopback.
        listeners: the file that holds ``discovered``.
    """
    upstreams = {f"{place.name}-upstream": place.upstream for place in places}
    return {
        "node": {"id": "wasme-test", "cluster": "wasme-test"},
        "admin": admin(_ANY),
        # Histograms are counted together when somebody asks, not every five seconds.
        "stats_flush_on_admin": True,
        "dynamic_resources": {"lds_config": {"path_config_source": {"path": str(listeners)}}},
        "static_resources": {
            "clusters": [cluster(name, Address("127.0.0.1", port)) for name, port in {**clusters, **upstreams}.items()]
        },
    }


def argv(program: Path, config: Path, admin_file: Path, *, traced: bool) -> list[str]:
    """Envoy's command line: one worker, so that a filter's own variables are the same for all requests of a test.

    Args:
        traced: log every host call too.
    """
    quick = ["--disable-hot-restart", "--file-flush-interval-msec", "5"]
    # wasm: all that filters log; config: which listener is being added.
    levels = f"wasm:{'trace' if traced else 'debug'},config:debug"
    log = ["-l", "warning", "--component-log-level", levels, "--log-format", FORMAT]
    return [
        str(program),
        "-c",
        str(config),
        "--admin-address-path",
        str(admin_file),
        "--concurrency",
        "1",
        *quick,
        *log,
    ]


_EVERYTHING: dict[str, Any] = {"match": {"prefix": "/"}}


def _listener(name: str, routes: Sequence[Any], filters: Sequence[Any], **more: Any) -> dict[str, Any]:
    filter_chain = chain(name, routes, [*filters, router()], **more)
    return {"name": name, "address": _ANY.envoy(), "enable_reuse_port": False, "filter_chains": [filter_chain]}
