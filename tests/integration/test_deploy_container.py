"""`wasme deploy envoy --runtime docker|podman`: the command line that docker gets, and what it says when it fails.

What stands for docker writes down its arguments: no daemon is needed. Where Envoy has to answer, it runs the real one
with the very configuration it was given, in this machine's network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import Result
from tests.fixtures import filters
from tests.fixtures.agents import soon
from tests.fixtures.envoys import Deploy, ask
from tests.fixtures.ports import free_port
from wasme.envoy.address import Address
from wasme.envoy.config import default_bootstrap
from wasme.image.layouts import build
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.image.store import open_store

Run = Callable[..., Result]
Docker = Callable[..., None]

# One argument a line would not do: a configuration has many lines.
_RECORDER = """#!/bin/sh
for word in "$@"; do printf '%s\\037' "$word"; done > "$RECORD"
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "adds.wasm"
    path.write_bytes(filters.adds_config())
    return path


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """Puts a program on PATH that writes down its arguments, and then does as it is told."""

    def install(then: str = "", name: str = "docker") -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / name).write_text(_RECORDER + then)
        (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        monkeypatch.setenv("RECORD", str(tmp_path / "record"))

    return install


def _recorded(tmp_path: Path) -> tuple[list[str], str]:
    """The arguments without the configuration, and the configuration."""
    argv = (tmp_path / "record").read_text().split("\037")[:-1]
    at = argv.index("--config-yaml")
    return argv[:at] + argv[at + 2 :], argv[at + 1]


def _ports(tmp_path: Path) -> list[str]:
    argv, _ = _recorded(tmp_path)
    return [argv[index + 1] for index, word in enumerate(argv) if word == "-p"]


def _bound(text: str) -> list[tuple[str, int]]:
    root = yaml.safe_load(text)
    found = [root["static_resources"]["listeners"][0]["address"], root["admin"]["address"]]
    return [(each["socket_address"]["address"], each["socket_address"]["port_value"]) for each in found]


@pytest.mark.parametrize("tool", ["docker", "podman", "podman by variable"])
def test_the_containers_command_line(
    tool: str, run: Run, module: Path, docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Item by item the original's command line, with docker, with podman, and with WASME_USE_PODMAN."""
    program = tool.partition(" ")[0]
    docker('echo "container\'s own words" >&2\n', program)
    if "variable" in tool:
        monkeypatch.setenv("WASME_USE_PODMAN", "1")
    runtime = "--runtime=docker" if "variable" in tool else f"--runtime={program}"
    common = ("deploy", "envoy", module, "--id=myfilter", "--config=v", runtime, "--listen=0.0.0.0:8081")
    result = run(
        *(*common, "-e", "example.com/envoy:1"),
        *("--docker-run-args", "--network host -e 'A=b c'", "--envoy-run-args", "-l debug"),
    )
    argv, bootstrap = _recorded(tmp_path)
    assert argv == [
        *("run", "--rm", "--name", "myfilter", "--entrypoint", "envoy"),
        *("-v", f"{module}:{module}:ro"),
        *("--network", "host", "-e", "A=b c"),
        *("-p", "8081:8081", "-p", "19000:19000"),
        *("example.com/envoy:1", "--disable-hot-restart"),
        *("-l", "debug"),
    ]
    assert bootstrap == run(*common, "--out=-").stdout
    assert "running envoy-in-docker" in result.stderr
    assert 'container_name=myfilter envoy_image="example.com/envoy:1"' in result.stderr
    assert f"mounting filter file at {module}" in result.stderr
    assert "container's own words" in result.stderr


def test_only_the_module_is_mounted(run: Run, docker: Docker, tmp_path: Path) -> None:
    """The container sees the filter's own file of the store, and none of the other images'."""
    docker()
    images = [("one:v1", filters.adds_config()), ("two:v1", filters.adds_config("x-two"))]
    for name, module in images:
        open_store().add(Reference.parse(name), build("oci", module, RuntimeConfig("envoy_proxy", ("v0.2.1",), ())))
    run("deploy", "envoy", "two:v1", "--runtime=docker")
    argv, bootstrap = _recorded(tmp_path)
    host, inside, mode = argv[argv.index("-v") + 1].split(":")
    assert (Path(host).read_bytes(), inside, mode) == (images[1][1], host, "ro")
    assert f"filename: {host}\n" in bootstrap


@pytest.mark.parametrize(
    ("flags", "ports", "bound"),
    [
        ([], ["8080:8080", "19000:19000"], [("0.0.0.0", 8080), ("0.0.0.0", 19000)]),
        (
            ["--listen=127.0.0.1:8081"],
            ["127.0.0.1:8081:8081", "19000:19000"],
            [("0.0.0.0", 8081), ("0.0.0.0", 19000)],
        ),
        (
            ["--listen=0.0.0.0:8081", "--admin=localhost:19001"],
            ["8081:8081", "127.0.0.1:19001:19001"],
            [("0.0.0.0", 8081), ("0.0.0.0", 19001)],
        ),
        (
            ["--listen=[::1]:8081", "--admin=192.0.2.7:19001"],
            ["[::1]:8081:8081", "192.0.2.7:19001:19001"],
            [("0.0.0.0", 8081), ("0.0.0.0", 19001)],
        ),
        (
            ["--listen=127.0.0.1:8081", "--docker-run-args=--network host"],
            ["127.0.0.1:8081:8081", "19000:19000"],
            [("127.0.0.1", 8081), ("0.0.0.0", 19000)],
        ),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) and value[0][:1] == "-" else "",
)
def test_published_ports(
    flags: list[str], ports: list[str], bound: list[tuple[str, int]], run: Run, module: Path, docker: Docker,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Inside it listens on every address of the container, or nobody could reach it; outside, where it was told to."""
    docker()
    run("deploy", "envoy", module, "--runtime=docker", *flags)
    assert _ports(tmp_path) == ports
    assert _bound(_recorded(tmp_path)[1]) == bound


@pytest.mark.parametrize("flag", ["--listen", "--admin"])
def test_a_containers_port_cannot_be_drawn(flag: str, run: Run, module: Path, docker: Docker, tmp_path: Path) -> None:
    """Port 0 would be drawn inside, where nobody sees it: it is refused, and nothing has been started."""
    docker()
    result = run("deploy", "envoy", module, "--runtime=docker", f"{flag}=127.0.0.1:0", ok=False)
    assert result.exit_code == 2
    assert f"Error: {flag}: a container's port cannot be drawn, so 127.0.0.1:0 needs a number\n" in result.stderr
    assert not (tmp_path / "record").exists()


@pytest.mark.parametrize(("tool", "host"), [("docker", "host.docker.internal"), ("podman", "host.containers.internal")])
def test_loopback_of_the_container(tool: str, host: str, run: Run, module: Path, docker: Docker) -> None:
    """An upstream or a cluster on loopback is the container itself: one warning each, with the name to take."""
    docker(name=tool)
    flags = ["--upstream=127.0.0.1:3000", "--cluster=a=localhost:3001", "--cluster=b=10.0.0.1:3002"]
    result = run("deploy", "envoy", module, f"--runtime={tool}", *flags)
    warnings = [line for line in result.stderr.splitlines() if "level=warning" in line]
    assert len(warnings) == 2
    assert "--upstream: inside the container 127.0.0.1 is the container" in warnings[0]
    assert f"{host}:3000" in warnings[0]
    assert f"{host}:3001" in warnings[1]
    shared = run("deploy", "envoy", module, f"--runtime={tool}", *flags, "--docker-run-args=--network=host")
    assert "level=warning" not in shared.stderr


def test_a_bootstrap_on_loopback(run: Run, module: Path, docker: Docker, tmp_path: Path) -> None:
    """A listener of the user's that only the container can reach is told; the user's file is not changed."""
    docker()
    path = tmp_path / "own.json"
    root = default_bootstrap(listen=Address("127.0.0.1", 8081), admin_address=Address("0.0.0.0", 19001))
    path.write_text(json.dumps(root))
    result = run("deploy", "envoy", module, "--runtime=docker", "--bootstrap", path)
    warnings = [line for line in result.stderr.splitlines() if "level=warning" in line]
    assert len(warnings) == 1
    assert "the listener of the bootstrap on 127.0.0.1:8081 is published" in warnings[0]
    assert "0.0.0.0:8081" in warnings[0]
    assert _ports(tmp_path) == ["8081:8081", "19001:19001"]
    assert _bound(_recorded(tmp_path)[1]) == [("127.0.0.1", 8081), ("0.0.0.0", 19001)]


def test_the_containers_name(run: Run, module: Path, docker: Docker, tmp_path: Path) -> None:
    """An id that is no name of a container gives one that is; the filter keeps its id."""
    docker()
    run("deploy", "envoy", module, "--runtime=docker", "--id=my id/x")
    argv, bootstrap = _recorded(tmp_path)
    assert argv[argv.index("--name") + 1] == "my-id-x"
    assert "name: my id/x\n" in bootstrap


def test_json_of_a_detached_container(run: Run, module: Path, docker: Docker) -> None:
    """`docker run -d` ends at once: what is known is printed, and that it has ended."""
    docker("echo 0123456789ab\n")
    result = run("deploy", "envoy", module, "--id=my id", "--runtime=docker", "-o", "json", "--docker-run-args=-d")
    assert result.json == {
        "id": "my id",
        "url": "http://127.0.0.1:8080",
        "admin": "http://127.0.0.1:19000",
        "container": "my-id",
        "state": "ended",
    }
    assert "0123456789ab" in result.stderr


# Runs what the container would, in this machine's network.
_REAL = """
while [ "$1" != --config-yaml ]; do shift; done
exec "$ENVOY" --concurrency 1 --disable-hot-restart "$@"
"""


@pytest.mark.parametrize("admin", ["reachable", "hidden"])
def test_json_of_a_running_container(
    admin: str, deploy: Deploy, module: Path, docker: Docker, envoy_binary: Path, tmp_path: Path
) -> None:
    """Where it answers, once it does; where the admin interface is out of reach, that nothing tells."""
    docker(_REAL)
    ports = [free_port(), free_port()]
    path = tmp_path / "own.json"
    host = "0.0.0.0" if admin == "reachable" else "127.0.0.1"
    root = default_bootstrap(listen=Address("0.0.0.0", ports[0]), admin_address=Address(host, ports[1]))
    path.write_text(json.dumps(root))
    deployed = deploy(
        *(module, "--id=mine", "--config=v", "--runtime=docker", "-o", "json", "--bootstrap", path),
        ports=False,
        ready=False,
        ENVOY=str(envoy_binary),
    )
    deployed.wait_for("envoy (is ready|was started)")
    url = f"http://127.0.0.1:{ports[0]}"
    told = json.loads(deployed.out.read_text())
    if admin == "reachable":
        assert told == {
            "id": "mine", "url": url, "admin": f"http://127.0.0.1:{ports[1]}", "container": "mine", "state": "ready",
        }  # fmt: skip
    else:
        assert told == {"id": "mine", "url": url, "container": "mine", "state": "started"}
        deployed.wait_for("the admin interface of the bootstrap on .* is published, but only the container itself")
    assert ask(url).headers["hello"] == "v"
    assert deployed.stop() == 0


@pytest.mark.parametrize(
    ("said", "told", "hint"),
    [
        (
            "docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
            "\n\nRun 'docker run --help' for more information",
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            "--runtime native",
        ),
        (
            "docker: Cannot connect to the Docker daemon at tcp://x. Is the docker daemon running?.\n"
            "See 'docker run --help'.",
            "Cannot connect to the Docker daemon at tcp://x. Is the docker daemon running?.",
            "--runtime native",
        ),
        (
            "0123456789ab\ndocker: Error response from daemon: driver failed programming external connectivity on "
            "endpoint f: Bind for 0.0.0.0:8080 failed: port is already allocated.",
            "driver failed programming external connectivity on endpoint f: Bind for 0.0.0.0:8080 failed: port is "
            "already allocated.",
            "--listen and --admin take other ones",
        ),
        (
            'docker: Error response from daemon: Conflict. The container name "/f" is already in use by container "1".',
            'Conflict. The container name "/f" is already in use by container "1".',
            "--id gives the container another name",
        ),
        ("Error: short-name did not resolve", "short-name did not resolve", None),
    ],
    ids=["no daemon", "no daemon, older", "port", "name", "podman"],
)
def test_what_docker_says(
    said: str, told: str, hint: str | None, run: Run, module: Path, docker: Docker, tmp_path: Path
) -> None:
    """Docker's reason is the error, once, and not the pointer to its help."""
    (tmp_path / "said").write_text(said + "\n")
    docker(f"cat {tmp_path}/said >&2\nexit 125\n")
    result = run("deploy", "envoy", module, "--runtime=docker", ok=False)
    assert result.exit_code == 1
    assert result.stderr.count(told) == 1
    assert f"Error: docker exited 125: {told}\n" in result.stderr
    assert "--help" not in result.stderr
    assert ("Hint: " in result.stderr) is (hint is not None)
    assert hint is None or hint in result.stderr.splitlines()[-1]


def test_the_pull_of_the_image_is_shown_at_once(deploy: Deploy, module: Path, docker: Docker, tmp_path: Path) -> None:
    """What docker says of its own work is not held back: a pull takes minutes."""
    docker(f"touch {tmp_path}/begun; echo 'v1.40: Pulling from envoyproxy/envoy' >&2\nexec sleep 60\n")
    flags = ("--listen", "127.0.0.1:8081", "--admin", f"127.0.0.1:{free_port()}")
    deployed = deploy(module, "--runtime=docker", *flags, ready=False, ports=False)
    assert soon((tmp_path / "begun").exists)
    deployed.wait_for("Pulling from", timeout=4)  # after five seconds everything is shown
    assert deployed.stop() == 0


def test_another_envoy_on_the_admin_port(
    run: Run, module: Path, docker: Docker, deploy: Deploy, tmp_path: Path
) -> None:
    """An Envoy that was there before is not taken for the new one, which does not get its port."""
    there = deploy(module)
    port = there.admin.rpartition(":")[2]
    docker("sleep 0.3; echo 'docker: Error response from daemon: address already in use.' >&2; exit 125\n")
    result = run("deploy", "envoy", module, "--runtime=docker", f"--admin=127.0.0.1:{port}", ok=False)
    assert "envoy is ready" not in result.stderr
    assert "Error: docker exited 125: address already in use.\nHint: another program or container" in result.stderr


def test_a_bootstrap_that_envoy_refuses_in_a_container(
    run: Run, module: Path, docker: Docker, envoy_binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy's reason is as short from a container, where its log has Envoy's own form."""
    docker(_REAL)
    monkeypatch.setenv("ENVOY", str(envoy_binary))
    path = tmp_path / "own.yaml"
    root = default_bootstrap(listen=Address("0.0.0.0", free_port()), admin_address=Address("0.0.0.0", free_port()))
    root["static_resources"]["clusters"][0]["connect_timeout"] = "soon"
    path.write_text(yaml.safe_dump(root))
    result = run("deploy", "envoy", module, "--runtime=docker", "--bootstrap", path, ok=False)
    assert [line for line in result.stderr.splitlines() if "level=info" not in line] == [
        f"Error: Envoy refuses {path}: static_resources.clusters[0].connect_timeout: duration must start with an "
        "integer",
        "Hint: the same command with --out=- shows the whole configuration, with the filter in it",
    ]


def test_no_docker(run: Run, module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--runtime docker` without docker is one line."""
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("deploy", "envoy", module, "--runtime=docker", ok=False)
    assert "Error: docker is not on PATH\nHint: " in result.stderr
