"""The registries that the conformance tests run against."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from tests.fixtures.hubs import ask

CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class DockerRegistry:
    """Debian's docker-registry (CNCF distribution 2.8) on a free loopback port."""

    def __init__(self, program: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.host = f"127.0.0.1:{port}"
        config = folder / "config.yml"
        config.write_text(CONFIG.format(folder=folder / "data", port=port))
        self._process = subprocess.Popen(
            [program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 15
        while True:
            try:
                if ask(self.host, "GET", "/v2/").status == 200:
                    return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.stop()
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """End it by its own process id."""
        self._process.kill()
        self._process.wait()
