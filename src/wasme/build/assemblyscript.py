"""The AssemblyScript toolchain: npm installs the project's own compiler and runs its script ``asbuild``.

That is what the original's builder image did, so old projects keep building with the compiler version their
package.json names, and a project decides its own flags. The module is taken from ``build/optimized.wasm``, or from
$NPM_OUTPUT where it is set.
"""

from __future__ import annotations

import base64
import logging
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from wasme.build import dependencies, node, process
from wasme.build.toolchain import Listener
from wasme.errors import BuildFailed, InputError, UsageError
from wasme.image.loopback import is_loopback

SCRIPT = "asbuild"
OUTPUT = "build/optimized.wasm"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Login:
    """An account at the npm registry that holds the project's packages.

    Attributes:
        username: its name.
        password: its password; goes to npm by the environment, never by the command line or a file.
        email: its address.
    """

    username: str
    password: str = field(repr=False)
    email: str = ""

    def settings(self, registry: str) -> dict[str, str]:
        """npm settings, by environment variable, that send the account to this registry and no other."""
        parts = urlsplit(registry)
        path = parts.path if parts.path.endswith("/") else parts.path + "/"
        token = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        settings = {f"npm_config_//{_host(registry)}{path}:_auth": token}
        return settings | ({"npm_config_email": self.email} if self.email else {})


@dataclass(frozen=True, slots=True)
class AssemblyScript:
    """A ``Toolchain``."""

    login: Login | None = None
    language: str = "assemblyscript"

    def compile(self, source: Path, scratch: Path, listener: Listener) -> Path:
        """Install what the lock file names, run ``asbuild``, and take the module."""
        manifest = dependencies.package(source)
        scripts = manifest.get("scripts")
        if not isinstance(scripts, dict) or not scripts.get(SCRIPT):
            raise InputError(
                f"{source / 'package.json'} has no script {SCRIPT!r}, which makes the module",
                hint=f'add to "scripts": "{SCRIPT}": "asc assembly/index.ts -o {OUTPUT} -Oz …"',
            )
        found = node.find()
        log.debug("found Node.js", extra={"fields": {"version": found.version, "path": str(found.program)}})
        environment = found.environment()
        if self.login is not None:
            registry = _registry(source, found, environment)
            # The project's own .npmrc may have named it: whose password it is shall see where it goes.
            log.info("npm gets the login for this registry", extra={"fields": {"registry": _host(registry)}})
            environment |= self.login.settings(registry)
        dependencies.install(source, found, environment, listener)
        output = source / (os.environ.get("NPM_OUTPUT") or OUTPUT)
        output.unlink(missing_ok=True)  # what an earlier build left must not pass for this one's
        listener.step("compiling")
        said = process.run([*found.npm, "run", "--silent", SCRIPT], cwd=source, env=environment, noise=listener.noise)
        if not output.is_file():
            raise BuildFailed(
                f"the script {SCRIPT!r} of {source / 'package.json'} ended well, but made no {output}:\n{said.strip()}",
                hint="let it write there, or set NPM_OUTPUT to the path it writes to",
            )
        if said.strip():
            listener.warning(said.strip())
        module = scratch / "filter.wasm"
        shutil.copyfile(output, module)
        return module


def parse_login(username: str, password: str, email: str) -> Login | None:
    """The account that ``-u``, ``-p`` and ``-e`` name; None where none was given.

    Raises:
        UsageError: only half of it was given.
    """
    if not (username or password or email):
        return None
    if not (username and password):
        raise UsageError("npm login needs both --username and --password")
    return Login(username, password, email)


def _registry(source: Path, found: node.Node, environment: dict[str, str]) -> str:
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
