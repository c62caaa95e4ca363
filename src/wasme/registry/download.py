"""A blob on its way down: a stream that goes on where a connection broke (RFC 9110 section 14, Range)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from wasme.image.descriptor import Descriptor
from wasme.registry import guards
from wasme.registry.connecting import ConnectionLost
from wasme.registry.retry import Policy
from wasme.registry.transport import CHUNK, Response

log = logging.getLogger(__name__)

Ask = Callable[[int], Response]
"""Asks for the blob from an offset on; the answer is 200 (all of it) or 206 (the rest)."""


class Download:
    """Gives a blob's bytes from an offset on, never more than its descriptor promises.

    Args:
        ask: opens the blob at an offset.
        descriptor: the blob.
        offset: the first byte wanted.
        policy: how often a break is mended before any further byte has come.
        pause: waits so many seconds.
    """

    def __init__(
        self, ask: Ask, descriptor: Descriptor, offset: int, policy: Policy, pause: Callable[[float], None]
    ) -> None:
        self._ask = ask
        self._descriptor = descriptor
        self._position = offset
        self._policy = policy
        self._pause = pause
        self._breaks = 0
        self._response: Response | None = None
        if offset < descriptor.size or descriptor.size == 0:
            self._response = self._open()

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; b"" at the end.

        Raises:
            ConnectionLost: it broke off, and going on did not help.
            UnsafeAnswer: more came than was promised.
        """
        while self._response is not None:
            try:
                block = self._response.read(max(1, size))
                if not block and self._position < self._descriptor.size:
                    raise ConnectionLost(
                        f"{self._response.origin.netloc} ended {self._descriptor.digest} "
                        f"{self._descriptor.size - self._position} bytes early"
                    )
            except ConnectionLost as error:
                self._mend(error)
                continue
            guards.check_excess(self._position + len(block), self._descriptor.size, self._descriptor.digest)
            if block:
                self._breaks = 0
            self._position += len(block)
            return block
        return b""

    def close(self) -> None:
        """Let the connection go."""
        if self._response is not None:
            self._response.close()

    def _mend(self, error: ConnectionLost) -> None:
        self.close()
        while True:
            self._breaks += 1
            wait = self._policy.wait(self._breaks, None)
            if wait is None or (error.stalled and self._breaks > 1):
                raise error
            log.debug(
                "going on with a broken download",
                extra={"fields": {"digest": self._descriptor.digest, "at": self._position, "reason": error.message}},
            )
            self._pause(wait)
            try:
                self._response = self._open()
            except ConnectionLost as again:
                error = again
            else:
                return

    def _open(self) -> Response:
        digest, size, position = self._descriptor.digest, self._descriptor.size, self._position
        response = self._ask(position)
        try:
            if response.status == 206:
                guards.check_range(response.header("Content-Range"), position, size, digest)
                guards.check_length(response.length, size - position, digest)
            else:
                guards.check_length(response.length, size, digest)
                self._skip(response, position)
        except BaseException:
            response.close()
            raise
        return response

    @staticmethod
    def _skip(response: Response, left: int) -> None:
        """A registry that knows no ranges sends it all again."""
        while left and (block := response.read(min(CHUNK, left))):
            left -= len(block)
