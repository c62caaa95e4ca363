"""Credentials for the agents: one Secret for each namespace of workloads and registry, beside the cache.

The agents read the Secrets of their own namespace that carry ``PULL_SECRET_LABEL``. They get one registry's entry and
no more of what the source holds. The source is a Secret of the workloads' namespace (``--pull-secret``) or whoever runs
the command is for that registry (``--share-credentials``).
"""

from __future__ import annotations

import hashlib
import logging
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from wasme.deploy.cache import protocol
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine, ImageStatus
from wasme.deploy.cache.telling import doing, listed
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.errors import CacheError, ClusterForbidden, Conflict, InvalidReference
from wasme.image.reference import Reference
from wasme.registry.auth import Credential
from wasme.registry.credentials import same_registry

log = logging.getLogger(__name__)

NAMESPACE_ANNOTATION = protocol.PULL_SECRET_NAMESPACE
REGISTRY_ANNOTATION = "cache.wasme.io/registry"
SOURCE_ANNOTATION = "cache.wasme.io/source"
"""The Secret of the workloads' namespace that it was copied from; none where it is somebody's own credential."""
SHARED_BY_ANNOTATION = "cache.wasme.io/shared-by"
"""``operator``: it takes the Secret away when nobody needs it. None where a command shared it, whose line may be on the
way."""
_OPERATOR = "operator"
_TYPE = "kubernetes.io/dockerconfigjson"
_KEY = ".dockerconfigjson"
_OLD_KEY = ".dockercfg"
_KINDS = (
    "it should be of type kubernetes.io/dockerconfigjson (kubectl create secret docker-registry), "
    "or hold username and password"
)

Object = dict[str, Any]
Entry = Mapping[str, Any]
"""One value of ``auths`` in Docker's format."""
Place = tuple[str, str]
"""Namespace of workloads and registry, for which there is one Secret beside the cache."""


class Copy(NamedTuple):
    """A Secret beside the cache.

    Attributes:
        name, uid, version: of it.
        place: whom it is for.
        by_operator: no command shared it.
    """

    name: str
    uid: str
    version: str
    place: Place
    by_operator: bool


def share_secret(
    cluster: Cluster,
    options: CacheOptions,
    namespace: str,
    name: str,
    registry: str,
    *,
    at: str = "",
    only_at: bool = False,
    by_operator: bool = False,
) -> str:
    """Let the agents use what a Secret of the workloads' namespace has for one registry.

    Args:
        namespace: where the Secret is.
        name: of the Secret.
        registry: the registry's host as references name it.
        at: the host that the list leads it to; the agents look for a credential of that host then. "": to itself.
        only_at: it is not the user who leads it there: what the Secret has for the registry's own name stays here.
        by_operator: no command shares it; one that shares the same later takes it over, and the operator takes none.

    Returns:
        The name of the Secret beside the cache.

    Raises:
        CacheError: there is no such Secret, or nothing for that registry in it.
        ClusterError: the API server did not do it.
    """
    with doing(f"pull secret {namespace}/{name}"):
        found = cluster.get(kinds.SECRET, name, namespace)
        if found is None:
            raise CacheError("there is no such Secret", hint=f"it must be in the namespace of the workloads; {_KINDS}")
        try:
            entry = entry_of(found, at or registry)
        except CacheError:
            if only_at and at:
                raise
            entry = entry_of(found, registry)
        return _share(cluster, options, namespace, registry, entry, at, source=name, by_operator=by_operator)


def share_credential(
    cluster: Cluster, options: CacheOptions, namespace: str, registry: str, credential: Credential, *, at: str = ""
) -> str:
    """Let the agents be for one registry whoever runs the command is.

    Args:
        namespace: of the workloads.
        registry: the registry's host as references name it.
        at: the host that the list leads it to; the agents look for a credential of that host then. "": to itself.

    Returns:
        The name of the Secret beside the cache.
    """
    with doing(f"sharing credentials for {registry}"):
        return _share(cluster, options, namespace, registry, entry_for(credential), at)


def pull_secret(name: str, namespace: str, registry: str, entry: Entry, labels: Mapping[str, str]) -> Object:
    """A Secret as kubelets, meshes and our agents take it."""
    content = msgspec.json.encode({"auths": {_docker_key(registry): dict(entry)}})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "type": _TYPE,
        "data": {_KEY: b64encode(content).decode()},
    }


def entry_for(credential: Credential) -> Entry:
    """A credential as a value of ``auths``."""
    entry = {}
    if credential.password is not None and (credential.username or credential.password):
        pair = f"{credential.username}:{credential.password}".encode()
        entry = {
            "username": credential.username,
            "password": credential.password,
            "auth": b64encode(pair).decode(),
        }
    if credential.identity_token:
        entry["identitytoken"] = credential.identity_token
    if credential.registry_token:
        entry["registrytoken"] = credential.registry_token
    return entry


def entry_of(secret: Object, registry: str) -> Entry:
    """What a Secret has for one registry, as a value of ``auths``.

    Raises:
        CacheError: it has nothing, or is no Secret for pulling; no value of it is in the message.
    """
    data = secret.get("data") or {}
    if _KEY in data or _OLD_KEY in data:
        auths = _auths(data)
        for key, entry in auths.items():
            if same_registry(key, registry) and isinstance(entry, dict) and entry:
                return entry
        raise CacheError(
            f"it has nothing for the registry {registry}, only for {listed(auths, 5) or 'none'}",
            hint="name the Secret that belongs to the image's registry",
        )
    if "username" not in data or "password" not in data:
        raise CacheError(
            f"it is no Secret for pulling: its type is {secret.get('type', 'Opaque')}, its keys are "
            f"{listed(data, 5) or 'none'}",
            hint=_KINDS,
        )
    texts = {key: _decoded(data[key], key).decode(errors="replace").rstrip("\r\n") for key in ("username", "password")}
    return entry_for(Credential(texts["username"], texts["password"]))


def sweep(cluster: Cluster, options: CacheOptions, removed: Iterable[FilterLine], left: Iterable[FilterLine]) -> None:
    """Delete the Secrets that only filters needed which are gone; without the right to it they stay, which is no error.

    Args:
        removed: the filters that went.
        left: all that are still there.
    """
    needless = places(removed) - places(left)
    if not needless:
        return
    try:
        for each in copies(cluster, options):
            if each.place in needless:
                delete(cluster, options, each)
    except ClusterForbidden as error:
        log.debug("pull secrets are left", extra={"fields": {"cache": options.pair, "reason": error.message}})


def copies(cluster: Cluster, options: CacheOptions) -> list[Copy]:
    """All Secrets that were shared beside a cache, in one request.

    Raises:
        ClusterError: the API server did not do it.
    """
    found = []
    for secret in cluster.list(kinds.SECRET, options.namespace, labels=_selector(options)):
        meta = secret["metadata"]
        notes = meta.get("annotations") or {}
        where = notes.get(NAMESPACE_ANNOTATION, ""), notes.get(REGISTRY_ANNOTATION, "")
        own = notes.get(SHARED_BY_ANNOTATION) == _OPERATOR
        found.append(Copy(meta["name"], meta["uid"], meta["resourceVersion"], where, own))
    return found


def delete(cluster: Cluster, options: CacheOptions, copy: Copy) -> None:
    """Delete a Secret as it was read: one that somebody has shared anew since stays.

    Raises:
        ClusterError: the API server did not do it.
    """
    try:
        cluster.delete(kinds.SECRET, copy.name, options.namespace, uid=copy.uid, resource_version=copy.version)
    except Conflict:
        log.debug("a pull secret is shared anew", extra={"fields": {"cache": options.pair, "secret": copy.name}})


def places(lines: Iterable[FilterLine]) -> set[Place]:
    """Those that some filters need a Secret of, where the registry asks for one."""
    return {place(line.namespace, line.ref) for line in lines}


def place(namespace: str, reference: str) -> Place:
    """That of an image, by its reference as typed; without a registry where nobody can read it."""
    try:
        return namespace, Reference.parse(reference).domain
    except InvalidReference:
        return namespace, ""


def secret_name(options: CacheOptions, namespace: str, registry: str) -> str:
    """``wasme-pull-<hash>``: the same for the same cache, namespace of workloads and registry."""
    whole = f"{options.name}/{namespace}/{registry}"
    return f"wasme-pull-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"


def labels_of(options: CacheOptions) -> dict[str, str]:
    """The labels of a cache's pull secrets."""
    return {
        protocol.MANAGED_BY_LABEL: protocol.MANAGER,
        protocol.CACHE_LABEL: options.name,
        protocol.PULL_SECRET_LABEL: protocol.TRUE,
    }


def refusals(
    cluster: Cluster, options: CacheOptions, lines: Iterable[FilterLine], images: Iterable[ImageStatus]
) -> list[str]:
    """Which credential each 401 or 403 of the agents concerns, in a sentence for each image.

    A Secret is copied once: agents that come after its source was renewed have the old one.

    Args:
        lines: the filters.
        images: what nodes tell of images.
    """
    refused = {each.ref for each in images if each.error and not each.held and each.kind in protocol.NO_ACCESS}
    concerned: dict[str, set[Place]] = {}
    for line in lines:
        if line.ref in refused:
            concerned.setdefault(line.ref, set()).add(place(line.namespace, line.ref))
    if not concerned:
        return []
    try:
        found = cluster.list(kinds.SECRET, options.namespace, labels=_selector(options))
    except ClusterForbidden:
        sources = None
    else:
        notes = [secret["metadata"].get("annotations") or {} for secret in found]
        sources = {
            (each.get(NAMESPACE_ANNOTATION, ""), each.get(REGISTRY_ANNOTATION, "")): each.get(SOURCE_ANNOTATION, "")
            for each in notes
        }
    return [
        f"{ref} is refused to agents: {'; '.join(_told(each, sources) for each in sorted(needed))}"
        for ref, needed in sorted(concerned.items())
    ]


def _told(where: Place, sources: Mapping[Place, str] | None) -> str:
    namespace = where[0]
    if sources is None:
        return f"namespace {namespace} needs it"
    if where not in sources:
        return f"namespace {namespace} gave no pull secret"
    what = f"a copy of its Secret {sources[where]}" if sources[where] else "a credential"
    return f"namespace {namespace} gave {what}, which a new deployment copies anew"


def _share(
    cluster: Cluster,
    options: CacheOptions,
    namespace: str,
    registry: str,
    entry: Entry,
    at: str,
    source: str = "",
    *,
    by_operator: bool = False,
) -> str:
    wanted = pull_secret(
        secret_name(options, namespace, registry), options.namespace, at or registry, entry, labels_of(options)
    )
    metadata = wanted["metadata"]
    live = cluster.get(kinds.SECRET, metadata["name"], options.namespace)
    notes = live["metadata"].get("annotations") or {} if live else {}
    metadata["annotations"] = {
        NAMESPACE_ANNOTATION: namespace,
        REGISTRY_ANNOTATION: registry,
        **({SOURCE_ANNOTATION: source} if source else {}),
        **({SHARED_BY_ANNOTATION: _OPERATOR} if by_operator and (not live or SHARED_BY_ANNOTATION in notes) else {}),
    }
    if (
        live is None
        or live.get("data") != wanted["data"]
        or notes.get(SOURCE_ANNOTATION, "") != source
        or (SHARED_BY_ANNOTATION in notes and not by_operator)
        or any((live["metadata"].get("labels") or {}).get(key) != value for key, value in metadata["labels"].items())
    ):
        cluster.apply(wanted)
    return str(metadata["name"])


def _auths(data: Mapping[str, str]) -> dict[str, Any]:
    key = _KEY if _KEY in data else _OLD_KEY
    try:
        content = msgspec.json.decode(_decoded(data[key], key))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CacheError(f"its {key} is not JSON", hint=_KINDS) from None
    auths = content.get("auths") if isinstance(content, dict) and key == _KEY else content
    if not isinstance(auths, dict):
        raise CacheError(f"its {key} has no auths", hint=_KINDS)
    return auths


def _decoded(text: str, key: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise CacheError(f"its {key} is not base64") from None


def _docker_key(registry: str) -> str:
    return "https://index.docker.io/v1/" if same_registry(registry, "docker.io") else registry


def _selector(options: CacheOptions) -> str:
    return ",".join(f"{key}={value}" for key, value in labels_of(options).items())
