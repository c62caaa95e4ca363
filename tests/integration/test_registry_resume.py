"""Transfers that break off and go on: in the same process, in a new one, after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.fixtures import faulty, modules
from tests.fixtures.agents import soon
from tests.fixtures.faults import cut_answer, cut_upload, status
from tests.fixtures.faulty import Registry
from tests.fixtures.hubs import Hub
from tests.fixtures.registries import ONCE, QUICK, DockerRegistry, manifest_on, stored
from wasme.errors import WasmeError
from wasme.image.content import Readable
from wasme.image.layouts import Draft
from wasme.image.reference import Reference
from wasme.image.store import open_store
from wasme.registry import transfer
from wasme.registry.repository import Repository
from wasme.registry.session import Session
from wasme.registry.transport import CHUNK


def wasme(*args: object, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "wasme", *map(str, args)], capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) is ok, done.stderr
    return done


SIZE = 3_000_000
SLACK = 64 * 1024


@pytest.mark.parametrize("arrived", [0, 1, 100_000, 1_500_000, SIZE - 1])
def test_a_broken_download_goes_on_in_a_new_process(
    faulty_registry: Registry, holds_image: Callable[..., Draft], arrived: int
) -> None:
    """The second process asks for the missing part only (plus at most 64 kB): the server counts bytes."""
    draft = holds_image(faulty_registry, "a/b", "v1", SIZE)
    reference = Reference.parse(f"{faulty_registry.host}/a/b:v1")
    faulty_registry.fault(f"GET /v2/a/b/blobs/{draft.module.digest}", cut_answer(arrived), times=1)
    with pytest.raises(WasmeError):
        transfer.pull(open_store(), reference, Session(ONCE))
    faulty_registry.heal()
    wasme("pull", reference)
    assert faulty_registry.sent <= SIZE - arrived + SLACK
    assert open_store().module_path(reference).read_bytes() == modules.sized(SIZE)


def test_a_broken_download_goes_on_in_the_same_process(
    faulty_registry: Registry, holds_image: Callable[..., Draft]
) -> None:
    """Three cuts in one pull cost three requests and no byte twice."""
    draft = holds_image(faulty_registry, "a/b", "v1", SIZE)
    reference = Reference.parse(f"{faulty_registry.host}/a/b:v1")
    faulty_registry.fault(f"GET /v2/a/b/blobs/{draft.module.digest}", cut_answer(600_000), times=3)
    transfer.pull(open_store(), reference, Session(QUICK))
    assert faulty_registry.sent <= SIZE + SLACK
    assert len(faulty_registry.lines(draft.module.digest)) == 4


def test_a_registry_without_ranges_is_read_again(faulty_registry: Registry, holds_image: Callable[..., Draft]) -> None:
    """Where Range is ignored the blob comes whole again, and is right in the end."""
    faulty_registry.takes_ranges = False
    draft = holds_image(faulty_registry, "a/b", "v1", SIZE)
    reference = Reference.parse(f"{faulty_registry.host}/a/b:v1")
    faulty_registry.fault(f"GET /v2/a/b/blobs/{draft.module.digest}", cut_answer(600_000), times=1)
    transfer.pull(open_store(), reference, Session(QUICK))
    assert open_store().module_path(reference).read_bytes() == modules.sized(SIZE)


@pytest.mark.parametrize("arrived", [0, 2, 100_000, 1_500_000, SIZE - 1])
def test_a_broken_upload_goes_on_in_a_new_process(faulty_registry: Registry, arrived: int) -> None:
    """The second process sends the missing part only (plus at most 64 kB): the server counts bytes."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", SIZE)
    faulty_registry.fault("PATCH ", cut_upload(arrived), times=1)
    with pytest.raises(WasmeError):
        transfer.push(store, reference, Session(ONCE))
    notes = list((Path.home() / ".wasme" / "uploads").glob("*.json"))
    assert [note.stat().st_mode & 0o777 for note in notes] == [0o600]
    faulty_registry.heal()
    wasme("push", reference)
    assert faulty_registry.received <= SIZE - arrived + SLACK
    assert faulty_registry.manifests["a/b", "v1"][1] == store.image(reference).manifest_bytes
    assert not list((Path.home() / ".wasme" / "uploads").glob("*.json"))


@pytest.mark.parametrize("damage", ["other bytes", "forgotten at the end"])
def test_a_broken_upload_that_cannot_be_used_is_begun_anew(faulty_registry: Registry, damage: str) -> None:
    """What the registry kept is damaged, or it forgets the upload before the last request: sent once more, whole."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", SIZE)
    faulty_registry.fault("PATCH ", cut_upload(1_000_000), times=1)
    with pytest.raises(WasmeError):
        transfer.push(store, reference, Session(ONCE))
    faulty_registry.heal()
    if damage == "other bytes":
        max(faulty_registry.uploads.values(), key=len)[500] ^= 1
    else:
        gone = status(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
        module = store.image(reference).module.digest
        faulty_registry.fault(f"PUT /v2/a/b/blobs/.*{module}", gone, times=1)
    transfer.push(store, reference, Session(ONCE))
    assert faulty_registry.manifests["a/b", "v1"][1] == store.image(reference).manifest_bytes


def test_a_killed_push_goes_on_in_a_new_process(faulty_registry: Registry) -> None:
    """kill -9 in the middle of an upload; the next process sends what is missing."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", 30_000_000)
    reached, killed, ended = threading.Event(), threading.Event(), threading.Event()

    def halting(handler: faulty.Handler) -> None:
        held = handler.registry.uploads[handler.route.rpartition("/")[2]]
        try:
            while part := handler.body(65536):
                held.extend(part)
                if len(held) > 10_000_000:
                    reached.set()
                    killed.wait(60)
        finally:
            ended.set()

    faulty_registry.fault("PATCH ", halting, times=1)
    process = subprocess.Popen([sys.executable, "-m", "wasme", "push", str(reference)], stderr=subprocess.DEVNULL)
    assert reached.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed.set()
    assert ended.wait(60)
    held = max(map(len, faulty_registry.uploads.values()))
    assert 10_000_000 < held < 30_000_000
    faulty_registry.heal()
    wasme("push", reference)
    assert faulty_registry.received <= 30_000_000 - held + SLACK


def test_a_broken_upload_goes_on_in_the_same_process(faulty_registry: Registry) -> None:
    """Three cuts in one push cost no byte twice."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", SIZE)
    faulty_registry.fault("PATCH ", cut_upload(600_000), times=3)
    transfer.push(store, reference, Session(QUICK))
    assert faulty_registry.received <= SIZE + SLACK


@pytest.mark.parametrize("ability", ["keeps_partial", "takes_patch"])
def test_registries_that_cannot_resume_get_the_blob_all_the_same(faulty_registry: Registry, ability: str) -> None:
    """A registry that drops broken uploads, or knows no PATCH, is served too."""
    setattr(faulty_registry, ability, False)
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", SIZE)
    if ability == "keeps_partial":
        faulty_registry.fault("PATCH ", cut_upload(600_000), times=1)
    transfer.push(store, reference, Session(QUICK))
    assert ("a/b", "v1") in faulty_registry.manifests


class Stops:
    """A source that breaks off, as a killed process does, after one block."""

    def __init__(self, opened: AbstractContextManager[Readable]) -> None:
        self.opened = opened
        self.left = 2

    def __enter__(self) -> Stops:
        self.stream = self.opened.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.__exit__(None, None, None)

    def read(self, size: int, /) -> bytes:
        self.left -= 1
        if not self.left:
            raise RuntimeError("killed")
        return self.stream.read(size)


def test_our_hub_goes_on_with_a_broken_upload(open_hub: Hub) -> None:
    """What our hub kept of a broken upload is not sent again."""
    store = open_store()
    reference = stored(store, f"{open_hub.host}/go/on:v1", SIZE)
    module = store.image(reference).module
    with pytest.raises(RuntimeError):
        Repository(Session(ONCE), reference).push(module, lambda offset: Stops(store.fetch(module, offset)))
    (note,) = (Path.home() / ".wasme" / "uploads").glob("*.json")
    place = json.loads(note.read_text())["location"].partition(open_hub.host)[2]
    # The hub has noticed the broken connection when another one may write to the upload.
    assert soon(lambda: open_hub.ask("PATCH", place, b"").status == 202, 30)
    offsets: list[int] = []

    def opener(offset: int) -> AbstractContextManager[Readable]:
        offsets.append(offset)
        return store.fetch(module, offset)

    Repository(Session(QUICK), reference).push(module, opener)
    assert len(offsets) == 1
    assert offsets[0] >= CHUNK - SLACK
    transfer.push(store, reference, Session(QUICK))
    assert transfer.pull(open_store(Path.home() / "x"), reference, Session(QUICK)).module.size == SIZE


def test_docker_registry_forgets_a_broken_upload_and_gets_a_new_one(docker_registry: DockerRegistry) -> None:
    """docker-registry answers 404 for an upload whose PATCH broke; the push begins anew and succeeds."""
    store = open_store()
    reference = stored(store, f"{docker_registry.host}/forget/it:v1", SIZE)
    broken = Repository(Session(ONCE), reference)
    module = store.image(reference).module

    with pytest.raises(RuntimeError):
        broken.push(module, lambda offset: Stops(store.fetch(module, offset)))
    assert list((Path.home() / ".wasme" / "uploads").glob("*.json"))
    transfer.push(store, reference, Session(QUICK))
    assert manifest_on(docker_registry.host, "forget/it", "v1") == store.image(reference).manifest_bytes


def test_a_commit_whose_answer_is_lost_is_no_failure(faulty_registry: Registry) -> None:
    """The registry has the blob, the answer to the last PUT never comes: the push goes on without sending again."""

    def commits_and_hangs_up(handler: faulty.Handler) -> None:
        repository = handler.route.split("/blobs/")[0].removeprefix("/v2/")
        held = handler.registry.uploads.pop(handler.route.rpartition("/")[2])
        handler.registry.blobs[repository, handler.query["digest"][0]] = bytes(held) + handler.body()
        handler.hang_up()

    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", SIZE)
    faulty_registry.fault("PUT /v2/a/b/blobs/", commits_and_hangs_up, times=2)
    transfer.push(store, reference, Session(QUICK))
    assert faulty_registry.received < SIZE + SLACK
