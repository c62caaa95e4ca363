"""Commands that are killed, and servers that fail under them: run again, everything is as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes import meshes
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.history import History, mounts_cache, picture
from tests.kubernetes.meshes import Mesh
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import connect
from wasme.deploy.istio import caching, existing

_ROOT = Path(__file__).resolve().parents[2]
_OWN = '[{"name":"own","emptyDir":{}}]'
_OWN_MOUNT = '[{"name":"own","mountPath":"/own"}]'


@pytest.fixture
def two(mesh: Mesh) -> Mesh:
    """Two workloads, one of them with volumes of the user's own; the cache is installed."""
    mesh.workload("web")
    mesh.workload("shop", annotations={meshes.USER_VOLUME: _OWN, meshes.USER_MOUNT: _OWN_MOUNT})
    mesh.run("cache", "install", "--cache-namespace", mesh.cache)
    return mesh


def _words(mesh: Mesh, verb: str, *words: str) -> list[str]:
    return [verb, "istio", *words, "--id=test", *mesh.flags]


def _start(mesh: Mesh, *command: str, module: str = "wasme") -> subprocess.Popen[str]:
    environment = {**os.environ, "KUBECONFIG": str(mesh.plane.kubeconfig)}
    return subprocess.Popen(
        [sys.executable, "-m", *module.split(), *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=_ROOT,
    )  # fmt: skip


def _killed(mesh: Mesh, at: int, *command: str) -> tuple[int, str]:
    """Run a command and kill it at its n-th write; how it ended, and what it wrote."""
    process = _start(mesh, *command, module=f"tests.fixtures.killed {at}")
    _, stderr = process.communicate(timeout=120)
    return process.returncode, stderr


def _writes(stderr: str) -> int:
    return int(stderr.rpartition("WRITES ")[2])


def _points(count: int, number: int) -> list[int]:
    """Some of the writes, before and after; all of them over the years."""
    drawn = random.Random().sample(range(1, count + 1), min(number, count))
    return [at * random.choice((1, -1)) for at in sorted(drawn)]


@pytest.mark.parametrize("kind", ["envoyfilter", "trafficextension"])
def test_a_deployment_killed_at_any_write_is_ended_by_the_next(two: Mesh, image: meshes.Pushed, kind: str) -> None:
    """kill -9 before or after any write: the same command again ends it, and no state on the way was unsafe."""
    before = picture(two.plane, two.namespace)
    deploy = _words(two, "deploy", image.name, f"--as={kind}")
    if kind == "envoyfilter":
        deploy.append("--cache-timeout=5s")
    history = History(two.plane, two.namespace)
    code, told = _killed(two, 0, *deploy)
    assert code == 0, told
    wanted, wanted_cache = picture(two.plane, two.namespace), two.cache_data()
    assert wanted != before
    for at in _points(_writes(told), 7):
        two.undeploy()
        assert picture(two.plane, two.namespace) == before, f"undeployed after {at}"
        code, _ = _killed(two, at, *deploy)
        assert code in (0, -signal.SIGKILL)
        two.run(*deploy)
        assert picture(two.plane, two.namespace) == wanted, f"killed at {at}"
        assert two.cache_data() == wanted_cache, f"killed at {at}"
    history.end()
    assert history.require_safe() > 10


@pytest.mark.parametrize("kind", ["envoyfilter", "wasmplugin"])
def test_an_undeployment_killed_at_any_write_is_ended_by_the_next(two: Mesh, image: meshes.Pushed, kind: str) -> None:
    """kill -9 before or after any write: undeploy again leaves what was there before the filter, to the last letter."""
    before, cache_before = picture(two.plane, two.namespace), two.cache_data()
    deploy = _words(two, "deploy", image.name, f"--as={kind}")
    if kind == "envoyfilter":
        deploy.append("--cache-timeout=5s")
    undeploy = _words(two, "undeploy")
    history = History(two.plane, two.namespace)
    two.run(*deploy)
    code, told = _killed(two, 0, *undeploy)
    assert code == 0, told
    for at in _points(_writes(told), 7):
        two.run(*deploy)
        code, _ = _killed(two, at, *undeploy)
        assert code in (0, -signal.SIGKILL)
        again = two.run(*undeploy, ok=False)
        assert again.exit_code == 0 or "found nothing of a filter test" in again.stderr
        assert picture(two.plane, two.namespace) == before, f"killed at {at}"
        left = {key: value for key, value in two.cache_data().items() if value.strip()}
        assert left == {key: value for key, value in cache_before.items() if value.strip()}, f"killed at {at}"
    history.end()
    assert history.require_safe() > 10


@pytest.fixture
def fifty(mesh: Mesh) -> Mesh:
    """Fifty workloads, and the cache."""
    for number in range(50):
        mesh.workload(f"w{number:02}", labels={"app": f"w{number:02}", "all": "yes"})
    mesh.run("cache", "install", "--cache-namespace", mesh.cache)
    return mesh


def _half_way(mesh: Mesh, process: subprocess.Popen[str], holds: Callable[[int], bool]) -> None:
    def there() -> bool:
        ended = process.poll() is not None
        # Where this process was held up, the command may be further than half-way, and be done: how it ended is asked.
        there = holds(len(mesh.filters()))
        assert there or not ended, process.communicate()
        return there

    wait_until(there, 60, "the command does not get half-way")


def _ended(process: subprocess.Popen[str]) -> str:
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    return stderr


@pytest.mark.parametrize("how", ["killed", "stopped", "still"])
def test_the_api_server_fails_half_way_through_fifty(
    fifty: Mesh, image: meshes.Pushed, control_plane: ControlPlane, how: str
) -> None:
    """Restarted or standing still for seconds under a deployment and an undeployment: both end well by themselves."""
    before = picture(fifty.plane, fifty.namespace)
    history = History(fifty.plane, fifty.namespace)

    def fail() -> None:
        if how == "still":
            control_plane.pause()
            time.sleep(3)
            control_plane.resume()
            return
        control_plane.kill() if how == "killed" else control_plane.stop()
        time.sleep(1)
        control_plane.start()

    deploying = _start(fifty, *_words(fifty, "deploy", image.name, "--as=envoyfilter", "--cache-timeout=0"))
    _half_way(fifty, deploying, lambda count: count > 5)
    fail()
    _ended(deploying)
    assert len(fifty.filters()) == 50
    mark = control_plane.mark()
    fifty.deploy(image.name, "--cache-timeout=0")
    assert fifty.writes(mark) == []
    undeploying = _start(fifty, *_words(fifty, "undeploy"))
    _half_way(fifty, undeploying, lambda count: count < 45)
    fail()
    _ended(undeploying)
    assert picture(fifty.plane, fifty.namespace) == before
    history.end()
    assert history.require_safe() > 100


def test_the_api_server_does_not_come_back(mesh: Mesh, image: meshes.Pushed, control_plane: ControlPlane) -> None:
    """One line that says so, within the time that a request is tried again, and no traceback."""
    mesh.workload("web")
    control_plane.stop()
    try:
        began = time.monotonic()
        process = _start(mesh, *_words(mesh, "deploy", image.name))
        _, stderr = process.communicate(timeout=90)
    finally:
        control_plane.start()
    assert process.returncode == 1
    assert time.monotonic() - began < 60
    assert "Traceback" not in stderr
    assert control_plane.url.removeprefix("https://") in stderr


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_of_deeds(two: Mesh, docker_registry: DockerRegistry, seed: int) -> None:
    """Deployments of every kind, undeployments, edits of the user's and kills in any order: no state was unsafe, and
    when all filters are gone the workloads are what the user made of them."""
    draw = random.Random(seed)
    before = picture(two.plane, two.namespace)
    images = [meshes.push(docker_registry, seed=number, layout="compat").name for number in (seed * 10, seed * 10 + 1)]
    history = History(two.plane, two.namespace)
    edits: dict[str, str] = {}
    for _ in range(14):
        deed = draw.choice(["deploy", "deploy", "deploy", "kill", "undeploy", "edit"])
        name = draw.choice("ab")
        kind = draw.choice([["--as=envoyfilter", "--cache-timeout=0"], ["--as=envoyfilter", "--cache-mode=none"],
                            ["--as=wasmplugin"], ["--as=trafficextension"]])  # fmt: skip
        where = draw.choice([[], ["--name=web"]])
        deploy = ["deploy", "istio", draw.choice(images), f"--id={name}", *two.flags, *kind, *where]
        if deed == "deploy":
            two.run(*deploy)
        elif deed == "kill":
            _killed(two, draw.choice((1, -1)) * draw.randint(1, 60), *deploy)
        elif deed == "undeploy":
            two.run("undeploy", "istio", f"--id={name}", *two.flags, *where, ok=False)
        else:
            key, value = f"example.com/{draw.choice('xyz')}", str(draw.random())
            edits[key] = value
            change = {"spec": {"template": {"metadata": {"annotations": {key: value}}}}}
            two.api.patch(f"/apis/apps/v1/namespaces/{two.namespace}/deployments/web", change)
    for name in "ab":
        gone = two.run("undeploy", "istio", f"--id={name}", *two.flags, ok=False)
        assert gone.exit_code == 0 or f"found nothing of a filter {name}" in gone.stderr, gone.stderr
    wanted = json.loads(json.dumps(before))
    wanted["Deployment/web"]["spec"]["template"]["metadata"]["annotations"].update(edits)
    assert picture(two.plane, two.namespace) == wanted
    lines = {key: value for key, value in two.cache_data().items() if key in ("images", "added", "filters")}
    assert not any(value.strip() for value in lines.values()), lines
    history.end()
    history.require_safe()


def test_a_filter_comes_while_the_last_one_goes(two: Mesh, image: meshes.Pushed) -> None:
    """[race] Undeploying the last filter of a workload and deploying another at once: the new one has its volume."""
    where = [*two.flags, "--name=web"]
    deploy = ["deploy", "istio", image.name, *where, "--as=envoyfilter", "--cache-timeout=0"]
    history = History(two.plane, two.namespace)
    for _ in range(5):
        two.run(*deploy, "--id=b")
        going = _start(two, "undeploy", "istio", "--id=b", *where)
        time.sleep(random.random() * 0.15)
        coming = _start(two, *deploy, "--id=a")
        _ended(going)
        _ended(coming)
        template = two.template("web")
        (left,) = two.filters().values()
        assert left["metadata"]["name"] == "web-a"
        assert mounts_cache(template)
        assert left["spec"]["workloadSelector"]["labels"].items() <= template["labels"].items()
        two.undeploy("--name=web", id="a")
    history.end()
    assert history.require_safe() > 10


def test_an_unsafe_state_is_seen(two: Mesh, image: meshes.Pushed) -> None:
    """The looking itself: a filter that selects pods without the volume for one revision is found afterwards."""
    two.deploy(image.name, "--cache-timeout=0", "--name=web")
    unsafe = two.filters()["web-test"]
    two.undeploy("--name=web")
    history = History(two.plane, two.namespace)
    unsafe["spec"]["workloadSelector"]["labels"] = {"app": "web"}
    unsafe["metadata"] = {"name": "unsafe", "namespace": two.namespace}
    two.api.create(unsafe)
    two.api.delete(f"/apis/networking.istio.io/v1alpha3/namespaces/{two.namespace}/envoyfilters/unsafe")
    history.end()
    with pytest.raises(AssertionError, match="unsafe selects web, which has no volume"):
        history.require_safe()


def test_two_deployments_of_one_id(two: Mesh, docker_registry: DockerRegistry) -> None:
    """[race] Each tells the nodes at its end what is needed, and may know of old objects only: what the objects that
    are there now point at stays on the nodes."""
    first, second = (meshes.push(docker_registry, seed=seed) for seed in (41, 42))
    two.deploy(first.name, "--cache-timeout=0")
    options = CacheOptions(namespace=two.cache)
    with connect(two.plane.kubeconfig) as cluster:
        known = existing.read(cluster, [two.namespace], existing.served_kinds(cluster).values()).of_filter("test")
        two.deploy(second.name, "--cache-timeout=0")
        caching.settle(cluster, options, "test", [two.namespace], known)
    lines = two.cache_data()["filters"].splitlines()
    for each in two.filters().values():
        assert each["metadata"]["annotations"]["wasme.io/digest"] == second.module
    assert [line for line in lines if second.module in line]
    assert not [line for line in lines if first.module in line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_half_way_through_fifty(fifty: Mesh, image: meshes.Pushed, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM in the middle: it ends within seconds and in words; what it wrote is safe, the nodes go on
    holding what that needs, and the same command again does the rest."""
    history = History(fifty.plane, fifty.namespace)
    deploying = _start(fifty, *_words(fifty, "deploy", image.name, "--as=envoyfilter", "--cache-timeout=0"))
    _half_way(fifty, deploying, lambda count: count > 3)
    deploying.send_signal(number)
    _, stderr = deploying.communicate(timeout=30)
    assert "Traceback" not in stderr
    there = fifty.filters()
    if len(there) < 50:
        assert deploying.returncode in (130, 143, -number), (deploying.returncode, stderr[-500:])
        assert image.module in fifty.cache_data()["filters"]
    fifty.deploy(image.name, "--cache-timeout=0")
    assert len(fifty.filters()) == 50
    undeploying = _start(fifty, *_words(fifty, "undeploy"))
    _half_way(fifty, undeploying, lambda count: count < 48)
    undeploying.send_signal(number)
    _, stderr = undeploying.communicate(timeout=30)
    assert "Traceback" not in stderr
    fifty.undeploy(ok=False)
    assert fifty.filters() == {}
    assert not any(value.strip() for value in fifty.cache_data().values())
    history.end()
    assert history.require_safe() > 50
