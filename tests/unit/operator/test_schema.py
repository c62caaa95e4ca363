"""The definition of FilterDeployment, as a value; what an API server makes of it is tested beside one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from wasme.operator.resources.conditions import TYPES
from wasme.operator.resources.schema import NAME, crd

Schema = dict[str, Any]


def version() -> Schema:
    (found,) = crd()["spec"]["versions"]
    return dict(found)


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every field in spec and status, with its path."""
    for name, each in schema.get("properties", {}).items():
        yield f"{path}.{name}", each
        yield from fields(each, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from fields(schema[inner], path)


def whole() -> Schema:
    return dict(version()["schema"]["openAPIV3Schema"])


def test_every_field_is_described() -> None:
    """Each with a sentence, which kubectl explain shows."""
    bare = [path for path, each in fields(whole()) if not str(each.get("description", "")).endswith(".")]
    assert bare == [".metadata"], "the API server describes metadata itself"


def test_every_rule_says_what_to_do() -> None:
    """No CEL rule without a message of its own."""
    rules = [each for _, field in fields(whole()) for each in field.get("x-kubernetes-validations", ())]
    assert len(rules) > 15
    assert all(each["message"] and not each["message"].startswith("failed rule") for each in rules)


def test_nothing_is_defaulted() -> None:
    """What is stored is what was written: a default would go into each object, old ones too."""
    assert [path for path, each in fields(whole()) if "default" in each] == []


def test_nothing_is_demanded_of_the_whole() -> None:
    """A rule or a required field of the whole object would refuse each finalizer and status of an old one."""
    assert "required" not in whole()
    assert "x-kubernetes-validations" not in whole()
    assert "required" not in whole()["properties"]["spec"]
    assert "required" not in whole()["properties"]["status"]


def test_lists_are_of_a_type() -> None:
    """Server-side apply merges maps by their keys, and takes other lists as one value."""
    types = {path: each["x-kubernetes-list-type"] for path, each in fields(whole()) if each.get("type") == "array"}
    assert types[".status.conditions"] == "map"
    assert types[".status.targets"] == "map"
    assert set(types.values()) == {"map", "atomic"}
    (targets,) = (each for path, each in fields(whole()) if path == ".status.targets")
    assert targets["x-kubernetes-list-map-keys"] == ["provider", "kind", "namespace", "name"]
    (generation,) = (each for path, each in fields(whole()) if path == ".status.observedGeneration")
    assert generation["type"] == "integer", "[BUG] the original wrote it as text, which tools cannot compare"


def test_each_condition_is_explained() -> None:
    """kubectl explain fdep.status.conditions names every one."""
    (conditions,) = (each for path, each in fields(whole()) if path == ".status.conditions")
    assert all(name in conditions["description"] for name in TYPES)


def test_it_is_a_value() -> None:
    """Each call gives a new one, of JSON alone, small enough for kubectl's own apply to remember it."""
    one, other = crd(), crd()
    assert one == other == json.loads(json.dumps(one))
    one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].clear()
    one["metadata"]["labels"].clear()
    assert crd() == other
    assert other["metadata"]["name"] == NAME == f"{other['spec']['names']['plural']}.{other['spec']['group']}"
    assert len(json.dumps(other)) < 200_000
