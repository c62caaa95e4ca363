"""push and pull against a registry that fails at every step in every way."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import faulty, modules
from tests.fixtures.faults import cut_answer, hang_up, raw, stall, status
from tests.fixtures.faulty import Registry
from tests.fixtures.registries import HASTY, ONCE, stored
from wasme.errors import ImageNotFound, WasmeError
from wasme.image.layouts import Draft
from wasme.image.reference import Reference
from wasme.image.store import open_store
from wasme.registry import transfer
from wasme.registry.session import Session

PUSH_STEPS = {
    "head": "HEAD /v2/a/b/blobs/",
    "post": "POST /v2/a/b/blobs/uploads/",
    "patch": "PATCH ",
    "put": "PUT /v2/a/b/blobs/",
    "manifest": "PUT /v2/a/b/manifests/",
}
PULL_STEPS = {
    "resolve": "(HEAD|GET) /v2/a/b/manifests/",
    "manifest": "GET /v2/a/b/manifests/",
    "blob": "GET /v2/a/b/blobs/",
}
FAULTS: dict[str, Callable[[], faulty.Fault]] = {
    "hangs-up": lambda: hang_up,
    "stalls": lambda: stall(1.0),
    "500": lambda: status(500),
    "503": lambda: status(503),
    "429": lambda: status(429, b"", Retry_After="0"),
    "401": lambda: status(401),
    "403": lambda: status(403),
    "404": lambda: status(404),
    "405": lambda: status(405),
    "413": lambda: status(413),
    "415": lambda: status(415),
    "page": lambda: status(200, b"<!doctype html><title>Sign in</title>", "text/html"),
    "garbage": lambda: raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "half-head": lambda: raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", PUSH_STEPS)
def test_push_fails_cleanly_at_every_step(faulty_registry: Registry, step: str, fault: str) -> None:
    """Whatever happens at whatever step: an error of wasme's or a whole push; no tag without its blobs; and once the
    registry has recovered, the same push succeeds."""
    store = open_store()
    reference = stored(store, f"{faulty_registry.host}/a/b:v1", 200_000)
    faulty_registry.fault(PUSH_STEPS[step], FAULTS[fault]())
    with contextlib.suppress(WasmeError):
        transfer.push(store, reference, Session(HASTY))
    for (repository, _), (_, manifest) in faulty_registry.manifests.items():
        for blob in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
            assert (repository, blob["digest"]) in faulty_registry.blobs
    faulty_registry.heal()
    transfer.push(store, reference, Session(ONCE))
    assert faulty_registry.manifests["a/b", "v1"][1] == store.image(reference).manifest_bytes


PULL_CASES = [(step, fault) for step in PULL_STEPS for fault in (*FAULTS, "lies", "short")]


@pytest.mark.parametrize(("step", "fault"), [*PULL_CASES, ("blob", "cut"), ("blob", "reset")])
def test_pull_fails_cleanly_at_every_step(
    faulty_registry: Registry, holds_image: Callable[..., Draft], step: str, fault: str
) -> None:
    """[BUG] the original checked no blob's bytes, and a failed pull left half an image that broke `list`; here,
    whatever happens at whatever step, nothing stands in the store that is not whole, and the next try succeeds."""
    holds_image(faulty_registry, "a/b", "v1", 200_000)
    reference = Reference.parse(f"{faulty_registry.host}/a/b:v1")
    special: dict[str, faulty.Fault] = {
        "cut": cut_answer(50),
        "reset": cut_answer(50, reset=True),
        "lies": status(200, b"x" * 200_000),
        "short": status(200, b"x" * 100),
    }
    faulty_registry.fault(PULL_STEPS[step], special.get(fault) or FAULTS[fault]())
    with pytest.raises(WasmeError):
        transfer.pull(open_store(), reference, Session(HASTY))
    store = open_store()
    assert store.entries() == []
    with pytest.raises(ImageNotFound):
        store.image(reference)
    whole = [path for path in (Path.home() / ".wasme/oci/blobs").rglob("*") if path.is_file() and not path.suffix]
    for path in whole:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    faulty_registry.heal()
    assert transfer.pull(open_store(), reference, Session(ONCE)).module.size == 200_000
    assert open_store().module_path(reference).read_bytes() == modules.sized(200_000)
