"""Filters and objects side by side: none is taken for another, whatever it is called."""

from __future__ import annotations

import pytest

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes import meshes
from tests.kubernetes.meshes import Mesh


@pytest.fixture
def image(docker_registry: DockerRegistry) -> meshes.Pushed:
    return meshes.push(docker_registry, layout="compat")


def test_ids_that_end_alike_are_two_filters(mesh: Mesh, image: meshes.Pushed) -> None:
    """`my-auth` and `auth` on one workload: deploying or undeploying one never touches the other."""
    mesh.workload("web")
    mesh.deploy(image.name, id="my-auth")
    first = mesh.filters()["web-my-auth"]
    mesh.deploy(image.name, id="auth")
    assert set(mesh.filters()) == {"web-my-auth", "web-auth"}
    mesh.undeploy(id="auth")
    assert mesh.filters() == {"web-my-auth": first}
    again = mesh.undeploy(id="auth", ok=False)
    assert "found nothing of a filter auth" in again.stderr
    assert mesh.filters() == {"web-my-auth": first}
