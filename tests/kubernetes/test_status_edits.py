"""``wasme status`` where somebody has edited what wasme deployed."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.conftest import Result
from tests.kubernetes.scenes import Scene, image, scene
from wasme.deploy.cache import protocol

__all__ = ["image", "scene"]


def test_edited(scene: Scene) -> None:
    """Foreign edits are told: another module in the object, a selector that no pod fits, a template without volume."""
    scene.deploy("--as=envoyfilter")
    scene.pods("status-a")
    scene.tell("status-a")
    patches = scene.api.get(scene.filter)["spec"]["configPatches"]
    code = patches[0]["patch"]["value"]["typedConfig"]["value"]["config"]["vmConfig"]["code"]
    code["local"]["filename"] = f"{protocol.DIRECTORY}/{'ab' * 32}"
    scene.api.patch(scene.filter, {"spec": {"configPatches": patches}})
    first, second, third = scene.reasons()
    assert first.startswith(
        f"digest differs: it loads sha256:{'ab' * 6}, and was deployed with {scene.image.module[:19]}"
    )
    assert re.fullmatch(r"edited by \S+ \(spec\.configPatches\): deploy again", second)
    assert third == "the node does not hold the module"
    scene.deploy("--as=envoyfilter")
    assert scene.reasons() == []
    scene.api.patch(scene.filter, {"spec": {"workloadSelector": {"labels": {"version": "v9"}}}})
    edited, selects = scene.reasons()
    assert re.fullmatch(r"edited by \S+ \(spec\.workloadSelector\.labels\.version\): deploy again", edited)
    assert selects == "the filter selects pods with version=v9, which this one has not: deploy again"
    scene.deploy("--as=envoyfilter")
    gone = {f"sidecar.istio.io/{name}": None for name in ("userVolume", "userVolumeMount")}
    scene.api.patch(scene.path, {"spec": {"template": {"metadata": {"annotations": gone}}}})
    scene.pods("status-a")
    assert scene.reasons() == ["the workload's template has lost the filter's volume: deploy again"]


@pytest.mark.parametrize("field", ["rootId", "filename"])
def test_a_field_of_the_filter_edited(scene: Scene, field: str) -> None:
    """Whoever edits anything in the EnvoyFilter's patches is named, and --check is 1 until it is deployed again; its
    labels and annotations are everybody's.
    """
    scene.deploy("--as=envoyfilter")
    scene.pods("status-a")
    scene.tell("status-a")
    scene.api.patch(scene.filter, {"metadata": {"labels": {"team": "a"}, "annotations": {"example.com/who": "me"}}})
    scene.status("--check")
    patches = scene.api.get(scene.filter)["spec"]["configPatches"]
    config = patches[0]["patch"]["value"]["typedConfig"]["value"]["config"]
    if field == "rootId":
        config["rootId"] = "another"
    else:
        config["vmConfig"]["code"]["local"]["filename"] = "/etc/other.wasm"
    scene.api.patch(scene.filter, {"spec": {"configPatches": patches}})
    result = scene.status("--check", ok=False)
    assert result.exit_code == 1
    assert re.search(
        r"EnvoyFilter/productpage-v1-auth: edited by \S+ \(spec\.configPatches\): deploy again", result.stdout
    )
    assert ("digest differs: it loads /etc/other.wasm, and" in result.stdout) == (field == "filename")
    scene.deploy("--as=envoyfilter")
    scene.status("--check")


def test_a_plugin_edited(scene: Scene) -> None:
    """Another url, another configuration, or no selector any more is told; a deployment mends them all."""
    scene.deploy("--as=trafficextension", '--config={"url":"oci://elsewhere","a":1}')
    scene.pods("status-a")
    scene.status("--check")
    path = scene.filter.replace("networking.istio.io/v1alpha3", "extensions.istio.io/v1alpha1")
    path = path.replace("envoyfilters", "trafficextensions")
    scene.api.patch(path, {"spec": {"wasm": {"url": f"oci://other/filter@sha256:{'ab' * 32}"}}})
    digest, edited = scene.reasons()
    assert digest.startswith(
        f"digest differs: it loads sha256:{'ab' * 6}, and was deployed with {scene.image.manifest[:19]}"
    )
    assert re.fullmatch(r"edited by \S+ \(spec\.wasm\.url\): deploy again", edited)
    assert scene.status("--check", ok=False).exit_code == 1
    scene.deploy("--as=trafficextension", '--config={"url":"oci://elsewhere","a":1}')
    scene.status("--check")
    scene.api.patch(path, {"spec": {"wasm": {"pluginConfig": {"b": 2}}, "selector": None}})
    missing, edited = scene.reasons()
    assert missing == "somebody took away spec.selector or spec.targetRefs: deploy again"
    assert re.fullmatch(r"edited by \S+ \(spec\.wasm\.pluginConfig\.b\): deploy again", edited)
    scene.deploy("--as=trafficextension", '--config={"url":"oci://elsewhere","a":1}')
    scene.status("--check")


def test_applied_by_somebody_else(scene: Scene, kube_run: Callable[..., Result]) -> None:
    """What a dry run printed and kubectl applied is nobody's edit."""
    words = ("--id=auth", "--namespace", scene.namespace, "--labels=app=productpage", "--plain-http")
    more = ("--as=trafficextension", "--ignore-version-check", "--dry-run", "--output=json")
    printed = kube_run("deploy", "istio", scene.image.name, *words, *more).json
    (obj,) = printed["items"]
    scene.api.create(obj)
    scene.pods("status-a")
    scene.status("--check")
