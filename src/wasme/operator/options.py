"""How an operator runs, as its command line says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wasme.deploy.cache import protocol
from wasme.operator import names
from wasme.registry.transport import ConnectionOptions

HASTY = 5.0
"""Seconds that a worker's request may take: what fails is looked at again, and others wait for the worker."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Of the lease, in seconds; client-go's.

    Attributes:
        duration: how long others wait for a leader that is silent.
        deadline: how long the leader goes on without having renewed.
        retry: how often it is renewed, or asked for.
    """

    duration: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """How an operator runs; times in seconds.

    Attributes:
        kubeconfig, context: which cluster; None and "" find out.
        namespace: of the lease.
        cache_namespace, cache_name: which node cache.
        watched: namespaces that are worked on; none for all.
        address, port: where probes and metrics are served; port 0 serves nothing.
        workers: how many keys are worked on at a time.
        tag_interval: after which a tag that is followed is looked up again.
        elect: whether a lease decides who works.
        timing: of that lease.
        connection, registry_map: of registries.
        registries: patterns of those that are asked (``registries.allowed``); none for all.
        files: credentials for images without a pull secret. There is no single user here for all registries: whoever
            may write a FilterDeployment may name any registry, and would be sent the password.
    """

    kubeconfig: Path | None = None
    context: str = ""
    namespace: str = "wasme"
    cache_namespace: str = protocol.NAMESPACE
    cache_name: str = protocol.NAME
    watched: tuple[str, ...] = ()
    address: str = ""
    port: int = names.PORT
    workers: int = 16
    tag_interval: float = 60.0
    elect: bool = True
    timing: Timing = field(default_factory=Timing)
    connection: ConnectionOptions = field(default_factory=ConnectionOptions)
    registries: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    registry_map: Mapping[str, str] = field(default_factory=dict)
