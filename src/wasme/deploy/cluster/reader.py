"""Reading a cluster: one object, lists, changes as they happen, a port of a pod."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from wasme.deploy.cluster.answers import NOT_ONE, Answer, Asking
from wasme.deploy.cluster.kinds import POD, Kind
from wasme.deploy.cluster.refusals import absent, expired, refusal
from wasme.deploy.cluster.wire import Ask, Wire
from wasme.errors import ClusterError

if TYPE_CHECKING:
    from wasme.deploy.cluster.discovery import Served
    from wasme.deploy.cluster.forward import Forwarded

PAGE = 500
MOST = 1_000_000  # objects of one list; more is a server that lies

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list at one moment: the place from which a watch goes on without a gap."""

    items: list[Object]
    resource_version: str


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
        self._served: Served | None = None

    def close(self) -> None:
        """Close the connections; in-flight requests of other threads fail."""
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """One object; None where there is none of that name."""
        asking = self._asking("read", kind, namespace, name)
        answer = self._wire.send(Ask("GET", path_of(kind, namespace, name), asking))
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
        path = path_of(kind, namespace or "")
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
        answer = self._wire.send(Ask("GET", f"{path_of(POD, namespace, pod)}/log", asking, query, again="unsent"))
        self._refused(answer, asking, POD)
        return answer.body.decode("utf-8", "replace")

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
        from wasme.deploy.cluster.discovery import Served

        if self._served is None or time.monotonic() - self._served.since > within:
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

    def _asking(self, verb: str, kind: Kind, namespace: str, name: str = "") -> Asking:
        return Asking(verb, kind.shown(namespace, name), self.server)

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


def path_of(kind: Kind, namespace: str = "", name: str = "") -> str:
    """``Kind.path`` of names that may hold anything: each stays one word of the path."""
    return kind.path(quote(namespace, safe=""), quote(name, safe=""))
