"""Storing and forgetting logins, in a file of Docker's format that other tools can read.

The original rewrote the file with the new login alone, readable by everyone; here every other key is kept, the file
is its owner's alone, and it is replaced in one step.
"""

from __future__ import annotations

import contextlib
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wasme.errors import InvalidSettings
from wasme.image import durable
from wasme.registry.credentials import read_file, same_registry


def remember(file: Path, server: str, username: str, password: str) -> None:
    """Add or replace one registry's login.

    Args:
        file: made where it is not there, its folder too.
        server: the registry as typed.
        username: without a colon.
        password: any text.

    Raises:
        InvalidSettings: the file is no credentials file (it is left as it is), or cannot be written.
    """
    if ":" in username:
        raise InvalidSettings("a username with a colon cannot be stored", hint="registries know no such names")
    with _changing(file) as content:
        auths = _auths(file, content)
        for key in [key for key in auths if key != server and same_registry(key, server)]:
            del auths[key]
        auths[server] = {"auth": b64encode(f"{username}:{password}".encode()).decode()}


def forget(file: Path, server: str) -> bool:
    """Remove one registry's login; False where there was none.

    Raises:
        InvalidSettings: as for ``remember``.
    """
    if not file.exists():
        return False
    with _changing(file) as content:
        auths = _auths(file, content)
        found = [key for key in auths if same_registry(key, server)]
        for key in found:
            del auths[key]
    return bool(found)


def _auths(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    auths = content.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise InvalidSettings(f"{file}: auths is not an object", hint="move the file away and log in again")
    return auths


@contextlib.contextmanager
def _changing(file: Path) -> Iterator[dict[str, Any]]:
    """The file's content, written back when the block ends well; one process at a time."""
    try:
        file = file.resolve()  # a link to another place stays a link
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with durable.held(file.parent / f".{file.name}.lock", 0o600):
            try:
                content = read_file(file)
            except InvalidSettings as error:
                raise InvalidSettings(
                    f"{file} {error.message}", hint="mend it, or move it away and log in again"
                ) from None
            yield content
            durable.replace(file, json.dumps(content, indent="\t", ensure_ascii=False).encode(), 0o600)
    except OSError as error:
        raise InvalidSettings(f"{file} cannot be written: {(error.strerror or 'error').lower()}") from None
