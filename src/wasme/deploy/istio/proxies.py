"""Which Istio a mesh is, and which its proxies are; pure, on objects as the API server has them.

Versions stand in many places and in many forms: a tag (``1.24.1-distroless``, ``1.20-dev``, ``latest``), a label, the
name of a revision. A version that says no number is an Istio somebody built, and is taken for a current one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from wasme.deploy.resolved import ResolvedImage
from wasme.errors import DeployFailed, UnsupportedImage
from wasme.wasm.proxies import Needs, can_run, minor_of

DISCOVERY = "discovery"
SIDECAR = "istio-proxy"
_LABELS = ("app.kubernetes.io/version", "operator.istio.io/version", "helm.sh/chart")
_NUMBERED = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.\d+)?(?:[-+._].*)?")
_IN_CHART = re.compile(r"istiod-v?(\d+\.\d+.*)")
_REVISION = "istio.io/rev"
_IN_REVISION = re.compile(r"v?(1)-(\d{1,3})(?:-(\d{1,3}))?(?:-.*)?")


def istio_minor(version: str) -> int | None:
    """The N of Istio 1.N; None where the version says no number, which is to be taken for a current one."""
    return minor_of(version) if _NUMBERED.fullmatch(version) else None


def istiod_version(deployment: Mapping[str, Any]) -> str:
    """The version of Istio that an istiod's Deployment says.

    The image's tag; where that says no number, a label, or the name of the revision; else the tag as it is, which is
    ``latest`` for an image without one, and "" for one by digest alone.

    Raises:
        DeployFailed: it has no container ``discovery``, so it is none of istiod; the original's words.
    """
    metadata = deployment["metadata"]
    image = _image(_pod_spec(deployment), DISCOVERY)
    if image is None:
        raise DeployFailed(
            "did not find container named discovery on pilot deployment "
            f"{metadata.get('namespace', '')}/{metadata['name']}",
            hint="--istiod-name and --istio-namespace name the Deployment of istiod",
        )
    tag = tag_of(image)
    if _NUMBERED.fullmatch(tag):
        return tag
    labels = {**(metadata.get("labels") or {})}
    for key in _LABELS:
        told = labels.get(key, "")
        chart = _IN_CHART.fullmatch(told)
        told = chart[1] if chart else told
        if _NUMBERED.fullmatch(told):
            return str(told)
    revision = _IN_REVISION.fullmatch(labels.get(_REVISION, ""))
    if revision:
        return ".".join(part for part in revision.groups() if part)
    return tag


def oldest(versions: Iterable[str]) -> str:
    """The oldest of several versions: what it takes, the others take as well. "" for none.

    Versions without a number are current ones, and so the newest.
    """
    return min(sorted(set(versions)), key=_order, default="")


def sidecar_version(pod: Mapping[str, Any]) -> str | None:
    """The version of the proxy in a pod; None for a pod without one."""
    image = _image(pod.get("spec") or {}, SIDECAR)
    return None if image is None else tag_of(image)


def is_gateway(pod_or_template: Mapping[str, Any]) -> bool:
    """Whether a pod's proxy is a gateway's, not a sidecar: it runs ``proxy router``, or is injected as one."""
    metadata = pod_or_template.get("metadata") or {}
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    if "gateway" in annotations.get("inject.istio.io/templates", "").split(","):
        return True
    if "gateway.networking.k8s.io/gateway-name" in labels or "gateway.istio.io/managed" in labels:
        return True
    for container in _containers(pod_or_template.get("spec") or {}):
        if container.get("name") == SIDECAR:
            return "router" in (container.get("args") or ())
    return False


def context_problem(pod_or_template: Mapping[str, Any], context: str) -> str:
    """Why a patch context matches nothing in the proxies of a workload; "" if it does match.

    The original deployed to an ingress gateway, with its default context, without a word and without effect.
    """
    if context == "any":
        return ""
    if is_gateway(pod_or_template):
        if context != "gateway":
            return f"its proxy is a gateway, where the patch context {context} matches nothing: use gateway or any"
        return ""
    return "its proxy is a sidecar, where the patch context gateway matches nothing" if context == "gateway" else ""


def require_support(image: ResolvedImage, versions: Iterable[str]) -> None:
    """Refuse a module that a proxy of the mesh cannot run: the module is asked, and the Envoy of that Istio.

    Args:
        image: the image.
        versions: of Istio, of its proxies; those without a number are current.

    Raises:
        UnsupportedImage: one of them cannot; in the original's words.
    """
    for version in sorted(set(versions), key=_order):
        reason = refusal(image.needs, version)
        if reason:
            raise UnsupportedImage(
                f"image {image.reference} not supported by istio version {version or '(unknown)'}: {reason}",
                hint="--ignore-version-check deploys it all the same; `wasme inspect` tells what the module needs",
            )


def refusal(needs: Needs, version: str) -> str:
    """Why the proxy of an Istio cannot run a module; "" if it can, or nobody knows."""
    answer = can_run(needs, "istio", version if _NUMBERED.fullmatch(version) else "")
    return answer.reason if answer.runs == "no" else ""


def tag_of(image: str) -> str:
    """The tag of an image: ``latest`` where it has none, as the original says; "" where it has a digest alone."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag or ("" if digest else "latest")


def _order(version: str) -> tuple[int, ...]:
    found = _NUMBERED.fullmatch(version)
    return (int(found[1]), int(found[2]), *map(int, re.findall(r"\d+", version)[2:3])) if found else (10_000,)


def _pod_spec(workload: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = ((workload.get("spec") or {}).get("template") or {}).get("spec") or {}
    return spec


def _containers(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Sidecars may be init containers that go on running (native sidecars, Istio 1.27's default)."""
    return [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]


def _image(spec: Mapping[str, Any], name: str) -> str | None:
    return next((str(each.get("image", "")) for each in _containers(spec) if each.get("name") == name), None)
