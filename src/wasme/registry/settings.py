"""``~/.wasme/config.yaml``: where registries' names lead, and whom they may send to for tokens.

::

    registryMap:
      webassemblyhub.io: hub.example.com/filters
    authRealms:
      registry.example.com: login.example.org
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from wasme.errors import InvalidSettings
from wasme.registry.endpoint import check_map

log = logging.getLogger(__name__)

_LARGEST = 1024 * 1024


class Settings(msgspec.Struct, frozen=True):
    """What the user's settings say about registries.

    Attributes:
        registry_map: a registry's name as typed → ``[http[s]://]HOST[:PORT][/PREFIX]`` that its traffic goes to.
        auth_realms: a registry's host → further hosts that may be asked for its tokens.
    """

    registry_map: Mapping[str, str] = {}
    auth_realms: Mapping[str, tuple[str, ...]] = {}


def settings_file() -> Path:
    """Where the settings stand."""
    return Path.home() / ".wasme" / "config.yaml"


def load(file: Path | None = None) -> Settings:
    """Read the settings; an absent file is an empty one.

    Raises:
        InvalidSettings: it cannot be read, with the place and what is wrong there.
    """
    file = file or settings_file()
    try:
        text = file.read_bytes() if file.exists() else b""
    except OSError as error:
        raise InvalidSettings(f"{file} cannot be read: {(error.strerror or 'error').lower()}") from None
    if not text.strip():
        return Settings()
    if len(text) > _LARGEST:
        raise InvalidSettings(f"{file} is larger than {_LARGEST} bytes")
    content = _parse(text, file)
    for key in content:
        if key not in ("registryMap", "authRealms"):
            log.warning("setting passed over: unknown key", extra={"fields": {"file": str(file), "key": str(key)}})
    realms = {
        name: tuple(each.strip() for each in hosts.split(","))
        for name, hosts in _texts(content, "authRealms", file).items()
    }
    led = _texts(content, "registryMap", file)
    try:
        check_map(led)
    except InvalidSettings as error:
        raise InvalidSettings(f"{file}: {error.message}", hint=error.hint) from None
    return Settings(led, realms)


def _parse(text: bytes, file: Path) -> dict[Any, Any]:
    import yaml

    try:
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise InvalidSettings(f"{file} is not YAML{where}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidSettings(f"{file} holds no keys", hint="it should read like:  registryMap: {NAME: HOST}")
    return content


def _texts(content: dict[Any, Any], key: str, file: Path) -> dict[str, str]:
    value = content.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidSettings(
            f"{file}: {key} is not a list of NAME: HOST", hint=f"it should read like:  {key}: {{NAME: HOST}}"
        )
    for name, host in value.items():
        if not isinstance(name, str) or not isinstance(host, str) or not host.strip():
            raise InvalidSettings(f"{file}: {key} → {name}: not the name of a host")
    return {name.strip().lower(): host.strip() for name, host in value.items()}
