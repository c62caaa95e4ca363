"""Command lines of Envoy and of its container."""

from __future__ import annotations

from pathlib import Path

import pytest

from wasme.deploy.envoy import LocalEnvoy, Running, Target, parse_clusters
from wasme.deploy.provider import Provider
from wasme.deploy.runtime import choose, given_value, native_argv, split_arguments
from wasme.deploy.source import Source, complete
from wasme.deploy.spec import FilterSpec
from wasme.envoy.address import Address
from wasme.errors import UsageError

_PATHS = (Path("/e"), Path("/c.json"), Path("/a"))


@pytest.mark.parametrize(
    ("given", "left_out"),
    [
        ([], []),
        (["-l", "debug"], ["-l", "--component-log-level"]),
        (["-ldebug"], ["-l", "--component-log-level"]),
        (["--log-level=debug"], ["-l", "--component-log-level"]),
        (["--component-log-level", "wasm:debug"], ["--component-log-level"]),
        (["--concurrency", "4"], ["--concurrency"]),
        (["--base-id", "4"], ["--disable-hot-restart"]),
        (["--log-format=%v"], ["--log-format"]),
        (["--admin-address-path=/x"], ["--admin-address-path"]),
    ],
)
def test_nothing_is_given_twice(given: list[str], left_out: list[str]) -> None:
    """Envoy refuses an option that is given twice: what the user gives is left out of ours."""
    every = {
        "--admin-address-path",
        "--concurrency",
        "--disable-hot-restart",
        "-l",
        "--component-log-level",
        "--log-format",
    }
    argv = native_argv(*_PATHS, given, verbose=False, traced=False)
    ours = argv[: len(argv) - len(given)]
    assert argv[len(ours) :] == given
    assert {word for word in ours if word in every} == every - set(left_out)


def test_host_calls_are_logged_only_where_they_are_watched() -> None:
    """Tracing costs: only filters that can call out pay for it."""
    for traced, level in ((True, "wasm:trace"), (False, "wasm:info")):
        argv = native_argv(*_PATHS, [], verbose=False, traced=traced)
        assert argv[argv.index("--component-log-level") + 1] == level


def test_arguments_are_split_like_a_shell() -> None:
    """Plain words as the original split them, and quotes besides."""
    assert split_arguments("-l debug --x 'a b'", "--f") == ["-l", "debug", "--x", "a b"]
    assert split_arguments("", "--f") == []
    with pytest.raises(UsageError, match=r"^--f: No closing quotation"):
        split_arguments("a 'b", "--f")
    assert given_value(["-a", "b", "--x=1"], "--x") == "1"
    assert given_value(["--x", "1"], "--x") == "1"
    assert given_value(["--x"], "--x") is None


def test_the_runtime_that_auto_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is named is taken; auto is Envoy itself where there is one; WASME_USE_PODMAN chooses a container."""
    program = tmp_path / "envoy"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("WASME_ENVOY", str(program))
    assert [choose(each) for each in ("native", "docker", "podman", "auto")] == ["native", "docker", "podman", "native"]
    monkeypatch.setenv("WASME_USE_PODMAN", "yes")
    assert choose("auto") == "native"
    monkeypatch.delenv("WASME_USE_PODMAN")
    monkeypatch.setenv("WASME_ENVOY", "/nonexistent")
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert choose("auto") == "docker"
    monkeypatch.setenv("WASME_USE_PODMAN", "yes")
    assert choose("auto") == "podman"


def test_clusters_are_split_at_the_last_equals_sign() -> None:
    """A cluster's name may hold anything, `=` and `|` too."""
    assert parse_clusters(["outbound|8080||a.b=c=1.2.3.4:5"]) == {"outbound|8080||a.b=c": Address("1.2.3.4", 5)}


@pytest.mark.parametrize(
    ("given", "root_ids", "wanted"),
    [
        (("", ""), ("first", "second"), ("first", "first")),
        (("mine", ""), ("first",), ("mine", "first")),
        (("", "second"), ("first", "second"), ("second", "second")),
        (("", ""), (), ("add-header", "")),
        (("mine", "r"), (), ("mine", "r")),
    ],
)
def test_ids(given: tuple[str, str], root_ids: tuple[str, ...], wanted: tuple[str, str]) -> None:
    """The root id is the image's first, the id is the root id; without any, the id is the image's name."""
    source = Source("localhost:1/demo/add-header:v1", "add-header", Path("/f"), root_ids)
    spec = complete(FilterSpec(id=given[0], image="x", root_id=given[1]), source)
    assert (spec.id, spec.root_id) == wanted


def test_rendering_is_pure() -> None:
    """The same twice, nothing started, and a user's bootstrap is not changed by it."""
    import json

    from tests.fixtures.bootstraps import COMMENTED
    from wasme.envoy.config import default_bootstrap

    for bootstrap in (json.dumps(default_bootstrap()), COMMENTED):
        as_protocol: Provider[None] = LocalEnvoy(Source("n", "n", Path("/f")), Target(bootstrap=bootstrap), Running())
        first, second = (json.dumps(as_protocol.render(FilterSpec(name, "n"), None)) for name in ("i", "other"))
        assert first.replace('"i"', '"other"') == second
        assert '"port_value": 0' in first or '"port_value": 8080' in first
    assert as_protocol.status("i").phase == "absent"
    as_protocol.remove("i")
