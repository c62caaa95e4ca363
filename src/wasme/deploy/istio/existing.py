"""What is there of a filter in a mesh: objects of ours, and those that the original wrote, which carry no mark
(``legacy`` knows them by their shape).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import ENVOY_FILTER, TRAFFIC_EXTENSION, WASM_PLUGIN, Kind, kind_of
from wasme.deploy.cluster.ownership import owned_fields
from wasme.deploy.istio.envoyfilter import CACHE_DIRECTORY, VOLUME_DIRECTORY
from wasme.deploy.istio.kinds import CarrierName
from wasme.deploy.istio.legacy import recognise
from wasme.deploy.istio.target import FILTER_LABEL, MANAGED_BY, MANAGER, WORKLOAD, filter_label

ID = "wasme.io/id"

CARRIERS: Mapping[CarrierName, Kind] = {
    "envoyfilter": ENVOY_FILTER,
    "wasmplugin": WASM_PLUGIN,
    "trafficextension": TRAFFIC_EXTENSION,
}
"""The kinds that carry a filter, by what ``--as`` calls them, oldest first."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """One object that carries a filter.

    Attributes:
        object: the whole of it.
        workload: ``Kind/name`` of the workload it was made for, ``/name`` where only the name is known; "" for one that
            has targets instead.
    """

    object: dict[str, Any]
    workload: str

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return kind_of(self.object)

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.object["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.object["metadata"]["name"])

    @property
    def uid(self) -> str:
        """Of this very object."""
        return str(self.object["metadata"].get("uid", ""))

    @property
    def workload_name(self) -> str:
        """The workload's name; "" for none."""
        return self.workload.partition("/")[2]

    @property
    def selector(self) -> dict[str, str]:
        """The labels of the pods that it selects."""
        return selector_of(self.object)

    def is_for(self, kind: Kind, name: str) -> bool:
        """Whether it was made for that workload."""
        made_for, _, workload = self.workload.partition("/")
        return workload == name and made_for in ("", kind.kind)


class Known(Protocol):
    """The objects that carry filters, anybody's, and what is asked of them; ``Existing`` is one."""

    def find(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """One object by name; None where there is none."""
        ...

    def of_filter(self, filter_id: str) -> list[Carrier]:
        """Every object that carries that filter."""
        ...

    def of_workload(self, filter_id: str, kind: Kind, namespace: str, name: str) -> list[Carrier]:
        """Every object that carries that filter for one workload."""
        ...

    def of_targets(self, filter_id: str, namespace: str) -> list[Carrier]:
        """Every object of a namespace that carries that filter for targets."""
        ...

    def cache_users(self, namespace: str, pod_labels: Mapping[str, str], without: Collection[str] = ()) -> list[str]:
        """Names of the EnvoyFilters that point pods with these labels at a file of the node cache."""
        ...


class Existing:
    """All objects of the kinds that carry filters in some namespaces: read once, asked often.

    Args:
        objects: of these kinds.
    """

    def __init__(self, objects: Iterable[dict[str, Any]]) -> None:
        self.objects = list(objects)
        self._by_name = {_key(each): each for each in self.objects}
        self._filters: dict[str, list[Carrier]] = {}
        self._workloads: dict[tuple[str, str, str], list[Carrier]] = {}
        self._users = _Users(each for each in self.objects if uses_cache(each))

    def find(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """One object by name; None where there is none."""
        return self._by_name.get((kind.kind, namespace, name))

    def of_filter(self, filter_id: str) -> list[Carrier]:
        """Every object that carries that filter."""
        if filter_id not in self._filters:
            found = [each for obj in self.objects if (each := carrier(obj, filter_id))]
            for each in found:
                self._workloads.setdefault((filter_id, each.namespace, each.workload_name), []).append(each)
            self._filters[filter_id] = found
        return self._filters[filter_id]

    def of_workload(self, filter_id: str, kind: Kind, namespace: str, name: str) -> list[Carrier]:
        """Every object that carries that filter for one workload."""
        self.of_filter(filter_id)
        return [each for each in self._workloads.get((filter_id, namespace, name), ()) if each.is_for(kind, name)]

    def of_targets(self, filter_id: str, namespace: str) -> list[Carrier]:
        """Every object of a namespace that carries that filter for targets."""
        self.of_filter(filter_id)
        return self._workloads.get((filter_id, namespace, ""), [])

    def cache_users(self, namespace: str, pod_labels: Mapping[str, str], without: Collection[str] = ()) -> list[str]:
        """Names of the EnvoyFilters, anybody's, that point pods with these labels at a file of the node cache.

        Args:
            namespace: of the pods.
            pod_labels: their labels.
            without: uids of objects that do not count, because they are about to go.
        """
        return [
            each["metadata"]["name"]
            for each in self._users.of(namespace, pod_labels)
            if each["metadata"].get("uid") not in without
        ]


class _Users:
    """Objects by one pair of their selectors, the rarest one: so thousands of workloads find theirs in one pass."""

    def __init__(self, objects: Iterable[dict[str, Any]]) -> None:
        found = [(each["metadata"]["namespace"], selector_of(each), each) for each in objects]
        counts = Counter((namespace, *pair) for namespace, selector, _ in found for pair in selector.items())
        self._by_pair: dict[tuple[str, str, str], list[tuple[dict[str, str], dict[str, Any]]]] = {}
        self._of_all: dict[str, list[dict[str, Any]]] = {}
        for namespace, selector, each in found:
            pairs = [(namespace, *pair) for pair in selector.items()]
            if pairs:
                self._by_pair.setdefault(min(pairs, key=counts.__getitem__), []).append((selector, each))
            else:
                self._of_all.setdefault(namespace, []).append(each)

    def of(self, namespace: str, labels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Those that select pods with these labels."""
        yield from self._of_all.get(namespace, ())
        for pair in labels.items():
            for selector, each in self._by_pair.get((namespace, *pair), ()):
                if all(labels.get(key) == value for key, value in selector.items()):
                    yield each


def read(cluster: Cluster, namespaces: Iterable[str], kinds: Iterable[Kind]) -> Existing:
    """Read what there is: one list for each namespace and kind.

    Args:
        cluster: where.
        namespaces: where in it.
        kinds: those of ``CARRIERS`` that are served.
    """
    asked = list(kinds)
    return Existing(each for namespace in namespaces for kind in asked for each in cluster.list(kind, namespace))


def served_kinds(cluster: Cluster) -> dict[CarrierName, Kind]:
    """The kinds that can carry a filter here, by what ``--as`` calls them, oldest first."""
    served = cluster.served()
    return {name: kind for name, kind in CARRIERS.items() if served.has(kind)}


def carrier(obj: dict[str, Any], filter_id: str) -> Carrier | None:
    """An object as a carrier of that filter; None if it is none."""
    named = marked(obj)
    if named is not None:
        wanted = filter_id if ID in (obj["metadata"].get("annotations") or {}) else filter_label(filter_id)
        return Carrier(obj, named[1]) if named[0] == wanted else None
    metadata = obj["metadata"]
    name = metadata["name"].removesuffix(f"-{filter_id}")
    if owned_fields(obj, MANAGER) is not None and name not in ("", metadata["name"]) and _may_run(obj, filter_id):
        annotations = metadata.get("annotations") or {}
        return Carrier(obj, str(annotations.get(WORKLOAD, f"/{name}")))  # somebody took all our marks away
    return None


def carriers(objects: Iterable[dict[str, Any]], filter_id: str = "") -> Iterator[tuple[str, Carrier]]:
    """The objects that carry filters of wasme or of the original, each with its filter's id.

    Args:
        objects: of the kinds that carry filters.
        filter_id: only this one's; "" for all whose id can be told.
    """
    for obj in objects:
        if filter_id:
            found = carrier(obj, filter_id)
            if found is not None:
                yield filter_id, found
        elif (named := marked(obj)) is not None:
            yield named[0], Carrier(obj, named[1])


def marked(obj: Mapping[str, Any]) -> tuple[str, str] | None:
    """Which filter an object says that it carries, and its workload; None for an object of somebody else's.

    The annotation decides, then the label, which of a long id has only the beginning and a hash. Where there is either,
    the object's name says nothing: ``web-my-auth`` is no filter ``auth``.
    """
    metadata = obj["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    told = str(annotations.get(ID) or labels.get(FILTER_LABEL) or "")
    if told:
        ours = labels.get(MANAGED_BY) == MANAGER or owned_fields(obj, MANAGER) is not None
        return (told, str(annotations.get(WORKLOAD) or _workload_in(metadata["name"], told))) if ours else None
    original = recognise(obj)
    return (original.id, f"/{original.workload}") if original is not None else None


def _workload_in(name: str, filter_id: str) -> str:
    """From the name of an object that has lost the annotation of its workload; "" for one with targets."""
    workload = name.removesuffix(f"-{filter_id}")
    return f"/{workload}" if workload != name else ""


def _may_run(obj: Mapping[str, Any], filter_id: str) -> bool:
    """Whether an object without marks may be that filter's: an EnvoyFilter calls the plugin by the id."""
    return obj.get("kind") != ENVOY_FILTER.kind or filter_id in texts(obj.get("spec"))


def is_ours(obj: dict[str, Any], filter_id: str) -> bool:
    """Whether wasme, or the original, wrote an object for that filter."""
    return carrier(obj, filter_id) is not None


def uses_cache(obj: Mapping[str, Any]) -> bool:
    """Whether anything in an object's spec is a file of the node cache."""
    return obj.get("kind") == ENVOY_FILTER.kind and any(
        text.startswith(f"{CACHE_DIRECTORY}/") for text in texts(obj.get("spec"))
    )


def needs_volume(obj: Mapping[str, Any]) -> bool:
    """Whether anything in an object's spec is a file of the node cache, or of an image volume."""
    return obj.get("kind") == ENVOY_FILTER.kind and any(
        text.startswith((f"{CACHE_DIRECTORY}/", f"{VOLUME_DIRECTORY}/")) for text in texts(obj.get("spec"))
    )


def selector_of(obj: Mapping[str, Any]) -> dict[str, str]:
    """The labels of the pods that an object selects; {} for all, or for one with targets."""
    spec = obj.get("spec") or {}
    selector = (spec.get("workloadSelector") or {}).get("labels") or (spec.get("selector") or {}).get("matchLabels")
    return dict(selector or {})


def texts(value: Any) -> Iterator[str]:
    """All strings in a tree, such as an object's spec."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def _key(obj: Mapping[str, Any]) -> tuple[str, str, str]:
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]
