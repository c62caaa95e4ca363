"""A rollout that was turned back, as the status remembers it for whoever operates next. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasme.errors import RolledBack
from wasme.operator.resources.reasons import Reason

HINT = "it is tried again when the spec changes, or its tag names another image"


def remembered(status: Mapping[str, Any] | None, generation: int, manifest: str) -> RolledBack | None:
    """Why a rollout of this generation and this image was turned back; None where none was.

    Args:
        status: of the FilterDeployment, as it is stored.
        generation: of its spec.
        manifest: digest of the image; "" for the one that was known last.
    """
    found = status or {}
    image, listing = found.get("image"), found.get("conditions")
    if not isinstance(image, Mapping) or not isinstance(listing, list):
        return None
    if manifest not in ("", image.get("manifest")):
        return None
    for each in listing:
        if (
            isinstance(each, Mapping)
            and [each.get(name) for name in ("type", "status", "reason")] == ["Programmed", "False", Reason.ROLLED_BACK]
            and each.get("observedGeneration") == generation
        ):
            message = str(each.get("message", ""))
            why = message.removesuffix(f" ({HINT})")
            return RolledBack(why, hint="" if why == message else HINT)
    return None
