"""The world around a filter: upstreams and clusters on loopback, that keep what arrives and answer as a test says.

A port stays an endpoint's own for its whole life, whether it listens just now or refuses: a second socket holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from wasme.testing import http1
from wasme.testing.expectation import Received
from wasme.testing.scenario import Answer

_BACKLOG = 128
_ACCEPTING = 5  # turns of the loop from a socket that is accepted to its task, and some to spare


class Endpoint:
    """One port.

    Args:
        cluster: the cluster's name, "" for an upstream.
    """

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.strays = 0
        self._answer = Answer()
        self._tell: Callable[[Received], None] | None = None
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._holder = _socket(0)
        self.port = int(self._holder.getsockname()[1])

    @asynccontextmanager
    async def answering(self, answer: Answer, tell: Callable[[Received], None]) -> AsyncIterator[None]:
        """For a while, answer so, and tell of each request that arrives.

        What arrives at another time is a stray: counted, and answered emptily.
        """
        self._answer, self._tell = answer, tell
        try:
            if answer.refuse:
                await self._close()
            else:
                await self.listen()
            yield
        finally:
            self._answer, self._tell = Answer(), None

    async def listen(self) -> None:
        """Take connections."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, sock=_socket(self.port), limit=http1.LONGEST_HEAD, backlog=_BACKLOG
            )

    async def close(self) -> None:
        """End for good."""
        await self._close()
        self._holder.close()

    async def _close(self) -> None:
        if self._server is not None:
            # A server that closes while a connection is on its way from accept to its task would leak the socket: so
            # nothing more is accepted, and what has been arrives.
            for each in self._server.sockets:
                asyncio.get_running_loop().remove_reader(each.fileno())
            for _ in range(_ACCEPTING):
                await asyncio.sleep(0)
            self._server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await asyncio.sleep(0)  # its socket is closed by the loop, after the task
            self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A task for the connection, known from now on: one that is cancelled before it has begun closes it too."""

        def ended(task: asyncio.Task[None]) -> None:
            self._open.discard(task)
            writer.transport.abort()

        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(ended)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, http1.Garbled):
            await self._exchange(reader, writer)
            writer.close()
            await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = await http1.read_head(reader)
        if got is None:
            return
        start, headers = got
        body = await http1.read_body(reader, headers, until_end=False)
        method, path, *_ = [*start.split(" "), ""]
        answer, tell = self._answer, self._tell
        if tell is None:
            self.strays += 1
        else:
            tell(Received(self.cluster, method, path, headers, body))
        if answer.timeout:
            await reader.read()  # until Envoy gives up
            return
        bodyless = answer.status in (204, 304)
        # One exchange a connection: the next test may want this port to refuse.
        sent = ("connection", "close"), *(answer.headers if bodyless else http1.framed(answer.headers, answer.body))
        writer.write(http1.head(f"HTTP/1.1 {answer.status} Answer", sent))
        if method != "HEAD" and not bodyless:
            await http1.send_body(writer, answer.body)
        await writer.drain()


def _socket(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made
