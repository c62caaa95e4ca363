"""The registry fails after the command has looked at the image: the nodes never get what they should not have."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fixtures import faults, faulty
from tests.fixtures.agents import Agent
from tests.fixtures.faulty import Fault, Handler
from tests.fixtures.registries import filter_image
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.history import History, picture
from tests.kubernetes.meshes import Mesh
from wasme.image.layouts import Draft

Holds = Callable[..., Draft]


class Scene:
    """One workload on one node whose agent can be stopped, and a registry with one image.

    Attributes:
        image: its reference.
        draft: the image.
        agent: of the node.
    """

    def __init__(self, mesh: Mesh, registry: faulty.Registry, agent: Agent, draft: Draft) -> None:
        self.mesh = mesh
        self.registry = registry
        self.agent = agent
        self.draft = draft
        self.image = f"{registry.host}/a/b:v1"

    def words(self, timeout: str) -> list[str]:
        return ["deploy", "istio", self.image, "--id=test", "--as=envoyfilter", f"--cache-timeout={timeout}",
                *self.mesh.flags]  # fmt: skip

    @contextmanager
    def deploying(self, timeout: str) -> Iterator[subprocess.Popen[str]]:
        """A deployment that has looked at the image, and waits for a node whose agent does nothing yet."""
        self.agent.send(signal.SIGSTOP)
        process = subprocess.Popen(
            [sys.executable, "-m", "wasme", *self.words(timeout)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "KUBECONFIG": str(self.mesh.plane.kubeconfig)},
        )  # fmt: skip
        try:
            wait_until(lambda: self.image in self.mesh.cache_data().get("filters", ""), 60, "it asks for nothing")
            yield process
        finally:
            self.agent.send(signal.SIGCONT)
            if process.poll() is None:
                process.kill()
            process.wait()

    def ended(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        self.agent.send(signal.SIGCONT)
        _, stderr = process.communicate(timeout=120)
        return process.returncode, stderr


@pytest.fixture
def scene(
    mesh: Mesh, faulty_registry: faulty.Registry, holds_image: Holds, agents: Callable[..., list[Agent]], nodes: Any,
    pods: Any,
) -> Scene:  # fmt: skip
    web = mesh.workload("web")
    mesh.run("cache", "install", "--cache-namespace", mesh.cache)
    node = f"{mesh.namespace}-a"
    nodes(node)
    pods(web, node)
    draft = holds_image(faulty_registry, "a/b", "v1", size=60_000)
    (agent,) = agents(mesh.plane, mesh.cache, node)
    return Scene(mesh, faulty_registry, agent, draft)


def _other_bytes(handler: Handler) -> None:
    """Another blob of the same size under the digest."""
    repository, _, name = handler.route.removeprefix("/v2/").rpartition("/blobs/")
    content = handler.registry.blobs[repository, name]
    handler.answer(200, bytes(len(content)), {}, "application/octet-stream")


def _other_manifest(handler: Handler) -> None:
    """A whole other image under the same digest."""
    other = filter_image(seed=7)
    handler.answer(200, other.manifest, {}, other.descriptor.media_type)


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("GET /v2/", faults.hang_up),
        ("GET /v2/", faults.stall(30)),
        ("GET /v2/", faults.status(500)),
        ("GET .*/blobs/", faults.cut_answer(1000)),
        ("GET .*/blobs/", _other_bytes),
        ("GET .*/manifests/", _other_manifest),
        ("GET .*/manifests/", faults.status(404)),
        ("GET .*/blobs/", faults.status(429)),
    ],
    ids=["down", "silent", "broken", "cut", "lying-blob", "lying-manifest", "gone", "busy"],
)
def test_a_registry_that_fails_the_nodes(scene: Scene, pattern: str, fault: Fault) -> None:
    """The command ends with an error that names the node; nothing else has changed, no wrong file is on the node; and
    when the registry is well again the same command does it."""
    mesh = scene.mesh
    before = picture(mesh.plane, mesh.namespace)
    with scene.deploying("3s") as process:
        scene.registry.fault(pattern, fault)
        code, stderr = scene.ended(process)
    assert code == 1, stderr
    assert scene.agent.name in stderr
    assert "Traceback" not in stderr
    assert picture(mesh.plane, mesh.namespace) == before
    assert not any(value.strip() for value in mesh.cache_data().values())
    for file in scene.agent.directory.iterdir():
        if len(file.name) == 64:
            assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name
    scene.registry.heal()
    told = mesh.run(*scene.words("50s"))
    assert set(mesh.filters()) == {"web-test"}
    assert "created Istio EnvoyFilter resource" in told.stderr


def test_a_slow_registry_is_waited_for(scene: Scene) -> None:
    """Every answer takes a second: the filter appears when the file is there, and not before."""

    def slow(handler: Handler) -> None:
        time.sleep(1)
        handler.normal()

    history = History(scene.mesh.plane, scene.mesh.namespace)
    with scene.deploying("40s") as process:
        scene.registry.fault("GET /v2/", slow)
        code, stderr = scene.ended(process)
    assert code == 0, stderr
    assert set(scene.mesh.filters()) == {"web-test"}
    history.end()
    history.require_safe()


def test_a_tag_that_moves_meanwhile(scene: Scene, holds_image: Holds) -> None:
    """Somebody pushes another image under the tag between look and pull: the nodes get the one that was looked at."""
    with scene.deploying("50s") as process:
        other = holds_image(scene.registry, "a/b", "v1", size=70_000)
        code, stderr = scene.ended(process)
    assert code == 0, stderr
    stored = scene.mesh.filters()["web-test"]
    assert stored["metadata"]["annotations"]["wasme.io/manifest"] == scene.draft.descriptor.digest
    assert stored["metadata"]["annotations"]["wasme.io/manifest"] != other.descriptor.digest
    assert scene.agent.file(stored["metadata"]["annotations"]["wasme.io/digest"]).is_file()


def test_a_registry_that_is_down_from_the_beginning(scene: Scene) -> None:
    """One line that names it, and the command writes nothing."""
    mark = scene.mesh.plane.mark()
    scene.registry.fault("GET /v2/", faults.hang_up)
    failed = scene.mesh.run(*scene.words("3s"), ok=False)
    assert failed.exit_code == 1
    assert scene.registry.host in failed.stderr
    assert "Traceback" not in failed.stderr
    assert [each for each in scene.mesh.writes(mark) if scene.agent.name not in each] == []  # nodes tell how they are
