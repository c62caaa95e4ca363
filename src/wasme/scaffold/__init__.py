"""Templates and SDKs for `init`: which there are (``bases``), and a project made of one (``project``)."""

from wasme.scaffold.project import Created, create

__all__ = ["Created", "create"]
