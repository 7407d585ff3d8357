"""`python -m bench.servers.stub`: a stub of Ollama that costs next to nothing, lest it limit what is measured.

A protocol on bare transports: no parser beyond what the bench's own ways send, no tasks, no collector of garbage.
It notes when each inference request had arrived and when the last byte of its answer was written; `GET /_bench/marks`
hands these out. `POST /_bench/hold` keeps all answers back until `POST /_bench/release`.
It is no judge of what foreman sends: foreman.testing is.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable
from time import monotonic_ns
from typing import Final, cast

import orjson

from bench.servers.answers import LOADED, WORDINGS, Ask, Template, response, template
from bench.servers.shown import SHOWN
from foreman.cli.serve import loop_factory

READY: Final = "raw stub listening on "
_SHOWN: Final = {path.encode(): response(body) for path, body in SHOWN.items()}
_PATHS: Final = {path.encode(): path for path in WORDINGS}
_LOADED: Final = response(LOADED)
_MISSING: Final = response("404 page not found", "404 Not Found", "text/plain")


class Board:
    """What the connections of one stub share: the marks, and the answers that are held back."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, int]] = []
        self.holding = False
        self.held: list[Callable[[], None]] = []

    def taken(self) -> bytes:
        """The marks since the last time, in ns."""
        marks, self.marks = self.marks, []
        return response(orjson.dumps(marks).decode())

    def release(self) -> None:
        self.holding = False
        held, self.held = self.held, []
        for begin in held:
            begin()


class StubProtocol(asyncio.Protocol):
    """One connection; requests on it are answered one after another."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._need = 0
        self._busy = False
        self._timer: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy and len(self._buffer) >= self._need:
            self._read()

    def _read(self) -> None:
        """Answer the request at the start of the buffer, if it is whole."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(buffer[:end]).lower()
        body_at, total = end + 4, _length(head, buffer, end + 4)
        self._need = total
        if len(buffer) < total:
            return
        body = bytes(buffer[body_at:total])
        del buffer[:total]
        self._need, self._busy = 0, True
        self._answer(head.split(b" ", 2)[1].partition(b"?")[0], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        name = _PATHS.get(path)
        if name is None:
            self._whole(self._told(path))
        elif (ask := Ask.found_in(body)) is None:
            self._whole(_LOADED)
        else:
            self._infer(name, ask, streamed=WORDINGS[name].streamed(body))

    def _told(self, path: bytes) -> bytes:
        board = self._board
        if path == b"/_bench/marks":
            return board.taken()
        if path == b"/_bench/hold":
            board.holding = True
        elif path == b"/_bench/release":
            board.release()
        else:
            return _SHOWN.get(path, _MISSING)
        return response("{}")

    def _whole(self, answer: bytes) -> None:
        self._transport.write(answer)
        self._done()

    def _done(self) -> None:
        self._busy = False
        if self._buffer:
            self._read()

    def _infer(self, path: str, ask: Ask, *, streamed: bool) -> None:
        arrived = monotonic_ns()
        form = template(path, ask.size)

        def finish(data: bytes) -> None:
            self._transport.write(data)
            self._board.marks.append((arrived, monotonic_ns()))
            self._done()

        def speak() -> None:
            if streamed:
                self._stream(form, arrived, ask, finish)
            else:
                finish(form.whole % (arrived, monotonic_ns()))

        def think() -> None:
            if self._transport.is_closing():
                return
            if ask.first_ms:
                self._timer = self._loop.call_later(ask.first_ms / 1000, speak)
            else:
                speak()

        if self._board.holding:
            self._board.held.append(think)
        else:
            think()

    def _stream(self, form: Template, arrived: int, ask: Ask, finish: Callable[[bytes], None]) -> None:
        """Each chunk leaves by itself, as Ollama flushes each line; the end is one step behind the last."""
        loop, left, gap = self._loop, ask.chunks, ask.gap_ms / 1000

        def step() -> None:
            nonlocal left
            if left == 0:
                finish(form.end % (arrived, monotonic_ns()))
                return
            left -= 1
            self._transport.write(form.chunk % (arrived, monotonic_ns()))
            self._timer = loop.call_later(gap, step) if gap else loop.call_soon(step)

        self._transport.write(form.head)
        step()


def _length(head: bytes, buffer: bytearray, at: int) -> int:
    """How many bytes the request has from its first on; one more than there are where that is not known yet."""
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if found:
        return at + int(rest.partition(b"\r\n")[0])
    if b"\r\ntransfer-encoding: chunked" in head:
        end = buffer.find(b"0\r\n\r\n", at)
        return end + 5 if end >= 0 else len(buffer) + 1
    return at


async def serve() -> None:
    """Serve on a free loopback port until told to stop."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    board = Board()
    server = await loop.create_server(lambda: StubProtocol(board), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    print(f"{READY}http://127.0.0.1:{port}", file=sys.stderr, flush=True)
    gc.freeze()
    gc.disable()
    await stopped.wait()


def main() -> None:
    with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
