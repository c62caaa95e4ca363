"""An Envoy that is too old for a module is refused before it is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures import filters
from wasme.deploy.ability import require_image, require_program
from wasme.envoy.binary import EXTRA, Binary
from wasme.errors import EnvoyError
from wasme.wasm import abi
from wasme.wasm.module import parse

GO = parse(
    filters.module(
        '(func (export "_initialize"))',
        imports=filters.wat_import("wasi_snapshot_preview1", "sched_yield", abi.WASI_FUNCTIONS["sched_yield"]),
    )
)
PLAIN = parse(filters.module())


def program(folder: Path, version: str) -> Path:
    """A program that tells Envoy's version as Envoy does, and notes that it was asked."""
    path = folder / "envoy"
    told = f"\n{path}  version: 9e558093{'0' * 32}/{version}/Clean/RELEASE/BoringSSL\n"
    path.write_text(f"#!/bin/sh\necho asked >> {folder / 'asked'}\nprintf '%s' '{told}'\n")
    path.chmod(0o755)
    return path


def test_a_program_of_this_machine(tmp_path: Path) -> None:
    """Too old: one line with what it lacks and since when it is there; new enough, or of no known version: nothing."""
    old = program(tmp_path, "1.32.13")
    with pytest.raises(EnvoyError) as caught:
        require_program(Binary(old, "PATH"), GO)
    assert caught.value.message == (
        f"{old} (PATH) cannot run this module: Envoy 1.32.13 lacks wasi_snapshot_preview1.sched_yield; "
        "Envoy 1.33 and later have it"
    )
    assert caught.value.hint
    for version in ("1.33.0", "1.40.0", "dev"):
        require_program(Binary(program(tmp_path, version), "$WASME_ENVOY"), GO)


def test_not_asked_without_need(tmp_path: Path) -> None:
    """A module that any Envoy runs, and the extra's own Envoy, cost no question."""
    path = program(tmp_path, "1.17.0")
    require_program(Binary(path, "PATH"), PLAIN)
    require_program(Binary(path, EXTRA), GO)
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    ("image", "refused"),
    [
        ("docker.io/envoyproxy/envoy:v1.32-latest", True),
        ("envoyproxy/envoy:v1.16.0@sha256:" + "0" * 64, True),
        ("docker.io/envoyproxy/envoy:v1.40-latest", False),
        ("docker.io/envoyproxy/envoy", False),
        ("docker.io/envoyproxy/envoy:dev", False),
        ("localhost:5000/my/proxy:v1.2", False),
        ("localhost:5000/envoy:distroless-v1.33", False),
    ],
)
def test_a_container_image(image: str, refused: bool) -> None:
    """Envoy's own images are judged by their tag, others not at all."""
    if not refused:
        require_image(image, GO)
        return
    with pytest.raises(EnvoyError, match=r"cannot run this module") as caught:
        require_image(image, GO)
    assert "--envoy-image" in (caught.value.hint or "")
