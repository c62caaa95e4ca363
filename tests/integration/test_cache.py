"""The node cache without a cluster: images of the command line and of a file, over HTTP and on disk."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable

from tests.fixtures import faulty, modules
from tests.fixtures.agents import Agent

Start = Callable[..., Agent]
Put = Callable[..., object]
TYPE = "application/vnd.module.wasm.content.layer.v1+wasm"


def test_reference_of_the_command_line(start_agent: Start, faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """A reference is pulled at the start, told on stdout, written as a file of mode 0644, and served by its digest."""
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    module = draft.module.digest  # type: ignore[attr-defined]
    old = os.umask(0o077)
    try:
        agent = start_agent(f"{faulty_registry.host}/demo/auth:v1")
    finally:
        os.umask(old)
    assert agent.stdout == [f"added digest {module}"]
    assert agent.file(module).read_bytes() == modules.sized(20_000)
    assert stat.S_IMODE(agent.file(module).stat().st_mode) == 0o644
    status, headers, body = agent.get("/" + module.removeprefix("sha256:"))
    assert (status, body) == (200, modules.sized(20_000))
    assert headers["content-type"] == TYPE
    assert headers["etag"] == f'"{module}"'
    assert headers["last-modified"] == "Sat, 01 Jan 2000 00:00:00 GMT"
    assert agent.get(f"/any/path/{module.removeprefix('sha256:')}")[0] == 200
    assert len(faulty_registry.lines("GET .*/blobs/")) == 1, (
        "a request streams the blob from disk, not from the registry"
    )
    begun = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - begun < 2
