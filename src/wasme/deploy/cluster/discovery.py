"""What a server serves: kinds, and what the schema of a CRD lets be said.

A provider reads the served schema and uses what is there, instead of a table of versions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wasme.deploy.cluster.kinds import CRD, Kind
from wasme.errors import ClusterForbidden, NotServed

if TYPE_CHECKING:
    from wasme.deploy.cluster.reader import Reader


class Schema:
    """The structural schema (OpenAPI v3) of one version of a kind.

    Paths are field names joined by dots from the object's root: ``spec.vmConfig.env``. Lists and maps are looked into
    without a word for it: ``spec.configPatches.patch.operation``.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def has(self, path: str) -> bool:
        """Whether a value at this path is kept: it has a field of that name, or keeps unknown fields."""
        return self._at(path) is not None

    def declares(self, path: str) -> bool:
        """As ``has``, but only where the schema names the field itself."""
        return self._at(path, guess=False) is not None

    def enum(self, path: str) -> tuple[str, ...]:
        """The values that the field may have; empty where it has no such list, or is not there."""
        found = self._at(path, guess=False) or {}
        values = found.get("enum")
        if not values and isinstance(found.get("items"), Mapping):
            values = found["items"].get("enum")
        return tuple(str(each) for each in values) if isinstance(values, list) else ()

    def _at(self, path: str, *, guess: bool = True) -> Mapping[str, Any] | None:
        at: Mapping[str, Any] = self._root
        for name in path.split("."):
            at = _inside(at)
            fields = at.get("properties")
            below = fields.get(name) if isinstance(fields, Mapping) else None
            if not isinstance(below, Mapping):
                extra = at.get("additionalProperties")
                if isinstance(extra, Mapping):
                    below = extra
                elif guess and (at.get("x-kubernetes-preserve-unknown-fields") or extra is True):
                    return {}
                else:
                    return None
            at = below
        return at


def _inside(at: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a list's items; the schema itself where it is none."""
    while isinstance(at.get("items"), Mapping):
        at = at["items"]
    return at


# What keeps everything: a CRD of the first API (Kubernetes 1.15 and older) or of a careless author.
ANYTHING = Schema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})


class Served:
    """What one server serves. Each group, and each CRD, is read once and when it is first asked for.

    Attributes:
        since: when this began to remember, in the seconds of ``time.monotonic``.
    """

    def __init__(self, cluster: Reader) -> None:
        self.since = time.monotonic()
        self._cluster = cluster
        self._lock = threading.Lock()
        self._groups: dict[str, tuple[str, ...]] | None = None
        self._resources: dict[str, dict[str, bool]] = {}
        self._schemas: dict[Kind, Schema | None] = {}

    def has(self, kind: Kind) -> bool:
        """Whether this kind is served in this version."""
        while not self._listed(kind):
            if not self._cluster.troubled:
                return False
            # A server that has just started tells of its CRDs last, but serves no list before it has read them.
            self.forget()
            try:
                self._cluster.read(f"{kind.path()}?limit=1")
            except NotServed:
                return False
            except ClusterForbidden:
                time.sleep(0.2)
            else:
                return True
        return True

    def _listed(self, kind: Kind) -> bool:
        if kind.group and kind.version not in self.versions(kind.group):
            return False
        return kind.kind in self._kinds(kind.group, kind.version)

    def forget(self) -> None:
        """Read everything anew when it is asked for next: a CRD has come, gone or changed."""
        with self._lock:
            self.since = time.monotonic()
            self._groups = None
            self._resources.clear()
            self._schemas.clear()

    def versions(self, group: str) -> tuple[str, ...]:
        """The versions of a group, the server's preferred one first; empty where the group is not served."""
        with self._lock:
            if self._groups is None:
                found = self._cluster.read("/apis").get("groups") or []
                self._groups = {str(each.get("name")): _versions(each) for each in found}
            return self._groups.get(group, ())

    def newest(self, kind: Kind) -> Kind | None:
        """The kind in its own version if that is served, else in the one that the server prefers; None: not at all."""
        if self.has(kind):
            return kind
        for version in self.versions(kind.group) if kind.group else ():
            other = replace(kind, version=version)
            if self.has(other):
                return other
        return None

    def need(self, kind: Kind) -> Kind:
        """As ``newest``, but a kind that is not served is an error.

        Raises:
            NotServed: names the CRD that is missing.
        """
        found = self.newest(kind)
        if found is None:
            raise self._missing(kind)
        return found

    def schema(self, kind: Kind) -> Schema | None:
        """The schema of a kind that a CRD brings, in the version asked for.

        None where the server has no such kind, or where it is one of its own.

        Raises:
            ClusterForbidden: the user may read neither CRDs nor the server's OpenAPI description (Kubernetes 1.24).
        """
        if not self.has(kind):
            return None
        with self._lock:
            if kind not in self._schemas:
                self._schemas[kind] = self._schema(kind)
            return self._schemas[kind]

    def _schema(self, kind: Kind) -> Schema | None:
        try:
            crd = self._cluster.get(CRD, kind.resource)
        except ClusterForbidden as forbidden:
            # CRDs are the whole cluster's; what a user of one namespace may read is the server's own description.
            try:
                described = self._cluster.read(f"/openapi/v3/apis/{kind.group}/{kind.version}")
            except (NotServed, ClusterForbidden):
                raise forbidden from None
            return described_in(described, kind)
        return schema_of(crd, kind.version) if crd else None

    def _kinds(self, group: str, version: str) -> dict[str, bool]:
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        with self._lock:
            if path not in self._resources:
                try:
                    found = self._cluster.read(path).get("resources") or []
                except NotServed:
                    found = []
                # Sub-resources have a slash in their name.
                self._resources[path] = {
                    str(each.get("kind")): bool(each.get("namespaced"))
                    for each in found
                    if "/" not in str(each.get("name", ""))
                }
            return self._resources[path]

    def _missing(self, kind: Kind) -> NotServed:
        from wasme.deploy.cluster.answers import Asking
        from wasme.deploy.cluster.refusals import not_served

        return not_served(kind, Asking("use", kind.kind, self._cluster.server))


def schema_of(crd: Mapping[str, Any], version: str) -> Schema | None:
    """The schema of one version in a CRD object (``apiextensions.k8s.io/v1``, or ``v1beta1`` of a file).

    None where the CRD does not serve that version.
    """
    spec = crd.get("spec") or {}
    for each in spec.get("versions") or []:
        if each.get("name") == version and each.get("served", True):
            root = (each.get("schema") or {}).get("openAPIV3Schema")
            if root is None:
                root = (spec.get("validation") or {}).get("openAPIV3Schema")
            if root is None or spec.get("preserveUnknownFields"):
                return ANYTHING
            return Schema(root)
    return None


def described_in(openapi: Mapping[str, Any], kind: Kind) -> Schema | None:
    """The schema of a kind in an OpenAPI v3 document of its group and version; None where it is not in there."""
    named = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    schemas = (openapi.get("components") or {}).get("schemas")
    for each in schemas.values() if isinstance(schemas, Mapping) else ():
        if isinstance(each, Mapping) and named in (each.get("x-kubernetes-group-version-kind") or ()):
            return Schema(each)
    return None


def _versions(group: Mapping[str, Any]) -> tuple[str, ...]:
    names = [str(each.get("version")) for each in group.get("versions") or []]
    preferred = str((group.get("preferredVersion") or {}).get("version", ""))
    return tuple(sorted(names, key=lambda name: name != preferred))
