"""An image that the registry cannot show now, as the status of its FilterDeployment remembers it. Pure.

An operator that has just begun has seen no image. What the status says is enough to tell what is as wanted, since
objects name digests; it is not enough to write anything, since nobody knows what the module needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasme.deploy.resolved import ResolvedImage
from wasme.errors import Forbidden, RegistryError, RemoteNotFound, Unauthorized, WasmeError
from wasme.image import media_types
from wasme.image.descriptor import Descriptor
from wasme.image.manifest import Manifest
from wasme.image.pullers import Pulled
from wasme.image.reference import Reference
from wasme.operator.resources.outcome import ImageFacts
from wasme.operator.resources.wanted import Wanted
from wasme.wasm.proxies import Needs

_ANSWERS = (Unauthorized, Forbidden, RemoteNotFound)
_NEEDS = Needs("0.2.1", 0, "")
"""As if any proxy would do: it was asked when the filter came there."""


def kept(wanted: Wanted, status: Mapping[str, Any], error: WasmeError) -> ImageFacts | None:
    """What is known of an image that could not be looked at; None where that is nothing, or the registry did answer.

    Args:
        wanted: whose image it is.
        status: as it is stored.
        error: why it could not be looked at.
    """
    told = status.get("image")
    if not isinstance(error, RegistryError) or isinstance(error, _ANSWERS) or not isinstance(told, Mapping):
        return None
    reference, resolved, manifest, module, layout = (
        str(told.get(name) or "") for name in ("reference", "resolved", "manifest", "module", "layout")
    )
    roots, versions = _texts(told.get("rootIDs")), _texts(told.get("abiVersions"))
    facts = ImageFacts(reference, resolved, manifest, module, layout, roots, versions)
    image = wanted.image
    if facts.reference != image.reference or (image.sha256 and facts.module != f"sha256:{image.sha256}"):
        return None
    try:
        as_image(facts)
    except (ValueError, WasmeError):
        return None
    return facts


def as_image(facts: ImageFacts) -> ResolvedImage:
    """Enough of an image to compare what carries it, and no more: sizes, for one, are not known.

    Raises:
        ValueError: a digest is none.
        InvalidReference: the reference is none.
    """
    module = Descriptor(media_types.MODULE_LAYER, facts.module, 0)
    manifest = Descriptor(media_types.OCI_MANIFEST, facts.manifest, 0)
    parsed = Manifest(config=module, layers=[module, module])
    address, at, digest = facts.resolved.partition("@")
    if not at or digest != facts.manifest:
        raise ValueError(facts.resolved)
    return ResolvedImage(
        typed=facts.reference,
        reference=Reference.parse(facts.reference),
        manifest=manifest,
        module=module,
        layout=facts.layout,
        root_ids=facts.root_ids,
        abi_versions=facts.abi_versions,
        needs=_NEEDS,
        address=address,
        index="",
        pulled=Pulled(parsed, media_types.OCI_MANIFEST, 0, packed=False),
    )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
