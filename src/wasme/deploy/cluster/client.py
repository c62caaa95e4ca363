"""A cluster: read, list, apply, create, replace, patch, delete, watch; plain objects both ways."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from wasme.deploy.cluster.answers import NOT_ONE, Answer, Asking
from wasme.deploy.cluster.kinds import ACCESS_REVIEW, POD, Kind, kind_of
from wasme.deploy.cluster.ownership import holds
from wasme.deploy.cluster.refusals import absent, expired, refusal
from wasme.deploy.cluster.wire import Ask, Wire
from wasme.errors import ClusterError

if TYPE_CHECKING:
    from wasme.deploy.cluster.discovery import Served
    from wasme.deploy.cluster.forward import Forwarded

MANAGER = "wasme"
PAGE = 500
MOST = 1_000_000  # objects of one list; more is a server that lies

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list at one moment: the place from which a watch goes on without a gap."""

    items: list[Object]
    resource_version: str


class Cluster:
    """One API server, as one user. Safe to use from many threads.

    Every method raises:
        ClusterUnreachable: no answer within 30 seconds of trying, or a certificate that is refused.
        ClusterForbidden: 401 and 403; the message names verb, resource and namespace.
        NotServed: the server has no such kind; the message names the CRD.
        ObjectRefused: validation says no; the message names the fields.
        Conflict: 409.
        ClusterError: anything else that an API server does not do.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        server: str,
        namespace: str = "default",
        context: str = "",
        login: Callable[[], str] = str,
    ) -> None:
        """``login`` tells, when it is refused, whose login it was and whether it has expired; never a secret."""
        self._wire = wire
        self.server = server
        self.namespace = namespace
        self.context = context
        self._login = login
        self._served: Served | None = None

    def close(self) -> None:
        """Close the connections; in-flight requests of other threads fail."""
        self._wire.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """One object; None where there is none of that name."""
        asking = self._asking("read", kind, namespace, name)
        answer = self._wire.send(Ask("GET", _path(kind, namespace, name), asking))
        if answer.status == 404 and absent(answer):
            return None
        return self._object(answer, asking, kind)

    def list(self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "") -> list[Object]:
        """All objects of a kind, in one namespace or (None) in all of them.

        Args:
            kind: what to list.
            namespace: None or "" for all namespaces.
            labels: a label selector, ``app=web,tier in (a,b)``.
            fields: a field selector, ``spec.nodeName=n1``.
        """
        return self.listing(kind, namespace, labels=labels, fields=fields).items

    def listing(self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "") -> Listing:
        """As ``list``, with the version of the list for a watch that goes on from there."""
        asking = self._asking("list", kind, namespace or "")
        path = _path(kind, namespace or "")
        selectors = {name: text for name, text in (("labelSelector", labels), ("fieldSelector", fields)) if text}
        items: list[Object] = []
        token, started, pages = "", 0, 0
        while True:
            query = {**selectors, "limit": str(PAGE), **({"continue": token} if token else {})}
            answer = self._wire.send(Ask("GET", path, asking, query))
            if expired(answer) and token and started < 5:
                # The server has forgotten the moment that this list was of: begin again, with today's.
                items, token, started = [], "", started + 1
                continue
            found = self._object(answer, asking, kind)
            page = found.get("items")
            if not isinstance(page, list) or not all(map(_is_object, page)):
                raise ClusterError(f"{asking}: {self.server} answered an object that is no list", hint=NOT_ONE)
            for item in page:
                # Items of a list do not say what they are; everything that takes an object wants to know.
                item.setdefault("apiVersion", kind.api_version)
                item.setdefault("kind", kind.kind)
            items += page
            pages += 1
            last, token = token, str(found["metadata"].get("continue") or "")
            if not token:
                return Listing(items, str(found["metadata"].get("resourceVersion", "")))
            # A page may be empty and not the last: a selector left nothing of it.
            if token == last or len(items) > MOST or pages > 20 + MOST // 50:
                raise ClusterError(f"{asking}: {self.server} sends a list without an end", hint=NOT_ONE)

    # Writing

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
        body = msgspec.json.encode(obj)
        return self._write(
            Ask("PATCH", _path(kind, namespace, name), asking, query, body, "application/apply-patch+yaml"), kind
        )

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
        ask = Ask("POST", _path(kind, namespace), asking, query, msgspec.json.encode(obj), again="unsent")
        return self._write(ask, kind)

    def replace(self, obj: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Replace a whole object as it was read: Conflict where somebody changed it since.

        Raises:
            ValueError: the object has no resourceVersion, so nothing would guard others' changes.
        """
        kind, name, namespace = _named(obj)
        if not obj["metadata"].get("resourceVersion"):
            raise ValueError("replace needs metadata.resourceVersion")
        asking = self._asking("update", kind, namespace, name)
        query = {"fieldManager": MANAGER, **_dry(dry_run)}
        return self._write(Ask("PUT", _path(kind, namespace, name), asking, query, msgspec.json.encode(obj)), kind)

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
        return self._write(Ask("PATCH", _path(kind, namespace, name), asking, query, body, kind_of_patch, again), kind)

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
        ask = Ask("DELETE", _path(kind, namespace, name), asking, body=msgspec.json.encode(options))
        answer = self._wire.send(ask)
        if answer.status == 404 and absent(answer):
            return False
        self._refused(answer, asking, kind)
        return True

    # Following

    def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        since: str = "",
        seconds: float,
    ) -> Iterator[tuple[str, Object]]:
        """Changes as they happen: ("ADDED" | "MODIFIED" | "DELETED", object), until ``seconds`` are over.

        Args:
            kind: what to follow.
            namespace: None for all namespaces.
            labels: a label selector.
            fields: a field selector.
            since: a ``Listing``'s resource_version; without it the objects of now come first, each as ADDED.
            seconds: when the iteration ends, counted from its start.
        """
        from wasme.deploy.cluster.watch import follow

        return follow(
            self,
            self._wire,
            kind,
            namespace or "",
            labels=labels,
            fields=fields,
            since=since,
            until=time.monotonic() + seconds,
        )

    @contextlib.contextmanager
    def forward(self, pod: str, namespace: str, port: int, *, seconds: float) -> Iterator[Forwarded]:
        """A TCP connection to a port of a pod, through the server and the pod's kubelet; not tried again.

        Args:
            pod: its name.
            namespace: where it is.
            port: of the pod; what listens on its loopback is reached too.
            seconds: how long the connection may be used.
        """
        from wasme.deploy.cluster.forward import Forwarded, handshake

        asking = Asking("forward a port of", POD.shown(namespace, pod), self.server)
        ask = Ask("GET", f"{_path(POD, namespace, pod)}/portforward", asking, {"ports": str(port)})
        until = time.monotonic() + seconds
        with self._wire.upgraded(ask, handshake(), seconds) as (answer, stream):
            if stream is None:
                assert answer is not None
                self._refused(answer, asking, POD)
                raise ClusterError(f"{asking}: {self.server} opens no websocket", hint="something stands before it")
            forwarded = Forwarded(stream, asking, until)
            try:
                yield forwarded
            finally:
                forwarded.close()

    # About the server

    def server_version(self) -> str:
        """The server's version, ``v1.33.13``."""
        return str(self.read("/version").get("gitVersion", ""))

    def served(self) -> Served:
        """What the server serves; read once, then remembered."""
        from wasme.deploy.cluster.discovery import Served

        if self._served is None:
            self._served = Served(self)
        return self._served

    def read(self, path: str) -> Object:
        """The JSON object at a plain path of the server (``/version``, ``/apis/GROUP/VERSION``)."""
        asking = Asking("read", path, self.server)
        answer = self._wire.send(Ask("GET", path, asking))
        return self._object(answer, asking, None)

    def refusal(self, answer: Answer, asking: Asking, kind: Kind | None) -> ClusterError:
        """The error for an answer that is not 2xx."""
        return refusal(answer, asking, kind, login=self._login() if answer.status == 401 else "")

    # Inside

    def _asking(self, verb: str, kind: Kind, namespace: str, name: str = "") -> Asking:
        return Asking(verb, kind.shown(namespace, name), self.server)

    def _write(self, ask: Ask, kind: Kind) -> Object:
        return self._object(self._wire.send(ask), ask.asking, kind)

    def _object(self, answer: Answer, asking: Asking, kind: Kind | None) -> Object:
        self._refused(answer, asking, kind)
        found = answer.object(asking)
        if kind is not None and not _is_object(found):
            raise ClusterError(f"{asking}: {self.server} answered something that is no object", hint=NOT_ONE)
        return found

    def _refused(self, answer: Answer, asking: Asking, kind: Kind | None) -> None:
        if not answer.ok:
            raise self.refusal(answer, asking, kind)


def _is_object(found: object) -> bool:
    return isinstance(found, dict) and isinstance(found.get("metadata"), dict)


def _path(kind: Kind, namespace: str = "", name: str = "") -> str:
    return kind.path(quote(namespace, safe=""), quote(name, safe=""))


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
