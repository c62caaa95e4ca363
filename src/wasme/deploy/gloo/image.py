"""The image that Gloo is told to pull.

Gloo's server pulls it with the original's code, which drops a digest: ``name:tag@sha256:…`` is ``name:tag`` to it, and
``name@sha256:…`` is ``name:latest``. So a Gateway gets a tag, and what is behind the tag is looked at before.
"""

from __future__ import annotations

from wasme.deploy.gateways import address
from wasme.deploy.resolved import ResolvedImage
from wasme.errors import UnsupportedImage
from wasme.image.content import Resolver
from wasme.image.reference import Reference


def reference(image: ResolvedImage) -> str:
    """What stands in the Gateway: a tag, in full, as Gloo's own cache keeps it.

    Raises:
        UnsupportedImage: the image was named by digest alone.
    """
    if image.reference.tag is None:
        raise UnsupportedImage(
            f"{image.reference}: Gloo pulls by tag only; of a digest it makes the tag latest",
            hint="deploy a tag; one of its own for each build never changes under Gloo",
        )
    return f"{address(image)}:{image.reference.tag}"


def require_tag(image: ResolvedImage, registry: Resolver) -> None:
    """Where tag and digest were typed, refuse a tag that stands for something else: Gloo would get that.

    Raises:
        UnsupportedImage: it does.
        RegistryError: the registry cannot tell.
    """
    typed = image.reference
    if typed.tag is None or typed.digest is None:
        return
    found = registry.resolve(Reference(typed.domain, typed.path, typed.tag)).digest
    if found != typed.digest:
        raise UnsupportedImage(
            f"{typed.name}:{typed.tag} is {found} now, not {typed.digest}; Gloo pulls by tag only",
            hint="tag the image that is meant once more, and push it",
        )
