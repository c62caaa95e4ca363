"""Reading a cluster: one object, lists, changes as they happen, a port of a pod."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from wasme.deploy.cluster import lists
from wasme.deploy.cluster.answers import NOT_ONE, Answer, Asking
from wasme.deploy.cluster.discovery import Served
from wasme.deploy.cluster.kinds import POD, Kind, path_of
from wasme.deploy.cluster.lists import Listing, Page
from wasme.deploy.cluster.refusals import absent, refusal
from wasme.deploy.cluster.watch import WINDOW, Known, changes, follow
from wasme.deploy.cluster.wire import Ask, Wire
from wasme.errors import ClusterError

if TYPE_CHECKING:
    from wasme.deploy.cluster.forward import Forwarded

Object = dict[str, Any]


class Reader:
    """What of a cluster can be read; see ``Cluster``."""

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
        self._served = Served(self)
        self._patience: float | None = None

    def close(self) -> None:
        """Close the connections; in-flight requests of other threads fail."""
        self._wire.close()

    def hang_up(self) -> None:
        """End the watches of other threads, which find them lost; to wait for those threads before ``close``."""
        self._wire.hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """One object; None where there is none of that name."""
        asking = self._asking("read", kind, namespace, name)
        answer = self._send(Ask("GET", path_of(kind, namespace, name), asking))
        if answer.status == 404 and absent(answer):
            return None
        return self._object(answer, asking, kind)

    def list(
        self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "", metadata: bool = False
    ) -> list[Object]:
        """All objects of a kind, in one namespace or (None) in all of them.

        Args:
            kind: what to list.
            namespace: None or "" for all namespaces.
            labels: a label selector, ``app=web,tier in (a,b)``.
            fields: a field selector, ``spec.nodeName=n1``.
            metadata: only apiVersion, kind and metadata of each; the rest is not even sent.
        """
        return self.listing(kind, namespace, labels=labels, fields=fields, metadata=metadata).items

    def listing(
        self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "", metadata: bool = False
    ) -> Listing:
        """As ``list``, with the version of the list for a watch that goes on from there."""
        items: list[Object] = []
        version = ""
        for page in self.pages(kind, namespace, labels=labels, fields=fields, metadata=metadata):
            if page.first:
                items = []
            items += page.items
            version = page.resource_version
        return Listing(items, version)

    def pages(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata: bool = False,
        limit: int = 0,
    ) -> Iterator[Page]:
        """As ``listing``, page by page, so that no more than one is in memory.

        Args:
            limit: objects of one page; 0 for many.
        """
        asking = self._asking("list", kind, namespace or "")
        return lists.pages(
            self._send,
            lambda answer: self._refused(answer, asking, kind),
            kind,
            path_of(kind, namespace or ""),
            asking,
            _selectors(labels, fields),
            metadata=metadata,
            limit=limit or lists.PAGE,
        )

    def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        since: str = "",
        seconds: float,
        metadata: bool = False,
        window: float = WINDOW,
    ) -> Iterator[tuple[str, Object]]:
        """Changes as they happen: ("ADDED" | "MODIFIED" | "DELETED", object), until ``seconds`` are over.

        Lost connections are made again where they ended. Where the server has forgotten the place (410), everything is
        listed anew: what this watch has not told yet comes as ADDED, what is another now as MODIFIED, what it has told
        of and is gone as DELETED.

        Args:
            kind: what to follow.
            namespace: None for all namespaces.
            labels: a label selector.
            fields: a field selector.
            since: a ``Listing``'s resource_version; without it the objects of now come first, each as ADDED.
            seconds: when the iteration ends, counted from its start.
            metadata: as for ``list``.
            window: seconds of one request; a connection that is silent for a little longer is given up.
        """
        return follow(
            self,
            kind,
            namespace,
            selectors={"labels": labels, "fields": fields},
            since=since,
            until=time.monotonic() + seconds,
            metadata=metadata,
            window=window,
        )

    def changes(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        since: str,
        window: float,
        labels: str = "",
        fields: str = "",
        metadata: bool = False,
        silence: float = 1.0,
        known: Known | None = None,
    ) -> Generator[tuple[str, Object]]:
        """One request of a watch: changes, and ("BOOKMARK", object) whose metadata says how far all is told.

        Ends with the request. Not tried again, nothing is listed: whoever follows a kind for long does that himself.

        Args:
            kind: what to follow.
            namespace: None for all namespaces.
            since: a resourceVersion.
            window: seconds after which the server ends it.
            labels: a label selector.
            fields: a field selector.
            metadata: as for ``list``.
            silence: seconds beside ``window`` after which a connection on which nothing comes is given up.
            known: asked of each object that was added or changed; what is known is neither read nor given.

        Raises:
            watch.Gone: the server has forgotten ``since``.
            ClusterUnreachable: the connection is lost, or was silent.
            ClusterError: the server does not tell; or what it tells cannot be read.
        """
        asking = self._asking("watch", kind, namespace or "")
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(max(1, int(window + 0.999))),
            **_selectors(labels, fields),
        }
        ask = Ask("GET", path_of(kind, namespace or ""), asking, query, accept=lists.METADATA if metadata else "")
        return changes(
            self._wire, ask, kind, window + silence, lambda answer: self.refusal(answer, asking, kind), known
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
        ask = Ask("GET", f"{path_of(POD, namespace, pod)}/portforward", asking, {"ports": str(port)})
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

    def log(self, pod: str, namespace: str, container: str, *, lines: int) -> str:
        """The last lines that a container has logged, each with the time (RFC 3339) at which its node got it.

        Args:
            pod: its name.
            namespace: where it is.
            container: which of its containers.
            lines: at most so many, and 64 KiB for each hundred.
        """
        asking = Asking("read the log of", POD.shown(namespace, pod), self.server)
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(lines * 655), "timestamps": "true"}
        # A kubelet that cannot be reached is a 500 here, which would be tried again for half a minute.
        answer = self._send(Ask("GET", f"{path_of(POD, namespace, pod)}/log", asking, query, again="unsent"))
        self._refused(answer, asking, POD)
        return answer.body.decode("utf-8", "replace")

    @property
    def answers(self) -> dict[tuple[str, int], int]:
        """How many answers of each status came to each verb, over these connections; watches are not counted."""
        return self._wire.answers

    @property
    def troubled(self) -> bool:
        """Whether a connection was lost in the last seconds: the server may have started anew and not be ready."""
        return self._wire.troubled

    def server_version(self) -> str:
        """The server's version, ``v1.33.13``."""
        return str(self.read("/version").get("gitVersion", ""))

    def served(self, within: float = math.inf) -> Served:
        """What the server serves; read once, then remembered.

        Args:
            within: seconds; what was remembered for longer is read anew, also for those who ask after this call.
        """
        if time.monotonic() - self._served.since > within:
            self._served.forget()
        return self._served

    def read(self, path: str) -> Object:
        """The JSON object at a plain path of the server (``/version``, ``/apis/GROUP/VERSION``)."""
        asking = Asking("read", path, self.server)
        answer = self._send(Ask("GET", path, asking))
        return self._object(answer, asking, None)

    def hasty(self, seconds: float) -> Self:
        """The same cluster by the same connections, with so many seconds of patience for each request; no watches."""
        other = copy.copy(self)
        other._patience = seconds
        return other

    def refusal(self, answer: Answer, asking: Asking, kind: Kind | None) -> ClusterError:
        """The error for an answer that is not 2xx."""
        return refusal(answer, asking, kind, login=self._login() if answer.status == 401 else "")

    def _asking(self, verb: str, kind: Kind, namespace: str, name: str = "") -> Asking:
        return Asking(verb, kind.shown(namespace, name), self.server)

    def _send(self, ask: Ask) -> Answer:
        return self._wire.send(ask if self._patience is None else replace(ask, patience=self._patience))

    def _object(self, answer: Answer, asking: Asking, kind: Kind | None) -> Object:
        self._refused(answer, asking, kind)
        found = answer.object(asking)
        if kind is not None and not lists.is_object(found):
            raise ClusterError(f"{asking}: {self.server} answered something that is no object", hint=NOT_ONE)
        return found

    def _refused(self, answer: Answer, asking: Asking, kind: Kind | None) -> None:
        if not answer.ok:
            raise self.refusal(answer, asking, kind)


def _selectors(labels: str, fields: str) -> dict[str, str]:
    return {name: text for name, text in (("labelSelector", labels), ("fieldSelector", fields)) if text}
