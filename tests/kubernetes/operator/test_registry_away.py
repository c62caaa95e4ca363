"""A registry that is away while operators come and go: what runs is known by the cluster alone, and left as it is."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.fixtures.registries import DockerRegistry, start
from tests.fixtures.tools import need
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import push
from tests.kubernetes.operator.world import World


def again(registry: DockerRegistry, folder: Path) -> DockerRegistry:
    """The same registry, at the same address, with the same content."""
    host, _, port = registry.host.partition(":")
    end = time.monotonic() + 30
    while True:
        process = subprocess.Popen(
            [need("docker-registry"), "serve", str(folder / "config.yml")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None:  # it ends where a connection of somebody else has the port just now
            with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                return DockerRegistry(registry.host, registry.data, process)
            time.sleep(0.05)
        assert time.monotonic() < end, "its port stays taken"
        time.sleep(0.5)


def state(world: World, name: str) -> tuple[str, str]:
    """Of a workload, as the status tells it."""
    found = {each["name"]: each for each in world.status("web").get("targets") or []}.get(name, {})
    return found.get("state", ""), found.get("reason", "")


def test_an_operator_that_never_saw_the_image(world: World, tmp_path: Path) -> None:
    """The operator is killed and the registry stopped; the next operator knows the image by the status. What carries
    it counts, what is new or was changed waits with the registry's error, and nothing is touched. When the registry
    is back that is mended, and what was right is not written.
    """
    folder = tmp_path / "registry"
    folder.mkdir()
    registry = start(folder)
    try:
        pushed = push(registry)
        world.nodes("alpha")
        for name in ("one", "two"):
            world.workload(name, "alpha", labels={"tier": "web", "app": name})
        world.apply("web", pushed.name, {"tier": "web"})
        first = world.operator()
        world.wait("web", "Ready", "Degraded=False", seconds=90)
        first.kill()
        registry.stop()
        carriers = {name: each["metadata"]["resourceVersion"] for name, each in world.filters().items()}
        mark = world.plane.mark()
        world.operator()
        world.wait("web", "ImageResolved", "Degraded", "Cached", "Programmed", "Ready")
        assert world.condition("web", "ImageResolved")["reason"] == "Kept"
        assert registry.host in world.condition("web", "Degraded")["message"]
        assert state(world, "one") == state(world, "two") == ("Succeeded", "")
        world.workload("three", "alpha", labels={"tier": "web", "app": "three"})
        drifted = world.envoy_filter(world.carrier("two", "web"))
        world.api.patch(drifted, {"spec": {"configPatches": []}})
        for name in ("two", "three"):
            wait_until(lambda: state(world, name)[0] == "Pending", 60, lambda: str(world.status("web")))  # noqa: B023
            assert registry.host in state(world, name)[1]
        assert state(world, "one") == ("Succeeded", "")
        assert world.is_("web", "ImageResolved", "Cached", "Programmed=False", "Degraded")
        world.kubelets.agents["alpha"].file(pushed.module).unlink()
        world.wait("web", "Cached=False")
        wrote = [each for each in world.writes(mark) if "/events" not in each]
        assert wrote
        assert set(wrote) == {f"update {world.path('web')}/status"}
        assert world.carrier("three", "web") not in world.filters()
        assert world.get(drifted)["spec"]["configPatches"] == []
        registry = again(registry, folder)
        world.wait("web", "Ready", "Degraded=False", seconds=240)
        assert world.condition("web", "ImageResolved")["reason"] == "Resolved"
        now = {name: each["metadata"]["resourceVersion"] for name, each in world.filters().items()}
        right = world.carrier("one", "web")
        assert now[right] == carriers[right], "what was right was written"
        assert set(now) == {world.carrier(name, "web") for name in ("one", "two", "three")}
        assert world.get(drifted)["spec"]["configPatches"]
    finally:
        registry.stop()
