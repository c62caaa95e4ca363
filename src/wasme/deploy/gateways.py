"""What deploying to whoever pulls images itself asks: can it, can its proxy run the module, and who writes last."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar

from wasme.deploy.cluster import Cluster, Kind, Schema
from wasme.deploy.cluster.kinds import SECRET
from wasme.deploy.provider import Status
from wasme.deploy.resolved import ResolvedImage
from wasme.deploy.spec import FilterSpec
from wasme.errors import ClusterForbidden, Conflict, DeployFailed, UnsupportedImage, UsageError
from wasme.image.pullers import pullers
from wasme.registry.origin import Origin
from wasme.wasm.proxies import can_run

log = logging.getLogger(__name__)

ATTEMPTS = 10
DOCKER_CONFIG = "kubernetes.io/dockerconfigjson"
_DOCKER_HUB = "registry-1.docker.io/"
_VERSION = re.compile(r"(?:[a-z]+-)*(v?\d+\.\d+.*)")

_OF_THE_SERVER = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""The whole object as kubectl last sent it, which is out of date with what is printed."""

Result = TypeVar("Result")
DryRun = Literal["", "client", "server"]
Action = Literal["created", "updated", "unchanged", "deleted"]


class Standing(NamedTuple):
    """How a gateway's controller judges one object.

    Attributes:
        phase: ``pending`` until it has judged what is stored now; then ``ready`` or ``failed``.
        message: why, in one line; of a ready object what the controller remarks. "" if there is nothing.
    """

    phase: Literal["pending", "ready", "failed"]
    message: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one object.

    Attributes:
        action: what was done; in a dry run, what would be.
        object: as it is now, or would be; of a deleted one as it was.
    """

    action: Action
    object: dict[str, Any]

    @property
    def committable(self) -> dict[str, Any]:
        """The object without what only a server, or kubectl for itself, puts into it."""
        meta = {key: value for key, value in self.object["metadata"].items() if key not in _OF_THE_SERVER}
        if _APPLIED in (meta.get("annotations") or {}):
            kept = {key: value for key, value in meta.pop("annotations").items() if key != _APPLIED}
            meta |= {"annotations": kept} if kept else {}
        rest = {key: value for key, value in self.object.items() if key not in ("metadata", "status")}
        return {**{key: rest.pop(key) for key in ("apiVersion", "kind") if key in rest}, "metadata": meta, **rest}


def together(standings: Mapping[str, Standing]) -> Status:
    """How a filter does that is in several objects: as the worst of them, by their names."""
    for phase in ("failed", "pending"):
        for name, stands in standings.items():
            if stands.phase == phase:
                return Status(phase, f"{name}: {stands.message}")
    remarks = "; ".join(f"{name}: {stands.message}" for name, stands in standings.items() if stands.message)
    return Status("ready" if standings else "absent", remarks)


def finding(quiet: bool, level: int = logging.INFO) -> int:
    """The level at which is told what a provider finds, and does not change.

    Args:
        quiet: who asks looks again and again.
        level: for anybody else.
    """
    return logging.DEBUG if quiet else level


def completed(spec: FilterSpec, image: ResolvedImage | None, *, quiet: bool = False) -> FilterSpec:
    """The filter with its root id: the one typed, else the image's first, else none, which is told unless ``quiet``.

    Raises:
        UsageError: the filter has no id, or an unprintable one.
    """
    if not spec.id:
        raise UsageError("--id cannot be empty", hint="it names the filter, for changing it and for taking it away")
    for flag, text in (("--id", spec.id), ("--root-id", spec.root_id)):
        if not text.isprintable():
            raise UsageError(f"{flag} holds characters that cannot be printed: {text[:80]!a}")
    if spec.root_id or image is None:
        return spec
    root_id = next(iter(image.root_ids), "")
    if not root_id:
        fields = {"image": str(image.reference), "root_id": ""}
        log.log(finding(quiet), "found no root_id on image or in params", extra={"fields": fields})
    return replace(spec, root_id=root_id)


def address(image: ResolvedImage) -> str:
    """``HOST/REPOSITORY`` as a cluster knows it: Docker's hub by its name, under which pull secrets hold it too."""
    if image.address.startswith(_DOCKER_HUB):
        return "docker.io/" + image.address.removeprefix(_DOCKER_HUB)
    return image.address


def require_pullable(image: ResolvedImage, puller: str, *, by_index: bool = False) -> None:
    """Refuse an image that the gateway cannot pull, before it is told to.

    Args:
        image: the image.
        puller: how the name of one of ``image.pullers`` begins.
        by_index: the gateway meets the index that the image was chosen from, not the image itself.

    Raises:
        UnsupportedImage: with the reason.
    """
    met = image.pulled._replace(from_index=bool(image.index)) if by_index else image.pulled
    found = next(each for each in pullers(met) if each.name.startswith(puller))
    if not found.can:
        raise UnsupportedImage(
            f"{image.reference}: {puller} cannot pull it: {found.why}",
            hint="`wasme pull` it, and push it again: wasme push --layout oci IMAGE",
        )


def require_runnable(image: ResolvedImage, proxy: str, proxies: Mapping[str, str], *, ignore: bool) -> None:
    """Refuse a module that a proxy of the gateway is too old for; the module and the proxies are asked.

    Args:
        image: the image.
        proxy: which of ``wasm.proxies``.
        proxies: the versions found, each with where.
        ignore: only say that nothing is checked.

    Raises:
        UnsupportedImage: one of them cannot run it.
    """
    if ignore:
        log.warning("ignoreVersionCheck is set, skipping ABI version check")
        return
    for version, where in sorted(proxies.items() or {"": ""}.items()):
        answer = can_run(image.needs, proxy, version)
        if answer.runs == "no":
            told = f" of {where}" if where else ""
            raise UnsupportedImage(
                f"image {image.reference} not supported by the proxy{told}: {answer.reason}",
                hint="--ignore-version-check deploys it all the same; `wasme inspect` tells what the module needs",
            )


def readable_schema(cluster: Cluster, kind: Kind) -> Schema | None:
    """The served schema of a kind; None where nobody can tell, as who may not read CRDs: the server tells him then.

    Raises:
        NotServed: the cluster has no such kind.
    """
    served = cluster.served()
    served.need(kind)
    try:
        return served.schema(kind)
    except ClusterForbidden as error:
        log.debug("cannot read the CRD %s", kind.resource, extra={"fields": {"reason": error.message}})
        return None


def versions_of(pods: Iterable[Mapping[str, Any]], images: tuple[str, ...]) -> dict[str, str]:
    """The versions of the proxies in some Pods: version to Pod.

    Args:
        pods: Pod objects.
        images: how the last part of a proxy's image is called; tags such as ``distroless-v1.38.0`` are read.
    """
    found: dict[str, str] = {}
    for pod in pods:
        for container in (pod.get("spec") or {}).get("containers") or ():
            name, _, tag = str(container.get("image", "")).partition("@")[0].rpartition(":")
            match = _VERSION.fullmatch(tag)
            if match and name.rpartition("/")[2] in images:
                found.setdefault(match[1], f"pod {pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}")
    return found


def warn_of_loopback(image: ResolvedImage, puller: str, *, quiet: bool = False) -> None:
    """Warn of a registry that only this machine can reach: in a cluster its address is somebody else.

    Args:
        image: the image.
        puller: who pulls it, as a sentence begins with it.
        quiet: who asks tells it in another way.
    """
    told = loopback_problem(image, puller)
    if told:
        log.log(finding(quiet, logging.WARNING), told)


def loopback_problem(image: ResolvedImage, puller: str) -> str:
    """What ``warn_of_loopback`` warns of; "" for nothing."""
    host = image.address.partition("/")[0]
    is_here = Origin.at("https", host).is_loopback
    return f"{puller} pulls the image from {host}, which in a cluster is not this machine" if is_here else ""


def require_secret(cluster: Cluster, namespace: str, name: str, reader: str) -> None:
    """Refuse a pull secret that could not be used; one that may not be read is believed.

    Args:
        cluster: where.
        namespace: of the Secret.
        name: its name; "" for none, which is no error.
        reader: who reads it, in words.

    Raises:
        DeployFailed: it is not there, or not of the kind that is read.
    """
    if not name:
        return
    try:
        found = cluster.get(SECRET, name, namespace)
    except ClusterForbidden as error:
        log.debug("cannot read the pull secret", extra={"fields": {"reason": error.message}})
        return
    make = f"kubectl create secret docker-registry {name} -n {namespace} --docker-server=…"
    if found is None:
        raise DeployFailed(f"there is no Secret {namespace}/{name} to pull with", hint=make)
    if ".dockerconfigjson" not in (found.get("data") or {}):
        raise DeployFailed(f"Secret {namespace}/{name} is no {DOCKER_CONFIG}, which {reader} reads", hint=make)


def settled(attempt: Callable[[], Result]) -> Result:
    """Do what starts with reading an object, until nobody has changed it before it is written.

    Raises:
        Conflict: somebody else was faster ``ATTEMPTS`` times, over 20 seconds and more.
    """
    pause = 0.1
    for _ in range(ATTEMPTS - 1):
        try:
            return attempt()
        except Conflict as conflict:
            log.debug("somebody else was faster; reading again", extra={"fields": {"reason": conflict.message}})
        time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - not for secrets
        pause = min(pause * 2, 5)
    return attempt()
