"""Which Istio a mesh is, in all the places and forms that its version has, and which modules its proxies run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.deploy.istio.samples import image
from wasme.deploy.istio.proxies import (
    context_problem,
    is_gateway,
    istio_minor,
    istiod_version,
    oldest,
    require_support,
    sidecar_version,
    tag_of,
)
from wasme.errors import DeployFailed, UnsupportedImage


def istiod(image_name: str, container: str = "discovery", **labels: str) -> dict[str, Any]:
    """An istiod's Deployment; labels by their last part."""
    keys = {"version": "app.kubernetes.io/version", "chart": "helm.sh/chart", "rev": "istio.io/rev"}
    return {
        "metadata": {
            "name": "istiod",
            "namespace": "istio-system",
            "labels": {keys[key]: value for key, value in labels.items()},
        },
        "spec": {"template": {"spec": {"containers": [{"name": container, "image": image_name}]}}},
    }


def pod(proxy: str | None = None, phase: str = "Running", init: str | None = None, **metadata: Any) -> dict[str, Any]:
    """A pod with a sidecar's image, as a container or as an init container."""
    containers: list[dict[str, Any]] = [{"name": "app", "image": "app:1"}]
    if proxy:
        containers.append({"name": "istio-proxy", "image": proxy, "args": ["proxy", "sidecar"]})
    inits = [{"name": "istio-proxy", "image": init, "restartPolicy": "Always"}] if init else []
    return {
        "metadata": metadata,
        "spec": {"containers": containers, "initContainers": inits},
        "status": {"phase": phase},
    }


@pytest.mark.parametrize(
    ("deployment", "version", "minor"),
    [
        (istiod("docker.io/istio/pilot:1.9.9"), "1.9.9", 9),
        (istiod("istio/pilot:1.24.1-distroless"), "1.24.1-distroless", 24),
        (istiod("localhost:5000/pilot:1.20-dev"), "1.20-dev", 20),
        (istiod("gcr.io/istio-testing/pilot:1.31-alpha.5d86"), "1.31-alpha.5d86", 31),
        (istiod("istio/pilot:v1.7.3"), "v1.7.3", 7),
        (istiod(f"istio/pilot:1.30.3@sha256:{'0' * 64}"), "1.30.3", 30),
        (istiod("istio/pilot:1.30.3", version="1.9.9"), "1.30.3", 30),
        # A tag without a number: a label may have one.
        (istiod("registry.local/pilot:latest", version="1.30.3"), "1.30.3", 30),
        (istiod(f"istio/pilot@sha256:{'0' * 64}", chart="istiod-1.28.0"), "1.28.0", 28),
        (istiod("istio/pilot:master", rev="1-29-2"), "1.29.2", 29),
        (istiod("istio/pilot:master", rev="default"), "master", None),
        # None at all.
        (istiod("istio/pilot:latest"), "latest", None),
        (istiod("istio/pilot"), "latest", None),
        (istiod("localhost:5000/pilot"), "latest", None),
        (istiod(f"istio/pilot@sha256:{'0' * 64}"), "", None),
        (istiod("istio/pilot:d072eb48"), "d072eb48", None),
        (istiod("istio/pilot:2"), "2", None),
    ],
)
def test_istiod(deployment: dict[str, Any], version: str, minor: int | None) -> None:
    """[BUG of the original: a version without a dot panicked.] Tag, label or revision tell; else nothing is guessed."""
    assert istiod_version(deployment) == version
    assert istio_minor(version) == minor


def test_no_discovery() -> None:
    """A Deployment without that container is refused in the original's words, with its name."""
    with pytest.raises(DeployFailed, match="did not find container named discovery on pilot deployment") as caught:
        istiod_version(istiod("nginx:1", container="web"))
    assert "istio-system/istiod" in caught.value.message


@pytest.mark.parametrize(
    ("versions", "first"),
    [
        (["1.30.3", "1.9.9", "1.28.10"], "1.9.9"),
        (["latest", "1.30.3"], "1.30.3"),
        (["1.20.10", "1.20.9-distroless"], "1.20.9-distroless"),
        (["1.20.2-alpha.1", "1.20.1-alpha.9"], "1.20.1-alpha.9"),
        (["1.20.2", "2.1.1"], "1.20.2"),
        (["1.20.2", "latest"], "1.20.2"),
        (["latest", ""], ""),
        ([], ""),
    ],
)
def test_oldest(versions: list[str], first: str) -> None:
    """Of several revisions the oldest counts; by number, not by letter; what has none is a current one."""
    assert oldest(versions) == first


def test_sidecars() -> None:
    """A proxy's version is read off its pod, be it a container or, as of late, an init container that goes on."""
    assert sidecar_version(pod("istio/proxyv2:1.28.0")) == "1.28.0"
    assert sidecar_version(pod(init="istio/proxyv2:1.30.3-distroless")) == "1.30.3-distroless"
    assert sidecar_version(pod()) is None


@pytest.mark.parametrize(
    ("abi", "oldest_envoy", "version", "runs"),
    [
        ("0.1.0", 13, "1.5.0", True),
        ("0.2.0", 15, "1.6.14", False),
        ("0.2.0", 15, "1.7.3-distroless", True),
        ("0.2.1", 17, "1.8.6", False),
        ("0.2.1", 17, "1.9.9", True),
        # [BUG of the original: only versions of its list passed, and 1.11.7 as 1.7.x by accident.]
        ("0.1.0", 13, "1.10.6", True),
        ("0.2.1", 41, "1.30.3", False),
        ("0.2.1", 41, "latest", True),
        ("0.2.1", 41, "", True),
        ("0.2.1", 41, "1.30-dev", False),
    ],
)
def test_support(abi: str, oldest_envoy: int, version: str, runs: bool) -> None:
    """Whether the proxies run a module is asked of the module and of their Envoy, not of a list of versions."""
    resolved = image(abi=abi, oldest=oldest_envoy)
    if runs:
        require_support(resolved, [version])
        return
    with pytest.raises(UnsupportedImage) as caught:
        require_support(resolved, ["1.99.0", version])
    assert caught.value.message.startswith(
        f"image hub.example.com/team/auth:v1 not supported by istio version {version}: "
    )
    assert "--ignore-version-check" in str(caught.value.hint)


def test_a_module_that_no_envoy_runs() -> None:
    """A module of no known ABI is refused whatever the version."""
    with pytest.raises(UnsupportedImage, match=r"not supported by istio version \(unknown\)"):
        require_support(image(abi="?", oldest=None), [""])


GATEWAYS = [
    pod("istio/proxyv2:1.30.3", annotations={"inject.istio.io/templates": "gateway"}),
    pod("istio/proxyv2:1.30.3", labels={"gateway.networking.k8s.io/gateway-name": "bookinfo"}),
    {"spec": {"containers": [{"name": "istio-proxy", "image": "x", "args": ["proxy", "router", "--domain"]}]}},
]


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_gateways(gateway: dict[str, Any]) -> None:
    """[Issue 267 of the original: on an ingress gateway the default context did nothing, without a word.]"""
    assert is_gateway(gateway)
    assert "patch context inbound matches nothing" in context_problem(gateway, "inbound")
    assert not context_problem(gateway, "gateway")
    assert not context_problem(gateway, "any")


def test_sidecars_are_no_gateways() -> None:
    """On a sidecar the context gateway does nothing, which is told; the others do."""
    sidecar = pod("istio/proxyv2:1.30.3", annotations={"inject.istio.io/templates": "sidecar,grpc-agent"})
    assert not is_gateway(sidecar)
    assert not is_gateway(pod())
    assert "sidecar" in context_problem(sidecar, "gateway")
    assert not context_problem(sidecar, "inbound")


@pytest.mark.parametrize(
    ("name", "tag"), [("a:1", "1"), ("h:5000/a", "latest"), ("h:5000/a:2@sha256:00", "2"), ("a@sha256:00", "")]
)
def test_tags(name: str, tag: str) -> None:
    """A port is no tag, and a digest is none either."""
    assert tag_of(name) == tag
