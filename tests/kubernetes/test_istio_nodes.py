"""Deploying waits for the nodes: no proxy is told of a file that its node does not hold. The agents are real ones."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.agents import Agent
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes import meshes
from tests.kubernetes.meshes import USER_VOLUME, Mesh, lines

Agents = Callable[..., list[Agent]]


@pytest.fixture
def names(mesh: Mesh) -> list[str]:
    """Names of three nodes of this test's own."""
    return [f"{mesh.namespace}-{each}" for each in "abc"]


def prepared(mesh: Mesh) -> None:
    """The cache's namespace has its ConfigMap before the agents start."""
    mesh.run("cache", "install", "--cache-namespace", mesh.cache)


def test_two_nodes_hold_it_before_the_filter_is_written(
    mesh: Mesh, image: meshes.Pushed, agents: Agents, nodes: Any, pods: Any, names: list[str]
) -> None:
    """[BUG, decisive: a cluster of two nodes always timed out] Both nodes have the file, complete, when the EnvoyFilter
    appears; a node without a pod of the workload is not asked. The lines are the original's."""
    web = mesh.workload("web")
    prepared(mesh)
    nodes(*names)
    pods(web, *names[:2])
    first, second = agents(mesh.plane, mesh.cache, *names[:2])
    mark = mesh.plane.mark()
    told = mesh.deploy(image.name, "--cache-timeout=50s", "--log-format=text")
    (written,) = [
        datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
        for event in mesh.plane.audit(mark)
        if event["verb"] == "patch" and f"/{mesh.namespace}/envoyfilters/web-test" in event["requestURI"]
    ]
    for agent in (first, second):
        assert agent.file(image.module).stat().st_mtime < written
    texts = [each[11:].rstrip() for each in lines(told.stderr)]
    order = (
        "added image to cache config...",
        "waiting for event with timeout 50s",
        "cleaning up cache events for image",
        "updated workload sidecar annotations",
        "created Istio EnvoyFilter resource",
    )
    at = [next(number for number, text in enumerate(texts) if text.startswith(start)) for start in order]
    assert at == sorted(at)
    assert set(mesh.filters()) == {"web-test"}


def test_a_timeout_leaves_the_cluster_as_it_was(
    mesh: Mesh, image: meshes.Pushed, agents: Agents, nodes: Any, pods: Any, names: list[str]
) -> None:
    """[BUG: the image stayed registered, so the retry did not wait] One node's agent is silent: the command fails after
    its time and names the node; workload and ConfigMap are as they were, and the next try waits again."""
    web = mesh.workload("web")
    prepared(mesh)
    nodes(*names)
    pods(web, *names[:2])
    agents(mesh.plane, mesh.cache, names[0])
    for _ in range(2):
        # Time enough for the agent that is there, however slow it is.
        failed = mesh.deploy(image.name, "--cache-timeout=8s", ok=False)
        assert failed.exit_code == 1
        assert "timed out after 8s" in failed.stderr
        assert names[1] in failed.stderr
        assert names[0] not in failed.stderr
        assert mesh.filters() == {}
        assert mesh.template("web") == {"labels": {"app": "web"}}
        assert not any(mesh.cache_data().values())


def test_three_nodes_one_of_them_dead(
    mesh: Mesh, image: meshes.Pushed, agents: Agents, nodes: Any, pods: Any, names: list[str]
) -> None:
    """A node that is not ready is told, and not waited for."""
    web = mesh.workload("web")
    prepared(mesh)
    nodes(*names[:2])
    nodes(names[2], ready=False)
    pods(web, *names)
    agents(mesh.plane, mesh.cache, *names[:2])
    told = mesh.deploy(image.name, "--cache-timeout=50s")
    assert "nodes are not ready, and not waited for" in told.stderr
    assert names[2] in told.stderr
    assert set(mesh.filters()) == {"web-test"}


def test_an_image_that_is_gone_is_told_at_once(
    mesh: Mesh, image: meshes.Pushed, agents: Agents, nodes: Any, pods: Any, names: list[str]
) -> None:
    """Where no node can ever pull, the wait ends before its time with the agents' reason: here the cache goes to
    another place than the command."""
    web = mesh.workload("web")
    registry = image.name.partition("/")[0]
    mesh.run("cache", "install", "--cache-namespace", mesh.cache, "--registry-map", f"{registry}={registry}/nowhere")
    nodes(*names[:1])
    pods(web, *names[:1])
    agents(mesh.plane, mesh.cache, names[0])
    begun = time.monotonic()
    failed = mesh.deploy(image.name, "--cache-timeout=100s", ok=False)
    assert time.monotonic() - begun < 90
    assert "no node can pull it: " in failed.stderr
    assert "UNKNOWN" in failed.stderr, failed.stderr
    assert names[0] in failed.stderr
    assert mesh.filters() == {}


def test_another_image_is_held_before_the_filter_changes(
    mesh: Mesh,
    image: meshes.Pushed,
    docker_registry: DockerRegistry,
    agents: Agents,
    nodes: Any,
    pods: Any,
    names: list[str],
) -> None:
    """A moved tag: the same reference stands for another module, whose file is there before the EnvoyFilter names it;
    then the old module's line goes, and no pod restarts."""
    web = mesh.workload("web")
    prepared(mesh)
    nodes(names[0])
    pods(web, names[0])
    (agent,) = agents(mesh.plane, mesh.cache, names[0])
    mesh.deploy(image.name, "--cache-timeout=50s")
    template = mesh.template("web")
    moved = meshes.push(docker_registry, image.name, seed=9)
    assert moved.module != image.module
    mesh.deploy(image.name, "--cache-timeout=50s")
    assert agent.file(moved.module).exists()
    assert moved.module.removeprefix("sha256:") in str(mesh.filters())
    assert mesh.cache_data()["filters"] == f"{mesh.namespace}/test {image.name} {moved.manifest} {moved.module}"
    assert mesh.template("web") == template


@pytest.fixture
def private(mesh: Mesh, login_registry: DockerRegistry, agents: Agents, nodes: Any, pods: Any, names: list[str],
            home: Path) -> meshes.Pushed:  # fmt: skip
    """An image that the command may pull, and the agent of the only node may not."""
    auth = base64.b64encode(f"{login_registry.user}:{login_registry.password}".encode()).decode()
    (home / ".wasme").mkdir(exist_ok=True)
    (home / ".wasme" / "credentials.json").write_text(json.dumps({"auths": {login_registry.host: {"auth": auth}}}))
    image = meshes.push(login_registry)
    web = mesh.workload("web")
    prepared(mesh)
    nodes(names[0])
    pods(web, names[0])
    empty = home / "nobody"
    empty.mkdir()
    agents(mesh.plane, mesh.cache, names[0], environment={"HOME": str(empty)})
    return image


def test_a_private_image(mesh: Mesh, private: meshes.Pushed) -> None:
    """The command's own credential reaches the nodes with --share-credentials, and only then; the Secret goes with the
    filter."""
    refused = mesh.deploy(private.name, "--cache-timeout=50s", ok=False)
    assert "wants a login" in refused.stderr
    assert "--share-credentials" in refused.stderr
    mesh.deploy(private.name, "--cache-timeout=50s", "--share-credentials")
    secrets = f"/api/v1/namespaces/{mesh.cache}/secrets"
    assert len(mesh.api.list(secrets)) == 1
    mesh.undeploy()
    assert mesh.api.list(secrets) == []


def test_a_timeout_takes_the_shared_credential_back(
    mesh: Mesh, private: meshes.Pushed, nodes: Any, pods: Any, names: list[str]
) -> None:
    """Where the wait ends without success, the Secret beside the cache goes as well."""
    nodes(names[1])
    pods(mesh.get("web"), names[1])  # nobody answers there
    failed = mesh.deploy(private.name, "--cache-timeout=2s", "--share-credentials", ok=False)
    assert "timed out" in failed.stderr
    assert mesh.api.list(f"/api/v1/namespaces/{mesh.cache}/secrets") == []


def test_a_pull_secret_of_the_workloads_namespace(
    mesh: Mesh, private: meshes.Pushed, login_registry: DockerRegistry
) -> None:
    """--pull-secret names a Secret beside the workload, also one of the original's form; the nodes pull with it. One
    that is not there is told, and nothing was asked of the nodes."""
    missing = mesh.deploy(private.name, "--pull-secret=mine", ok=False)
    assert f"pull secret {mesh.namespace}/mine" in missing.stderr
    assert not any(mesh.cache_data().values())
    texts = {"username": login_registry.user, "password": login_registry.password}
    meta = {"name": "mine", "namespace": mesh.namespace}
    mesh.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": texts})
    told = mesh.deploy(private.name, "--pull-secret=mine", "--cache-timeout=50s", "-v")
    assert login_registry.password not in told.stderr
    assert set(mesh.filters()) == {"web-test"}
    mark = mesh.plane.mark()
    mesh.deploy(private.name, "--pull-secret=mine", "--cache-timeout=50s")
    assert mesh.writes(mark) == []


def test_timeout_zero_goes_on_at_once(
    mesh: Mesh, image: meshes.Pushed, nodes: Any, pods: Any, names: list[str]
) -> None:
    """--cache-timeout=0 does not wait, in the original's words; the gate still holds new pods back."""
    web = mesh.workload("web")
    nodes(names[0])
    pods(web, names[0])
    told = mesh.deploy(image.name, "--cache-timeout=0")
    assert "skipping cache events wait" in told.stderr
    assert set(mesh.filters()) == {"web-test"}
    assert "cache-ready" in mesh.annotations("web")[USER_VOLUME]
