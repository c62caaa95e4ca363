"""What a FilterDeployment asks for, past all reading: values that the rest of the operator works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from wasme.deploy.istio.order import Order
from wasme.deploy.rollout.plan import Pace
from wasme.deploy.spec import FilterSpec

PullPolicy = Literal["Always", "IfNotPresent"]
Provider = Literal["istio", "gloo", "envoyGateway"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)


class Key(NamedTuple):
    """Names one FilterDeployment."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Image:
    """How the filter's image is got.

    Attributes:
        reference: as typed.
        policy: whether a tag that moves is followed.
        sha256: 64 hex digits that the module must have; "" for any.
        pull_secret: name of a Secret of the same namespace; "" for none.
        insecure: the registry's certificate is not checked.
        plain_http: the registry is asked without TLS.
    """

    reference: str
    policy: PullPolicy = "IfNotPresent"
    sha256: str = ""
    pull_secret: str = ""
    insecure: bool = False
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class GlooTarget:
    """Gateways of Gloo in the object's namespace.

    Attributes:
        labels: that they have; none for all.
    """

    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TargetReference:
    """What Envoy Gateway attaches a filter to, in the same namespace (Gateway API, LocalPolicyTargetReference).

    Attributes:
        kind, name, group: of it.
        section: of it, such as a listener; "" for all of it.
    """

    kind: str
    name: str
    group: str = "gateway.networking.k8s.io"
    section: str = ""


@dataclass(frozen=True, slots=True)
class EnvoyGatewayTarget:
    """What Envoy Gateway attaches the filter to.

    Attributes:
        references: at least one.
    """

    references: tuple[TargetReference, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One FilterDeployment.

    Attributes:
        key, uid, generation: of the object.
        filter: what runs; its id is never "".
        image: how its image is got.
        order: workloads of a mesh; exactly one of this and the next two is there.
        gloo: Gateways of Gloo.
        envoy_gateway: objects of the Gateway API.
        rollout: how fast the workloads are gone through; None for all at once.
        suspend: nothing is to be changed for now.
    """

    key: Key
    uid: str
    generation: int
    filter: FilterSpec
    image: Image
    order: Order | None = None
    gloo: GlooTarget | None = None
    envoy_gateway: EnvoyGatewayTarget | None = None
    rollout: Pace | None = None
    suspend: bool = False

    @property
    def provider(self) -> Provider:
        """Which of the three places."""
        return "istio" if self.order else "gloo" if self.gloo else "envoyGateway"
