"""`--reload-backoff` of the deploy commands."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Result


@pytest.mark.parametrize("text", ["1ms", "1.5ms", "0", "-1s", "5s,1s", "soon"])
def test_what_would_end_the_proxy(run: Callable[..., Result], text: str) -> None:
    """A back-off below 2 ms is refused: Envoy itself would divide by zero at the first failed VM."""
    words = ("deploy", "istio", "image:v1", "--id=auth", "--fail-policy=reload", f"--reload-backoff={text}")
    result = run(*words, ok=False)
    assert result.exit_code == 2
    assert f'invalid argument "{text}" for "--reload-backoff" flag' in result.stderr
