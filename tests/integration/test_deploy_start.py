"""`wasme deploy envoy`: why Envoy did not start, in one line, and whatever comes before it is ready."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures import filters
from tests.fixtures.deployments import failing, module_file, store_filter
from tests.fixtures.envoys import Deploy, alive, ask
from tests.fixtures.ports import free_port
from wasme.envoy.address import Address
from wasme.envoy.config import default_bootstrap

Run = Callable[..., Result]
_ANY = Address("127.0.0.1", 0)
_WHOLE = "the same command with --out=- shows the whole configuration, with the filter in it"


@pytest.fixture
def image(home: Path) -> str:
    """The image of a filter that adds its configuration as the header `hello`."""
    return store_filter("localhost:5000/demo/add-header:v0.1", filters.adds_config(), "add_header")


def _taken() -> tuple[socket.socket, int]:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken, taken.getsockname()[1]


@pytest.mark.parametrize("flag", ["--listen", "--admin"])
def test_a_port_in_use(flag: str, deploy: Deploy, image: str) -> None:
    """A taken port is one line that names it and one that names the flags, without Envoy's own lines; -v has them."""
    other = "--admin" if flag == "--listen" else "--listen"
    taken, port = _taken()
    arguments = (image, flag, f"127.0.0.1:{port}", other, "127.0.0.1:0")
    with taken:
        result, verbose = failing(deploy, *arguments), failing(deploy, *arguments, "-v")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: Envoy cannot bind 127.0.0.1:{port}: Address already in use\n"
        "Hint: another program has that port: --listen and --admin take other ones; port 0 takes any free one\n"
    )
    assert "[critical][main]" in verbose.stderr


def test_an_address_of_no_interface(deploy: Deploy, image: str) -> None:
    """An address that the machine does not have is told as that, not as a taken port."""
    result = failing(deploy, image, "--listen", "192.0.2.1:8080", "--admin", "127.0.0.1:0")
    assert result.stderr == (
        "Error: Envoy cannot bind 192.0.2.1:8080: Cannot assign requested address\n"
        "Hint: no network of this machine has that address: 127.0.0.1 is this machine alone, 0.0.0.0 all of its "
        "addresses\n"
    )


def test_a_port_of_the_bootstrap_in_use(deploy: Deploy, image: str, tmp_path: Path) -> None:
    """Beside --bootstrap the hint names its file, not flags that are refused there."""
    taken, port = _taken()
    path = tmp_path / "own.json"
    path.write_text(json.dumps(default_bootstrap(listen=Address("127.0.0.1", port), admin_address=_ANY)))
    with taken:
        result = failing(deploy, image, "--bootstrap", path, ports=False)
    assert f"Hint: another program has that port: change it in {path}; port 0 takes any free one" in result.stderr
    assert "--listen" not in result.stderr


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["listeners", 0, "nosuch"], 1, "static_resources.listeners[0]: no such field: 'nosuch'"),
        (
            ["listeners", 0, "filter_chains", 0, "filters", 0, "typed_config", "nosuch"],
            1,
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config: no such field: 'nosuch'",
        ),
        (
            ["clusters", 0, "connect_timeout"],
            "soon",
            "static_resources.clusters[0].connect_timeout: duration must start with an integer",
        ),
        (
            ["clusters", 0, "connect_timeout"],
            "0s",
            "static_resources.clusters[0].connect_timeout: value must be greater than 0s",
        ),
        (
            ["listeners", 0, "filter_chains", 0, "filters", 0, "typed_config", "stat_prefix"],
            "",
            "stat_prefix of HttpConnectionManager: value length must be at least 1 characters",
        ),
        (["clusters", 0, "type"], "NOPE", "static_resources.clusters[0].type: unknown enum value: 'NOPE'"),
        (
            ["clusters", 0, "typed_extension_protocol_options"],
            {"x": {"@type": "type.googleapis.com/a.B"}},
            "static_resources.clusters[0].typed_extension_protocol_options.x.@type: could not find @type "
            "'type.googleapis.com/a.B'",
        ),
        (["clusters", 0, "name"], "other", "route: unknown cluster 'echo'"),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, list) else "",
)
def test_a_bootstrap_that_envoy_refuses(
    path: list[str | int], value: object, told: str, deploy: Deploy, image: str, tmp_path: Path
) -> None:
    """The field's path and the reason, once, in one line; not the configuration that Envoy quotes around."""
    root = default_bootstrap(listen=_ANY, admin_address=_ANY)
    *steps, last = path
    node = root["static_resources"]
    for step in steps:
        node = node[step]
    node[last] = value
    file = tmp_path / "own.json"
    file.write_text(json.dumps(root))
    result = failing(deploy, image, "--bootstrap", file, ports=False)
    assert result.exit_code == 1
    assert result.stderr == f"Error: Envoy refuses {file}: {told}\nHint: {_WHOLE}\n"


def test_what_is_held_back_is_shown_when_ready(deploy: Deploy, image: str, tmp_path: Path) -> None:
    """A filter's lines while Envoy starts are shown, in order, before it is told to be ready."""
    log = deploy(image).log.read_text()
    assert 0 <= log.find("wasm log add_header add_header: hello") < log.find("envoy is ready")


def test_what_no_error_explains_is_shown(deploy: Deploy, image: str, tmp_path: Path) -> None:
    """Where the error is not all there is to know, Envoy's own lines stand above it."""
    envoy = _script(tmp_path / "envoy", "echo '[t][error][main] odd' >&2; echo 'more of it' >&2; exit 3")
    result = failing(deploy, image, WASME_ENVOY=str(envoy))
    assert result.stderr == "[t][error][main] odd\nmore of it\nError: envoy exited 3: odd\n"


def test_a_second_deploy_on_the_same_port(deploy: Deploy, image: str) -> None:
    """Two Envoys never share a port's requests silently."""
    port = free_port()
    deploy(image, "--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0", ports=False)
    result = failing(deploy, image, "--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0")
    assert f"cannot bind 127.0.0.1:{port}" in result.stderr


def test_a_filter_that_refuses_its_configuration(deploy: Deploy, tmp_path: Path) -> None:
    """What only Envoy can tell is told with Envoy's reason, and what the filter logged."""
    module = filters.module(
        """(data (i32.const 16) "no header given") (func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $log (i32.const 4) (i32.const 16) (i32.const 15))) (i32.const 0))""",
        imports=filters.LOG,
    )
    result = failing(deploy, module_file(tmp_path / "f.wasm", module))
    assert result.exit_code == 1
    assert "wasm log f: no header given" in result.stderr
    assert "[wasm] Wasm VM failed" not in result.stderr
    error = next(line for line in result.stderr.splitlines() if line.startswith("Error:"))
    assert error == "Error: envoy exited 1: Failed to configure base Wasm plugin (the filter said: no header given)"
    assert "Hint: the filter did not take its configuration: look at --config and --root-id" in result.stderr


def test_a_trap_while_configuring(deploy: Deploy, tmp_path: Path) -> None:
    """A trap is named with the callback it happened in."""
    module = filters.module('(func (export "proxy_on_configure") (param i32 i32) (result i32) unreachable)')
    result = failing(deploy, module_file(tmp_path / "f.wasm", module))
    assert "Function: proxy_on_configure failed: Uncaught RuntimeError: unreachable" in result.stderr


@pytest.mark.parametrize(
    "case", [each for each in filters.CORPUS if each.seen and each.decisive], ids=lambda each: each.name
)
def test_refused_before_envoy_starts(
    case: filters.Case, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that Envoy would refuse is refused first, with Envoy's words and a hint, without any Envoy."""
    monkeypatch.setenv("WASME_ENVOY", "/nonexistent")
    result = run("deploy", "envoy", module_file(tmp_path / "f.wasm", case.make()), "--runtime=native", ok=False)
    assert result.exit_code == 1
    assert "would refuse this module" in result.stderr
    assert str(case.decisive) in result.stderr
    assert "\nHint: " in result.stderr


def test_no_image(run: Run, image: str) -> None:
    """An image that is not in the store: the original's words."""
    result = run("deploy", "envoy", "localhost:5000/demo/add-header:v9", ok=False)
    assert result.exit_code == 1
    assert (
        "Error: failed to retrieve image. make sure to run `wasme pull localhost:5000/demo/add-header:v9` to pull the "
        "image to your local storage.: " in result.stderr
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nosuch.wasm", "there is no file nosuch.wasm"),
        ("./nosuch.wasm", "there is no file ./nosuch.wasm"),
        ("build/No Such.wasm", "there is no file build/No Such.wasm"),
        ("../nosuch", "there is no file ../nosuch"),
        ("./folder", "./folder is a folder"),
        ("./file.txt", "./file.txt is no .wasm file"),
    ],
)
def test_no_file(name: str, words: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can only be meant as a file is not told to be an image."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").touch()
    result = run("deploy", "envoy", name, ok=False)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {words}\nHint: ")


def test_an_image_named_like_a_file(run: Run) -> None:
    """A tag that ends in .wasm is found in the store all the same."""
    assert run("deploy", "envoy", store_filter("demo/filter.wasm", filters.adds_config()), "--out=-").stdout


def test_no_envoy(run: Run, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$WASME_ENVOY` that is no program is one line that says so."""
    monkeypatch.setenv("WASME_ENVOY", "/nonexistent/envoy")
    result = run("deploy", "envoy", image, "--runtime=native", ok=False)
    assert "Error: $WASME_ENVOY is /nonexistent/envoy, which is no program\nHint: " in result.stderr


def _script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_not_ready_in_time(deploy: Deploy, image: str, tmp_path: Path) -> None:
    """An Envoy that does not get ready is stopped and told, with the last serious line of its log."""
    pid = tmp_path / "pid"
    script = f"echo '[now][warning][main] waiting for something' >&2\necho $$ > {pid}\nexec sleep 60"
    envoy = _script(tmp_path / "envoy", script)
    result = failing(deploy, image, "--ready-timeout=3s", WASME_ENVOY=str(envoy))
    assert "Error: Envoy was not ready within 3 s; its log says: waiting for something\n" in result.stderr
    assert "--ready-timeout" in result.stderr
    assert not alive(int(pid.read_text()))


def test_slow_start_is_told(image: str, deploy: Deploy, tmp_path: Path) -> None:
    """After five seconds Envoy's own lines are shown, and one that says it is still starting; 0 s is no limit."""
    envoy = _script(tmp_path / "envoy", "echo '[t][warning][main] slow disk' >&2; exec sleep 60")
    deployed = deploy(image, "--ready-timeout=0s", ready=False, WASME_ENVOY=str(envoy))
    told = deployed.wait_for(r"envoy is still starting.* seconds=(\d+)")
    assert int(told[1]) >= 5
    assert deployed.log.read_text().startswith("[t][warning][main] slow disk\n")
    assert deployed.stop() == 0


def test_bad_envoy_arguments(deploy: Deploy, image: str) -> None:
    """Envoy's own complaint about its arguments is the message, not its usage."""
    result = failing(deploy, image, "--envoy-run-args=--nonsense")
    assert "Error: envoy exited 1: --nonsense -- Couldn't find match for argument" in result.stderr


def test_envoy_arguments_go_before_ours(deploy: Deploy, image: str) -> None:
    """What the user gives Envoy is not given twice; `-l debug` shows Envoy's debug lines."""
    deployed = deploy(image, "--envoy-run-args", "-l debug --concurrency 2 --log-format '%l says %v'")
    assert ask(deployed.url).status == 200
    deployed.wait_for("^debug says ")


def test_levels_of_the_users_own_keep_the_watch(deploy: Deploy, tmp_path: Path) -> None:
    """With `-l debug` an unknown cluster is told as well, and host calls are shown only to who asks for `trace`."""
    module = module_file(tmp_path / "f.wasm", filters.calls_out("nowhere"))
    for level, shown in (("debug", False), ("trace", True)):
        deployed = deploy(module, f"--envoy-run-args=-l {level}")
        ask(deployed.url)
        deployed.wait_for("called out to the cluster 'nowhere'")
        deployed.stop()
        assert ("[vm->host] env.proxy_http_call" in deployed.log.read_text()) is shown
