"""The image that the cache's agents run."""

from __future__ import annotations

import re

from wasme import __version__
from wasme.errors import CacheError, InvalidReference
from wasme.image.reference import Reference

REPOSITORY = "ghcr.io/wasme/wasme"
"""Where each release puts the image that the Containerfile makes; its tag is the version."""
IMAGE = f"{REPOSITORY}:{__version__}"
"""The image of this version."""

_ORIGINAL = re.compile(r"(?:https?://)?quay\.io/solo-io/wasme(?![a-z0-9])", re.IGNORECASE)
_OWN = "leave --cache-repo away, or give it a copy of {image} or an image made by wasme's Containerfile"


def chosen(repository: str = "", tag: str = "") -> str:
    """The agents' image for ``--cache-repo`` and ``--cache-tag``; what is "" is this version's.

    Args:
        repository: with a digest (``NAME@sha256:…``) it is taken as it is, and no tag can be given.

    Raises:
        CacheError: it is the original's image, or cannot be a name of an image.
    """
    repository = repository or REPOSITORY
    refuse_the_originals(repository)
    if "@" in repository and tag:
        raise CacheError(
            f"the cache's image {repository} has a digest, which leaves no place for the tag {tag}",
            hint="leave --cache-tag away",
        )
    image = repository if "@" in repository else f"{repository}:{tag or __version__}"
    try:
        Reference.parse(image)
    except InvalidReference as error:
        raise CacheError(f"the cache's image: {error.message}", hint=error.hint) from None
    return image


def refuse_the_originals(repository: str) -> None:
    """Refuse ``quay.io/solo-io/wasme`` and its like: its agent never says which node holds what.

    Raises:
        CacheError: it is that.
    """
    if _ORIGINAL.match(repository):
        raise CacheError(
            f"the cache's image {repository} is solo.io's: its agents do not tell what their nodes hold, so no "
            "deployment could wait for them",
            hint=_OWN.format(image=IMAGE),
        )
