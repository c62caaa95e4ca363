"""From a module to an image in the store: the last steps of every build."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from wasme.build import unchanged
from wasme.build.languages import LANGUAGES
from wasme.build.optimise import Optimiser
from wasme.build.order import Order
from wasme.build.toolchain import Listener, Toolchain
from wasme.errors import BuildFailed, InputError
from wasme.image import durable, layouts
from wasme.image.store import open_store

MODULE = "filter.wasm"
_LAYOUT = "oci"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Built:
    """One finished build.

    Attributes:
        image: the full reference.
        digest: the module's digest.
        size: the module's bytes.
        manifest_digest: the image's digest, as ``push`` will show it.
    """

    image: str
    digest: str
    size: int
    manifest_digest: str


@dataclass(frozen=True, slots=True)
class Options:
    """How a module is made, besides what makes it.

    Attributes:
        optimiser: what makes it smaller; None for nothing.
        must_optimise: whether an optimiser that fails ends the build.
        reuse: whether a module made of the same sources before may be taken.
    """

    optimiser: Optimiser | None = None
    must_optimise: bool = False
    reuse: bool = True


def build(
    order: Order, toolchain: Toolchain, listener: Listener | None = None, options: Options | None = None
) -> Built:
    """Compile, make smaller, check and keep; or keep what was compiled of the same sources before.

    Args:
        order: what to build.
        toolchain: what to build it with.
        listener: who hears of the steps and of the compiler's output.
        options: the rest.

    Raises:
        ToolMissing: a program is not on this machine.
        BuildFailed: a compiler said no.
        ModuleRefused: Envoy would not load the module.
        StoreError: it cannot be kept.
    """
    remarks: list[tuple[str, str]] = []
    listener = replace(listener or Listener(), remark=lambda text, hint: remarks.append((text, hint)))
    options = options or Options()
    before = _fingerprint(order, toolchain, options)
    built = _reuse(order, before, options)
    if built is not None:
        return built
    from wasme.build.interruption import terminated_as_exit
    from wasme.build.scratch import scratch_folder

    with terminated_as_exit() as interruption, _alone(order.folder, listener) as had_to_wait:
        if had_to_wait:  # the other build may have made the very module
            before = _fingerprint(order, toolchain, options)
            built = _reuse(order, before, options)
            if built is not None:
                return built
        with scratch_folder(order.scratch, interruption) as scratch:
            try:
                content, is_final = _make(order, toolchain, scratch, listener, options)
            finally:
                listener.step("")
            path = _put(scratch / MODULE, content)
            warnings = (*remarks, *_check(content))
            built = _keep(order, path, content, warnings)
            after = _fingerprint(order, toolchain, options) if is_final else None
            if before is not None and after is not None and after.is_outcome_of(before):
                unchanged.remember(after.key, content, warnings)
            return built


def _reuse(order: Order, fingerprint: unchanged.Fingerprint | None, options: Options) -> Built | None:
    """Keep what was compiled of the same before, if there is something."""
    if fingerprint is None or not options.reuse:
        return None
    known = unchanged.recall(fingerprint.key)
    if known is None:
        return None
    log.info("sources are unchanged, using the module compiled before")
    path = known.path
    if order.scratch is not None:
        from wasme.build.scratch import chosen

        path = _put(chosen(order.scratch) / MODULE, known.content)
    return _keep(order, path, known.content, known.warnings)


@contextlib.contextmanager
def _alone(folder: Path, listener: Listener) -> Iterator[bool]:
    """One build at a time in a project: compilers write to its folders; whether another had to be waited for.

    The folder itself is what is locked, so nothing is left of it.
    """
    import fcntl

    waited = False
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            listener.step("waiting for another build of this folder")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:  # a file system without locks
            log.debug("the folder cannot be locked", extra={"fields": {"error": str(error)}})
        yield waited
    finally:
        os.close(handle)


def keep_precompiled(order: Order, listener: Listener | None = None, options: Options | None = None) -> Built:
    """Check a module that somebody else has compiled, and keep it; make it smaller first where that is asked for.

    Raises:
        ModuleRefused: Envoy would not load it.
        StoreError: it cannot be kept.
    """
    optimiser = options.optimiser if options else None
    if optimiser is None:
        content = _read(order.source)
        return _keep(order, order.source, content, _check(content))
    listener = listener or Listener()
    from wasme.build.interruption import terminated_as_exit
    from wasme.build.scratch import scratch_folder

    with terminated_as_exit() as interruption, scratch_folder(order.scratch, interruption) as scratch:
        try:
            smaller = optimiser.optimise(order.source, scratch, listener)
        finally:
            listener.step("")
        if smaller is None:
            content = _read(order.source)
            return _keep(order, order.source, content, _check(content))
        return _keep(order, _put(scratch / MODULE, smaller), smaller, _check(smaller))


def _fingerprint(order: Order, toolchain: Toolchain, options: Options) -> unchanged.Fingerprint | None:
    try:
        inputs = toolchain.inputs(order.folder)
    except OSError:
        inputs = None  # the build says what is wrong
    if inputs is None:
        return None
    optimiser = options.optimiser.identity if options.optimiser else ""
    return unchanged.fingerprint(inputs, toolchain.language, LANGUAGES[toolchain.language].identity, optimiser)


def _make(
    order: Order, toolchain: Toolchain, scratch: Path, listener: Listener, options: Options
) -> tuple[bytes, bool]:
    """The module, compiled and made smaller; and whether that is all that was asked for."""
    try:
        module = toolchain.compile(order.folder, scratch, listener)
    except BuildFailed as error:
        raise BuildFailed(f"failed producing filter file: {error.message}", hint=error.hint) from None
    if options.optimiser is None:
        return _read(module), True
    try:
        smaller = options.optimiser.optimise(module, scratch, listener)
    except BuildFailed as error:
        if options.must_optimise:
            raise
        log.debug("wasm-opt failed; the compiler's module is kept", extra={"fields": {"error": error.message}})
        return _read(module), False
    return smaller or _read(module), True


def _read(module: Path) -> bytes:
    try:
        return module.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {module}: {error.strerror}") from None


def _put(path: Path, content: bytes) -> Path:
    """Leave the module where --tmp-dir promises it."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise durable.explain(error, path, "written") from None
    return path


def _check(content: bytes) -> tuple[tuple[str, str], ...]:
    """What is to be said of a module that Envoy loads, each with what to do about it.

    Raises:
        ModuleRefused: Envoy would not load it.
    """
    from wasme.wasm import check

    findings = check.check(check.require_loadable(content))
    return tuple((each.text, each.hint) for each in findings if each.severity == "warning")


def _keep(order: Order, module: Path, content: bytes, warnings: Iterable[tuple[str, str]]) -> Built:
    for text, hint in warnings:
        log.warning(text, extra={"fields": {"hint": hint}})
    log.info("adding image to cache...", extra={"fields": {"filter file": str(module), "tag": order.typed_tag}})
    draft = layouts.build(_LAYOUT, content, order.config)
    open_store(order.store).add(order.tag, draft)
    log.info("tagged image", extra={"fields": {"digest": draft.module.digest, "image": order.tag.full}})
    return Built(order.tag.full, draft.module.digest, draft.module.size, draft.descriptor.digest)
