"""The AssemblyScript toolchain: npm installs the project's own compiler and runs its script ``asbuild``.

That is what the original's builder image did, so old projects keep building with the compiler version their
package.json names, and a project decides its own flags. The module is taken from ``build/optimized.wasm``, or from
$NPM_OUTPUT where it is set.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from wasme.build.assemblyscript import asbuild, dependencies
from wasme.build.assemblyscript.asbuild import OUTPUT, SCRIPT
from wasme.build.toolchain import Inputs, Listener, Tool
from wasme.errors import BuildFailed, InputError, UsageError

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


@dataclass(frozen=True, slots=True)
class AssemblyScript:
    """A ``Toolchain``."""

    login: Login | None = None
    language: str = "assemblyscript"

    def compile(self, source: Path, scratch: Path, listener: Listener) -> Path:
        """Install what the lock file names, run ``asbuild``, and take the module."""
        import shutil

        from wasme.build import process
        from wasme.build.assemblyscript import node

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
            from wasme.build.assemblyscript import npm_login

            environment |= npm_login.settings(self.login, source, found, environment)
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

    def inputs(self, source: Path) -> Inputs | None:
        """The sources, the lock file and the libraries they import; None where scripts do more than call ``asc``."""
        return asbuild.reads(source)

    def tools(self) -> tuple[Tool, ...]:
        """Node.js, its npm, and the compiler of the project in the current folder."""
        from wasme.build.assemblyscript import node

        purpose = "build assemblyscript"
        return (
            Tool("node", f"{purpose}: runs the compiler", node.HOW, node.found_node),
            Tool("npm", f"{purpose}: installs the compiler a project names", node.HOW, node.found_npm),
            Tool("asc", f"{purpose}: the compiler", "npm brings it with each project", node.found_compiler),
        )


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
