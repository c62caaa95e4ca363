"""The part of a pod template that is ours: given, shared by filters, and taken away again."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wasme.deploy.cluster.kinds import DEPLOYMENT
from wasme.deploy.istio import template
from wasme.deploy.istio.annotations import USER_VOLUME, USER_VOLUME_MOUNT, volume_name
from wasme.deploy.istio.template import CACHE_VOLUMES, cache_marks, image_marks, volume_label
from wasme.deploy.istio.workloads import Workload

PINNED = "registry.example.com/f@sha256:" + "a" * 64
CACHE = "wasme.io/cache"


def workload(labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> Workload:
    metadata: dict[str, Any] = {"labels": labels or {"app": "web"}}
    if annotations:
        metadata["annotations"] = annotations
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": metadata}}
    return Workload(DEPLOYMENT, {"metadata": {"name": "web", "namespace": "n", "uid": "u"}, "spec": spec})


def applied(before: Workload, wanted: dict[str, Any]) -> Workload:
    """The workload as the server makes it of a template that is applied, or merged: None takes a key away."""
    labels, annotations = before.template_labels, before.template_annotations
    changes = wanted["spec"]["template"]["metadata"]
    for there, part in ((labels, "labels"), (annotations, "annotations")):
        for key, value in changes.get(part, {}).items():
            if value is None:
                there.pop(key, None)
            else:
                there[key] = value
    return workload(labels, annotations)


def test_marking_twice_changes_nothing() -> None:
    """What was marked is as marked, for the cache and for an image volume, and in either order for both."""
    cache, image = cache_marks("c", "n", gate=True), image_marks("f", PINNED)
    for first, second in ((cache, image), (image, cache)):
        marked = applied(workload(), template.rendered(workload(), first))
        assert template.is_as_marked(marked, first)
        both = applied(marked, template.rendered(marked, second))
        assert template.is_as_marked(both, first)
        assert template.is_as_marked(both, second)


def test_labels_of_other_filters_are_applied_with_ours() -> None:
    """An apply that left another filter's label out would take it away, since the same manager owns it."""
    marked = applied(workload(), template.rendered(workload(), cache_marks("c", "n", gate=True)))
    wanted = template.rendered(marked, image_marks("f", PINNED))
    assert wanted["spec"]["template"]["metadata"]["labels"] == {CACHE: "c", volume_label("f"): "image-volume"}


def test_only_ours_is_rendered() -> None:
    """No label or annotation of anybody else's, and no server's field, is in what is applied."""
    wanted = template.rendered(workload({"app": "web", "v": "1"}, {"note": "x"}), cache_marks("c", "n", gate=False))
    assert wanted["metadata"] == {"name": "web", "namespace": "n"}
    assert wanted["spec"] == {
        "template": {
            "metadata": {
                "labels": {CACHE: "c"},
                "annotations": {
                    USER_VOLUME: '[{"name":"cache-dir","hostPath":{"path":"/var/local/lib/wasme-cache"}}]',
                    USER_VOLUME_MOUNT: '[{"mountPath":"/var/local/lib/wasme-cache","name":"cache-dir"}]',
                },
            }
        }
    }


def test_without_the_gate_a_gate_that_is_there_goes() -> None:
    """--cache-gate=false is obeyed on a template that has the gate."""
    gated = applied(workload(), template.rendered(workload(), cache_marks("c", "n", gate=True)))
    open_ = cache_marks("c", "n", gate=False)
    assert not template.is_as_marked(gated, open_)
    after = applied(gated, template.rendered(gated, open_))
    assert [each["name"] for each in json.loads(after.template_annotations[USER_VOLUME])] == ["cache-dir"]


NAMES = st.sampled_from(["tmp-dir", "mine", "data", "certs"])
VOLUMES = st.lists(NAMES, unique=True, max_size=3).map(
    lambda names: json.dumps([{"name": name, "emptyDir": {}} for name in names])
)
ANNOTATIONS = st.fixed_dictionaries({}, optional={USER_VOLUME: VOLUMES, "note": st.just("x")})


@given(ANNOTATIONS, st.booleans(), st.lists(st.sampled_from(["f", "a.b"]), max_size=2, unique=True))
def test_taking_away_brings_back_what_was(annotations: dict[str, str], gate: bool, images: list[str]) -> None:
    """Whatever volumes a user has, and whatever filters were there: when they are gone, his annotations and labels are
    as they were, byte by byte."""
    before = workload(annotations=annotations)
    marked = before
    for marks in (cache_marks("c", "n", gate=gate), *(image_marks(each, PINNED) for each in images)):
        marked = applied(marked, template.rendered(marked, marks))
    volumes = [*CACHE_VOLUMES, *map(volume_name, images)]
    patch = template.unmarked(marked, volumes, [CACHE, *map(volume_label, images)])
    assert patch is not None
    after = applied(marked, patch)
    assert after.template_annotations == before.template_annotations
    assert after.template_labels == before.template_labels
    assert template.unmarked(after, volumes, [CACHE]) is None
