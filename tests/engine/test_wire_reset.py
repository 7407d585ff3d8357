"""A connection that the other side has reset in the very moment when it is given up."""

import asyncio
import select
import socket
import struct

from foreman.engine.wire import Wire
from tests.engine.serving import PATIENCE


async def test_a_reset_that_the_loop_has_not_noticed_yet_is_an_end_like_any_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport, wire = await asyncio.get_running_loop().create_connection(Wire, *server.getsockname())
        other, _ = server.accept()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        other.close()
        # Without letting the loop run.
        assert select.select([transport.get_extra_info("socket").fileno()], [], [], PATIENCE)[0]
        wire.half_close()
        async with asyncio.timeout(PATIENCE):
            await wire.closed
        assert not wire.reusable
