"""Digests: content named by its hash (OCI image specification, descriptor.md). Apart, because it needs nothing."""

from __future__ import annotations

import re

DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


def sha256(content: bytes) -> str:
    """The digest of ``content`` as descriptors write it: ``sha256:<64 hex>``."""
    import hashlib

    return "sha256:" + hashlib.sha256(content).hexdigest()
