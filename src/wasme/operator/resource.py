"""From a FilterDeployment as the API server stores it to what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasme.operator.wanted import Wanted


def read(obj: Mapping[str, Any]) -> Wanted:
    """What a FilterDeployment asks for.

    Raises:
        InputError: a field cannot be used; the message begins with its path.
    """
    raise NotImplementedError
