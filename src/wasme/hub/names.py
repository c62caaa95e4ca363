"""The grammar of names in the distribution API; nothing that does not match gets past the router."""

from __future__ import annotations

import re

from wasme.hub.refusal import Refusal
from wasme.image.descriptor import DIGEST
from wasme.image.reference import COMPONENT, PATH, TAG

_USER = re.compile(COMPONENT)
_MAX_REPOSITORY = 255
_MAX_USER = 64


def check_repository(name: str) -> str:
    """``name``, if it can name a repository.

    Raises:
        Refusal: 400 NAME_INVALID.
    """
    if len(name) > _MAX_REPOSITORY or not PATH.fullmatch(name):
        raise Refusal(
            400,
            "NAME_INVALID",
            "a repository's name is lower-case words joined by . _ - and /, 255 characters at most",
            detail={"name": name[:300]},
        )
    return name


def is_user(name: str) -> bool:
    """Whether ``name`` can name a user: it must be able to begin a repository's name."""
    return len(name) <= _MAX_USER and _USER.fullmatch(name) is not None


def is_tag(text: str) -> bool:
    """Whether ``text`` can be a tag."""
    return TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether ``text`` is a digest of an algorithm that the hub computes."""
    return DIGEST.fullmatch(text) is not None


def check_digest(text: str | None) -> str:
    """``text``, if it is a digest.

    Raises:
        Refusal: 400 DIGEST_INVALID.
    """
    if text is None or not is_digest(text):
        raise Refusal(
            400,
            "DIGEST_INVALID",
            "a digest is sha256:<64 lower-case hex digits> or sha512:<128>",
            detail={"digest": (text or "")[:200]},
        )
    return text


def namespace(repository: str) -> str:
    """Whose repository it is: the first component of its name."""
    return repository.partition("/")[0]
