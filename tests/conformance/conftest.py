"""The OCI distribution specification 1.1 and what has been added to it since, from its text, over plain HTTP.

Every test runs against our hub, and against docker-registry 2.8, which must fail in the places that are known: a check
that cannot fail says nothing. `fails_at_docker_registry` names them; they are strict, so a check that turns soft is
noticed there.
"""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPException

import pytest

from tests.conformance.registries import DockerRegistry, Registry
from tests.fixtures.hubs import Hub
from tests.fixtures.tools import need


@pytest.fixture(scope="module")
def hub_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    hub = Hub(tmp_path_factory.mktemp("hub"), "--open")
    yield hub.host
    hub.stop()


@pytest.fixture(scope="module")
def docker_registry_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    registry = DockerRegistry(need("docker-registry"), tmp_path_factory.mktemp("docker-registry"))
    yield registry.host
    registry.stop()


@pytest.fixture(params=["hub", "docker_registry"])
def registry(request: pytest.FixtureRequest) -> Registry:
    if request.param == "docker_registry" and (mark := request.node.get_closest_marker("fails_at_docker_registry")):
        errors = (AssertionError, KeyError, ValueError, HTTPException, OSError)
        request.node.add_marker(pytest.mark.xfail(reason=mark.args[0], strict=True, raises=errors))
    return Registry(request.getfixturevalue(f"{request.param}_host"))
