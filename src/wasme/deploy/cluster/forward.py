"""One TCP connection to a port of a pod, through the API server and the kubelet of the pod's node.

The API server's ``portforward`` speaks a websocket with the subprotocol ``v4.channel.k8s.io``: the first byte of each
message is a channel, 0 for data and 1 for errors, and the first message of each channel is the port, two bytes in
little endian. There is no half-close: the connection ends when either side ends it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from wasme.deploy.cluster.answers import Asking
from wasme.errors import ClusterError, ClusterUnreachable

if TYPE_CHECKING:
    from wsproto.connection import Connection

PROTOCOL = "v4.channel.k8s.io"
_DATA = 0
_ERROR = 1
_PORT_BYTES = 2
_LONGEST_ERROR = 500
_CHUNK = 65536


class Stream(Protocol):
    """The connection below the websocket, as the HTTP client hands it over after ``101 Switching Protocols``."""

    def read(self, _max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, at most so many bytes; b"" at the end."""
        ...

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class Forwarded:
    """Bytes to and from a port of a pod. Not for several threads at once.

    Args:
        stream: what carries the websocket.
        asking: what errors begin with.
        until: the monotonic time after which nothing is waited for.
    """

    def __init__(self, stream: Stream, asking: Asking, until: float) -> None:
        from wsproto.connection import Connection, ConnectionType

        self._stream = stream
        self._asking = asking
        self._until = until
        self._frames: Connection = Connection(ConnectionType.CLIENT)
        self._ports: dict[int, int] = {_DATA: _PORT_BYTES, _ERROR: _PORT_BYTES}
        self._channel: int | None = None
        self._error = b""
        self._held = bytearray()
        self._ended = False

    def send(self, data: bytes) -> None:
        """Send bytes to the port.

        Raises:
            ClusterUnreachable: the connection is lost.
        """
        from wsproto.events import BytesMessage

        self._write(self._frames.send(BytesMessage(bytes([_DATA]) + data)))

    def receive(self, most: int = _CHUNK) -> bytes:
        """The next bytes from the port, at least one; b"" when the connection has ended.

        Raises:
            ClusterUnreachable: the connection is lost, or the time is over.
            ClusterError: the kubelet could not connect to the port, or what comes is no such protocol.
        """
        while not self._held and not self._ended:
            self._read()
        if self._error:
            said = " ".join(self._error.decode("utf-8", "replace").split())
            raise ClusterError(f"{self._asking}: the node says: {said}")
        taken = bytes(self._held[:most])
        del self._held[:most]
        return taken

    def close(self) -> None:
        """End the connection; an error of the other side no longer matters."""
        from wsproto.connection import ConnectionState
        from wsproto.events import CloseConnection

        with contextlib.suppress(ClusterError):
            if self._frames.state is ConnectionState.OPEN:
                self._write(self._frames.send(CloseConnection(1000)))
        self._stream.close()

    def _read(self) -> None:
        from wsproto.events import BytesMessage, CloseConnection, Ping
        from wsproto.utilities import RemoteProtocolError

        with self._lost():
            data = self._stream.read(_CHUNK, self._left())
        if not data:
            self._ended = True
            return
        try:
            self._frames.receive_data(data)
            events = list(self._frames.events())
        except RemoteProtocolError as error:
            raise ClusterError(f"{self._asking}: what comes is no websocket: {error}") from None
        for event in events:
            match event:
                case BytesMessage():
                    self._take(bytes(event.data), finished=event.message_finished)
                case Ping():
                    self._write(self._frames.send(event.response()))
                case CloseConnection():
                    self._ended = True
                case _:
                    pass  # a Pong, or text, which this subprotocol does not have

    def _take(self, data: bytes, *, finished: bool) -> None:
        """One piece of a message."""
        if self._channel is None and data:
            self._channel, data = data[0], data[1:]
        channel = self._channel
        if finished:
            self._channel = None
        if channel not in self._ports:
            return
        cut = min(self._ports[channel], len(data))
        self._ports[channel] -= cut
        if channel == _DATA:
            self._held += data[cut:]
        else:
            self._error = (self._error + data[cut:])[:_LONGEST_ERROR]
            self._ended = self._ended or bool(self._error)

    def _write(self, data: bytes) -> None:
        with self._lost():
            self._stream.write(data, self._left())

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise ClusterUnreachable(f"{self._asking}: no answer in time")
        return left

    @contextlib.contextmanager
    def _lost(self) -> Iterator[None]:
        import httpcore2

        try:
            yield
        except (httpcore2.TimeoutException, TimeoutError) as error:
            raise ClusterUnreachable(f"{self._asking}: no answer in time") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            raise ClusterUnreachable(f"{self._asking}: the connection is lost") from error


def handshake() -> dict[str, str]:
    """The headers that ask for the websocket (RFC 6455)."""
    import base64
    import secrets

    return {
        "Accept": "*/*",  # the kubelet's own server gives 406 to who wants JSON
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
        "Sec-WebSocket-Protocol": PROTOCOL,
    }
