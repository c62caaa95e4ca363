"""Images in a real registry, for tests of gateways."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from tests.fixtures.registries import DockerRegistry, filter_image
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


def push(registry: DockerRegistry, name: str = "", *, layout: str = "oci", seed: int = 0) -> Pushed:
    """Push a real filter under a repository name of its own."""
    reference = Reference.parse(name or f"{registry.host}/gateways/f{uuid.uuid4().hex[:8]}:v1")
    store = open_store()
    store.add(reference, filter_image(seed=seed, layout=layout))
    with Session() as session:
        pushed = transfer.push(store, reference, session)
    return Pushed(str(reference), pushed.manifest.digest, pushed.module.digest)
