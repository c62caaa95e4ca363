"""Which targets are meant, as a user says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from wasme.deploy.cluster.kinds import GATEWAY
from wasme.deploy.cluster.selectors import label_selector
from wasme.deploy.envoy_gateway.targets import Target
from wasme.errors import UsageError


@dataclass(frozen=True, slots=True)
class Selection:
    """What a filter is put on, all in one namespace.

    Attributes:
        targets: exactly these; () chooses Gateways by their labels.
        labels: of Gateways; none for all.
        into: a policy by name, in place of targets.
        namespace: of the targets and so of the policies.
    """

    targets: tuple[Target, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    into: str = ""
    namespace: str = "default"

    @classmethod
    def of(cls, targets: Iterable[str], name: str, labels: Mapping[str, str], into: str) -> Selection:
        """Read ``--target``, ``--name``, ``--labels`` and ``--into`` as typed.

        Raises:
            UsageError: one is no target, or they contradict each other.
        """
        read = [Target.parse(each) for each in targets] + ([Target(GATEWAY.kind, name)] if name else [])
        if into and (read or labels):
            raise UsageError(
                "--into names a policy, which has targets of its own: leave --target, --name, --labels away"
            )
        if read and labels:
            raise UsageError("--labels choose Gateways, and --target and --name name what is meant: give one of them")
        return cls(tuple(dict.fromkeys(read)), labels, into)

    def within(self, namespace: str) -> Selection:
        """The same in a namespace."""
        return replace(self, namespace=namespace)

    @property
    def label_selector(self) -> str:
        """As the API server takes it."""
        return label_selector(self.labels)

    def __str__(self) -> str:
        if self.into:
            return f"EnvoyExtensionPolicy {self.namespace}/{self.into}"
        what = ", ".join(map(str, self.targets)) or GATEWAY.kind
        labels = f" with the labels {self.label_selector}" if self.labels else ""
        return f"{what}{labels} in the namespace {self.namespace}"
