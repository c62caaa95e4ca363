"""The cache's HTTP server: the original's paths, files sent by the kernel, and clients that cannot hold it up.

One thread serves all connections (asyncio), so a slow client costs a socket and no thread. There are at most so many;
beyond them only the kubelet's and Prometheus' questions are answered, so that a crowd of slow clients does not get the
agent killed. A client that takes nothing for a while is cut off.

``/healthz``, ``/readyz`` and ``/metrics`` are these and no images; an image of such a name is asked for with its
registry or its tag (``/docker.io/library/metrics``, ``/metrics:latest``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Callable
from typing import NamedTuple

from wasme.cache import exchange, metrics
from wasme.cache.exchange import Malformed, Question
from wasme.cache.folder import Folder, Opened
from wasme.cache.guests import Busy, Guests
from wasme.cache.metrics import Counters
from wasme.deploy.cache import protocol
from wasme.errors import CacheError, WasmeError

log = logging.getLogger(__name__)

_MOST = 512
_RESERVED = 32
_HEAD_LIMIT = 16 << 10
_HEAD_SECONDS = 15.0
_IDLE_SECONDS = 60.0
_CROWDED_SECONDS = 5.0
_PIECE = 1 << 20
_PIECE_SECONDS = 60.0
_PULL_SECONDS = 300.0
_LINGER = 2.0
_TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}


class Health(NamedTuple):
    """What the probes ask: functions that give "" if all is well, or what is wrong; and the metrics' text."""

    alive: Callable[[], str]
    ready: Callable[[], str]
    metrics: Callable[[], str]


class Server:
    """Serves until its task is cancelled.

    Args:
        folder: what is served.
        guests: who answers names.
        health: who answers probes.
        counters: what is counted.
        most: connections at a time; 0 is what the process may open, and 512 at most.
    """

    def __init__(self, folder: Folder, guests: Guests, health: Health, counters: Counters, *, most: int = 0) -> None:
        self._folder = folder
        self._guests = guests
        self._health = health
        self._counters = counters
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = most or max(16, min(_MOST, files // 3))
        self._open: set[asyncio.Task[None]] = set()
        self._sending = 0
        self._server: asyncio.Server | None = None

    async def start(self, address: str, port: int) -> int:
        """Listen, and return the port.

        Args:
            address: of this machine; "" is all of its addresses.
            port: 0 takes a free one.

        Raises:
            CacheError: somebody else listens there.
        """
        try:
            # One socket for both families: with none given, asyncio would take two ports for port 0.
            if not address:
                both = socket.has_dualstack_ipv6()
                sock = socket.create_server(
                    ("", port), family=socket.AF_INET6 if both else socket.AF_INET, backlog=256, dualstack_ipv6=both
                )
                self._server = await asyncio.start_server(self._accept, sock=sock, limit=_HEAD_LIMIT)
            else:
                self._server = await asyncio.start_server(self._accept, address, port, limit=_HEAD_LIMIT, backlog=256)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CacheError(f"cannot listen on {address}:{port}: {reason}", hint="choose another --port") from None
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Take no more connections, give those that receive a module a moment, then close all."""
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while self._sending:
                    await asyncio.sleep(0.02)
        for task in list(self._open):
            task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=1.0)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= self._most + _RESERVED:
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            await self._converse(reader, writer, crowded=len(self._open) > self._most)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass  # the agent stops
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, crowded: bool) -> None:
        patience = _HEAD_SECONDS
        keep = True
        while keep:
            try:
                async with asyncio.timeout(patience):
                    head = await reader.readuntil(b"\r\n\r\n")
                question = exchange.parse(head)
            except asyncio.LimitOverrunError:
                return await self._say(writer, None, 431, "the head of the request is too long\n")
            except Malformed:
                return await self._say(writer, None, 400, "this is not an HTTP/1.1 request\n")
            keep = question.keep and not crowded
            await self._answer(writer, question._replace(keep=keep), crowded=crowded)
            patience = _IDLE_SECONDS if len(self._open) < self._most // 2 else _CROWDED_SECONDS
        # What the client still sends must be taken, or its answer would be lost with a reset.
        with contextlib.suppress(TimeoutError):
            writer.write_eof()
            async with asyncio.timeout(1.0):
                while await reader.read(_HEAD_LIMIT):
                    pass
        return None

    async def _answer(self, writer: asyncio.StreamWriter, question: Question, *, crowded: bool) -> None:
        if question.method not in ("GET", "HEAD"):
            return await self._say(writer, question, 405, "only GET and HEAD\n", Allow="GET, HEAD")
        if question.path in (protocol.HEALTH_PATH, protocol.READY_PATH):
            wrong = self._health.alive() if question.path == protocol.HEALTH_PATH else self._health.ready()
            return await self._say(writer, question, 503 if wrong else 200, f"{wrong or 'ok'}\n")
        if question.path == protocol.METRICS_PATH:
            text = self._health.metrics()
            return await self._say(writer, question, 200, text, **{"Content-Type": metrics.CONTENT_TYPE})
        if crowded:
            return await self._busy(writer, question, "too many connections")
        digest = question.digest
        if digest is not None:
            return await self._send(writer, question, digest)
        return await self._named(writer, question)

    async def _named(self, writer: asyncio.StreamWriter, question: Question) -> None:
        """The path is an image's name."""
        peer = str((writer.get_extra_info("peername") or ("",))[0]).removeprefix("::ffff:")
        local = peer == "::1" or peer.startswith("127.")
        try:
            async with asyncio.timeout(_PULL_SECONDS):
                found = await asyncio.wrap_future(self._guests.fetch(question.reference, local=local))
        except Busy as error:
            return await self._busy(writer, question, error.message)
        except TimeoutError:
            return await self._busy(writer, question, "the image has not come yet")
        except WasmeError as error:
            return await self._say(writer, question, 400, f"{error.message}\n")
        return await self._send(writer, question, found.module)

    async def _send(self, writer: asyncio.StreamWriter, question: Question, module: str) -> None:
        opened = await self._opened(module) if module else None
        if opened is None:
            return await self._say(writer, question, 404, f"{module or question.path} is not here\n")
        handle, size = opened
        try:
            answer = exchange.part(question, module, size)
            self._counters.add("http_requests", code=str(answer.status))
            length = None if answer.status == 304 else answer.length
            writer.write(exchange.head(answer.status, answer.headers, length, keep=question.keep))
            async with asyncio.timeout(_PIECE_SECONDS):
                await writer.drain()
            if question.method == "GET" and answer.length:
                await self._stream(writer, handle, answer.start, answer.length)
        finally:
            os.close(handle)
        return None

    async def _stream(self, writer: asyncio.StreamWriter, handle: int, start: int, length: int) -> None:
        loop = asyncio.get_running_loop()
        end = start + length
        self._sending += 1
        try:
            with open(handle, "rb", buffering=0, closefd=False) as file:
                while start < end:
                    if writer.transport.is_closing():
                        raise ConnectionAbortedError("the client has gone")
                    async with asyncio.timeout(_PIECE_SECONDS):
                        sent = await loop.sendfile(writer.transport, file, start, min(_PIECE, end - start))
                    if not sent:
                        raise ConnectionAbortedError("the file has become shorter")
                    start += sent
                    self._counters.add("http_sent_bytes", sent)
        finally:
            self._sending -= 1

    async def _opened(self, module: str) -> Opened | None:
        """The module's file; one that has not been verified yet is hashed first, in another thread."""
        opened = self._folder.open(module)
        if opened is not None or not self._folder.file(module).exists():
            return opened
        await asyncio.get_running_loop().run_in_executor(None, self._folder.holds, module)
        return self._folder.open(module)

    async def _busy(self, writer: asyncio.StreamWriter, question: Question, told: str) -> None:
        await self._say(writer, question, 503, f"{told}; try again later\n", **{"Retry-After": "5"})

    async def _say(
        self, writer: asyncio.StreamWriter, question: Question | None, status: int, text: str, **headers: str
    ) -> None:
        content = text.encode()
        keep = question is not None and question.keep
        self._counters.add("http_requests", code=str(status))
        writer.write(exchange.head(status, {**_TEXT, **headers}, len(content), keep=keep))
        if question is None or question.method != "HEAD":
            writer.write(content)
        async with asyncio.timeout(_PIECE_SECONDS):
            await writer.drain()
