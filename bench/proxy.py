"""A bare Envoy for the chapters that send requests: a listener for each filter, answers without any upstream."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.filters import Filter
from wasme.envoy.address import Address
from wasme.envoy.binary import find_envoy
from wasme.envoy.config import MANAGER, ROUTER, WasmPlugin, cluster
from wasme.envoy.process import Envoy

AUTH_CLUSTER = "outbound|8080||auth-simple.istio.svc.cluster.local"
_BODY = "hello, a body of a few words\n"


@dataclass(frozen=True)
class Proxy:
    """A running Envoy: the port of each listener by its name."""

    ports: dict[str, int]
    admin: str
    pid: int

    def resident(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found.group(1)) / 1024

    def requests(self, name: str) -> int:
        """How many requests that listener has had."""
        with urllib.request.urlopen(f"http://{self.admin}/stats?filter=http.{name}.downstream_rq_total") as answer:
            return int(answer.read().split()[-1])


@contextlib.contextmanager
def running(filters: Sequence[Filter | None]) -> Iterator[Proxy]:
    """An Envoy with one worker and a listener ``f0``, ``f1``… for each filter; None is one without."""
    auth = _free()
    listeners = [_listener(f"f{number}", 0, each) for number, each in enumerate(filters)]
    listeners.append(_listener("auth", auth, None, body="ok"))
    bootstrap = {
        "admin": {"address": Address("127.0.0.1", 0).envoy()},
        "static_resources": {
            "listeners": listeners,
            "clusters": [cluster(AUTH_CLUSTER, Address("127.0.0.1", auth))],
        },
    }
    with tempfile.TemporaryDirectory(prefix="wasme-bench-envoy-") as name:
        folder = Path(name)
        (folder / "envoy.json").write_text(json.dumps(bootstrap))
        admin = folder / "admin"
        argv = [str(find_envoy().path), "-c", str(folder / "envoy.json"), "--concurrency", "1", "-l", "error"]
        envoy = Envoy([*argv, "--use-dynamic-base-id", "--admin-address-path", str(admin)], admin_file=admin)
        try:
            ready = envoy.wait_ready(60)
            assert ready.admin
            address = ready.admin.removeprefix("http://").rstrip("/")
            with urllib.request.urlopen(f"http://{address}/listeners?format=json") as answer:
                statuses: list[dict[str, Any]] = json.load(answer)["listener_statuses"]
            ports = {each["name"]: each["local_address"]["socket_address"]["port_value"] for each in statuses}
            yield Proxy(ports, address, envoy.pid)
        finally:
            envoy.stop()


def load(port: int, seconds: float, connections: int = 1) -> tuple[float, float]:
    """Send requests with wrk as fast as they are answered; (median latency in microseconds, requests a second)."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", f"http://127.0.0.1:{port}/"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise SystemExit(f"not every request was answered well:\n{said}")
    found = re.search(r"50%\s+([\d.]+)(us|ms|s)", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found, said
    assert rate, said
    return float(found.group(1)) * {"us": 1, "ms": 1e3, "s": 1e6}[found.group(2)], float(rate.group(1))


def _listener(name: str, port: int, filter_: Filter | None, body: str = _BODY) -> dict[str, Any]:
    filters = [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}]
    if filter_:
        plugin = WasmPlugin(name, filter_.root_id, filter_.config, str(filter_.module))
        filters.insert(0, plugin.http_filter())
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": body}}}
    manager = {
        "@type": MANAGER,
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": filters,
    }
    return {
        "name": name,
        "address": Address("127.0.0.1", port).envoy(),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _free() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
