"""`python -m bench.wire.pinger`: asks `GET /` at a fixed rate and notes how long each answer took.

It asks whether or not the last answer has come, on one kept connection, so that a pause of the server meets every
question that falls into it. A process of its own on a blocking socket, so that the load beside it holds it up as little
as can be; how late it was woken itself is noted too. It asks until its standard input ends, then writes what it found
as JSON.
"""

import argparse
import select
import socket
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import monotonic, sleep
from typing import IO, Final
from urllib.parse import urlsplit

import orjson

from bench.figures.spread import percentile

# What `GET /` of Ollama says, and so foreman's.
_ANSWER: Final = b"Ollama is running"
# What the asker says when its first question leaves.
ASKING: Final = b"asking\n"
PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pings:
    """In milliseconds: answers, and how late the asker was."""

    pings: int
    p50: float
    p99: float
    p999: float
    longest: float
    late_p999: float
    late_longest: float


def ping(connection: socket.socket, host: str, every: float, until: IO[bytes]) -> Pings:
    """Ask every so many seconds until `until` ends, then wait for the last answer. Raises OSError when it is lost."""
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    took: list[float] = []
    late: list[float] = []
    sent: deque[float] = deque()
    rest = b""
    asking = True
    due = monotonic()
    while asking or sent:
        pause = max(0.0, due - monotonic()) if asking else None
        watched: list[socket.socket | IO[bytes]] = [connection, until] if asking else [connection]
        readable, _, _ = select.select(watched, (), (), pause)
        now = monotonic()
        if connection in readable:
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError("the connection was closed")
            *whole, rest = (rest + data).split(_ANSWER)
            took += [now - sent.popleft() for _ in whole]
        if until in readable:
            asking = False
        elif asking and now >= due:
            late.append(now - due)
            sent.append(monotonic())
            connection.sendall(request)
            due += every
    return _pings(took, late)


def connected(host: str, port: int) -> socket.socket:
    """A connection, as soon as somebody listens there. Raises OSError when nobody does for long."""
    until = monotonic() + PATIENCE
    while True:
        try:
            connection = socket.create_connection((host, port))
        except ConnectionRefusedError:
            if monotonic() > until:
                raise
            sleep(0.001)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def _pings(took: Sequence[float], late: Sequence[float]) -> Pings:
    def ms(values: Sequence[float], share: float) -> float:
        return round(percentile(values, share) * 1000, 3)

    return Pings(
        pings=len(took),
        p50=ms(took, 0.5),
        p99=ms(took, 0.99),
        p999=ms(took, 0.999),
        longest=ms(took, 1.0),
        late_p999=ms(late, 0.999),
        late_longest=ms(late, 1.0),
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.wire.pinger", description="Asks until standard input ends.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--every", type=float, required=True, metavar="S")
    options = parser.parse_args(argv)
    parts = urlsplit(options.url)
    with connected(parts.hostname or "", parts.port or 80) as connection:
        sys.stdout.buffer.write(ASKING)
        sys.stdout.buffer.flush()
        found = ping(connection, parts.netloc, options.every, sys.stdin.buffer)
    sys.stdout.buffer.write(orjson.dumps(asdict(found)))


if __name__ == "__main__":
    main()
