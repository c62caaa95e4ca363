"""``wasme rm``."""

from __future__ import annotations

import logging

from wasme.cli.grammar import at_least, command, stored_images
from wasme.cli.options import output_option, store_option

log = logging.getLogger(__name__)


@command(
    "rm",
    use="rm NAME[:TAG|@DIGEST]...",
    args=at_least(1),
    complete=stored_images,
    help="Take tags away from the local store.\n\nNAME@DIGEST takes away the image kept under that digest; where none "
    "is, every tag of NAME that stands for it. The space is freed by `wasme prune`, once no tag names the image.",
    examples="wasme rm localhost:5000/demo/auth:v1",
)
@store_option
@output_option
def rm(args: tuple[str, ...], store: str, output: str) -> None:
    """Take names away, as many as can be; what could not is told at the end."""
    from wasme.cli.output import emit_json
    from wasme.cli.stores import opened
    from wasme.errors import ImageError, ImageNotFound, WasmeError
    from wasme.image.reference import Reference

    references = [Reference.parse(text) for text in args]
    images = opened(store)
    removed: list[str] = []
    failed: list[WasmeError] = []

    def remove(reference: Reference) -> None:
        names = [str(name) for name in images.remove(reference)]
        removed.extend(names)
        if reference.digest and len(names) > 1:
            log.warning("%s stood for %d names; all are removed", reference, len(names))
        for name in names:
            log.info("removed image", extra={"fields": {"image": name}})

    missing: list[Reference] = []
    for reference in references:
        try:
            remove(reference)
        except ImageNotFound:
            missing.append(reference)
        except WasmeError as error:
            failed.append(error)
    for reference in missing:  # asked for again, so that no name that is gone by now is offered for them
        try:
            remove(reference)
        except WasmeError as error:
            failed.append(error)
    if output == "json":
        emit_json({"removed": removed})
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise ImageError("; ".join(error.message for error in failed), hint=failed[0].hint)
