"""What a pod template gets so that its proxies find the module, and how that is taken away again.

Beside the two annotations for Istio's injector there is a label. The filter's selector has it too: so a pod that was
started before, and has no such volume, is never pointed at a file that it cannot see. Nothing of it depends on the
image or on the filter's configuration, so neither restarts a pod; only an image volume, being the image, does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wasme.deploy.cache.protocol import CACHE_LABEL
from wasme.deploy.istio.annotations import (
    BACKUP,
    CACHE_DIR,
    CACHE_READY,
    USER_VOLUME,
    USER_VOLUME_MOUNT,
    Entry,
    added,
    cache_entries,
    held,
    image_entry,
    removed,
    volume_name,
)
from wasme.deploy.istio.workloads import Workload

CACHE_VOLUMES = (CACHE_DIR, CACHE_READY)
_IMAGE_VOLUME = "wasme-"  # the beginning of the name of every image volume
_KEYS = (USER_VOLUME, USER_VOLUME_MOUNT, BACKUP + USER_VOLUME, BACKUP + USER_VOLUME_MOUNT)


@dataclass(frozen=True, slots=True)
class Marks:
    """What the pods of a workload must have.

    Attributes:
        labels: on the pods.
        entries: volumes of their sidecars.
        unwanted: names of volumes of ours that they must not have.
        unwanted_labels: keys of labels of ours that they must not have.
    """

    labels: Mapping[str, str]
    entries: tuple[Entry, ...]
    unwanted: tuple[str, ...] = ()
    unwanted_labels: tuple[str, ...] = ()

    def on(self, workload: Workload) -> dict[str, str]:
        """The labels that are ours on a workload's pods: these, and those of other filters on the same pods."""
        others = {key: value for key, value in workload.template_labels.items() if _is_ours(key)}
        return {key: value for key, value in {**others, **self.labels}.items() if key not in self.unwanted_labels}


def cache_marks(cache: str, namespace: str, *, gate: bool) -> Marks:
    """For the node cache of that name."""
    unwanted = () if gate else (CACHE_READY,)
    return Marks({CACHE_LABEL: cache}, cache_entries(namespace, gate=gate), unwanted)


def image_marks(filter_id: str, reference: str) -> Marks:
    """For an image volume.

    Args:
        filter_id: the filter.
        reference: its image, by digest.
    """
    return Marks({volume_label(filter_id): "image-volume"}, (image_entry(filter_id, reference),))


def volume_label(filter_id: str) -> str:
    """The label of pods that have a filter's image as a volume."""
    return f"wasme.io/{volume_name(filter_id)}"


def selected_labels(workload: Workload, marks: Marks | None) -> dict[str, str]:
    """The labels by which a filter selects a workload's pods: all but other filters', which may go with them."""
    foreign = {key: value for key, value in workload.template_labels.items() if not _is_ours(key)}
    return {**foreign, **(marks.labels if marks else {})}


def is_as_marked(workload: Workload, marks: Marks) -> bool:
    """Whether the template has the marks.

    Raises:
        InputError: the annotations that are there cannot be read.
    """
    labels, wanted = workload.template_labels, marks.on(workload)
    before = workload.template_annotations
    return (
        _with(before, marks, str_of(workload)) == before
        and all(labels.get(key) == value for key, value in wanted.items())
        and not any(key in labels for key in marks.unwanted_labels)
    )


def rendered(workload: Workload, marks: Marks) -> dict[str, Any]:
    """The part of the workload that is ours: labels and annotations of its template, and no server's fields.

    Raises:
        InputError: the annotations that are there cannot be read.
    """
    return _part(workload, marks.on(workload), _with(workload.template_annotations, marks, str_of(workload)))


def _part(workload: Workload, labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, Any]:
    """What is ours of a workload with these labels and annotations of its template."""
    metadata = {
        "labels": dict(labels),
        "annotations": {key: annotations[key] for key in _KEYS if key in annotations},
    }
    return {
        "apiVersion": workload.kind.api_version,
        "kind": workload.kind.kind,
        "metadata": {"name": workload.name, "namespace": workload.namespace},
        "spec": {"template": {"metadata": metadata}},
    }


def leftovers(workload: Workload, marks: Marks) -> dict[str, Any]:
    """What must go from the template, and would stay if ours were applied, since it is not ours by field.

    The original's broken backups are such. As a merge patch of the template's metadata.
    """
    after = _with(workload.template_annotations, marks, str_of(workload))
    found: dict[str, Any] = {}
    annotations = {key: None for key in _KEYS if key in workload.template_annotations and key not in after}
    if annotations:
        found["annotations"] = annotations
    labels = {key: None for key in marks.unwanted_labels if key in workload.template_labels}
    if labels:
        found["labels"] = labels
    return found


def is_marked(workload: Workload) -> bool:
    """Whether a template says itself that wasme changed it."""
    keys = (*workload.template_labels, *workload.template_annotations)
    return any(key == CACHE_LABEL or key.startswith((BACKUP, "wasme.io/")) for key in keys)


def has_cache_volume(workload: Workload) -> bool:
    """Whether the template gives its sidecars the node cache's folder, whoever wrote it."""
    return CACHE_DIR in held(workload.template_annotations)


def unmarked(workload: Workload, volumes: Iterable[str], labels: Iterable[str]) -> dict[str, Any] | None:
    """A merge patch that takes volumes and labels away; None where there is nothing of them.

    A user's annotations come back as they were. It holds only for the state that was read.

    Args:
        workload: as it was read.
        volumes: names of ours.
        labels: keys of ours.

    Raises:
        InputError: the annotations that are there cannot be read.
    """
    before = workload.template_annotations
    after = removed(before, tuple(volumes), str_of(workload))
    changes: dict[str, Any] = {}
    annotations = {key: after.get(key) for key in sorted({*before, *after}) if before.get(key) != after.get(key)}
    if annotations:
        changes["annotations"] = annotations
    gone = {key: None for key in labels if key in workload.template_labels}
    if gone:
        changes["labels"] = gone
    return {"spec": {"template": {"metadata": changes}}} if changes else None


def without(workload: Workload, volumes: Iterable[str], labels: Iterable[str]) -> dict[str, Any] | None:
    """As ``rendered``, of a workload from which ``unmarked`` has taken volumes and labels; None where nothing goes.

    Raises:
        InputError: the annotations that are there cannot be read.
    """
    volumes, labels = tuple(volumes), tuple(labels)
    if unmarked(workload, volumes, labels) is None:
        return None
    kept = {key: value for key, value in workload.template_labels.items() if _is_ours(key) and key not in labels}
    return _part(workload, kept, removed(workload.template_annotations, volumes, str_of(workload)))


def str_of(workload: Workload) -> str:
    """A workload in an error."""
    return f"{workload.kind.kind} {workload.namespace}/{workload.name}"


def _is_ours(key: str) -> bool:
    return key == CACHE_LABEL or key.startswith(f"wasme.io/{_IMAGE_VOLUME}")


def _with(before: Mapping[str, str], marks: Marks, where: str) -> dict[str, str]:
    after = removed(before, marks.unwanted, where) if marks.unwanted else before
    return added(after, marks.entries, where)
