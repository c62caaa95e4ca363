"""Envoy in a container of docker or podman.

The command line is the original's, word for word and in its order: scripts and people know it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wasme.envoy.address import Address
from wasme.errors import InputError, ToolMissing, UsageError

DEFAULT_IMAGE = "docker.io/envoyproxy/envoy:v1.40-latest"
PODMAN_VARIABLE = "WASME_USE_PODMAN"
_ANYWHERE = "0.0.0.0"  # noqa: S104 - inside the container, which has an address of its own
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_HOSTS = {"docker": "host.docker.internal", "podman": "host.containers.internal"}


@dataclass(frozen=True, slots=True)
class Published:
    """A port of the container that this machine has too, under the same number.

    Attributes:
        port: the number.
        host: the only address of this machine that has it; "" for all of them.
    """

    port: int
    host: str = ""

    @classmethod
    def of(cls, bound: Address, wanted: Address | None) -> Published:
        """For what is bound inside, and where the user wants it on this machine; None for everywhere."""
        return cls(bound.port, wanted.host if wanted and not wanted.is_anywhere else "")

    @property
    def reachable(self) -> Address:
        """Where this machine reaches it."""
        return Address(self.host or "127.0.0.1", self.port)

    def __str__(self) -> str:
        return f"{Address(self.host, self.port)}:{self.port}" if self.host else f"{self.port}:{self.port}"


@dataclass(frozen=True, slots=True)
class Container:
    """A container that runs Envoy.

    Attributes:
        tool: the path or name of ``docker`` or ``podman``.
        name: the container's.
        image: the image that has an ``envoy`` program.
        module: the filter's file, mounted read-only at the same path; nothing beside it is.
        published: the ports.
        run_args: the user's own arguments of ``docker run``.
    """

    tool: str
    name: str
    image: str
    module: Path
    published: Sequence[Published]
    run_args: Sequence[str] = ()

    def argv(self, bootstrap: str, envoy_args: Sequence[str]) -> list[str]:
        """The command line; ``bootstrap`` is the whole configuration as YAML.

        Raises:
            InputError: the module's path cannot be mounted.
        """
        if ":" in str(self.module):
            raise InputError(
                f"{self.tool} cannot mount {self.module}: its path holds a colon", hint="move it, or --runtime native"
            )
        return [
            *(self.tool, "run", "--rm", "--name", self.name, "--entrypoint", "envoy"),
            *("-v", f"{self.module}:{self.module}:ro"),
            *self.run_args,
            *(word for each in self.published for word in ("-p", str(each))),
            *(self.image, "--disable-hot-restart", "--config-yaml", bootstrap),
            *envoy_args,
        ]


def container_name(filter_id: str) -> str:
    """The filter's id where it is a valid name of a container, else one made from it."""
    if _NAME.fullmatch(filter_id):
        return filter_id
    name = re.sub(r"[^a-zA-Z0-9_.-]+", "-", filter_id).strip("-._")
    return name if len(name) > 1 else f"wasme-{name or 'filter'}"


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


def inside(given: Address | None, default: Address, run_args: Sequence[str], flag: str) -> Address:
    """Where Envoy listens inside the container, to be reached from outside.

    Args:
        given: what the user wants on this machine; None for the default.
        flag: names ``given`` in the error.

    Raises:
        UsageError: ``given`` has port 0.
    """
    if given is not None and given.port == 0:
        raise UsageError(
            f"{flag}: a container's port cannot be drawn, so {given} needs a number",
            hint="port 0 is for --runtime native",
        )
    if given is not None and shares_network(run_args):
        return given
    return Address(_ANYWHERE, (given or default).port)


def shares_network(run_args: Sequence[str]) -> bool:
    """Whether the container has no network of its own, but this machine's."""
    words = " ".join(run_args).replace("=", " ") + " "
    return any(f"{name} host " in words for name in ("--network", "--net"))


def reachable(bound: Address, published: Published, *, shared: bool) -> Address | None:
    """Where this machine reaches what is bound inside the container; None if it does not.

    Args:
        shared: the container is on this machine's network.
    """
    if not bound.port:
        return None
    if shared:
        return bound.reachable
    return None if bound.is_loopback else published.reachable


def of_the_container_itself(tool: str, targets: Iterable[tuple[str, Address]]) -> list[tuple[str, str]]:
    """A warning and its hint for each target that means loopback, which is not this machine's there.

    Args:
        targets: flags as they were given, and where they lead to.
    """
    host = _HOSTS[tool]
    more = f"; on Linux that needs --docker-run-args=--add-host={host}:host-gateway" if tool == "docker" else ""
    return [
        (
            f"{flag}: inside the container {address.host} is the container, not this machine",
            f"this machine is {host}:{address.port} there{more}",
        )
        for flag, address in targets
        if address.is_loopback
    ]


def out_of_reach(addresses: Iterable[tuple[str, Address]]) -> list[tuple[str, str]]:
    """A warning and its hint for each address of a bootstrap that is published in vain.

    Args:
        addresses: what listens there, and the address.
    """
    return [
        (
            f"the {what} of the bootstrap on {address} is published, but only the container itself can reach it",
            f"bind it to 0.0.0.0:{address.port}, or add --docker-run-args='--network host'",
        )
        for what, address in addresses
        if address.port and address.is_loopback
    ]
