"""The flags of `deploy istio` and `undeploy istio` that do not go together, or would do nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Result

Run = Callable[..., Result]


def refused(run: Run, *words: str) -> str:
    """What a command says that is refused for its words, before anything is asked."""
    result = run(*words, ok=False)
    assert result.exit_code == 2
    return result.stderr


@pytest.mark.parametrize("command", [("deploy", "istio", "image:v1"), ("undeploy", "istio")])
@pytest.mark.parametrize("namespace", ["x", "a", "default"])
def test_one_flag_for_namespaces(run: Run, command: tuple[str, ...], namespace: str) -> None:
    """[issue: -n X --namespaces a,b acted in X too] Both are refused, the default of one of them included."""
    told = refused(run, *command, "--id=auth", "-n", namespace, "--namespaces", "a,b")
    assert "--namespace and --namespaces are mutually exclusive" in told


@pytest.mark.parametrize("words", [("--namespaces=",), ("--namespaces", "a,,b"), ("-n", "")])
def test_no_namespace_is_none(run: Run, words: tuple[str, ...]) -> None:
    """An empty name, as of a variable that is not set, does not mean the namespace default."""
    assert "is empty" in refused(run, "undeploy", "istio", "--id=auth", *words)


@pytest.mark.parametrize("kind", ["wasmplugin", "trafficextension"])
@pytest.mark.parametrize(
    "flag",
    [
        "--cache-repo=x", "--cache-tag=1", "--cache-custom-command=cache", "--cache-image-pull-policy=IfNotPresent",
        "--cache-mode=daemonset", "--cache-mode=none", "--cache-gate=false", "--cache-priority-class=",
    ],
)  # fmt: skip
def test_flags_of_the_node_cache_with_a_kind_that_has_none(run: Run, kind: str, flag: str) -> None:
    """[issue: they were taken, and did nothing] Refused by name, whatever their value."""
    told = refused(run, "deploy", "istio", "image:v1", "--id=auth", "--as", kind, flag)
    assert f"{flag.partition('=')[0]} has no effect with --as {kind}" in told


@pytest.mark.parametrize("mode", ["none", "image-volume"])
@pytest.mark.parametrize("flag", ["--cache-repo=x", "--cache-tag=1", "--cache-gate"])
def test_flags_of_the_node_cache_without_one(run: Run, mode: str, flag: str) -> None:
    """So it is where the module comes another way."""
    told = refused(run, "deploy", "istio", "image:v1", "--id=auth", "--cache-mode", mode, flag)
    assert f"{flag.partition('=')[0]} has no effect with --cache-mode {mode}" in told


@pytest.mark.parametrize(
    ("kind", "priority"),
    [("auto", 2**31), ("wasmplugin", 3_000_000_000), ("trafficextension", -(2**31) - 1), ("envoyfilter", -(2**31))],
)
def test_priority_has_32_bits(run: Run, kind: str, priority: int) -> None:
    """The field is an int32; an EnvoyFilter's is the opposite number, and the least one has none."""
    told = refused(run, "deploy", "istio", "image:v1", "--id=auth", "--as", kind, f"--priority={priority}")
    assert f'invalid argument "{priority}" for "--priority" flag' in told
