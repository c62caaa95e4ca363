"""Ctrl-C while a registry is silent: the command ends at once, and what had arrived is kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import faulty, modules
from tests.fixtures.agents import soon
from tests.fixtures.faults import status
from tests.fixtures.faulty import Registry
from tests.fixtures.registries import QUICK, stored
from wasme.errors import RegistryError
from wasme.image.layouts import Draft
from wasme.image.reference import Reference
from wasme.image.store import open_store
from wasme.registry.session import Session
from wasme.registry.transport import ConnectionOptions, Request

PROMPT = 20.0
"""Seconds; the time-out of a silent registry is 60."""


def silent(reached: threading.Event, heard: int, release: threading.Event) -> faulty.Fault:
    """Send so many bytes of a blob (or take so many of an upload), then say nothing until released."""

    def fault(handler: faulty.Handler) -> None:
        if handler.command == "GET" and "/blobs/" in handler.route:
            repository, _, name = handler.route.removeprefix("/v2/").rpartition("/blobs/")
            content = handler.registry.blobs[repository, name]
            handler.head(200, {"Content-Length": str(len(content))})
            handler.write(content[:heard])
            handler.wfile.flush()
        elif heard:
            handler.body(heard)
        reached.set()
        release.wait(90)
        handler.hang_up()

    return fault


def interrupted(
    reached: threading.Event, *words: str, arrived: Callable[[], object] = lambda: True
) -> tuple[int, float, str]:
    """Run a command, press Ctrl-C once the registry has been reached and something has arrived; its exit code, seconds
    until it ended, stderr.
    """
    process = subprocess.Popen([sys.executable, "-m", "wasme", *words], stderr=subprocess.PIPE, text=True)
    try:
        assert reached.wait(60)
        assert soon(arrived, 30), "what the registry has sent does not arrive"
        time.sleep(0.3)  # it is waiting now
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=80)[1]
        return process.returncode, time.monotonic() - begun, told
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("heard", [0, 1_000_000])
def test_ctrl_c_ends_a_pull_from_a_silent_registry(
    faulty_registry: Registry, holds_image: Callable[..., Draft], home: Path, heard: int
) -> None:
    """Exit 130 within seconds, no blob half under its final name, and the next pull goes on where this one was."""
    draft = holds_image(faulty_registry, "a/b", "v1", 3_000_000)
    reached, release = threading.Event(), threading.Event()
    faulty_registry.fault(f"GET /v2/a/b/blobs/{draft.module.digest}", silent(reached, heard, release))
    reference = f"{faulty_registry.host}/a/b:v1"
    blobs = home / ".wasme" / "oci" / "blobs" / "sha256"
    partial = blobs / f"{draft.module.hex}.partial"

    def kept() -> bool:
        return (partial.stat().st_size if partial.exists() else 0) >= heard * 0.9

    code, seconds, told = interrupted(reached, "pull", reference, arrived=kept)
    release.set()

    assert (code, "Traceback" in told) == (130, False), told
    assert "interrupted" in told
    assert seconds < PROMPT
    assert not (blobs / draft.module.hex).exists()
    assert kept()
    faulty_registry.heal()
    done = subprocess.run([sys.executable, "-m", "wasme", "pull", reference], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert faulty_registry.sent <= 3_000_000 - heard * 0.9 + 64 * 1024
    assert open_store().module_path(Reference.parse(reference)).read_bytes() == modules.sized(3_000_000)


def test_ctrl_c_ends_a_push_to_a_silent_registry(faulty_registry: Registry) -> None:
    """A registry that takes the beginning of an upload and then nothing more."""
    reference = stored(open_store(), f"{faulty_registry.host}/a/b:v1", 30_000_000)
    reached, release = threading.Event(), threading.Event()
    faulty_registry.fault("PATCH ", silent(reached, 65536, release))

    code, seconds, told = interrupted(reached, "push", str(reference))
    release.set()

    assert (code, "Traceback" in told) == (130, False), told
    assert seconds < PROMPT


def test_ctrl_c_ends_a_search_of_a_silent_hub(faulty_registry: Registry) -> None:
    """A Harbor that names its repositories and then says nothing about them."""
    reached, release = threading.Event(), threading.Event()
    faulty_registry.fault("GET /api/v1/search", status(404))
    faulty_registry.fault("GET /api/search", status(200, b'{"repository":[{"repository_name":"a/b"}]}'))
    faulty_registry.fault("GET /api/repositories/", silent(reached, 0, release))

    code, seconds, told = interrupted(reached, "list", "--search", "x", "-s", faulty_registry.host)
    release.set()

    assert (code, "Traceback" in told) == (130, False), told
    assert seconds < PROMPT


def test_closing_a_session_ends_whoever_waits(faulty_registry: Registry) -> None:
    """A thread in the middle of a request gets an error at once, asks no second time, and later ones are refused."""
    reached, release = threading.Event(), threading.Event()
    faulty_registry.fault("GET /v2/", silent(reached, 0, release))
    session = Session(ConnectionOptions(retry=QUICK.retry))
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            session.call(faulty_registry.host, Request("GET", "/v2/"), what="looking", expect=(200,))
        except RegistryError as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert reached.wait(30)
    session.close()
    thread.join(PROMPT)
    release.set()

    assert not thread.is_alive()
    assert len(caught) == 1
    assert faulty_registry.lines() == ["GET /v2/"]
    with pytest.raises(RegistryError, match="has been closed"):
        session.call(faulty_registry.host, Request("GET", "/v2/"), what="looking", expect=(200,))
