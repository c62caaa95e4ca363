"""Which registries an operator asks at all."""

from __future__ import annotations

import pytest

from tests.fixtures import faulty
from tests.fixtures.registries import holds_image
from tests.unit.operator.test_images import Put, Secrets, World, late, wanted
from wasme.deploy.cache.options import CacheOptions
from wasme.errors import Forbidden, UsageError, WasmeError
from wasme.operator.registries.allowed import Allowed
from wasme.operator.registries.images import Images
from wasme.operator.registries.routes import Routes

__all__ = ["holds_image"]


@pytest.mark.parametrize(
    ("patterns", "name", "may"),
    [
        ((), "anything.example", True),
        (("ghcr.io",), "ghcr.io", True),
        (("ghcr.io",), "GHCR.io", True),
        (("ghcr.io",), "ghcr.io:443", False),
        (("ghcr.io",), "evil-ghcr.io", False),
        (("ghcr.io",), "ghcr.io.evil.example", False),
        (("*.example.com",), "a.example.com", True),
        (("*.example.com",), "a.b.example.com", True),
        (("*.example.com",), "example.com", False),
        (("*.example.com",), "badexample.com", False),
        (("*.example.com:5000",), "a.example.com:5000", True),
        (("other.example", "*"), "anything.example", True),
    ],
)
def test_patterns(patterns: tuple[str, ...], name: str, may: bool) -> None:
    """A name is one of them, or ends with what follows a star; none at all are all."""
    assert (name in Allowed(patterns)) == may


@pytest.mark.parametrize("pattern", ["https://ghcr.io", "ghcr.io/demo", "a*.example.com", "", "*.", "a b"])
def test_what_is_no_pattern(pattern: str) -> None:
    """It is told when the operator starts: as a pattern that nothing fits it would refuse everybody."""
    with pytest.raises(UsageError, match="--registries"):
        Allowed((pattern,))


def test_others_are_not_asked(faulty_registry: faulty.Registry, holds_image: Put) -> None:
    """A registry that is not among them gets no request, its pull secret is not read, and the answer says who may
    change that.
    """
    holds_image(faulty_registry, "demo/auth", "v1")
    secrets = Secrets()

    def images(*patterns: str) -> Images:
        routes = Routes(CacheOptions(), lambda: None, allowed=Allowed(patterns))
        return Images(secrets, routes, lambda _: None)  # type: ignore[arg-type]

    mine = wanted(f"{faulty_registry.host}/demo/auth:v1", pull_secret="pull")
    with pytest.raises(Forbidden) as caught:
        images("ghcr.io", "*.example.com").resolve(mine)
    assert faulty_registry.host in caught.value.message
    assert "whoever runs the operator" in (caught.value.hint or "")
    assert "--" not in (caught.value.hint or ""), "a condition leaves out hints that speak of flags"
    assert not faulty_registry.requests
    assert secrets.asked == 0
    free = wanted(f"{faulty_registry.host}/demo/auth:v1")
    assert images(faulty_registry.host).resolve(free).layout == "oci"


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]:80", "0xa9fea9fe:80"])
def test_metadata_is_never_asked(world: World, host: str) -> None:
    """What only this machine can reach, such as a cloud's metadata, is refused before a connection is made; this
    machine's own registries are not.
    """
    for plain in (True, False):
        try:
            error = late(world, wanted(f"{host}/demo/auth:v1", f"p{plain}", plain_http=plain))
        except WasmeError as raised:
            error = raised
        assert "link-local" in error.message, error.message


@pytest.fixture
def world() -> World:
    return World()
