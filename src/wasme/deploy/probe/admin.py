"""Questions to a proxy's administration interface over a forwarded port: plain HTTP/1.1, one connection, bounded."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from wasme.errors import ClusterError

PORT = 15000
"""Where Istio's proxies have it, on their pod's loopback."""
LARGEST = 64 << 20
"""Bytes of one answer. A sidecar that knows 10,000 services has listeners of about 20 MB."""


class Connection(Protocol):
    """Bytes to and from a port: `deploy.cluster.forward.Forwarded`."""

    def send(self, data: bytes) -> None:
        """Send all of it."""
        ...

    def receive(self, most: int = 65536) -> bytes:
        """The next bytes; b"" at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    Attributes:
        status: of HTTP.
        body: the whole of it.
    """

    status: int
    body: bytes


class Admin:
    """An administration interface.

    Args:
        connection: to it.
        where: what errors call it, such as ``the proxy of details-v1-7c5``.
    """

    def __init__(self, connection: Connection, where: str) -> None:
        self._connection = connection
        self._where = where
        self._socket = _Socket(connection)

    def get(self, path: str, **query: str) -> Reply:
        """Ask for a page.

        Raises:
            ClusterError: what answers is no HTTP server, or sends more than ``LARGEST``.
            ClusterUnreachable: the connection is lost, or the time is over.
        """
        import http.client

        # Envoy reads `usedonly` as a word without a value.
        words = [f"{name}={quote(value, safe='|^.*()$')}" if value else name for name, value in query.items()]
        target = path + ("?" + "&".join(words) if words else "")
        self._connection.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: wasme\r\n\r\n".encode("ascii"))
        # HTTPResponse asks nothing of its socket but a file to read from.
        response = http.client.HTTPResponse(self._socket, method="GET")  # type: ignore[arg-type]
        try:
            response.begin()
            body = response.read(LARGEST + 1)
            if len(body) <= LARGEST and (response.length or not response.headers):
                raise http.client.IncompleteRead(body)
        except (http.client.HTTPException, ValueError) as error:
            told = " ".join(str(error).split())[:100] or type(error).__name__
            raise ClusterError(f"{self._where} does not answer as Envoy's administration does: {told}") from None
        if len(body) > LARGEST:
            raise ClusterError(f"{self._where} answers {path} with more than {LARGEST >> 20} MiB")
        return Reply(response.status, body)


class _Socket:
    """What `http.client` reads from: one buffer for all answers of a connection, since it may hold the next one."""

    def __init__(self, connection: Connection) -> None:
        self._file = _Kept(_Raw(connection), 65536)

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return self._file


class _Kept(io.BufferedReader):
    """Stays open when an answer has been read."""

    def close(self) -> None:
        """Nothing: the forwarded connection is closed by whoever opened it."""


class _Raw(io.RawIOBase):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._connection.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)
