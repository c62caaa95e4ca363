"""The definition of FilterDeployment, as an API server takes it."""

from __future__ import annotations

from wasme.operator.resources.schema.definition import NAME, crd

__all__ = ["NAME", "crd"]
