"""The mesh's control plane: which Istio it is, and whether its proxies run a module."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import DEPLOYMENT
from wasme.deploy.resolved import ResolvedImage
from wasme.errors import ClusterForbidden, DeployFailed, UnsupportedImage
from wasme.wasm.proxies import can_run

log = logging.getLogger(__name__)

_CONTAINER = "discovery"
_VERSION_LABELS = ("app.kubernetes.io/version", "operator.istio.io/version")
_IS_VERSION = re.compile(r"v?\d+\.\d+.*")


def version(cluster: Cluster, namespace: str, name: str) -> str:
    """The version of Istio: the tag of istiod's image, or what a label says; "" if it cannot be told.

    Where no Deployment has that name, one of a revision (``istiod-1-30``) is taken, known by its label.

    Raises:
        DeployFailed: the Deployment of that name is no istiod.
        ClusterError: it cannot be asked.
    """
    try:
        found = cluster.get(DEPLOYMENT, name, namespace)
        candidates = [found] if found else cluster.list(DEPLOYMENT, namespace, labels="app=istiod")
    except ClusterForbidden as error:
        log.warning("cannot read istiod; taking Istio for a current one", extra={"fields": {"reason": error.message}})
        return ""
    versions = sorted({_version_of(each) for each in candidates}, key=_order)
    if not versions:
        log.warning(
            "found no istiod; taking Istio for a current one",
            extra={"fields": {"namespace": namespace, "name": name}},
        )
        return ""
    if len(versions) > 1:
        # Revisions side by side: what the oldest takes, the others take as well.
        log.warning(
            "found several istiods, taking the oldest; --istiod-name chooses",
            extra={"fields": {"namespace": namespace, "versions": " ".join(versions)}},
        )
    return versions[0]


def require_support(image: ResolvedImage, istio: str, *, ignore: bool) -> None:
    """Refuse a module that the proxies of this Istio cannot run; the module itself and their Envoy are asked.

    Args:
        image: the image.
        istio: the version of Istio; "" if it is not known.
        ignore: only say that nothing is checked.

    Raises:
        UnsupportedImage: they cannot.
    """
    if ignore:
        log.warning("ignoreVersionCheck is set, skipping ABI version check")
        return
    if istio and not _IS_VERSION.fullmatch(istio):
        istio = ""  # latest, master, the hash of a commit: an Istio of one's own, which is taken for a current one
    answer = can_run(image.needs, "istio", istio)
    if answer.runs == "no":
        told = istio or "(unknown)"
        raise UnsupportedImage(
            f"image {image.reference} not supported by istio version {told}: {answer.reason}",
            hint="--ignore-version-check deploys it all the same; `wasme inspect` tells what the module needs",
        )


def _version_of(deployment: Mapping[str, Any]) -> str:
    metadata = deployment["metadata"]
    containers: Sequence[Mapping[str, Any]] = deployment["spec"]["template"]["spec"].get("containers") or ()
    image = next((each.get("image", "") for each in containers if each.get("name") == _CONTAINER), None)
    if image is None:
        raise DeployFailed(
            "did not find container named discovery on pilot deployment "
            f"{metadata.get('namespace', '')}/{metadata['name']}",
            hint="--istiod-name and --istio-namespace name the Deployment of istiod",
        )
    tag = _tag(str(image))
    if _IS_VERSION.fullmatch(tag):
        return tag
    labels = metadata.get("labels") or {}
    labelled = next((labels[key] for key in _VERSION_LABELS if key in labels), "")
    return labelled if _IS_VERSION.fullmatch(labelled) else tag


def _tag(image: str) -> str:
    """The tag of an image's name; ``latest`` without one, as the original's parser said."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag or ("" if digest else "latest")


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3]) or (10_000,)
