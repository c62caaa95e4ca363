"""What the command line and the cache's agents tell each other through the API server.

There are three kinds of objects, all in the cache's namespace, and one folder on every node::

    ConfigMap N                 what every node must hold; written by deploy, undeploy and anybody's editor
      images                    one reference a line, as typed; the original's key
      added                     those of ``images`` that deploy wrote, so that undeploy may take them away again
      filters                   one line a filter: NAMESPACE/ID REF MANIFEST MODULE [pending] (two digests)
      registryMap               {"NAME": "[http[s]://]HOST[:PORT][/PREFIX]"}, or the same as lines NAME: HOST
    ConfigMap N-NODE            what one node holds; written by its agent, only when it changes: status.json
    Event                       the original's, for its readers: one for each change on a node

    /var/local/lib/wasme-cache/<64 hex of the module's digest>     one module, complete
    /var/local/lib/wasme-cache/ready/<namespace>                   there once every module of its filters is there

A line is pending while its filter is on the way: nodes pull the module, but none keeps pods from starting for want of
it, so a deployment that fails or dies does no harm to what runs. Before the filter's object appears the mark goes.

This module is all that the agent shares with the rest of ``deploy``; it imports the standard library, msgspec and
the error tree, because it is in the memory of every node.
"""

from __future__ import annotations

import functools
import hashlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from wasme.errors import CacheError

NAME = "wasme-cache"
"""The default name of the cache's objects, ``--cache-name``."""
NAMESPACE = "wasme"
"""The default namespace of the cache's objects, ``--cache-namespace``."""

DIRECTORY = "/var/local/lib/wasme-cache"
"""Where the modules lie, on the nodes and in the agent's container alike."""
READY_DIRECTORY = f"{DIRECTORY}/ready"
"""Where the markers of namespaces lie."""
REFERENCE_FILE = "/etc/wasme-cache/images.txt"
"""Where the agent's container sees the key ``images``; read only while there is no API server to watch."""
PORT = 9979
"""The agent's HTTP port."""
HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"
NODE_VARIABLE = "NODE_HOSTNAME"
"""The environment variable with the node's name, ``spec.nodeName``; the original read it and never set it."""

IMAGES = "images"
ADDED = "added"
FILTERS = "filters"
REGISTRY_MAP = "registryMap"
STATUS_KEY = "status.json"

TRUE = "true"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "wasme"
CACHE_LABEL = "wasme.io/cache"
"""On pods: the cache whose files they use. On the cache's own objects: the cache that they belong to."""
STATUS_LABEL = "cache.wasme.io/node-status"
PULL_SECRET_LABEL = "cache.wasme.io/pull-secret"  # noqa: S105 - a label's key
PULL_SECRET_NAMESPACE = "cache.wasme.io/namespace"  # noqa: S105 - an annotation's key
"""On pull secrets: the namespace of workloads that it was given for; without it, it is for all."""
EVENT_LABEL = "cache.wasme.io/cache_event"
IMAGE_LABEL = "cache.wasme.io/image_ref"
"""On Events, a label with the MD5 of the reference as typed, and an annotation with the reference itself."""
DIGEST_ANNOTATION = "cache.wasme.io/image_digest"
"""On Events, the module's digest."""
IMAGE_ADDED = "ImageAdded"
IMAGE_ERROR = "ImageError"
EVENT_PREFIX = "wasme-cache-event-"
EVENT_COMPONENT = "wasme-cache"

NO_ACCESS = frozenset({"Unauthorized", "Forbidden"})
"""Kinds of errors, as ``ImageStatus`` has them, that another credential may end."""

LONGEST_ERROR = 500
"""Characters of an agent's error that are kept: a status of thousands of images must stay one object (1 MiB)."""
_LONGEST_NAME = 253
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PENDING = "pending"
_GRAMMAR = "a line reads: NAMESPACE/ID REFERENCE sha256:MANIFEST sha256:MODULE [pending]"


class FilterLine(NamedTuple):
    """One filter that is deployed in one namespace, with the image that its proxies load from the node.

    A filter that has different images on two workloads of a namespace, or is on its way from one image to the next,
    has a line for each.

    Attributes:
        namespace: of the workloads.
        id: the filter's ``--id``.
        ref: the image's reference as typed.
        manifest: digest of the image's manifest.
        module: digest of the module, which names its file.
        pending: pods do not need it yet.
    """

    namespace: str
    id: str
    ref: str
    manifest: str
    module: str
    pending: bool = False

    @property
    def text(self) -> str:
        """The line, without its end."""
        mark = f" {_PENDING}" if self.pending else ""
        return f"{self.namespace}/{self.id} {self.ref} {self.manifest} {self.module}{mark}"

    @property
    def needed(self) -> FilterLine:
        """The same line, no longer pending."""
        return self._replace(pending=False) if self.pending else self


class Wanted(NamedTuple):
    """What the cache's ConfigMap asks of every node.

    Attributes:
        images: references as typed, in order, each once; their tags are followed.
        filters: the deployed filters; each reference at its manifest's digest.
        registry_map: a registry's name → where its traffic goes.
        problems: lines that cannot be read, one sentence each, naming key and line; the others count all the same.
    """

    images: tuple[str, ...] = ()
    filters: tuple[FilterLine, ...] = ()
    registry_map: Mapping[str, str] = {}
    problems: tuple[str, ...] = ()


class ImageStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one node knows about one image.

    Attributes:
        ref: the reference as typed.
        manifest: the manifest's digest, asked for by a filter or found by resolving the tag; "" until it is known.
        module: the module's digest; "" until it is known.
        size: of the module in bytes; 0 until it is known.
        held: the file is there, complete and verified.
        error: why it is not, in one line without secrets; "" if nothing is wrong.
        kind: the error's class by its name, such as ``Unauthorized``.
        permanent: that error stays until somebody changes something (no such image, no right to it).
    """

    ref: str
    manifest: str = ""
    module: str = ""
    size: int = 0
    held: bool = False
    error: str = ""
    kind: str = ""
    permanent: bool = False


class NodeStatus(msgspec.Struct, frozen=True):
    """What one node's agent tells.

    Attributes:
        node: the node's name.
        agent: the agent's version.
        observed: resourceVersion of the cache's ConfigMap that the agent has read last; "" before the first.
        ready: namespaces whose marker is written, sorted.
        images: one for each reference and manifest.
        problems: lines of the ConfigMap that the agent cannot read.
    """

    node: str
    agent: str = ""
    observed: str = ""
    ready: tuple[str, ...] = ()
    images: tuple[ImageStatus, ...] = ()
    problems: tuple[str, ...] = ()

    def holds(self, module: str) -> bool:
        """Whether the file of a module, by its digest, is there."""
        return any(each.held and each.module == module for each in self.images)


_DECODER = msgspec.json.Decoder(NodeStatus)


def parse_wanted(data: Mapping[str, str] | None) -> Wanted:
    """Read the cache's ConfigMap; never raises: a line that nobody can read must not stop the others.

    Args:
        data: the ConfigMap's ``data``; None, like {}, asks for nothing.
    """
    data = data or {}
    problems: list[str] = []
    images = []
    for number, line in _lines(data.get(IMAGES, "")):
        if len(line.split()) == 1:
            images.append(line)
        else:
            problems.append(f"{IMAGES}, line {number}: {line[:200]!r} is not one image reference")
    filters = []
    for number, line in _lines(data.get(FILTERS, "")):
        try:
            filters.append(parse_filter(line, f"{FILTERS}, line {number}"))
        except CacheError as error:
            problems.append(error.message)
    registry_map: Mapping[str, str] = {}
    try:
        registry_map = parse_registry_map(data.get(REGISTRY_MAP, ""))
    except CacheError as error:
        problems.append(error.message)
    return Wanted(tuple(dict.fromkeys(images)), tuple(dict.fromkeys(filters)), registry_map, tuple(problems))


def parse_images(text: str) -> tuple[str, ...]:
    """The references of ``images`` or ``added``: trimmed, without blank lines and # lines."""
    return tuple(line for _, line in _lines(text))


def parse_filter(line: str, where: str = "the line") -> FilterLine:
    """Read one line of ``filters``.

    Args:
        where: what an error begins with.

    Raises:
        CacheError: it is no such line.
    """
    try:
        return _filter(line)
    except CacheError as error:
        raise CacheError(f"{where}: {error.message}", hint=error.hint) from None


@functools.lru_cache(maxsize=4096)
def _filter(line: str) -> FilterLine:
    """The same list is read at each change of it."""
    fields = line.split()
    pending = fields[4:] == [_PENDING]
    if len(fields) != 4 + pending:
        raise CacheError(f"{len(fields)} fields instead of 4: {line[:200]!r}", hint=_GRAMMAR)
    namespace, slash, name = fields[0].partition("/")
    if not namespace or not slash or not name or "/" in name:
        raise CacheError(f"{fields[0][:200]!r} is not NAMESPACE/ID", hint=_GRAMMAR)
    for what, digest in (("manifest", fields[2]), ("module", fields[3])):
        if not _DIGEST.fullmatch(digest):
            raise CacheError(f"the {what}'s digest is {digest[:200]!r}", hint=_GRAMMAR)
    return FilterLine(namespace, name, fields[1], fields[2], fields[3], pending)


def format_lines(lines: Iterable[str]) -> str:
    """Lines as a value of the ConfigMap: no line end after the last, as the original wrote it."""
    return "\n".join(lines)


def parse_registry_map(text: str) -> dict[str, str]:
    """Read ``registryMap``: a JSON object, or lines ``NAME: HOST``, which is the YAML that people write.

    Raises:
        CacheError: it is neither.
    """
    if text.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(text, type=dict[str, str])
        except msgspec.DecodeError as error:
            raise CacheError(f"{REGISTRY_MAP} is no JSON object of texts: {error}") from None
    found = {}
    for number, line in _lines(text):
        name, colon, host = line.partition(": ")
        name, host = (each.strip().strip("\"'") for each in (name, host))
        if not colon or not name or not host:
            raise CacheError(
                f"{REGISTRY_MAP}, line {number}: {line[:200]!r} is not NAME: HOST",
                hint="it should read like:  webassemblyhub.io: hub.example.com/filters",
            )
        found[name] = host
    return found


def format_registry_map(led: Mapping[str, str]) -> str:
    """A registry map as the ConfigMap carries it; "" for an empty one."""
    return msgspec.json.encode(dict(sorted(led.items()))).decode() if led else ""


def encode_status(status: NodeStatus) -> str:
    """``status.json``: the same text for the same facts, errors cut to ``LONGEST_ERROR`` characters."""
    images = [
        msgspec.structs.replace(each, error=" ".join(each.error.split())[:LONGEST_ERROR])
        for each in sorted(status.images, key=lambda each: (each.ref, each.manifest))
    ]
    whole = msgspec.structs.replace(status, ready=tuple(sorted(status.ready)), images=tuple(images))
    return msgspec.json.encode(whole).decode()


def decode_status(text: str, where: str = STATUS_KEY) -> NodeStatus:
    """Read ``status.json``; keys of later versions are passed over.

    Raises:
        CacheError: it is no such JSON.
    """
    try:
        return _DECODER.decode(text)
    except msgspec.DecodeError as error:
        raise CacheError(f"{where}: {error}", hint="its agent writes it anew when its pod is deleted") from None


def status_name(cache: str, node: str) -> str:
    """The name of a node's ConfigMap: ``<cache>-<node>``, with a hash at the end where that is too long a name."""
    name = f"{cache}-{node}"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 17].rstrip('.-')}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def status_object(cache: str, namespace: str, owner_uid: str, status: NodeStatus) -> dict[str, Any]:
    """A node's ConfigMap; it goes away with the cache's own ConfigMap.

    Args:
        owner_uid: ``metadata.uid`` of the ConfigMap named ``cache``.
    """
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": cache, "uid": owner_uid}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": status_name(cache, status.node),
            "namespace": namespace,
            "labels": status_labels(cache),
            "ownerReferences": [owner],
        },
        "data": {STATUS_KEY: encode_status(status)},
    }


def status_labels(cache: str) -> dict[str, str]:
    """The labels of the ConfigMaps of a cache's nodes."""
    return {MANAGED_BY_LABEL: MANAGER, CACHE_LABEL: cache, STATUS_LABEL: TRUE}


def ready_file(namespace: str) -> str:
    """The marker of a namespace, on every node."""
    return f"{READY_DIRECTORY}/{namespace}"


def module_file(module: str) -> str:
    """The file of a module, on every node, from its digest ``sha256:…``."""
    return f"{DIRECTORY}/{module.removeprefix('sha256:')}"


def image_label(ref: str) -> str:
    """The value of ``IMAGE_LABEL`` on an Event: the MD5 of the reference as typed, which itself is too long for one."""
    return hashlib.md5(ref.encode(), usedforsecurity=False).hexdigest()


def event_object(
    cache: str, namespace: str, node: str, ref: str, *, module: str = "", error: str = "", now: float | None = None
) -> dict[str, Any]:
    """The Event of one change on one node, as the original's readers look for it.

    Args:
        ref: the image's reference as typed.
        module: digest of the module that is there now.
        error: why it is not; "" for ``ImageAdded``.
        now: seconds since 1970.
    """
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    annotations = {IMAGE_LABEL: ref}
    if module:
        annotations[DIGEST_ANNOTATION] = module
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "generateName": EVENT_PREFIX,
            "namespace": namespace,
            "labels": {EVENT_LABEL: TRUE, IMAGE_LABEL: image_label(ref)},
            "annotations": annotations,
        },
        "involvedObject": {"apiVersion": "v1", "kind": "ConfigMap", "name": cache, "namespace": namespace},
        "reason": IMAGE_ERROR if error else IMAGE_ADDED,
        "message": error[:LONGEST_ERROR] if error else f"Image {ref} added successfully",
        "type": "Warning" if error else "Normal",
        "source": {"component": EVENT_COMPONENT, "host": node},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def _lines(text: str) -> Sequence[tuple[int, str]]:
    """Number and trimmed text of each line that says something."""
    numbered = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    return [(number, line) for number, line in numbered if line and not line.startswith("#")]
