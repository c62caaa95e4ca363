"""How a local Envoy is run: which of the ways, and the program's own command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from wasme.deploy.container import PODMAN_VARIABLE
from wasme.envoy.log import FORMAT
from wasme.errors import UsageError


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


def choose(runtime: str) -> str:
    """``native``, ``docker`` or ``podman``; ``auto`` is native where there is an Envoy, else a container.

    Raises:
        MissingExtra: nothing here can run Envoy.
    """
    import shutil

    from wasme.envoy.binary import find_envoy, is_here

    if runtime != "auto":
        return runtime
    if is_here():
        return "native"
    if os.environ.get(PODMAN_VARIABLE):
        return "podman"
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
