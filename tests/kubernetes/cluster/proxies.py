"""Real Envoys in the place of pods' sidecars, their listeners from a file that may change while they run."""

from __future__ import annotations

import datetime
import json
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

_ROUTER = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
_RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
_ROUTES = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
    {"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}]}  # fmt: skip


def plugin(name: str, file: Path | str) -> dict[str, Any]:
    """A Wasm filter's configuration, typed."""
    machine = {"vm_id": name, "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(file)}}}
    return {"@type": _WASM, "config": {"name": name, "vm_config": machine}}


def rbac(*, allow: bool) -> dict[str, Any]:
    """What Istio's agent puts in place of a module that it could not get."""
    return {"@type": _RBAC, **({} if allow else {"rules": {}})}


def wasm(name: str, file: Path | str, **settings: Any) -> dict[str, Any]:
    """An HTTP filter as istiod sends it for an EnvoyFilter of wasme's."""
    machine = {"vmId": name, "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(file)}}}
    plugin = {"name": name, "rootId": "", "vmConfig": machine, **settings}
    struct = {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": _WASM, "value": {"config": plugin}}
    return {"name": "envoy.filters.http.wasm", "typed_config": struct}


def discovered(name: str, path: Path, typed: dict[str, Any] | None) -> dict[str, Any]:
    """An HTTP filter whose configuration comes by discovery, from a file, as a WasmPlugin's does from istiod.

    Args:
        name: of its place in the chain.
        path: the file; a new one each time it is changed.
        typed: the configuration; None for one that does not come.
    """
    extension = {"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": name,
                 "typed_config": typed}  # fmt: skip
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps({"version_info": str(time.time_ns()), "resources": [extension] if typed else []}))
    beside.replace(path)
    source = {"path_config_source": {"path": str(path)}, "initial_fetch_timeout": "0.2s"}
    deny = {"@type": _RBAC, "rules": {}}
    discovery = {"config_source": source, "type_urls": [_WASM, _RBAC], "default_config": deny}
    return {"name": name, "config_discovery": discovery}


class Proxy:
    """One Envoy with one inbound listener.

    Args:
        binary: Envoy.
        folder: for its own files.
        filters: HTTP filters before the router.
    """

    def __init__(self, binary: Path, folder: Path, *filters: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._listeners, address = folder / "listeners.json", folder / "admin"
        self._write(filters)
        boot = {
            "node": {"id": "sidecar", "cluster": "test"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "dynamic_resources": {"lds_config": {"path_config_source": {"path": str(self._listeners)}}},
        }
        (folder / "boot.json").write_text(json.dumps(boot))
        self.container_log = folder / "container.log"
        self._process = subprocess.Popen(
            [binary, "-c", folder / "boot.json", "--admin-address-path", address, "--concurrency", "1",
             "--disable-hot-restart", "-l", "warning"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._logging = threading.Thread(target=self._log, daemon=True)
        self._logging.start()
        self._wait(lambda: address.is_file() and ":" in address.read_text())
        self.admin = int(address.read_text().rpartition(":")[2])
        self._wait(lambda: self.ask("/ready") == "LIVE\n")

    def change(self, *filters: dict[str, Any]) -> None:
        """Other filters from now on: as when istiod pushes; back when Envoy has taken or refused them."""
        before = -1

        def answers() -> bool:
            nonlocal before
            before = self._updates()
            return before >= 0

        self._wait(answers)
        self._write(filters)
        self._wait(lambda: self._updates() > before)

    def ask(self, path: str) -> str:
        """A page of its administration."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def request(self) -> int:
        """The status of one request through its listener."""
        listeners = json.loads(self.ask("/listeners?format=json"))["listener_statuses"]
        port = listeners[0]["local_address"]["socket_address"]["port_value"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def pause(self) -> None:
        """Let it stand still: connections are accepted, nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(10)
        self._logging.join(10)
        assert self._process.stderr
        self._process.stderr.close()

    def _log(self) -> None:
        """Keep what Envoy says as a container runtime does, in the format of Kubernetes."""
        assert self._process.stderr
        with self.container_log.open("wb", buffering=0) as file:
            for line in self._process.stderr:
                now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
                file.write(f"{now} stderr F ".encode() + line)

    def _write(self, filters: tuple[dict[str, Any], ...]) -> None:
        chain = [*filters, {"name": "envoy.filters.http.router", "typed_config": _ROUTER}]
        manager = {"@type": _HCM, "stat_prefix": "inbound", "route_config": _ROUTES, "http_filters": chain}
        listener = {
            "@type": _LISTENER,
            "name": "virtualInbound",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
        }  # fmt: skip
        beside = self._listeners.with_suffix(".part")
        beside.write_text(json.dumps({"resources": [listener]}))
        beside.replace(self._listeners)  # Envoy follows moves, not writes

    def _updates(self) -> int:
        """How many it has had; -1 if it does not answer."""
        lines = self.ask("/stats?filter=^listener_manager.lds.update_attempt").split()
        return int(lines[-1]) if lines else -1

    def _wait(self, holds: Any, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end or self._process.poll() is not None:
                pytest.fail(f"Envoy: {self.container_log.read_text()[-2000:]}")
            time.sleep(0.02)
