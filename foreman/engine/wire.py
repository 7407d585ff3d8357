"""One HTTP/1.1 connection to the target, kept from one request to the next.

httptools (llhttp, the parser of Node) reads what arrives; here is what stands around a parser:
1. One answer at a time. Bytes that nobody asked for end the connection.
2. A 1xx is no answer; llhttp reports it as a message of its own.
3. A body without a length ends with the connection; any other that ends so was cut.
4. Every byte that arrived is given out before the break is told.
5. Only a body may be long: what comes before and around it is limited.
Knows nothing of jobs, of other connections, or of time.
"""

import asyncio
import select
from typing import Final, Protocol, cast

import httptools

from foreman.core.errors import TargetCut, TargetError, TargetGarbled, TargetLost
from foreman.core.headers import Headers
from foreman.engine.arrival import reason_of

# The head of an answer with all that comes before it; and what may arrive in a row without a byte of the body in it.
HEAD_BYTES: Final = 64 * 1024
# A request with a longer body is sent in pieces of this size, each when the one before has left.
PIECE_BYTES: Final = 256 * 1024


class Listener(Protocol):
    """Who has asked hears of the answer in this order: its head, any number of bytes, and one end."""

    def on_head(self, status: int, headers: Headers) -> None: ...

    def on_bytes(self, chunk: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_error(self, error: TargetError) -> None:
        """TargetLost or TargetGarbled before the head, TargetCut after it; nothing follows."""


class Wire(asyncio.Protocol):
    """`send` a request, hear of its answer; `reusable` says whether another may follow."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._listener: Listener | None = None
        self._headers: list[tuple[str, str]] = []
        self._dry_bytes = 0  # since the request, the head or a piece of the body: whichever was last
        self._headed = False  # the head of the answer at hand was told
        self._sized = False  # the end of its body can be told without the end of the connection
        self._complete = False
        self._body: list[bytes] = []
        self._room = asyncio.Event()
        self._room.set()
        self._sending: asyncio.Task[None] | None = None
        self.reusable = True
        self.sent = 0  # requests so far
        self.heard = False  # anything of an answer to the request at hand
        self.closed: asyncio.Future[None] = loop.create_future()

    def __repr__(self) -> str:
        state = "closed" if self.closed.done() else "busy" if self._listener else "idle"
        return f"<Wire {state}, {self.sent} requests>"

    # -- asking

    def send(self, head: bytes, body: bytes, listener: Listener) -> None:
        """Send a request. The wire must be idle and reusable."""
        if self._transport is None or self.closed.done():
            raise TargetLost("the connection is not there")
        self._listener = listener
        self._headed = self._complete = self.heard = False
        self._dry_bytes = 0
        self.sent += 1
        if len(body) <= PIECE_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._sending = asyncio.get_running_loop().create_task(self._send_on(body))

    async def _send_on(self, body: bytes) -> None:
        view = memoryview(body)
        for start in range(0, len(body), PIECE_BYTES):
            await self._room.wait()
            if self._transport is None or self._transport.is_closing():
                return
            self._transport.write(view[start : start + PIECE_BYTES])

    @property
    def unsent(self) -> bool:
        """Whether a part of the request is still here."""
        if self._sending is not None and not self._sending.done():
            return True
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    @property
    def stirred(self) -> bool:
        """Whether something has come that was not read yet, be it the end."""
        if self._transport is None or self._transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    def half_close(self) -> None:
        """Say that nothing more will be asked: a Go server cancels the handler when it reads that."""
        self.reusable = False
        if self._transport is not None and not self._transport.is_closing():
            try:
                self._transport.write_eof()
            except OSError:  # reset by the other side, which the loop has not noticed yet
                self._transport.abort()

    def abort(self) -> None:
        """Close at once."""
        self.reusable = False
        if self._sending is not None:
            self._sending.cancel()
        if self._transport is not None:
            self._transport.abort()

    def hold(self, held: bool) -> None:
        """Read no more for a while, or go on."""
        if self._transport is None or self._transport.is_closing():
            return
        if held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without being a subclass

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        if self._listener is None:
            self.abort()
            return
        self.heard = True
        error: TargetError | None = None
        try:
            self._parse(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # What comes behind a whole answer is nobody's, and ends only the connection.
            self.reusable = False
            error = None if self._complete else self._garbled("the target's answer is not HTTP")
        except TargetError as refused:
            error = refused
        self._give_out()
        if error is not None:
            self._fail(error)
        elif self._complete:
            self._end()

    def _parse(self, data: bytes) -> None:
        """Feed the parser no more than may come, for what is refused must not depend on how it arrives."""
        at = 0
        while at < len(data) and not self._complete:
            piece = data[at : at + HEAD_BYTES - self._dry_bytes]
            at += len(piece)
            self._dry_bytes += len(piece)
            self._parser.feed_data(piece)
            if self._dry_bytes >= HEAD_BYTES and not self._complete:
                words = f"the target sent {HEAD_BYTES} bytes that are no body"
                raise TargetCut(words) if self._headed else TargetGarbled(words)
        if at < len(data):
            self.reusable = False

    def eof_received(self) -> None:
        # asyncio would first send what is still to be sent, and nobody may read that any more.
        if self.unsent and self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        ours = not self.reusable
        self.reusable = False
        if not self.closed.done():
            self.closed.set_result(None)
        if self._listener is None:
            return
        if self._headed and not self._sized and exc is None and not ours:
            self._end()
        elif self._headed:
            self._fail(TargetCut(f"the target's answer broke off ({_why(exc)})"))
        else:
            self._fail(TargetLost(f"the target closed the connection before it answered ({_why(exc)})"))

    # -- httptools

    def on_message_begin(self) -> None:
        if self._complete:
            # A second answer to one request: what follows belongs to nobody.
            self.reusable = False
        self._headers = []
        self._sized = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._headed:
            return  # a trailer
        text = name.decode("latin-1").lower()
        self._headers.append((text, value.rstrip(b" \t").decode("utf-8", "surrogateescape")))
        if text == "content-length":
            self._sized = True
        elif text == "transfer-encoding":
            self._sized = value.rstrip().lower().endswith(b"chunked")  # the last coding of the last line counts

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 100:
            raise ValueError(f"{status} is no status")
        if status < 200 or self._listener is None or self._complete:
            return
        self._headed = True
        self._dry_bytes = 0
        self._listener.on_head(status, tuple(self._headers))

    def on_body(self, body: bytes) -> None:
        if self._headed and not self._complete:
            self._dry_bytes = 0
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._headed:
            self._complete = True
            self.reusable = self.reusable and self._parser.should_keep_alive()

    # -- telling

    def _give_out(self) -> None:
        if self._body and self._listener is not None:
            body = self._body
            self._body = []
            self._listener.on_bytes(body[0] if len(body) == 1 else b"".join(body))

    def _end(self) -> None:
        listener, self._listener = self._listener, None
        if self.unsent:
            self.abort()  # the target answered before it had read everything, and would take the rest for a request
        if listener is not None:
            listener.on_end()

    def _fail(self, error: TargetError) -> None:
        listener, self._listener = self._listener, None
        self.abort()
        if listener is not None:
            listener.on_error(error)

    def _garbled(self, words: str) -> TargetError:
        return TargetCut(f"{words} any more") if self._headed else TargetGarbled(words)


def _why(error: Exception | None) -> str:
    return "closed" if error is None else reason_of(error)
