"""A cluster: read, list, apply, create, replace, patch, delete, watch; plain objects both ways."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import msgspec

from wasme.deploy.as_yaml import as_yaml
from wasme.deploy.cluster.answers import Answer
from wasme.deploy.cluster.depth import LEVELS, holds_cut
from wasme.deploy.cluster.kinds import ACCESS_REVIEW, Kind, kind_of, path_of
from wasme.deploy.cluster.lists import Listing
from wasme.deploy.cluster.ownership import holds, owned_fields
from wasme.deploy.cluster.reader import Object, Reader
from wasme.deploy.cluster.refusals import absent
from wasme.deploy.cluster.wire import Ask
from wasme.errors import ClusterError, InputError, ObjectRefused

__all__ = ["Cluster", "Listing", "Object"]

MANAGER = "wasme"


class Cluster(Reader):
    """One API server, as one user. Safe to use from many threads.

    Every method raises:
        ClusterUnreachable: no answer within 30 seconds of trying, or a certificate that is refused.
        ClusterForbidden: 401 and 403; the message names verb, resource and namespace.
        NotServed: the server has no such kind; the message names the CRD.
        ObjectRefused: validation says no; the message names the fields.
        Conflict: 409.
        ClusterError: anything else that an API server does not do.
    """

    _check: Callable[[], None] | None = None

    def guarded(self, check: Callable[[], None]) -> Self:
        """The same cluster by the same connections, whose writes are checked; closing one closes both.

        Args:
            check: called before each try of each request that may change something, and again when its first and its
                last bytes are about to go; what it raises ends the request.
        """
        other = copy.copy(self)
        other._check = check
        return other

    def apply(
        self, obj: Mapping[str, Any], *, force: bool = True, dry_run: bool = False, manager: str = MANAGER
    ) -> Object:
        """Server-side apply: the fields of ``obj`` become ours with these values; fields of others stay.

        Applying what is there already changes nothing, not even the resourceVersion.

        Args:
            obj: apiVersion, kind, metadata.name and what shall be set; fields that an earlier apply set and this one
                leaves out are removed.
            force: take fields over that others own; without it that is a Conflict which names field and owner.
            dry_run: the server checks and answers, and stores nothing.
            manager: the name under which the fields are owned.
        """
        kind, name, namespace = _named(obj)
        asking = self._asking("apply", kind, namespace, name)
        query = {"fieldManager": manager, "force": "true" if force else "false", **_dry(dry_run)}
        ask = Ask("PATCH", path_of(kind, namespace, name), asking, query, _yaml(obj), "application/apply-patch+yaml")
        return self._write(ask, kind)

    def settle(
        self, obj: Mapping[str, Any], live: Object | None = None, *, force: bool = True, manager: str = MANAGER
    ) -> tuple[Object, bool]:
        """Apply, but send no write where it would change nothing.

        Args:
            obj: as for ``apply``.
            live: the object as it was just read; None: it is read here.
            force: as for ``apply``.
            manager: as for ``apply``.

        Returns: the object as it is now, and whether it was written.
        """
        kind, name, namespace = _named(obj)
        live = live if live is not None else self.get(kind, name, namespace)
        if live is not None and holds(live, obj, manager):
            return live, False
        return self.apply(obj, force=force, manager=manager), True

    def create(self, obj: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Create an object that must not be there yet (Conflict where it is); ``generateName`` is allowed."""
        kind, name, namespace = _named(obj, generated=True)
        asking = self._asking("create", kind, namespace, name)
        query = {"fieldManager": MANAGER, **_dry(dry_run)}
        # Under a name a second try finds what the first has made; a review makes nothing.
        again = "always" if name or kind == ACCESS_REVIEW else "unsent"
        ask = Ask("POST", path_of(kind, namespace), asking, query, msgspec.json.encode(obj), again=again)
        # A review changes nothing.
        answer = self._send(ask) if kind == ACCESS_REVIEW else self._change(ask)
        if answer.status == 409 and answer.unsure:
            made = self.get(kind, name, namespace)
            if made is not None and owned_fields(made, MANAGER, operation="Update") is not None:
                return made
        return self._object(answer, asking, kind)

    def replace(self, obj: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Replace a whole object as it was read: Conflict where somebody changed it since.

        Raises:
            ValueError: the object has no resourceVersion, so nothing would guard others' changes.
        """
        return self._put(obj, "update", "", dry_run=dry_run)

    def replace_status(self, obj: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Replace the status of an object as it was read, and nothing else: Conflict where somebody changed it since.

        Raises:
            ValueError: the object has no resourceVersion.
        """
        return self._put(obj, "update the status of", "/status", dry_run=dry_run)

    def _put(self, obj: Mapping[str, Any], verb: str, below: str, *, dry_run: bool) -> Object:
        kind, name, namespace = _named(obj)
        if not obj["metadata"].get("resourceVersion"):
            raise ValueError("replace needs metadata.resourceVersion")
        asking = self._asking(verb, kind, namespace, name)
        query = {"fieldManager": MANAGER, **_dry(dry_run)}
        path = path_of(kind, namespace, name) + below
        return self._write(Ask("PUT", path, asking, query, msgspec.json.encode(obj)), kind)

    def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        patch: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        dry_run: bool = False,
    ) -> Object:
        """Patch an object: a mapping is a merge patch (RFC 7386), a sequence a JSON patch (RFC 6902).

        A merge patch with ``metadata.resourceVersion`` is guarded by it. A patch's fields are owned by our name, but
        as an update: a later ``apply`` that leaves them out does not remove them.
        """
        asking = self._asking("patch", kind, namespace, name)
        merge = isinstance(patch, Mapping)
        # A JSON patch may add to a list: sent twice, it adds twice.
        again = "always" if merge else "unsent"
        kind_of_patch = "application/merge-patch+json" if merge else "application/json-patch+json"
        query = {"fieldManager": MANAGER, **_dry(dry_run)}
        body = msgspec.json.encode(patch)
        return self._write(
            Ask("PATCH", path_of(kind, namespace, name), asking, query, body, kind_of_patch, again), kind
        )

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        dry_run: bool = False,
    ) -> bool:
        """Delete an object; False where it was gone already.

        Args:
            kind: what it is.
            name: its name.
            namespace: where it is; "" for kinds without namespaces.
            uid: delete only this very object: Conflict where another of that name took its place.
            resource_version: delete it only as it was read: Conflict where somebody changed it since.
            dry_run: the server checks and answers, and deletes nothing.
        """
        asking = self._asking("delete", kind, namespace, name)
        options: Object = {"propagationPolicy": "Background"}
        if uid or resource_version:
            wanted = (("uid", uid), ("resourceVersion", resource_version))
            options["preconditions"] = {key: value for key, value in wanted if value}
        if dry_run:
            # In the body: beside one the server reads no query, and would really delete.
            options["dryRun"] = ["All"]
        ask = Ask("DELETE", path_of(kind, namespace, name), asking, body=msgspec.json.encode(options))
        answer = self._change(ask)
        if answer.status == 404 and absent(answer):
            return answer.unsure  # a try before this one may have been ours
        self._refused(answer, asking, kind)
        return True

    def _write(self, ask: Ask, kind: Kind) -> Object:
        return self._object(self._change(ask), ask.asking, kind)

    def _change(self, ask: Ask) -> Answer:
        # A status goes with the whole object, of which the server takes no more than the status.
        if ask.body is not None and not ask.path.endswith("/status") and holds_cut(ask.body):
            raise ObjectRefused(
                f"{ask.asking}: it is nested more than {LEVELS} levels deep, which wasme does not write",
                hint="make it flatter: nothing that a proxy is told may be so deep",
            )
        return self._send(ask if self._check is None else replace(ask, check=self._check))


def _yaml(obj: Mapping[str, Any]) -> bytes:
    """An object as the body of an apply.

    Raises:
        InputError: a text holds half of a surrogate pair.
    """
    try:
        return as_yaml(msgspec.json.encode(obj).decode()).encode()
    except UnicodeEncodeError:
        name = str((obj.get("metadata") or {}).get("name", ""))
        raise InputError(f"{obj.get('kind')} {name}: a text in it is not Unicode") from None


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _named(obj: Mapping[str, Any], *, generated: bool = False) -> tuple[Kind, str, str]:
    """The kind, name and namespace of an object that is to be written."""
    kind = kind_of(obj)
    meta = obj.get("metadata") or {}
    name, namespace = str(meta.get("name", "")), str(meta.get("namespace", ""))
    if not name and not (generated and (meta.get("generateName") or kind == ACCESS_REVIEW)):
        raise ClusterError(f"{kind.kind} without a name")
    if kind.namespaced and not namespace:
        raise ClusterError(f"{kind.shown(name=name)} names no namespace")
    return kind, name, namespace
