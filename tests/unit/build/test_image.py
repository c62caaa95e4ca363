"""From sources to an image: what is done after the compiler, and what is left where."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fixtures.filters import module
from wasme.build import image, order
from wasme.build.image import Options
from wasme.build.optimise import Optimiser
from wasme.build.toolchain import Inputs, Listener, Tool
from wasme.errors import BuildFailed, InputError, ModuleRefused, StoreError

LARGE = module('(func (export "proxy_on_log") (param i32))')


@dataclass
class Compiler:
    """Makes the module that it is given."""

    content: bytes = LARGE
    language: str = "rust"
    scratch: list[Path] = field(default_factory=list)

    def compile(self, source: Path, scratch: Path, listener: Listener) -> Path:
        self.scratch.append(scratch)
        (scratch / "made.wasm").write_bytes(self.content)
        return scratch / "made.wasm"

    def inputs(self, source: Path) -> Inputs | None:
        return Inputs((source,))

    def tools(self) -> tuple[Tool, ...]:
        return ()


@pytest.fixture
def placed(tmp_path: Path) -> Callable[..., order.Order]:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "runtime-config.json").write_text("{}")
    return lambda tmp_dir="": order.read(str(folder), tag="a/b:1", tmp_dir=tmp_dir, precompiled=False)


@pytest.fixture
def optimiser(tmp_path: Path) -> Callable[[str], Optimiser]:
    (tmp_path / "small").write_bytes(module())

    def make(script: str = 'for last; do :; done; cp "$(dirname $0)/small" "$last"') -> Optimiser:
        (tmp_path / "wasm-opt").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "wasm-opt").chmod(0o755)
        return Optimiser(tmp_path / "wasm-opt", "PATH")

    return make


def test_the_result_lies_where_tmp_dir_says(
    placed: Callable[..., order.Order], optimiser: Callable[..., Optimiser], tmp_path: Path
) -> None:
    """As filter.wasm, whatever the compiler calls it, and as it is in the image."""
    built = image.build(placed(str(tmp_path / "out")), Compiler(), options=Options(optimiser()))
    assert (tmp_path / "out/filter.wasm").read_bytes() == module()
    assert built.size == len(module())


def test_the_scratch_folder_is_taken_away(placed: Callable[..., order.Order]) -> None:
    """After a build that went well, and after one that did not."""
    good, refused = Compiler(), Compiler(b"\0asm")
    image.build(placed(), good)
    with pytest.raises(ModuleRefused):
        image.build(placed(), refused, options=Options(reuse=False))
    assert not good.scratch[0].exists()
    assert not refused.scratch[0].exists()


def test_what_is_to_be_said_of_a_project(placed: Callable[..., order.Order], caplog: pytest.LogCaptureFixture) -> None:
    """A toolchain's remark is a warning with a hint, also where the module compiled before is taken."""

    class Remarking(Compiler):
        def compile(self, source: Path, scratch: Path, listener: Listener) -> Path:
            listener.remark("half of it is ignored", "move it")
            return super().compile(source, scratch, listener)

    for taken in (False, True):
        caplog.clear()
        with caplog.at_level("INFO"):
            image.build(placed(), Remarking())
        (said,) = [each for each in caplog.records if each.levelname == "WARNING"]
        assert (said.message, said.__dict__["fields"]) == ("half of it is ignored", {"hint": "move it"})
        assert ("sources are unchanged, using the module compiled before" in caplog.messages) is taken


def test_a_wasm_opt_that_fails_costs_nothing(
    placed: Callable[..., order.Order], optimiser: Callable[..., Optimiser]
) -> None:
    """Under auto the compiler's module is kept, and tried again next time; under always it is the build's error."""
    compiler = Compiler()
    broken = optimiser("echo no such option; exit 1")
    assert image.build(placed(), compiler, options=Options(broken)).size == len(LARGE)
    image.build(placed(), compiler, options=Options(broken))
    assert len(compiler.scratch) == 2
    with pytest.raises(BuildFailed, match="no such option"):
        image.build(placed(), compiler, options=Options(broken, must_optimise=True))


def test_a_refused_module_is_not_remembered(placed: Callable[..., order.Order]) -> None:
    """It is refused each time."""
    for _ in range(2):
        with pytest.raises(ModuleRefused):
            image.build(placed(), Compiler(module(version="0_9_9")))


def test_a_full_disk_is_one_line(
    placed: Callable[..., order.Order], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the module is put down."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/filter.wasm").symlink_to("/dev/full")
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which Linux has")
    with pytest.raises(StoreError, match=r"filter.wasm cannot be written: the disk is full"):
        image.build(placed(str(tmp_path / "out")), Compiler())


def test_a_tmp_dir_that_cannot_be(placed: Callable[..., order.Order], tmp_path: Path) -> None:
    """A file in its place is told before anything is compiled."""
    (tmp_path / "out").write_text("")
    compiler = Compiler()
    with pytest.raises(InputError, match=r"cannot use .*/out as --tmp-dir"):
        image.build(placed(str(tmp_path / "out")), compiler)
    assert compiler.scratch == []


def test_one_build_at_a_time_in_a_folder(placed: Callable[..., order.Order]) -> None:
    """The second of two at the same time waits, and takes the module of the first."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Compiler):
        def compile(self, source: Path, scratch: Path, listener: Listener) -> Path:
            begun.set()
            assert go_on.wait(20)
            return super().compile(source, scratch, listener)

    first, second = Slow(), Compiler()
    steps: list[str] = []

    def hear(step: str) -> None:
        steps.append(step)
        go_on.set()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(image.build, placed(), first)
        assert begun.wait(20)
        two = pool.submit(image.build, placed(), second, Listener(step=hear))
        assert one.result(20) == two.result(20)
    assert steps == ["waiting for another build of this folder"]
    assert (len(first.scratch), len(second.scratch)) == (1, 0)


def test_what_a_killed_build_left_goes(
    placed: Callable[..., order.Order], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour later the next build takes it away, but nothing that is in use, young, or another's."""
    place = tmp_path / "tmp"
    for name in ("wasme-build-left", "wasme-build-used", "wasme-build-young", "something"):
        (place / name).mkdir(parents=True)
        if "young" not in name:
            os.utime(place / name, (1, 1))
    (place / "wasme-build-link").symlink_to(tmp_path / "project")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    handle = os.open(place / "wasme-build-used", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    image.build(placed(), Compiler())
    os.close(handle)
    kept = {"wasme-build-used", "wasme-build-young", "wasme-build-link", "something"}
    assert {each.name for each in place.iterdir()} == kept
    assert (tmp_path / "project/runtime-config.json").exists()
