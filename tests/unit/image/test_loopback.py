"""Which hosts are this machine."""

from __future__ import annotations

import pytest

from wasme.image.loopback import is_loopback


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "127.0.0.1", "127.1.2.3", "127.255.255.254", "::1", "[::1]", "0:0:0:0:0:0:0:1"]
)
def test_this_machine(host: str) -> None:
    """By name and by address, in any spelling."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["127.evil.example", "127.0.0.1.evil.example", "127.0.0.256", "127.1", "128.0.0.1", "localhost.evil", "::2",
             "", "[", "a:b", "127.0.0.1:5000", "0.0.0.0"]
)  # fmt: skip
def test_others(host: str) -> None:
    """Names and addresses that only look like it."""
    assert not is_loopback(host)
