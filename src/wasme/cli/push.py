"""``wasme push``."""

from __future__ import annotations

import logging
from typing import Any

from wasme.cli.grammar import at_least, command, option, stored_images
from wasme.cli.options import auth_options, output_option, registry_map_option, store_option

log = logging.getLogger(__name__)


@command(
    "push",
    use="push name[:tag|@digest]",
    args=at_least(1),
    complete=stored_images,
    help="Push a wasm filter to remote registry\n\n"
    "The image goes where its name says; --registry-map leads a name to another host. What the registry has already "
    "is not sent again, and a push that was cut off goes on where it was when it is run again.",
    examples="wasme push localhost:5000/demo/auth:v1",
)
@auth_options
@store_option
@option(
    "--layout",
    choices=("oci", "compat", "wasm"),
    help="push as this kind of image: oci (Istio, Envoy Gateway, wasme), compat (the same, and container tools), "
    "wasm (wkg, wasmCloud, runwasi); the default is as it is stored",
)
@registry_map_option
@output_option
def push(args: tuple[str, ...], store: str, layout: str, output: str, **connection: Any) -> None:
    """Push one image, and tell its manifest's digest."""
    from wasme.cli import sessions, stores
    from wasme.cli.output import emit_image
    from wasme.cli.terminal import progress
    from wasme.image.reference import Reference
    from wasme.registry import transfer

    reference = Reference.parse(args[0])
    if layout == "wasm":
        log.warning("Istio and Envoy Gateway take no image of layout wasm")
    log.info("Pushing image %s", args[0])
    with sessions.opened(**connection) as session, progress("pushing") as moved:
        pushed = transfer.push(stores.opened(store), reference, session, layout or None, moved)
    log.info("Pushed %s", reference)
    log.info("Digest: %s", pushed.manifest.digest)
    if output == "json":
        emit_image(reference, pushed.module, pushed.manifest, pushed.layout)
