"""What is deployed: one filter of one image, whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """One filter to run.

    Attributes:
        id: names the deployed filter, in logs as well as for taking it away again.
        image: the image's reference as typed.
        root_id: which of the module's filters; "" for modules that do not care.
        config: what the filter gets as its configuration; "" for none.
    """

    id: str
    image: str
    root_id: str = ""
    config: str = ""
