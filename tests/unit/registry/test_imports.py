"""What talking to a registry costs at start-up."""

from __future__ import annotations

import subprocess
import sys


def test_plain_http_loads_nothing_heavy() -> None:
    """Neither YAML, subprocess, asyncio nor a large HTTP client is loaded before it is needed."""
    heavy = "{'yaml', 'subprocess', 'urllib3', 'requests', 'urllib.request', 'asyncio'}"
    code = f"import sys; import wasme.cli.sessions, wasme.registry.transfer; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
