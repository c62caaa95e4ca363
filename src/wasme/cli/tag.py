"""``wasme tag``."""

from __future__ import annotations

from wasme.cli.grammar import command, exactly, stored_images
from wasme.cli.options import output_option, store_option


@command(
    "tag",
    use="tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    args=exactly(2),
    complete=stored_images,
    help="Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    examples="wasme tag localhost:5000/demo/auth:v1 localhost:5000/demo/auth:stable",
)
@store_option
@output_option
def tag(args: tuple[str, ...], store: str, output: str) -> None:
    """Give an image one more name."""
    from wasme.cli.output import emit_json
    from wasme.cli.stores import opened
    from wasme.image.reference import Reference

    source, target = map(Reference.parse, args)
    image = opened(store).alias(source, target)
    if output == "json":
        emit_json({"image": str(target), "digest": image.module.digest, "manifestDigest": image.manifest.digest})
