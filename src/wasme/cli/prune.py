"""``wasme prune``."""

from __future__ import annotations

import logging

from wasme.cli.grammar import command, exactly
from wasme.cli.options import output_option, store_option

log = logging.getLogger(__name__)


@command(
    "prune",
    use="prune",
    args=exactly(0),
    help="Free the space of images that no tag names any more.\n\n"
    "Downloads that were broken off are freed too; until then they can be resumed.",
    examples="wasme prune",
)
@store_option
@output_option
def prune(args: tuple[str, ...], store: str, output: str) -> None:  # noqa: ARG001
    """Free what nothing names."""
    from wasme.cli.output import emit, emit_json, human_size
    from wasme.cli.stores import opened

    pruned = opened(store).prune()
    if pruned.busy:
        log.warning("another program is writing to the store: only what has been idle for a day was freed")
    if output == "json":
        emit_json({"files": pruned.files, "bytes": pruned.size, "busy": pruned.busy})
    else:
        emit(f"freed {human_size(pruned.size)} in {pruned.files} file{'' if pruned.files == 1 else 's'}")
