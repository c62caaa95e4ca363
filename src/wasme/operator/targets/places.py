"""The places that run filters, as a look sees them: made as wanted, and emptied."""

from __future__ import annotations

from typing import Protocol

from wasme.deploy.resolved import ResolvedImage
from wasme.operator.resources.report import Report
from wasme.operator.resources.wanted import Key, Provider, Wanted
from wasme.operator.targets.gateways import Gateways


class Place(Protocol):
    """One of the places."""

    def reconcile(self, wanted: Wanted, image: ResolvedImage) -> Report:
        """Make it as wanted, as far as that can be done now."""
        ...

    def kept(self, wanted: Wanted, image: ResolvedImage, why: str) -> Report | None:
        """What is so already, where the image cannot be looked at; nothing is written. None where that is not known.

        Args:
            wanted: with an order of this place.
            image: as far as it is remembered (``resources.kept``).
            why: what the others wait for.
        """
        ...

    def pause(self, key: Key) -> bool:
        """End what runs by itself for a FilterDeployment, and leave it as it stands; whether it has ended already."""
        ...

    def forget(self, key: Key) -> None:
        """A FilterDeployment is gone: remember nothing of it, and call it no more."""
        ...

    def remove(self, key: Key, filter_id: str) -> Report:
        """Take away everything of an id in the key's namespace; no problem and no targets where nothing is left."""
        ...


class InGateways:
    """The gateways of one provider.

    Args:
        gateways: of all.
        provider: this one.
    """

    def __init__(self, gateways: Gateways, provider: Provider) -> None:
        self._gateways = gateways
        self._provider = provider

    def reconcile(self, wanted: Wanted, image: ResolvedImage) -> Report:
        """See ``Gateways.reconcile``."""
        return self._gateways.reconcile(wanted, image)

    def kept(self, wanted: Wanted, image: ResolvedImage, why: str) -> Report | None:  # noqa: ARG002
        """Whether a gateway's own controller still takes the image, nobody knows."""
        return None

    def pause(self, key: Key) -> bool:  # noqa: ARG002
        """Nothing runs by itself."""
        return True

    def forget(self, key: Key) -> None:
        """Nothing is remembered."""

    def remove(self, key: Key, filter_id: str) -> Report:
        """See ``Gateways.remove``."""
        return self._gateways.remove(key.namespace, filter_id, self._provider)
