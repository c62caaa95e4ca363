"""A client for what the agent asks of the Kubernetes API server: four verbs and a watch, on the standard library.

Each thread has a client of its own, with one connection that is kept. Every request has a time limit, and a request
that an old connection lost is sent once more. Errors are told in words; a refusal for want of rights names the right.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from wasme import __version__
from wasme.cache.access import Access
from wasme.cache.metrics import Counters
from wasme.deploy.as_yaml import as_yaml
from wasme.errors import ClusterError, ClusterForbidden, ClusterUnreachable, Conflict, ObjectRefused

MANAGER = "wasme-cache-agent"
_SECONDS = 15.0
_LARGEST = 64 << 20
_WATCH_SECONDS = 300
_SILENCE = 150.0
"""Seconds without a byte after which a watch counts as cut; a server sends bookmarks each minute."""

Object = dict[str, Any]


class Kube:
    """One connection to an API server; for one thread, but for `interrupt`.

    Args:
        access: where it is, and who one is there.
        counters: what is counted.
    """

    def __init__(self, access: Access, counters: Counters) -> None:
        self._access = access
        self._counters = counters
        self._connection: http.client.HTTPConnection | None = None
        self._stopping = threading.Event()

    def get(self, path: str, **query: str) -> Object | None:
        """An object or a list; None where there is nothing.

        Raises:
            ClusterError: the server did not give it.
        """
        return self._call("GET", _with(path, query), missing=True)

    def create(self, path: str, obj: Object) -> Object:
        """Make an object.

        Raises:
            ClusterError: the server did not take it.
        """
        return self._call("POST", path, obj) or {}

    def apply(self, path: str, obj: Object) -> Object:
        """Make an object have these fields (server-side apply).

        Raises:
            ClusterError: the server did not take it.
        """
        query = {"fieldManager": MANAGER, "force": "true"}
        return self._call("PATCH", _with(path, query), obj, "application/apply-patch+yaml") or {}

    def watch(self, path: str, since: str, **query: str) -> Iterator[tuple[str, Object]]:
        """Events (type and object) of a collection, until the server ends the watch or it is cut.

        The first is ``OPENED``, without an object: the watch stands.

        Args:
            path: the collection.
            since: resourceVersion to begin after.
            query: selectors.

        Raises:
            ClusterError: the server does not watch; an event of type ``ERROR`` is given as it comes.
        """
        wanted = {
            **query,
            "watch": "1",
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        answer = self._send("GET", _with(path, wanted), None, "", label="WATCH")
        try:
            if answer.status != 200:
                raise _refusal(answer.status, answer.read(1 << 16), "WATCH", path)
            connection = self._connection
            if connection is not None and connection.sock is not None:
                connection.sock.settimeout(_SILENCE)
            rest = b""
            yield "OPENED", {}
            while True:
                try:
                    block = answer.read1(1 << 16)
                except (OSError, http.client.HTTPException, ValueError):
                    return
                if not block or self._stopping.is_set():
                    return
                rest += block
                if len(rest) > _LARGEST:
                    raise ClusterUnreachable("the API server sends an event without end")
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    if line.strip():
                        yield _event(line)
        finally:
            self._drop()

    def interrupt(self) -> None:
        """End, from another thread, whatever is waited for; the client is of no use afterwards."""
        self._stopping.set()
        connection = self._connection
        sock = connection.sock if connection is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _call(
        self,
        verb: str,
        target: str,
        obj: Object | None = None,
        kind: str = "application/json",
        *,
        missing: bool = False,
    ) -> Object | None:
        text = "" if obj is None else as_yaml(json.dumps(obj, separators=(",", ":"), ensure_ascii=False))
        body = None if obj is None else text.encode("utf-8", "replace")
        answer = self._send(verb, target, body, kind)
        try:
            content = answer.read(_LARGEST + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._drop()
            raise self._lost(error) from None
        if answer.will_close:
            self._drop()
        if answer.status == 404 and missing:
            return None
        if answer.status >= 300:
            raise _refusal(answer.status, content, verb, target)
        return _decode(content)

    def _send(
        self, verb: str, target: str, body: bytes | None, kind: str, *, label: str = ""
    ) -> http.client.HTTPResponse:
        label = label or verb
        for last in (False, True):
            kept = self._connection is not None
            try:
                answer = self._once(verb, target, body, kind)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._drop()
                # A kept connection may have been closed as it was taken; a POST may have been carried out.
                if kept and not last and verb != "POST" and not self._stopping.is_set():
                    continue
                self._counters.add("api_requests", verb=label, result="unreachable")
                raise self._lost(error) from None
            self._counters.add("api_requests", verb=label, result=str(answer.status))
            if answer.status == 401 and not last and self._access.token_file is not None:
                self._drop()  # the token on disk may be newer than the one that was sent
                continue
            return answer
        raise AssertionError("unreachable")

    def _once(self, verb: str, target: str, body: bytes | None, kind: str) -> http.client.HTTPResponse:
        if self._stopping.is_set():
            raise ConnectionAbortedError("the agent is stopping")
        if self._connection is None:
            self._connection = self._connect()
        headers = {"Accept": "application/json", "User-Agent": f"wasme/{__version__} cache"}
        if bearer := self._access.bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        if body is not None:
            headers["Content-Type"] = kind
        self._connection.request(verb, self._access.prefix + target, body, headers)
        return self._connection.getresponse()

    def _connect(self) -> http.client.HTTPConnection:
        access = self._access
        connection = http.client.HTTPConnection(access.host, access.port, timeout=_SECONDS)
        connection.connect()
        sock: socket.socket = connection.sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):  # not on every system
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        try:
            context = access.context()
            if context is not None:
                connection.sock = context.wrap_socket(sock, server_hostname=access.server_name or access.host)
        except BaseException:
            connection.close()
            raise
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _lost(self, error: Exception) -> ClusterUnreachable:
        where = f"{self._access.host}:{self._access.port}"
        if isinstance(error, TimeoutError):
            return ClusterUnreachable(f"the API server {where} does not answer")
        if isinstance(error, ssl.SSLCertVerificationError):
            return ClusterUnreachable(
                f"the API server {where} has a certificate that is not trusted: {error.verify_message}"
            )
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        return ClusterUnreachable(f"the API server {where} cannot be reached: {reason}")


def _with(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _decode(content: bytes) -> Object:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise ClusterUnreachable("what answers for the API server speaks no JSON") from None
    if not isinstance(found, dict):
        raise ClusterUnreachable("the API server answered with something that is no object")
    return found


def _event(line: bytes) -> tuple[str, Object]:
    found = _decode(line)
    obj = found.get("object")
    return str(found.get("type", "")), obj if isinstance(obj, dict) else {}


def _refusal(status: int, content: bytes, verb: str, path: str) -> ClusterError:
    try:
        told = _decode(content).get("message")
    except ClusterUnreachable:
        told = content[:200].decode(errors="replace")
    message = " ".join(str(told or f"status {status}").split())[:500]
    if status == 401:
        return ClusterForbidden("the API server does not know the agent: 401", hint="is its token still good?")
    if status == 403:
        return ClusterForbidden(message, hint="run `wasme cache install` again, which gives the agent its rights")
    if status == 409:
        return Conflict(message)
    if status in (400, 404, 422):
        return ObjectRefused(f"{verb} {path.partition('?')[0]}: {message}")
    if status == 410:
        return Expired(message)
    return ClusterUnreachable(f"the API server answered {status}: {message}")


class Expired(ClusterError):
    """The version to watch from is older than what the server remembers: 410."""
