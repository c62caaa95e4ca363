"""What an agent carries, on every node."""

from __future__ import annotations

import subprocess
import sys

_HEAVY = ("httpx2", "yaml", "ruamel", "wasmtime", "granian", "sqlite3", "wasme.deploy.cluster", "wasme.hub")


def test_no_client_library() -> None:
    """The agent loads no client library for Kubernetes, no YAML and nothing of the rest of deploy."""
    code = "import sys, wasme.cli.cache, wasme.cache.agent; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "wasme.cache.kube" in loaded
    assert not [name for name in loaded if name in _HEAVY]
    allowed = {"wasme.deploy.cache", "wasme.deploy.cache.protocol", "wasme.deploy.as_yaml"}
    assert {name for name in loaded if name.startswith("wasme.deploy.")} <= allowed
