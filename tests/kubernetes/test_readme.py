"""The README's part about Kubernetes: its commands run as they stand, on a real API server with a real agent."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import Result
from tests.fixtures import pages
from tests.fixtures.agents import Agent
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.images import push

_README = Path(__file__).resolve().parents[2] / "README.md"


def test_commands_run_as_they_are_written(
    control_plane: ControlPlane, api: Api, serve: Callable[..., None], namespace: str, bookinfo: Callable[[str], Any],
    nodes: Callable[..., Any], pods: Callable[..., Any], agents: Callable[..., list[Agent]],
    docker_registry: DockerRegistry, kube_run: Callable[..., Result],
) -> None:  # fmt: skip
    """Each command of the section succeeds and prints each line that the README shows."""
    serve("istio/1.30.3")
    image = push(docker_registry, f"{docker_registry.host}/me/add-header:v0.1")
    productpage = bookinfo(namespace)["productpage-v1"]
    nodes("readme-node")
    pods(productpage, "readme-node")
    agents(control_plane, namespace, "readme-node", flags=("--plain-http",))
    steps = pages.steps(pages.section(_README.read_text(), "On Kubernetes"))
    assert len(steps) == 4
    for typed, shown in steps:
        command = typed.replace("localhost:5000/me/add-header:v0.1", image.name).replace("bookinfo", namespace)
        # The cache of this test has a namespace of its own.
        more = () if command.startswith("wasme undeploy") else ("--cache-namespace", namespace)
        more += ("--ignore-version-check",) if command.startswith("wasme deploy") else ()
        done = kube_run(*shlex.split(command)[1:], *more)
        for line in shown:
            assert re.search(pages.pattern(line), done.stdout + done.stderr), f"$ {command}\n{done.stdout}{done.stderr}"
    assert api.list(f"/apis/networking.istio.io/v1alpha3/namespaces/{namespace}/envoyfilters") == []
