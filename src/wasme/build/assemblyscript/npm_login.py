"""The login at an npm registry that holds a project's packages: which registry that is, and how npm hears of it."""

from __future__ import annotations

import base64
import logging
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wasme.errors import BuildFailed, InputError
from wasme.image.loopback import is_loopback

if TYPE_CHECKING:
    from wasme.build.assemblyscript.node import Node
    from wasme.build.assemblyscript.toolchain import Login

log = logging.getLogger(__name__)


def settings(login: Login, source: Path, found: Node, environment: dict[str, str]) -> dict[str, str]:
    """npm settings, by environment variable, that send the account to the project's registry and no other.

    Args:
        login: the account.
        source: the project's folder.
        found: whose npm to use.
        environment: npm's environment.

    Raises:
        BuildFailed: npm does not say which registry it uses.
        InputError: a password sent there could be read on the way.
    """
    registry = _registry(source, found, environment)
    # The project's own .npmrc may have named it: whose password it is shall see where it goes.
    log.info("npm gets the login for this registry", extra={"fields": {"registry": _host(registry)}})
    parts = urlsplit(registry)
    path = parts.path if parts.path.endswith("/") else parts.path + "/"
    token = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    told = {f"npm_config_//{_host(registry)}{path}:_auth": token}
    return told | ({"npm_config_email": login.email} if login.email else {})


def _registry(source: Path, found: Node, environment: dict[str, str]) -> str:
    """The address of the registry that npm uses for this project.

    Raises:
        BuildFailed: npm does not say.
        InputError: a password sent there could be read on the way.
    """
    asked = subprocess.run(
        [*found.npm, "config", "get", "registry"],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    address = asked.stdout.strip()
    try:
        parts = urlsplit("" if asked.returncode else address)
    except ValueError:  # such as an address in half a pair of brackets
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BuildFailed(f"npm does not say which registry it uses: {asked.stderr.strip() or 'no http or https URL'}")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise InputError(
            f"the npm login would go to http://{_host(address)} in plain text",
            hint=f"name an https registry in npm's settings (the project's own are in {source / '.npmrc'})",
        )
    return address


def _host(address: str) -> str:
    """``HOST[:PORT]`` of a URL, without an account or a path that it may hold."""
    return urlsplit(address).netloc.rpartition("@")[2]
