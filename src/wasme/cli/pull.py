"""``wasme pull``."""

from __future__ import annotations

import logging
from typing import Any

from wasme.cli.grammar import command, exactly
from wasme.cli.options import auth_options, output_option, registry_map_option, store_option

log = logging.getLogger(__name__)


@command(
    "pull",
    use="pull <name:tag|name@digest>",
    args=exactly(1),
    help="Pull wasm filters from remote registry\n\n"
    "Images of every known layout are read, and all that arrives is verified. A pull that was cut off goes on where "
    "it was when it is run again.",
    examples="wasme pull localhost:5000/demo/auth:v1",
)
@auth_options
@store_option
@registry_map_option
@output_option
def pull(args: tuple[str, ...], store: str, output: str, **connection: Any) -> None:
    """Pull one image, and tell its module's digest."""
    from wasme.cli import sessions, stores
    from wasme.cli.output import emit_image
    from wasme.cli.terminal import progress
    from wasme.image.reference import Reference
    from wasme.registry import transfer

    reference = Reference.parse(args[0])
    log.info("Pulling image %s", args[0])
    with sessions.opened(**connection) as session, progress("pulling") as moved:
        image = transfer.pull(stores.opened(store), reference, session, moved)
    log.info("Image: %s", reference)
    log.info("Digest: %s", image.module.digest)
    if output == "json":
        emit_image(reference, image.module, image.manifest, image.layout)
