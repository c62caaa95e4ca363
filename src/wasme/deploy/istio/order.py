"""What a user asks for when deploying to a mesh, beside the filter itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.istio.target import IstioTarget
from wasme.deploy.istio.workloads import Selection

DryRun = Literal["", "client", "server"]


@dataclass(frozen=True, slots=True)
class Mesh:
    """Which Istio.

    Attributes:
        namespace: of its control plane.
        istiod: name of its Deployment.
        ignore_version: deploy what its proxies cannot run as well.
    """

    namespace: str = "istio-system"
    istiod: str = "istiod"
    ignore_version: bool = False


@dataclass(frozen=True, slots=True)
class Caching:
    """Which node cache, for EnvoyFilters whose module lies on the node.

    Attributes:
        options: its name, namespace and image.
        timeout: seconds to wait for the nodes; 0 does not wait.
        gate: pods start only on nodes that hold everything.
        flags: those about the cache that were given, such as ``--cache-name``; they ask for an EnvoyFilter.
        pull_secret: name of a Secret of the workloads' namespace that the agents pull with; "" for none.
        share_credentials: let the agents be whoever runs the command is.
    """

    options: CacheOptions = field(default_factory=CacheOptions)
    timeout: float = 60.0
    gate: bool = True
    flags: tuple[str, ...] = ()
    pull_secret: str = ""
    share_credentials: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """All that is asked for.

    Attributes:
        selection: the workloads.
        target: where in the proxies, and which kind of object.
        mesh: which Istio.
        caching: which node cache.
    """

    selection: Selection
    target: IstioTarget = field(default_factory=IstioTarget)
    mesh: Mesh = field(default_factory=Mesh)
    caching: Caching = field(default_factory=Caching)
