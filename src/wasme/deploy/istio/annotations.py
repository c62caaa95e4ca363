"""The two annotations by which a pod's sidecar gets volumes, as pure functions on a pod template's annotations.

Istio's injector reads ``sidecar.istio.io/userVolume`` and ``sidecar.istio.io/userVolumeMount``. A user may have
entries there, and several filters share a pod, so what is there is never taken for granted:

* A key that is absent gets the original's own text. Into one that is there only what is missing is merged, and what
  was there is kept under ``wasme-backup.<key>``, once, so that taking the last entry away brings it back byte by byte.
* An entry that is one of wasme's in every part is wasme's, wherever it is found. The original saved its own entries as
  a user's when it deployed for a second time; such a backup is mended as soon as it is met.
* Whatever a user did in between stays: then the entries that are not wasme's are written anew.
* Users write a list, as in Istio's reference, or an object by name, as in its examples. Both stay what they are.

What is added depends on the cache alone, not on image, id or configuration: so a second filter, another image, or the
same command again changes nothing, and restarts no pod.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wasme.errors import InputError

USER_VOLUME = "sidecar.istio.io/userVolume"
USER_VOLUME_MOUNT = "sidecar.istio.io/userVolumeMount"
BACKUP = "wasme-backup."

CACHE_DIRECTORY = "/var/local/lib/wasme-cache"
READY_MOUNT = "/var/local/lib/wasme-ready"
VOLUME_DIRECTORY = "/var/local/lib/wasme"
CACHE_DIR = "cache-dir"
CACHE_READY = "cache-ready"
_IMAGE_PREFIX = "wasme-"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One volume of a sidecar and where it is mounted.

    Attributes:
        name: the volume's.
        volume, mount: as in a pod, with the name, keys in the order they are written in.
    """

    name: str
    volume: Mapping[str, Any]
    mount: Mapping[str, Any]


def cache_entries(namespace: str, *, gate: bool = True) -> tuple[Entry, ...]:
    """The node cache's folder, and the gate: a file that lets pods of a namespace start where it is.

    Args:
        gate: without it both texts are the original's.
    """
    folder = Entry(
        CACHE_DIR,
        {"name": CACHE_DIR, "hostPath": {"path": CACHE_DIRECTORY}},
        {"mountPath": CACHE_DIRECTORY, "name": CACHE_DIR},
    )
    ready = Entry(
        CACHE_READY,
        {"name": CACHE_READY, "hostPath": {"path": f"{CACHE_DIRECTORY}/ready/{namespace}", "type": "File"}},
        {"mountPath": READY_MOUNT, "name": CACHE_READY, "readOnly": True},
    )
    return (folder, ready) if gate else (folder,)


def image_entry(filter_id: str, reference: str) -> Entry:
    """The volume that is an image, for one filter.

    Args:
        reference: the image's, by digest.
    """
    name = volume_name(filter_id)
    return Entry(
        name,
        {"name": name, "image": {"reference": reference, "pullPolicy": "IfNotPresent"}},
        {"mountPath": f"{VOLUME_DIRECTORY}/{filter_id}", "name": name, "readOnly": True},
    )


def volume_name(filter_id: str) -> str:
    """The name of a filter's image volume, which is a DNS label: at most 63 characters and no dots."""
    name = _IMAGE_PREFIX + filter_id.replace(".", "-")
    if len(name) <= 63 and "." not in filter_id:
        return name
    import hashlib

    return f"{name[:46].rstrip('-')}-{hashlib.sha256(filter_id.encode()).hexdigest()[:16]}"


def added(annotations: Mapping[str, str], wanted: Iterable[Entry], where: str = "the workload") -> dict[str, str]:
    """Annotations with all entries in them; equal to those given if nothing was missing.

    Args:
        annotations: a pod template's.
        wanted: what the sidecar must have.
        where: names the workload in errors.

    Raises:
        InputError: an annotation is no JSON that Istio takes, or has another volume of that name or at that place.
    """
    entries = tuple(wanted)
    result = dict(annotations)
    for key, part in _KEYS:
        _add(result, key, [dict(getattr(entry, part)) for entry in entries], where)
    return result


def removed(annotations: Mapping[str, str], names: Collection[str], where: str = "the workload") -> dict[str, str]:
    """Annotations without wasme's entries of these names; a user's own of such a name stay.

    Args:
        annotations: a pod template's.
        names: volumes that no filter on the pod needs any more.
        where: names the workload in errors.

    Raises:
        InputError: an annotation that wasme has written to is no JSON any more.
    """
    result = dict(annotations)
    for key, _ in _KEYS:
        _remove(result, key, names, where)
    return result


def held(annotations: Mapping[str, str]) -> frozenset[str]:
    """The names of wasme's volumes that a sidecar gets; annotations that cannot be read have none."""
    found: set[str] = set()
    for key, _ in _KEYS:
        with contextlib.suppress(ValueError):
            found |= {each["name"] for each in _read(annotations.get(key, "")).entries if is_ours(each)}
    return frozenset(found)


_KEYS = ((USER_VOLUME, "volume"), (USER_VOLUME_MOUNT, "mount"))


@dataclass(frozen=True, slots=True)
class _Value:
    """An annotation's entries in order, each with its name, and whether they are the values of an object."""

    entries: list[Object]
    by_name: bool = False

    def with_entries(self, entries: list[Object]) -> _Value:
        return _Value(entries, self.by_name)

    def without_ours(self) -> _Value:
        return self.with_entries([each for each in self.entries if not is_ours(each)])

    def text(self, *, in_order: bool = False) -> str:
        """As the original writes it: compact, keys in order where it merged, as they come where all is its own."""
        value: Any = self.entries
        if self.by_name:
            value = {each["name"]: {key: item for key, item in each.items() if key != "name"} for each in self.entries}
        return json.dumps(value, sort_keys=in_order, separators=(",", ":"))


def is_ours(entry: Mapping[str, Any]) -> bool:
    """Whether a volume, or a mount, is in every part one that wasme or the original makes."""
    match entry:
        case {"name": "cache-dir", "hostPath": {"path": path, **more}, **rest} if not more and not rest:
            return bool(path == CACHE_DIRECTORY)
        case {"name": "cache-ready", "hostPath": {"path": str(path), "type": "File", **more}, **rest} if not (
            more or rest
        ):
            return path.startswith(f"{CACHE_DIRECTORY}/ready/")
        case {"name": str(name), "image": {"reference": str(), "pullPolicy": "IfNotPresent", **more}, **rest} if not (
            more or rest
        ):
            return name.startswith(_IMAGE_PREFIX)
        case {"name": "cache-dir", "mountPath": path, **rest} if not rest:
            return bool(path == CACHE_DIRECTORY)
        case {"name": "cache-ready", "mountPath": path, "readOnly": True, **rest} if not rest:
            return bool(path == READY_MOUNT)
        case {"name": str(name), "mountPath": str(path), "readOnly": True, **rest} if not rest:
            return name.startswith(_IMAGE_PREFIX) and path.startswith(f"{VOLUME_DIRECTORY}/")
    return False


def _add(result: dict[str, str], key: str, wanted: list[Object], where: str) -> None:
    current = result.get(key)
    if current is None:
        result.pop(BACKUP + key, None)  # whoever took the annotation away meant all of it
        if wanted:
            result[key] = _Value(wanted).text()
        return
    value = _parse(current, key, where)
    _mend(result, key)
    backup = BACKUP + key
    if backup not in result and (not value.entries or not all(map(is_ours, value.entries))):
        users = value.without_ours()
        result[backup] = current if users.entries == value.entries else users.text()
    entries = list(value.entries)
    for each in wanted:
        at = _place(value.with_entries(entries), each, key, where)
        if at is None:
            entries.append(each)
        else:
            entries[at] = each
    if entries != value.entries:
        result[key] = value.with_entries(entries).text(in_order=backup in result)


def _place(value: _Value, wanted: Object, key: str, where: str) -> int | None:
    """Where an entry stands already, perhaps with an image that was; None if it does not.

    Raises:
        InputError: a user's entry has its name or its place.
    """
    for at, each in enumerate(value.entries):
        alike = [name for name in ("name", "mountPath") if name in wanted and each.get(name) == wanted[name]]
        if alike and is_ours(each):
            return at
        # One volume may be mounted at two places; but an object has a name once.
        if "mountPath" in alike or (alike and ("mountPath" not in wanted or value.by_name)):
            raise InputError(
                f"{where}: the annotation {key} has an entry of its own with {alike[-1]} {wanted[alike[-1]]}",
                hint="rename it; wasme needs that one for the filter's file",
            )
    return None


def _remove(result: dict[str, str], key: str, names: Collection[str], where: str) -> None:
    current = result.get(key)
    backup = result.get(BACKUP + key)
    if current is None:
        result.pop(BACKUP + key, None)
        return
    if backup is None and "wasme" not in current:
        return  # not ours to read
    value = _parse(current, key, where)
    _mend(result, key)
    backup = result.get(BACKUP + key)
    kept = value.with_entries([each for each in value.entries if not (is_ours(each) and each["name"] in names)])
    if any(map(is_ours, kept.entries)):
        if len(kept.entries) < len(value.entries):
            result[key] = kept.text(in_order=backup is not None)
        return
    result.pop(BACKUP + key, None)
    if backup is not None and _same(kept, backup):
        result[key] = backup
    elif len(kept.entries) == len(value.entries):
        return
    elif kept.entries:
        result[key] = kept.text()
    else:
        del result[key]


def _same(value: _Value, text: str) -> bool:
    """Whether ``text`` says the same; numbers and booleans are told apart."""
    try:
        other = _read(text)
    except ValueError:
        return False
    return value.text(in_order=True) == other.text(in_order=True)


def _mend(result: dict[str, str], key: str) -> None:
    """Drop a backup with wasme's own entries in it: the original put them there when it deployed again.

    What a user had is in the annotation as well, but for its spelling, which is lost.
    """
    try:
        saved = _read(result.get(BACKUP + key, "[]"))
    except ValueError:
        return
    if any(map(is_ours, saved.entries)):
        del result[BACKUP + key]


def _parse(text: str, key: str, where: str) -> _Value:
    try:
        return _read(text)
    except ValueError as error:
        raise InputError(
            f"{where}: the annotation {key} cannot be read: {error}",
            hint="it is a JSON list of volumes, each an object with a name",
        ) from None


def _read(text: str) -> _Value:
    """Raises ValueError, with the reason."""
    if not text.strip():
        return _Value([])
    try:
        found = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if found is None:
        return _Value([])
    by_name = isinstance(found, dict)
    entries: Any = found
    if by_name:
        if not all(isinstance(item, dict) for item in found.values()):
            raise ValueError("not every value of the object is an object")
        entries = [{**item, "name": name} for name, item in found.items()]
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise ValueError("it is no list of objects")
    return _Value(entries, by_name)


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _finite(word: str) -> float:
    number = float(word)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{word} is too large a number")
    return number
