"""All that one look at a FilterDeployment found out: the reconciler fills it, ``conditions.status`` tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wasme.deploy.resolved import ResolvedImage
from wasme.errors import WasmeError
from wasme.operator.resources.report import Report


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What ``status.image`` says of an image.

    Attributes:
        reference: as typed in ``spec.filter.image``.
        resolved: where the cluster pulls exactly this image: ``HOST/REPOSITORY@sha256:…``.
        manifest: digest of the manifest.
        module: digest of the module.
        layout: as in ``image.layouts``.
        root_ids: of the image's runtime config.
        abi_versions: of the image's runtime config.
    """

    reference: str
    resolved: str
    manifest: str
    module: str
    layout: str = ""
    root_ids: tuple[str, ...] = ()
    abi_versions: tuple[str, ...] = ()

    @classmethod
    def of(cls, image: ResolvedImage) -> ImageFacts:
        """What is told of an image that was looked at."""
        return cls(
            reference=image.typed,
            resolved=image.pinned,
            manifest=image.manifest.digest,
            module=image.module.digest,
            layout=image.layout,
            root_ids=image.root_ids,
            abi_versions=image.abi_versions,
        )

    def as_status(self) -> dict[str, Any]:
        """``status.image``."""
        told = {
            "reference": self.reference,
            "resolved": self.resolved,
            "manifest": self.manifest,
            "module": self.module,
            "layout": self.layout,
            "rootIDs": list(self.root_ids),
            "abiVersions": list(self.abi_versions),
        }
        return {name: value for name, value in told.items() if value}


@dataclass(slots=True)
class Outcome:
    """What one look found out; what was not reached stays as it is here.

    Attributes:
        refused: why the object cannot be worked with: its spec says something wrong, its id is taken, the kind that it
            needs is not served, no proxy can run the module. Nothing was changed then. None for accepted.
        refused_as: the reason of Accepted=False (``conditions.Reason``), such as ``IdTaken``; "" takes it from the
            class of ``refused``.
        image: what the image's reference stands for.
        image_problem: why the image could not be looked at. With ``image``: what is known of it is still good, but
            it could not be looked at again.
        report: what the place said.
        former: ``report`` is of a former place or id, which is still being cleaned.
        problem: what else stopped the look, such as an API server that did not answer.
        retrying: the same is tried again without a change of anybody's, because it failed.
        suspended: ``spec.suspend``: nothing was looked at, nothing changed.
        removing: the object is being deleted; ``problem`` says what keeps it.
    """

    refused: WasmeError | None = None
    refused_as: str = ""
    image: ResolvedImage | ImageFacts | None = None
    image_problem: WasmeError | None = None
    report: Report | None = None
    former: bool = False
    problem: WasmeError | None = None
    retrying: bool = False
    suspended: bool = False
    removing: bool = False

    @property
    def facts(self) -> ImageFacts | None:
        """Of the image, as the status tells them."""
        return ImageFacts.of(self.image) if isinstance(self.image, ResolvedImage) else self.image
