"""Building in a container of docker or podman, by the original's contract.

The image brings a program that reads its orders from the environment, builds what is in ``/src/workspace`` and leaves
the module as ``/build_output/filter.wasm``. Its command line is the original's, word for word and in its order, since
people's own images and scripts know it; a name stands before the image, so that an interrupted build can end it.
A password goes in by the environment of the client and not by its words, which everybody on the machine can read.
"""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wasme.build import process, tools
from wasme.build.toolchain import Inputs, Listener, Tool, identity
from wasme.errors import BuildFailed, InputError, ToolMissing, WasmeError

DEFAULT_IMAGE = "quay.io/solo-io/ee-builder:0.0.33"
PODMAN_VARIABLE = "WASME_USE_PODMAN"
ENGINES = ("docker", "podman")
HOW = "install docker or podman, and start it"
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "GOPROXY")
_OUTPUT = "filter.wasm"
_WRITTEN = {"npm": frozenset({".git", "node_modules", "build"})}
_SELINUX = Path("/sys/fs/selinux/enforce")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """A program that runs containers.

    Attributes:
        name: ``docker`` or ``podman``.
        path: where it is.
    """

    name: str
    path: str

    def answers(self) -> bool:
        """Whether it can run anything now: docker's client is here on many machines that have no engine."""
        try:
            asked = subprocess.run(
                [self.path, "info"], capture_output=True, stdin=subprocess.DEVNULL, timeout=tools.TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return asked.returncode == 0

    def image_id(self, image: str) -> str:
        """What an image's name means on this machine now; "" where it is not here."""
        try:
            asked = subprocess.run(
                [self.path, "image", "inspect", "--format", "{{.Id}}", image],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=tools.TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return "" if asked.returncode else asked.stdout.strip()

    def remove(self, container: str) -> None:
        """End a container, and leave nothing of it; whether there is one or not."""
        argv = [self.path, "rm", "-f", container]
        try:
            # In a session of its own: a second Ctrl-C must not keep it from ending what the first one left.
            subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                timeout=tools.TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("a container may still run", extra={"fields": {"name": container, "error": str(error)}})


def named(builder: str) -> Engine:
    """The engine of ``--builder docker`` or ``podman``; ``WASME_USE_PODMAN`` turns docker into podman, as it did.

    Raises:
        ToolMissing: it is not on PATH.
    """
    import shutil

    name = "podman" if builder == "podman" or os.environ.get(PODMAN_VARIABLE) else "docker"
    path = shutil.which(name)
    if path is None:
        raise ToolMissing(
            f"{name} is not on PATH: it runs the builder image", hint=f"install {name}, or build with --builder native"
        )
    return Engine(name, path)


def answering() -> Engine | None:
    """The first engine that is here and answers; None where none does."""
    import shutil

    names = reversed(ENGINES) if os.environ.get(PODMAN_VARIABLE) else ENGINES
    for name in names:
        path = shutil.which(name)
        if path is not None and (engine := Engine(name, path)).answers():
            return engine
    return None


@dataclass(frozen=True, slots=True)
class Orders:
    """What the builder image is told, by its environment.

    Attributes:
        variables: names and values, in their order.
        secret: those whose values stay out of the command line.
    """

    variables: Mapping[str, str]
    secret: Mapping[str, str] = field(default_factory=dict, repr=False)


def bazel(target: str, output: str, build_dir: str) -> Orders:
    """Orders for a Bazel project.

    Args:
        target: ``--bazel-target``.
        output: ``--bazel-output``, relative to bazel-bin.
        build_dir: ``--build-dir`` within the workspace, ``.`` for itself: the package of a target that names none.
            The original's image is told of it and does not listen, so the target and the output name it too.
    """
    if build_dir != "." and target.startswith(":"):
        target = f"//{build_dir}{target}"
        output = output if output.startswith(f"{build_dir}/") else f"{build_dir}/{output}"
    return Orders({"BUILD_BASE": build_dir, "BAZEL_OUTPUT": output, "TARGET": target, "BUILD_TOOL": "bazel"})


def npm(username: str = "", password: str = "", email: str = "") -> Orders:
    """Orders for an AssemblyScript project; the login counts only where it is whole, as in the original."""
    if not (username and password and email):
        return Orders({"BUILD_TOOL": "npm"})
    return Orders({"BUILD_TOOL": "npm", "NPM_USERNAME": username, "NPM_PASSWORD": "", "NPM_EMAIL": email},
                  {"NPM_PASSWORD": password})  # fmt: skip


def tinygo() -> Orders:
    """Orders for a TinyGo project."""
    return Orders({"BUILD_TOOL": "tinygo"})


@dataclass(frozen=True, slots=True)
class Container:
    """A ``Toolchain``: an engine, a builder image and its orders.

    Attributes:
        language: what it builds.
        engine: what runs it.
        image: the builder image.
        orders: what it is told.
        workspace: the folder that the container sees, absolute.
    """

    language: str
    engine: Engine
    image: str
    orders: Orders
    workspace: Path

    def argv(self, scratch: Path, name: str) -> list[str]:
        """The command line.

        Args:
            scratch: where the module is left, absolute.
            name: the container's.

        Raises:
            InputError: a path that cannot be mounted.
        """
        for path in (self.workspace, scratch):
            if ":" in str(path):
                raise InputError(
                    f"{self.engine.name} cannot mount {path}: its path holds a colon",
                    hint="move it, or build with --builder native",
                )
        label = ":z" if _is_selinux_enforcing() else ""
        return [
            *(self.engine.path, "run", "--rm"),
            *("-v", f"{self.workspace}:/src/workspace{label}", "-v", f"{scratch}:/build_output{label}"),
            *("-w", "/src/workspace"),
            *(word for pair in self._pairs() for word in ("-e", pair)),
            *("--name", name, self.image),
        ]

    def compile(self, source: Path, scratch: Path, listener: Listener) -> Path:  # noqa: ARG002 - the workspace counts
        """Run the builder image, and take the module it leaves."""
        scratch = scratch.absolute()
        module = scratch / _OUTPUT
        module.unlink(missing_ok=True)  # what an earlier build left must not pass for this one's
        name = f"wasme-build-{secrets.token_hex(6)}"
        argv = self.argv(scratch, name)
        listener.step(f"building in a container of {self.engine.name}")
        log.debug(
            f"running {self.orders.variables['BUILD_TOOL']}-in-{self.engine.name} build...",
            extra={"fields": {"args": " ".join(argv[1:])}},
        )
        environment = {**os.environ, **self.orders.secret}
        try:
            said = process.run(argv, cwd=self.workspace, env=environment, noise=listener.noise)
        except BuildFailed as error:
            if self.engine.answers():
                raise
            raise BuildFailed(error.message, hint=f"start {self.engine.name}, or build with --builder native") from None
        except WasmeError:
            raise  # it has ended by itself, and --rm has taken it away
        except BaseException:
            self.engine.remove(name)
            raise
        if not module.is_file():
            raise BuildFailed(
                f"the builder image {self.image} ended well, but left no /build_output/{_OUTPUT}:\n{said.strip()}",
                hint="name the file that Bazel makes with --bazel-output" if self.language in ("cpp", "rust") else None,
            )
        return module

    def inputs(self, source: Path) -> Inputs | None:  # noqa: ARG002 - the workspace counts
        """The project and what the image's name means here; None before the image is here."""
        image = self.engine.image_id(self.image)
        if not image:
            return None
        orders = [f"{name}={value}" for name, value in self.orders.variables.items()]
        skip = _WRITTEN.get(self.orders.variables["BUILD_TOOL"], frozenset({".git"}))
        return Inputs((self.workspace,), skip, (image, identity(self.engine.path), *orders))

    def tools(self) -> tuple[Tool, ...]:
        """None of a language's own; ``doctor`` asks the engines by itself."""
        return ()

    def _pairs(self) -> Iterator[str]:
        """``NAME=value`` for the container's environment; ``NAME`` for what the client takes from its own."""
        for name, value in self.orders.variables.items():
            yield name if name in self.orders.secret else f"{name}={value}"
        for name in _PROXIES:
            proxy = os.environ.get(name)
            if proxy is not None:  # set and empty counts
                yield name if "@" in proxy else f"{name}={proxy}"  # one with an account is a secret


def _is_selinux_enforcing() -> bool:
    """Whether a container may only touch what is labelled for it."""
    try:
        return _SELINUX.read_text().strip() == "1"
    except OSError:
        return False
