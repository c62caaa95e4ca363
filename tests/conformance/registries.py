"""The registries that the conformance tests run against, and the words the tests are written in."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fixtures.hubs import Answer, ask

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = b"{}"
OCTETS = {"Content-Type": "application/octet-stream"}

fails_at_docker_registry = pytest.mark.fails_at_docker_registry


class Registry:
    """A registry and a repository name that no other test uses."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.name = f"conformance/{uuid.uuid4().hex}"

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request; a path without a leading slash is below `/v2/NAME/`, and a Location may be absolute."""
        if "://" in path:
            parts = urlsplit(path)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
        elif not path.startswith("/"):
            path = f"/v2/{self.name}/{path}"
        return ask(
            self.host, method, path, body, headers={key.replace("_", "-"): value for key, value in headers.items()}
        )

    def start(self, query: str = "") -> str:
        answer = self("POST", f"blobs/uploads/{query}", b"")
        assert answer.status == 202
        return answer.headers["location"]

    def push(self, content: bytes, algorithm: str = "sha256") -> str:
        name = digest(content, algorithm)
        answer = self("PUT", at(self.start(), digest=name), content, **OCTETS)
        assert answer.status == 201, answer
        return name

    def put(self, reference: str, manifest: dict[str, Any] | bytes, kind: str = MANIFEST) -> Answer:
        body = manifest if isinstance(manifest, bytes) else encode(manifest)
        return self("PUT", f"manifests/{reference}", body, Content_Type=kind)

    def image(self, reference: str, **more: Any) -> tuple[str, bytes]:
        """Push an image of one layer; its digest and bytes."""
        layer = os.urandom(40)
        self.push(layer)
        self.push(EMPTY)
        body = encode(image(layer, **more))
        answer = self.put(reference, body)
        assert answer.status == 201, answer
        return digest(body), body


def digest(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def descriptor(content: bytes, kind: str = "application/octet-stream") -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(content), "size": len(content)}


def image(*layers: bytes, **more: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(EMPTY, "application/vnd.example.config+json"),
        "layers": [descriptor(each) for each in layers],
        **more,
    }


def at(location: str, **query: str) -> str:
    joined = "&".join(f"{key}={value}" for key, value in query.items())
    return location + ("&" if "?" in location else "?") + joined


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
