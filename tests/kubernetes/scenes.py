"""bookinfo with a filter on it, for the tests of `wasme status`; the test is the nodes' agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Result
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.meshes import Pushed, push
from wasme.deploy.cache import protocol
from wasme.deploy.cache.protocol import ImageStatus, NodeStatus

NODES = ("status-a", "status-b")


@pytest.fixture
def image(docker_registry: DockerRegistry) -> Pushed:
    return push(docker_registry)


class Scene:
    """bookinfo with the filter ``auth`` on productpage, its pods on two nodes; the test is the nodes' agents."""

    def __init__(
        self, api: Api, namespace: str, run: Callable[..., Result], image: Pushed, pods: Callable[..., Any],
        workload: dict[str, Any],
    ) -> None:  # fmt: skip
        self.api, self.namespace, self.image, self._run, self._pods = api, namespace, image, run, pods
        self.path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{workload['metadata']['name']}"
        self.filter = f"/apis/networking.istio.io/v1alpha3/namespaces/{namespace}/envoyfilters/productpage-v1-auth"

    def deploy(self, *flags: str) -> None:
        words = ("--id=auth", "--namespace", self.namespace, "--labels=app=productpage", "--plain-http")
        cache = ("--cache-namespace", self.namespace, "--ignore-version-check")
        if "--as=envoyfilter" in flags and "--cache-mode=image-volume" not in flags:
            cache = (*cache, "--cache-timeout=0")
        self._run("deploy", "istio", self.image.name, *words, *cache, *flags)

    def deploy_to(self, target: str) -> None:
        words = ("--id=auth", "--namespace", self.namespace, "--plain-http", "--ignore-version-check")
        self._run("deploy", "istio", self.image.name, *words, "--as=trafficextension", "--target", target)

    def pods(self, *nodes: str, **settings: Any) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = self._pods(self.api.get(self.path), *nodes, **settings)
        return made

    def tell(self, node: str, *, held: bool = True, error: str = "") -> None:
        """What the agent of a node tells."""
        config_map = f"/api/v1/namespaces/{self.namespace}/configmaps/wasme-cache"
        uid = self.api.get(config_map)["metadata"]["uid"]
        module = ImageStatus(self.image.name, self.image.manifest, self.image.module, 3, held, error)
        status = NodeStatus(node, "0.1.0", "1", (self.namespace,), (module,))
        self.api.apply(protocol.status_object("wasme-cache", self.namespace, uid, status))

    def status(self, *flags: str, ok: bool = True, id: str = "auth") -> Result:  # noqa: A002
        place = ("--namespace", self.namespace, "--cache-namespace", self.namespace)
        return self._run("status", *([id] if id else []), *place, *flags, ok=ok)

    def json(self, *flags: str) -> dict[str, Any]:
        found: dict[str, Any] = self.status("--output=json", *flags).json["filters"][0]
        return found

    def reasons(self, *flags: str) -> list[str]:
        """All reasons there are, in their order."""
        found = self.json(*flags)
        places = found["places"]
        return [
            *found["reasons"], *(why for place in places for why in place["reasons"]),
            *(why for place in places for pod in place["pods"] for why in pod["reasons"]),
        ]  # fmt: skip


@pytest.fixture
def scene(
    api: Api,
    namespace: str,
    serve: Callable[[str], None],
    nodes: Callable[..., Any],
    pods: Callable[..., Any],
    bookinfo: Callable[[str], dict[str, Any]],
    kube_run: Callable[..., Result],
    image: Pushed,
) -> Scene:
    serve("istio/1.30.3")
    nodes(*NODES)
    return Scene(api, namespace, kube_run, image, pods, bookinfo(namespace)["productpage-v1"])
