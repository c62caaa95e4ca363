"""docs/operator.md: what it says of fields, reasons and metrics is what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.fixtures import pages
from wasme.operator.resources.reasons import Reason
from wasme.operator.resources.resource import read
from wasme.operator.resources.schema import crd

_PAGE = (Path(__file__).resolve().parents[3] / "docs" / "operator.md").read_text()


def _fields(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, each in schema.get("properties", {}).items():
        yield f"{path}{name}"
        yield from _fields(each, f"{path}{name}.")
        yield from _fields(each.get("items", {}), f"{path}{name}.")


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield f"{path}{name}"
            yield from _paths(each, f"{path}{name}.")
    elif isinstance(value, list):
        for each in value:
            yield from _paths(each, path)


def _example() -> dict[str, Any]:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", pages.section(_PAGE, "The resource"), re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def test_every_field_of_the_spec_is_shown() -> None:
    """The example has all fields of the schema and no others, but for what is inside of maps and free values."""
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    known = set(_fields(schema))
    shown = set(_paths(_example()["spec"]))
    free = ("filter.config.", "filter.env.", "deployment.istio.labels.", "deployment.gloo.labels.")
    assert {each for each in shown if not each.startswith(free)} - known == set()
    # A pull secret has one name in the example, though two fields.
    missing = known - shown - {"filter.imagePullOptions.pullSecret", "deployment.envoyGateway.targetRefs.sectionName"}
    assert {each for each in missing if not each.startswith("deployment.envoyGateway.targetRefs.")} == set()


def test_the_example_is_one_that_can_be_read() -> None:
    """Taken apart into objects that have one target each, every part of it is understood."""
    whole = _example()
    whole["metadata"] |= {"uid": "1", "generation": 1}
    istio = whole["spec"]["deployment"]["istio"]
    for name in ("istio", "gloo", "envoyGateway"):
        obj = {**whole, "spec": {**whole["spec"], "deployment": {name: whole["spec"]["deployment"][name]}}}
        if name == "istio":
            obj["spec"]["deployment"] = {"istio": {key: value for key, value in istio.items() if key != "targetRefs"}}
        else:
            obj["spec"] = {key: value for key, value in obj["spec"].items() if key != "rollout"}
            kept = ("image", "id", "config", "sha256", "pullSecret", "rootID")
            obj["spec"]["filter"] = {key: value for key, value in whole["spec"]["filter"].items() if key in kept}
        assert read(obj).filter.id == "auth"


def test_every_reason_that_is_named_exists() -> None:
    """In the table of conditions and the one of troubles."""
    words = set(re.findall(r"`([A-Z]\w+)`", pages.section(_PAGE, "Status")))
    types = {"Accepted", "ImageResolved", "Cached", "Programmed", "Ready", "Degraded", "Unknown"}
    assert words - types - set(map(str, Reason)) == set()
    assert len(words) > 25


def test_every_metric_that_is_named_exists() -> None:
    """And every one that there is, is named."""
    source = (Path(__file__).resolve().parents[3] / "src/wasme/operator/metrics.py").read_text()
    there = set(re.findall(r'"(wasme_\w+)"', source))
    text = pages.section(_PAGE, "Metrics, health, logs")
    named = set(re.findall(r"`(wasme_[a-z_]+)", text))
    named |= {f"wasme_operator_queue{each}" for each in re.findall(r"`…(_\w+)`", text)}
    assert {each.removesuffix("_total") for each in named} == there
