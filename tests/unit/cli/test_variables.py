"""`--env` and `--env-from-host` of the deploy commands."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Result


@pytest.mark.parametrize(
    "words",
    [
        ("--env", "A=1", "--env-from-host", "A"),
        ("--env", "A=1", "--env", "A=1"),
        ("--env-from-host", "B,A,A"),
    ],
)
@pytest.mark.parametrize("carrier", ["auto", "envoyfilter", "wasmplugin", "trafficextension"])
def test_a_name_twice_is_refused_for_every_kind(
    run: Callable[..., Result], words: tuple[str, ...], carrier: str
) -> None:
    """Envoy refuses a listener whose variables are not unique ("All the keys must be unique"), so nothing is sent."""
    result = run("deploy", "istio", "image:v1", "--id=auth", "--as", carrier, *words, ok=False)
    assert result.exit_code == 2
    assert "the variable 'A' is given more than once" in result.stderr


@pytest.mark.parametrize("names", ["A,A", "A,,B"])
def test_envoy_gateway_too(run: Callable[..., Result], names: str) -> None:
    """Envoy Gateway hands the names on as they are."""
    result = run("deploy", "envoy-gateway", "image:v1", "--id=auth", "--env-from-host", names, ok=False)
    assert result.exit_code == 2
    assert "--env-from-host" in result.stderr
