"""Filters in a real registry."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from tests.fixtures.registries import DockerRegistry, filter_image
from wasme.image.layouts import Draft
from wasme.image.reference import Reference
from wasme.image.store import open_store
from wasme.registry import transfer
from wasme.registry.session import Session


@dataclass(frozen=True)
class Pushed:
    """An image that a registry has.

    Attributes:
        name: HOST/REPOSITORY:TAG.
        manifest: the manifest's digest.
        module: the module's digest.
    """

    name: str
    manifest: str
    module: str

    @property
    def pinned(self) -> str:
        return f"{self.name.rpartition(':')[0]}@{self.manifest}"


def push(registry: DockerRegistry, name: str = "", *, seed: int = 0, draft: Draft | None = None,
         layout: str = "oci") -> Pushed:  # fmt: skip
    """Push a real filter, under a repository name of its own if none is given."""
    reference = Reference.parse(name or f"{registry.host}/filters/f{uuid.uuid4().hex[:8]}:v1")
    with Session() as session:
        return send(reference, draft or filter_image(seed=seed, layout=layout), session)


def send(reference: Reference, draft: Draft, session: Session) -> Pushed:
    """Push what is built already."""
    store = open_store()
    store.add(reference, draft)
    pushed = transfer.push(store, reference, session)
    return Pushed(str(reference), pushed.manifest.digest, pushed.module.digest)
