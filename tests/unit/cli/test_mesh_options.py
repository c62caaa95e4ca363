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
