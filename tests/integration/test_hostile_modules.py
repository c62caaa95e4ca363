"""Images that somebody chose to fill a memory with: what is held is bounded, and held once."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fixtures import faulty
from tests.fixtures.registries import ONCE, filter_image
from wasme.deploy.resolved import ResolvedImage, Room, resolve
from wasme.errors import ImageError, RegistryError, UnsafeAnswer, UnsupportedImage
from wasme.image import layouts
from wasme.image.layouts import Draft
from wasme.image.runtime_config import RuntimeConfig
from wasme.operator.registries import images
from wasme.registry.credentials import Keychain
from wasme.registry.session import Session

Put = Callable[..., Draft]
MIB = 1 << 20


def asked(host: str, name: str = "demo/auth:v1", **limits: Any) -> ResolvedImage:
    """Look at an image once."""
    with Session(ONCE, Keychain()) as session:
        return resolve(f"{host}/{name}", session, **limits)


def put(registry: faulty.Registry, draft: Draft) -> None:
    """Into the registry, as it is."""
    contents = []
    for descriptor, opener in draft.blobs[:-1]:
        with opener(0) as stream:
            contents.append(stream.read(descriptor.size))
    registry.put_image("demo/auth", "v1", *contents, manifest=draft.manifest, media_type=draft.descriptor.media_type)


def peak(work: Callable[[], object]) -> int:
    """Bytes that were held at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(kind: type[Exception], work: Callable[[], object]) -> Callable[[], None]:
    """It must be refused."""

    def run() -> None:
        with pytest.raises(kind):
            work()

    return run


def test_declared_small_and_streams_large(faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """A layer that says twenty kilobytes and does not end is given up with the first byte too many."""
    draft = holds_image(faulty_registry, "demo/auth", "v1")

    def pour(handler: faulty.Handler) -> None:
        handler.head(200, {"Connection": "close"})
        for _ in range(256):
            handler.write(bytes(MIB))

    faulty_registry.fault(f"GET .*/blobs/{draft.module.digest}", pour)
    held = peak(refused(UnsafeAnswer, lambda: asked(faulty_registry.host)))
    assert held < 16 * MIB, f"{held / MIB:.1f} MiB"


def test_a_compressed_bomb(faulty_registry: faulty.Registry) -> None:
    """A packed layer of a few kilobytes that unpacks to a hundred MiB is no filter, and never in memory."""
    config = RuntimeConfig(type="envoy_proxy", abi_versions=("v0.2.1",), root_ids=("a",))
    bomb = layouts.build("compat", bytes(100 * MIB), config)
    assert sum(each.size for each, _ in bomb.blobs) < MIB
    put(faulty_registry, bomb)
    del bomb
    held = peak(refused(UnsupportedImage, lambda: asked(faulty_registry.host)))
    assert held < 40 * MIB, f"{held / MIB:.1f} MiB"


@pytest.mark.parametrize("layout", ["oci", "compat"])
def test_larger_than_the_operator_takes(faulty_registry: faulty.Registry, holds_image: Put, layout: str) -> None:
    """The operator takes what Istio's agent takes; one byte more is refused, and where the size is told before it
    comes nothing is read.
    """
    assert images.LARGEST == 256 * MIB
    draft = holds_image(faulty_registry, "demo/auth", "v1", 300_000, layout)
    assert asked(faulty_registry.host, largest=300_000).module == draft.module
    read = len(faulty_registry.lines("GET .*/blobs/"))
    with pytest.raises(ImageError, match="its module has more than 299999 bytes"):
        asked(faulty_registry.host, largest=299_999)
    if layout == "oci":
        assert len([each for each in faulty_registry.lines("GET .*/blobs/")[read:] if draft.module.digest in each]) == 0


def test_held_once(faulty_registry: faulty.Registry) -> None:
    """While a module is looked at its bytes are in memory once."""
    put(faulty_registry, filter_image(48 * MIB))
    held = peak(lambda: asked(faulty_registry.host))
    assert held < 1.5 * 48 * MIB, f"{held / MIB:.1f} MiB"


def test_large_modules_wait_for_each_other(faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """Of three large modules two are looked at; the third is told so, and comes when it is tried again. A small one
    passes them.
    """
    draft = holds_image(faulty_registry, "demo/auth", "v1", 3 * MIB)
    for name in ("second", "third"):
        holds_image(faulty_registry, f"demo/{name}", "v1", 3 * MIB)
    holds_image(faulty_registry, "demo/small", "v1", 20_000)
    room = Room(large=MIB, at_once=2, patience=0.3)
    gate, under_way = threading.Event(), threading.Semaphore(0)
    content = faulty_registry.blobs["demo/auth", draft.module.digest]

    def slow(handler: faulty.Handler) -> None:
        handler.head(200, {"Content-Length": str(len(content))})
        handler.write(content[: 2 * MIB])
        under_way.release()
        gate.wait(60)
        handler.write(content[2 * MIB :])

    faulty_registry.fault(f"GET .*/blobs/{draft.module.digest}", slow, times=2)
    with ThreadPoolExecutor(2) as threads:
        two = [
            threads.submit(asked, faulty_registry.host, each, room=room) for each in ("demo/auth:v1", "demo/second:v1")
        ]
        for _ in two:
            assert under_way.acquire(timeout=30)
        with pytest.raises(RegistryError, match="2 large modules are being looked at already"):
            asked(faulty_registry.host, "demo/third:v1", room=room)
        assert asked(faulty_registry.host, "demo/small:v1", room=room).module.size == 20_000
        gate.set()
        assert {each.result(60).module.digest for each in two} == {draft.module.digest}
    assert asked(faulty_registry.host, "demo/third:v1", room=room).module == draft.module
