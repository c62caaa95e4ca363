"""Whole deployments by the command line, several at once, with real agents."""

import os
import subprocess
import sys

from tests.fixtures.agents import soon
from tests.kubernetes import meshes
from tests.kubernetes.node_cache.reading import events
from wasme.deploy.cache import protocol
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.statuses import holdings

AT_ONCE = 4


def command(mesh, kubeconfig, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "wasme", *words, *mesh.flags],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(processes):
    return [(each.communicate(timeout=240), each.returncode) for each in processes]


def test_deployments_at_once(mesh, control_plane, cluster, nodes, pods, agents, docker_registry):
    """Four deployments of four filters, started at once where no cache was, lose nothing; nor do their undeployments.

    They install the cache together, register, wait for real agents on two nodes, and write their filters. Then half of
    the filters is taken away at once: the cache asks for the other half alone, and then for nothing.
    """
    names = [f"{mesh.namespace}-{each}" for each in "ab"]
    nodes(*names)
    pods(mesh.workload("web"), *names)
    images = [meshes.push(docker_registry, seed=seed) for seed in range(AT_ONCE)]
    started = [
        command(mesh, control_plane.kubeconfig, "deploy", "istio", image.name, f"--id=f{number}", "--as=envoyfilter")
        for number, image in enumerate(images)
    ]
    assert soon(mesh.cache_data, 120)
    running = agents(control_plane, mesh.cache, *names)
    for (out, err), code in ended(started):
        assert code == 0, out + err
    assert set(mesh.filters()) == {f"web-f{number}" for number in range(AT_ONCE)}
    assert all(agent.file(image.module).exists() for agent in running for image in images)
    now = protocol.parse_wanted(mesh.cache_data())
    assert sorted(line.id for line in now.filters) == [f"f{number}" for number in range(AT_ONCE)]
    assert sorted(now.images) == sorted(image.name for image in images)
    options = CacheOptions(namespace=mesh.cache)
    assert all(soon(lambda ref=image.name: len(events(mesh.api, options, ref)) == 2) for image in images)

    half = range(0, AT_ONCE, 2)
    gone = [command(mesh, control_plane.kubeconfig, "undeploy", "istio", f"--id=f{number}") for number in half]
    for (out, err), code in ended(gone):
        assert code == 0, out + err
    left = protocol.parse_wanted(mesh.cache_data())
    assert sorted(line.id for line in left.filters) == [f"f{number}" for number in range(1, AT_ONCE, 2)]
    assert sorted(left.images) == sorted(images[number].name for number in range(1, AT_ONCE, 2))
    rest = [
        command(mesh, control_plane.kubeconfig, "undeploy", "istio", f"--id=f{number}")
        for number in range(1, AT_ONCE, 2)
    ]
    for (out, err), code in ended(rest):
        assert code == 0, out + err
    assert protocol.parse_wanted(mesh.cache_data()) == protocol.Wanted()
    assert mesh.filters() == {}
    assert mesh.annotations("web") == {}
    assert soon(lambda: not any(status.images for status in holdings(cluster, options).values()))
