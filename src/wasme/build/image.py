"""From a module to an image in the store: the last steps of every build."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wasme.build.order import Order
from wasme.build.toolchain import Listener, Toolchain
from wasme.errors import BuildFailed, InputError
from wasme.image import layouts
from wasme.image.store import open_store
from wasme.wasm import check

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


def build(order: Order, toolchain: Toolchain, listener: Listener | None = None) -> Built:
    """Compile, check and keep.

    Args:
        order: what to build.
        toolchain: what to build it with.
        listener: who hears of the steps and of the compiler's output.

    Raises:
        ToolMissing: a program is not on this machine.
        BuildFailed: a compiler said no.
        ModuleRefused: Envoy would not load the module.
        StoreError: it cannot be kept.
    """
    listener = listener or Listener()
    with _scratch(order.scratch) as scratch:
        try:
            module = toolchain.compile(order.source, scratch, listener)
        except BuildFailed as error:
            raise BuildFailed(f"failed producing filter file: {error.message}", hint=error.hint) from None
        finally:
            listener.step("")
        return _keep(order, module)


def keep_precompiled(order: Order) -> Built:
    """Check a module that somebody else has compiled, and keep it.

    Raises:
        ModuleRefused: Envoy would not load it.
        StoreError: it cannot be kept.
    """
    return _keep(order, order.source)


def _keep(order: Order, module: Path) -> Built:
    try:
        content = module.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {module}: {error.strerror}") from None
    for finding in check.check(check.require_loadable(content)):
        if finding.severity == "warning":
            log.warning(finding.text, extra={"fields": {"hint": finding.hint}})
    log.info("adding image to cache...", extra={"fields": {"filter file": str(module), "tag": order.typed_tag}})
    draft = layouts.build(_LAYOUT, content, order.config)
    open_store(order.store).add(order.tag, draft)
    log.info("tagged image", extra={"fields": {"digest": draft.module.digest, "image": order.tag.full}})
    return Built(order.tag.full, draft.module.digest, draft.module.size, draft.descriptor.digest)


@contextlib.contextmanager
def _scratch(chosen: Path | None) -> Iterator[Path]:
    """The folder of ``--tmp-dir``, which stays; else a fresh one, which does not."""
    if chosen is None:
        with tempfile.TemporaryDirectory(prefix="wasme", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot use {chosen} as --tmp-dir: {error.strerror}") from None
    if not os.access(chosen, os.W_OK):
        raise InputError(f"cannot write into {chosen}, which --tmp-dir names")
    yield chosen
