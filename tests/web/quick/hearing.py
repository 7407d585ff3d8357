"""Clients on the short way that read when they are told to."""

from tests.e2e.raw import Connection
from tests.web.quick.serving import got

# A load comes before a job, and would take the script of its model.
PATH = "/api/chat"
VERSION = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def status(connection: Connection) -> int:
    answer = await got(connection)
    assert answer.whole
    return answer.status
