"""`wasme deploy envoy` to the first answered request, beside Envoy's own start with the same configuration."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.measure import Row, interleave

_IMAGE = "localhost/bench/filter:v1"


def rows(folder: Path, rounds: int) -> list[Row]:
    """Start to first answer."""
    from tests.fixtures.modules import sized
    from wasme.envoy.binary import find_envoy
    from wasme.image.layouts import build
    from wasme.image.reference import Reference
    from wasme.image.runtime_config import parse
    from wasme.image.store import open_store

    environment = {**os.environ, "HOME": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    store = open_store(folder / ".wasme" / "oci")
    config = parse(b'{"type":"envoy_proxy","config":{"rootIds":["add_header"]}}', "bench")
    store.add(Reference.parse(_IMAGE), build("oci", sized(15_000, seed=1), config))
    wasme = Path(sys.executable).with_name("wasme")
    envoy = str(find_envoy().path)

    def deploy(_: int) -> tuple[float, float]:
        port = _free_port()
        address = ["--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0"]
        return _until_answered([str(wasme), "deploy", "envoy", _IMAGE, *address], port, environment), 0.0

    def alone(turn: int) -> tuple[float, float]:
        port = _free_port()
        written = folder / f"envoy-{turn}.yaml"
        address = ["--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0"]
        command = [str(wasme), "deploy", "envoy", _IMAGE, *address, "--out", str(written)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        flags = ["--use-dynamic-base-id", "-l", "warning"]
        return _until_answered([envoy, "-c", str(written), *flags], port, environment), 0.0

    figures = interleave({"wasme": deploy, "envoy": alone}, rounds)
    peer = "envoy, same configuration"
    return [Row("deploy envoy to first answer", figures["wasme"], peer, figures["envoy"], limit=1, extra=0.15)]


def _until_answered(command: list[str], port: int, environment: dict[str, str]) -> float:
    begun = time.perf_counter()
    child = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
                connection.request("GET", "/")
                answered = connection.getresponse().status == 200
                seconds = time.perf_counter() - begun
                connection.close()
                if answered:
                    return seconds
            except OSError:
                pass
            if child.poll() is not None or time.perf_counter() - begun > 60:
                raise SystemExit(f"{' '.join(command)} did not answer")
            time.sleep(0.002)
    finally:
        child.send_signal(signal.SIGINT)
        child.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
