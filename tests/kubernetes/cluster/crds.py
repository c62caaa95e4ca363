"""The meshes' real CustomResourceDefinitions, several versions of each.

They are data of those projects and no part of this one: found in $WASME_TEST_CRDS, else beside the checkout, else
what `make kubernetes` took out of the projects' Go modules (one version of each).
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.programs import CACHE

_BESIDE = Path(__file__).resolve().parents[4] / "shared" / "data" / "crds"
_NAMED = os.environ.get("WASME_TEST_CRDS", "")
FOLDERS = [folder for folder in (Path(_NAMED) if _NAMED else None, _BESIDE, CACHE / "crds") if folder]
_PROJECTS = {
    "istio": ("istio.io", {"envoyfilters", "wasmplugins", "trafficextensions", "gateways", "serviceentries"}),
    "gloo": ("solo.io", {"gateways"}),
    "envoy-gateway": ("gateway.envoyproxy.io", {"envoyextensionpolicies"}),
    "gateway-api": (
        "gateway.networking.k8s.io",
        {"gatewayclasses", "gateways", "listenersets", "httproutes", "grpcroutes"},
    ),
}
"""The group of each, and the kinds that wasme writes or reads: the rest costs seconds and proves nothing here."""
MADE = "test.wasme.io/made"
"""The label of those that tests have made: in a cluster of somebody else no others are touched."""
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def folder(name: str) -> Path:
    """The folder of ``project/version`` or of a version of the same minor; skips the test where there is none."""
    project, _, version = name.partition("/")
    minor = ".".join(version.split(".")[:2])
    for base in FOLDERS:
        if (base / name).is_dir():
            return base / name
        near = sorted((base / project).glob(f"{minor}*")) if (base / project).is_dir() else []
        if near:
            return near[-1]
    pytest.skip(f"needs CRDs of {name}: $WASME_TEST_CRDS=DIR, or `make kubernetes` for the newest")


@cache
def definitions(path: Path) -> tuple[dict[str, Any], ...]:
    """The CRDs of a folder that an API server of today takes."""
    documents = [
        document
        for file in sorted(path.rglob("*.yaml"))
        for document in yaml.load_all(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if document and document.get("kind") == "CustomResourceDefinition"
    ]
    today = tuple(each for each in documents if each["apiVersion"] == "apiextensions.k8s.io/v1")
    if not today:
        pytest.skip(f"the CRDs of {path.parent.name}/{path.name} are v1beta1, which no API server takes since 1.22")
    return today


def serve(plane: ControlPlane, name: str, *, everything: bool = False) -> None:
    """Make the server serve exactly these of a project: others of the project go, with their objects.

    Args:
        name: such as ``istio/1.30.3``.
        everything: all of the project's kinds, not only those that wasme writes or reads.
    """
    project = name.partition("/")[0]
    if plane.served.get(project) == (name, everything):
        return
    suffix, used = _PROJECTS[project]
    wanted = {
        each["metadata"]["name"]: each
        for each in definitions(folder(name))
        if everything or each["metadata"]["name"].partition(".")[0] in used
    }
    remove(plane.api, suffix)
    for definition in wanted.values():
        meta = definition["metadata"]
        labels = {**meta.get("labels", {}), MADE: "true"}
        plane.api.create({**definition, "metadata": {**meta, "labels": labels}})
    for key, definition in wanted.items():
        _wait_served(plane.api, key, definition)
    plane.served[project] = (name, everything)


def remove(api: Api, suffix: str) -> None:
    """Take all kinds of a group away, or one (``serviceentries.networking.istio.io``), and wait until the server knows
    them no more. Whoever calls forgets what is served (``plane.served``), so that the next test has it anew.

    For some milliseconds after the definition is gone, discovery goes on naming its kind, whose list is empty. Where
    some of them were made by nobody here, all stay, and the test is skipped.
    """
    gone = [each for each in api.list(_CRDS) if each["metadata"]["name"].endswith(suffix)]
    foreign = [each["metadata"]["name"] for each in gone if MADE not in each["metadata"].get("labels", {})]
    if foreign:
        pytest.skip(f"the cluster has {foreign[0]} of its own, and the test needs another or none")
    for each in gone:
        api.delete(f"{_CRDS}/{each['metadata']['name']}")
    for each in gone:
        _wait_gone(api, each["metadata"]["name"], each)


def _wait_gone(api: Api, name: str, definition: dict[str, Any]) -> None:
    plural, _, group = name.partition(".")
    versions = [each["name"] for each in definition["spec"]["versions"] if each["served"]]

    def gone() -> bool:
        if api.find(f"{_CRDS}/{name}") is not None:
            return False
        for version in versions:
            found = api.find(f"/apis/{group}/{version}") or {"resources": []}
            if plural in {each["name"] for each in found["resources"]}:
                return False
            if api.find(f"/apis/{group}/{version}/{plural}?limit=1") is not None:
                return False
        told = [each for each in api.get("/apis")["groups"] if each["name"] == group]
        # The list of groups may still name one that answers 404 already.
        return all(api.find(f"/apis/{group}/{each['version']}") for groups in told for each in groups["versions"])

    wait_until(gone, 60, f"{name} is not gone")


def _wait_served(api: Api, name: str, definition: dict[str, Any]) -> None:
    plural, _, group = name.partition(".")
    versions = [each["name"] for each in definition["spec"]["versions"] if each["served"]]

    def served() -> bool:
        for version in versions:
            found = api.find(f"/apis/{group}/{version}")
            if not found or plural not in {each["name"] for each in found["resources"]}:
                return False
            if api.find(f"/apis/{group}/{version}/{plural}?limit=1") is None:
                return False
        return True

    wait_until(served, 60, f"{name} is not served")


def sample(name: str) -> list[dict[str, Any]]:
    """The objects of a sample manifest of Istio's, such as ``bookinfo.yaml``."""
    for base in FOLDERS:
        file = base / "istio" / "samples" / name
        if file.is_file():
            return [each for each in yaml.safe_load_all(file.read_bytes()) if each]
    pytest.skip(f"needs Istio's sample {name}: $WASME_TEST_CRDS=DIR, or `make kubernetes`")
