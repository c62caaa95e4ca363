"""copy: the order of things, each blob once, and nothing named that is not whole."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

import pytest

from tests.fixtures import modules
from tests.unit.image.shelf import Shelf, plain
from tests.unit.image.test_layouts import CONFIG, layout_a, layout_g
from wasme.errors import ContentMismatch, StoreError, UnsupportedImage
from wasme.image import layouts
from wasme.image.content import Opener, Readable
from wasme.image.copy import copy_image
from wasme.image.descriptor import Descriptor
from wasme.image.reference import Reference

SOURCE = Reference.parse("h.io/a:1")
TARGET = Reference.parse("h.io/b:2")


def shelf_with(make: object) -> tuple[Shelf, Descriptor]:
    shelf = Shelf()
    named = make(shelf)  # type: ignore[operator]
    shelf.names[str(SOURCE)] = named
    return shelf, named


def test_blobs_then_manifest_then_name() -> None:
    """At every moment the target is whole: blobs first and each once, then the manifest, then the name."""
    src, named = shelf_with(layout_a)
    dst = Shelf()

    copied = copy_image(src, SOURCE, dst, TARGET)

    kinds = [kind for kind, _ in dst.events]
    assert kinds == ["push", "push", "push", "tag"]
    assert dst.events[-2:] == [("push", named.digest), ("tag", named.digest)]
    assert dst.names[str(TARGET)].digest == named.digest == copied.manifest.digest
    assert len(copied.blobs) == 2
    assert layouts.read(dst, dst.names[str(TARGET)], TARGET).config == CONFIG


def test_of_an_index_one_manifest() -> None:
    """[BUG: the original did not follow an index] The chosen manifest is copied and named, told which index it came
    from; not its siblings."""
    src, index = shelf_with(layout_g)
    dst = Shelf()

    copied = copy_image(src, SOURCE, dst, TARGET)

    assert (copied.root.digest, copied.layout) == (index.digest, "oci")
    assert index.digest not in dst.blobs
    assert len(dst.blobs) == 3
    assert dst.names[str(TARGET)].annotations == {"module.wasm.image/index": index.digest}


def test_digest_in_the_reference_is_held() -> None:
    """A source that answers with another digest than the one asked for is refused before anything moves."""
    src, named = shelf_with(layout_a)
    asked = Reference("h.io", "a", "1", "sha256:" + "0" * 64)
    src.names[str(asked)] = named
    dst = Shelf()

    with pytest.raises(ContentMismatch, match="was asked for, and sha256:"):
        copy_image(src, asked, dst, TARGET)
    assert dst.events == []


def test_no_filter_is_not_copied() -> None:
    """What is no filter by its manifest is refused before its blobs move."""
    src = Shelf()
    src.names[str(SOURCE)] = src.image(src.put(b"{}", "x/y"), [src.put(b"data", "x/z")])
    dst = Shelf()

    with pytest.raises(UnsupportedImage, match="holds no filter"):
        copy_image(src, SOURCE, dst, TARGET)
    assert dst.events == []


@pytest.mark.parametrize("workers", [1, 4])
def test_failure_leaves_no_name(workers: int) -> None:
    """Where one blob fails, neither manifest nor name appear, and the failure is the blob's own."""
    src, named = shelf_with(layout_a)
    module = next(digest for digest, content in src.blobs.items() if content == modules.minimal())
    del src.blobs[module]
    dst = Shelf()

    with pytest.raises(StoreError, match=module):
        copy_image(src, SOURCE, dst, TARGET, workers=workers)

    assert dst.names == {}
    assert named.digest not in dst.blobs


def test_failure_ends_the_other_transfers() -> None:
    """A transfer under way stops at its next read once another has failed, instead of running to its end."""
    reading, failed = threading.Event(), threading.Event()
    reads = []

    class Endless:
        def __enter__(self) -> Endless:
            return self

        def __exit__(self, *_: object) -> None: ...

        def read(self, _size: int, /) -> bytes:
            reading.set()
            failed.wait(10)
            reads.append(1)
            return b"x" if len(reads) < 100_000 else b""

    class Source(Shelf):
        def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Readable]:
            if descriptor.media_type.endswith("+wasm"):
                return Endless()
            if descriptor.media_type.endswith("config.v1+json"):
                reading.wait(10)
                failed.set()
                raise StoreError("the config cannot be had")
            return super().fetch(descriptor, offset)

    class Target(Shelf):
        def push(self, descriptor: Descriptor, opener: Opener) -> None:
            with opener(0) as source:
                while source.read(10):
                    pass

    src = Source()
    src.names[str(SOURCE)] = layout_a(src)

    with pytest.raises(StoreError, match="cannot be had"):
        copy_image(src, SOURCE, Target(), TARGET)
    assert len(reads) < 100_000


def test_progress_ends_at_each_blobs_size() -> None:
    """`on_blob` hears of every blob, never backwards, and at last of its whole size; a resumed one from its offset."""
    src, _ = shelf_with(layout_a)
    heard: dict[str, list[int]] = {}
    lock = threading.Lock()

    class Target(Shelf):
        def push(self, descriptor: Descriptor, opener: Opener) -> None:
            with opener(descriptor.size - 5) as source:
                while source.read(3):
                    pass

    def on_blob(blob: Descriptor, position: int) -> None:
        with lock:
            heard.setdefault(blob.digest, []).append(position)

    copied = copy_image(src, SOURCE, Target(), TARGET, on_blob=on_blob)

    assert set(heard) == {blob.digest for blob in copied.blobs}
    for blob in copied.blobs:
        assert heard[blob.digest] == sorted(heard[blob.digest])
        assert heard[blob.digest][0] == blob.size - 5
        assert heard[blob.digest][-1] == blob.size


def test_a_target_that_frees_is_held_off() -> None:
    """A target with a lease is asked for it before the first blob and let go after the name."""
    src, _ = shelf_with(layout_a)

    class Target(Shelf):
        def writing(self) -> AbstractContextManager[None]:
            import contextlib

            @contextlib.contextmanager
            def lease():  # type: ignore[no-untyped-def]
                self.events.append(("lease", ""))
                yield
                self.events.append(("release", ""))

            return lease()

    dst = Target()
    copy_image(src, SOURCE, dst, TARGET)

    assert [kind for kind, _ in dst.events] == ["lease", "push", "push", "push", "tag", "release"]


def test_index_annotations_bind_nobody() -> None:
    """What an index claims about its child beyond its name does not reach the target."""
    src = Shelf()
    a = {**plain(layout_a(src)), "annotations": {"module.wasm.image/index": "sha256:" + "0" * 64}}
    index = src.put_json({"schemaVersion": 2, "manifests": [a]}, "application/vnd.oci.image.index.v1+json")
    src.names[str(SOURCE)] = index
    dst = Shelf()

    copy_image(src, SOURCE, dst, TARGET)

    assert dst.names[str(TARGET)].annotations == {"module.wasm.image/index": index.digest}
