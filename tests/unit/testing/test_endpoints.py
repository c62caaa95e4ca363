"""The ports around a filter leave nothing open, whenever they close."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings

import pytest

from wasme.testing.endpoints import Endpoint


@pytest.mark.parametrize("turns", range(8))
def test_a_connection_that_comes_while_it_closes_is_closed(turns: int) -> None:
    """Between accept and its task a connection is nobody's: none is left open, at whatever turn of the loop."""

    async def close_soon(clients: list[socket.socket]) -> None:
        endpoint = Endpoint("")
        await endpoint.listen()
        clients.append(socket.create_connection(("127.0.0.1", endpoint.port)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await endpoint.close()

    clients: list[socket.socket] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(close_soon(clients))
        gc.collect()
    clients.pop().close()
    assert [str(each.message) for each in caught] == []
