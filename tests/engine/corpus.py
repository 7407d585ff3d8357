"""Raw answers of a target, good and hostile, and what must come of each.

Where aiohttp's client makes something else of an answer, and foreman need not, the entry says what and why. A job is
never sent with HEAD, so there is no answer to one here.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from foreman.engine.wire import HEAD_BYTES
from tests.engine.serving import CHUNKED, OK, SHORT


class End(StrEnum):
    WHOLE = "whole"
    CUT = "cut"
    REFUSED = "refused: it is not HTTP, or more than is taken"
    LOST = "lost: it ended before its head"
    NONE = "none: it is waited for"


@dataclass(frozen=True, slots=True)
class Made:
    """What a reader makes of an answer. `status` is None where no head is told."""

    end: End
    status: int | None = 200
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Case:
    """`closes`: the target closes behind the answer; otherwise it stays, and the end must be known without that.

    `again`: another request may follow on the connection.
    """

    raw: bytes
    made: Made
    closes: bool = False
    again: bool = False
    plain: Made | None = None
    why: str = ""

    @property
    def parts(self) -> tuple[bytes, bytes]:
        """The answer up to the end of its head, where it has one that is told, and what follows."""
        head = None if self.made.status is None else HEAD.search(self.raw)
        at = len(self.raw) if head is None else head.end()
        return self.raw[:at], self.raw[at:]


# The first that is not a 1xx.
HEAD: Final = re.compile(rb"HTTP/1\.. (?!1).*?\r\n\r\n", re.DOTALL)


def whole(raw: bytes, body: bytes = b"ok", status: int = 200, *, again: bool = True) -> Case:
    return Case(raw, Made(End.WHOLE, status, body), again=again)


def until_close(raw: bytes, body: bytes = b"ok", status: int = 200) -> Case:
    return Case(raw, Made(End.WHOLE, status, body), closes=True)


def cut(raw: bytes, body: bytes = b"ok", *, closes: bool = False, plain: Made | None = None, why: str = "") -> Case:
    return Case(raw, Made(End.CUT, 200, body), closes, plain=plain, why=why)


def refused(raw: bytes, plain: Made | None = None, why: str = "") -> Case:
    return Case(raw, Made(End.REFUSED, None), plain=plain, why=why)


def lost(raw: bytes) -> Case:
    return Case(raw, Made(End.LOST, None), closes=True)


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def headed(size: int) -> bytes:
    """The head of an answer of two bytes, of this size."""
    head = OK + b"Content-Length: 2\r\n"
    while (left := size - len(head) - len(b"\r\n")) > 0:
        head += b"X: %b\r\n" % (b"y" * (min(left, 4000) - 5))
    return head + b"\r\n"


# What follows the first line of an answer of two bytes.
REST: Final = SHORT[len(OK) :]
OKAY: Final = Made(End.WHOLE, 200, b"ok")
MUCH: Final = 3 * HEAD_BYTES
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS: Final = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
SWITCH: Final = b"HTTP/1.1 101 Switching Protocols\r\n"
NEVER: Final = Made(End.NONE, None)
SWITCHED: Final = Made(End.WHOLE, 101)
LENIENT: Final = "aiohttp forgives what no server of Go's writes"
NUMBERS: Final = "aiohttp passes any number on"
SWITCHES: Final = "aiohttp leaves it to who asked for the change, and foreman asks for none"
LINES: Final = "aiohttp limits each line and their number, foreman the whole"
FOOLED: Final = "aiohttp takes the trailer for a header, and then the break for the end"
ENDLESS: Final = "aiohttp has no limit on it; a timeout ends the wait"

GOOD: Final = {
    "a length": whole(SHORT),
    "a length of nothing": whole(OK + b"Content-Length: 0\r\n\r\n", b""),
    "no reason": whole(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
    "empty lines before it": whole(b"\r\n\r\n" + SHORT),
    "chunked": whole(CHUNKED + chunks(b"o", b"k")),
    "chunked, and nothing": whole(CHUNKED + chunks(), b""),
    "many chunks": whole(CHUNKED + chunks(*[b"x"] * 300), b"x" * 300),
    "chunk extensions": whole(CHUNKED + b'1;a=b;c="d e"\r\no\r\n1;d\r\nk\r\n0;e\r\n\r\n'),
    "sizes in capitals": whole(CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    "sizes with zeros before": whole(CHUNKED + b"002\r\nok\r\n00000000000000000000\r\n\r\n"),
    "sizes in small letters": whole(CHUNKED + b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    "chunked in capitals": whole(OK + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n" + chunks(b"ok")),
    "two codings": whole(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks(b"ok")),
    "two codings in two lines": whole(
        OK + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"ok")
    ),
    "trailers": whole(CHUNKED + b"2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Time: 2\r\n\r\n"),
    "a trailer that ends the connection": whole(CHUNKED + b"2\r\nok\r\n0\r\nConnection: close\r\n\r\n", again=False),
    "100 before it": whole(CONTINUE + SHORT),
    "several 1xx before it": whole(CONTINUE + HINTS + b"HTTP/1.1 102 Processing\r\n\r\n" + HINTS + SHORT),
    "a 1xx with a body": whole(b"HTTP/1.1 199 Odd\r\nContent-Length: 3\r\n\r\nabc" + SHORT),
    "a 1xx with a length, and until close": until_close(
        b"HTTP/1.1 199 Odd\r\nContent-Length: 0\r\n\r\n" + OK + b"\r\nok"
    ),
    "204": whole(b"HTTP/1.1 204 No Content\r\n\r\n", b"", 204),
    "204 with a length": whole(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", b"", 204),
    "304": whole(b"HTTP/1.1 304 Not Modified\r\n\r\n", b"", 304),
    "304 with a length": whole(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", b"", 304),
    "an error": whole(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\nok", status=503),
    "an offer to speak something else": whole(OK + b"Upgrade: h2c\r\nConnection: upgrade\r\n" + REST),
    "headers that are not ASCII": whole(OK + "X-Name: Größe\r\n".encode() + b"X-Raw: \xff\r\n" + REST),
    "space around a header": whole(OK + b"X:\t y z \t\r\nX-Empty:  \r\nContent-Length:  2 \r\n\r\nok"),
    "space around a coding": whole(OK + b"Transfer-Encoding: chunked \r\n\r\n" + chunks(b"ok")),
    "a length, and the connection ends": whole(OK + b"Connection: close\r\n" + REST, again=False),
    "chunked, and the connection ends": whole(
        OK + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"ok"), again=False
    ),
    "HTTP/1.0 with a length": whole(SHORT.replace(b"1.1", b"1.0"), again=False),
    "HTTP/1.0 that stays": whole(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + REST),
    "until close": until_close(OK + b"\r\nok"),
    "until close, and nothing": until_close(OK + b"\r\n", b""),
    "until close, as announced": until_close(OK + b"Connection: close\r\n\r\nok"),
    "HTTP/1.0 until close": until_close(b"HTTP/1.0 200 OK\r\n\r\nok"),
    "205 until close": until_close(b"HTTP/1.1 205 Reset Content\r\n\r\n", b"", 205),
    "a coding that is not chunked": until_close(OK + b"Transfer-Encoding: gzip\r\n\r\nok"),
    "chunked, and then another coding": until_close(
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\nok"
    ),
    "a head just short enough": whole(headed(HEAD_BYTES) + b"ok"),
    "a header of 20 KB": replace(
        whole(OK + b"X: " + b"x" * 20_000 + b"\r\n" + REST), plain=Made(End.REFUSED, None), why=LINES
    ),
    "a thousand headers": replace(whole(OK + b"X: y\r\n" * 1000 + REST), plain=Made(End.REFUSED, None), why=LINES),
    "a long body": whole(OK + b"Content-Length: %d\r\n\r\n" % MUCH + b"x" * MUCH, b"x" * MUCH),
    "a long chunk": whole(CHUNKED + chunks(b"x" * MUCH), b"x" * MUCH),
}

# Whole answers with something behind them that nobody has asked for.
GLUED: Final = {
    "a second answer behind a length": whole(SHORT + SHORT, again=False),
    "a second answer behind chunks": whole(CHUNKED + chunks(b"ok") + SHORT, again=False),
    "half an answer behind it": whole(SHORT + OK, again=False),
    "a 1xx behind it": whole(SHORT + CONTINUE, again=False),
    "an upgrade behind it": whole(SHORT + SWITCH + b"\r\n", again=False),
    "garbage behind a length": whole(SHORT + b"\x00garbage", again=False),
    "garbage behind chunks": whole(CHUNKED + chunks(b"ok") + b"garbage", again=False),
    "an answer behind as much as is parsed at once": Case(headed(HEAD_BYTES - 2) + b"ok" + SHORT, OKAY, again=False),
    "much behind it": whole(SHORT + b"x" * MUCH, again=False),
    "a body for 204": whole(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", b"", 204, again=False),
    "a body for 304": whole(b"HTTP/1.1 304 Not Modified\r\n\r\nok", b"", 304, again=False),
    "more than the connection was to carry": whole(OK + b"Connection: close\r\n" + REST + SHORT, again=False),
}

CUT: Final = {
    "too little for the length": cut(OK + b"Content-Length: 3\r\n\r\nok", closes=True),
    "nothing for the length": cut(OK + b"Content-Length: 3\r\n\r\n", b"", closes=True),
    "no chunk": cut(CHUNKED, b"", closes=True),
    "closed within a chunk": cut(CHUNKED + b"3\r\nok", closes=True),
    "closed behind a chunk": cut(CHUNKED + b"2\r\nok\r\n", closes=True),
    "closed within a size": cut(CHUNKED + b"2\r\nok\r\n1", closes=True),
    "closed within the trailers": cut(CHUNKED + b"2\r\nok\r\n0\r\nX: y\r\n", closes=True),
    "closed within a trailer that speaks of a coding": cut(
        CHUNKED + b"2\r\nok\r\n0\r\nTransfer-Encoding: gzip\r\nX: y\r\n", closes=True, plain=OKAY, why=FOOLED
    ),
    "closed within two codings": cut(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n", closes=True),
    "HTTP/1.0 with too little": cut(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok", closes=True),
    "a size that is none": cut(CHUNKED + b"2\r\nok\r\nsize\r\n"),
    "a size below nothing": cut(CHUNKED + b"2\r\nok\r\n-1\r\n"),
    "a size with a prefix": cut(CHUNKED + b"2\r\nok\r\n0x2\r\nok\r\n"),
    "a size beyond all bounds": cut(CHUNKED + b"2\r\nok\r\nfffffffffffffffff\r\n"),
    "a chunk longer than its size": cut(CHUNKED + b"2\r\noko\r\n"),
    "chunks that end with LF alone": cut(CHUNKED + b"2\r\nok\r\n2\nok\n0\n\n"),
    "a trailer that is none": cut(CHUNKED + b"2\r\nok\r\n0\r\ntrailer\r\n\r\n"),
    "a length among the trailers": cut(CHUNKED + b"2\r\nok\r\n0\r\nContent-Length: 2\r\n\r\n"),
    "a size that has no end": cut(
        CHUNKED + b"2\r\nok\r\n" + b"0" * MUCH, plain=Made(End.NONE, 200, b"ok"), why=ENDLESS
    ),
    "an extension that has no end": cut(
        CHUNKED + b"2\r\nok\r\n2;" + b"x" * MUCH + b"\r\nok\r\n0\r\n\r\n",
        plain=Made(End.WHOLE, 200, b"okok"),
        why=ENDLESS,
    ),
    "a trailer that has no end": cut(CHUNKED + b"2\r\nok\r\n0\r\nX: " + b"x" * MUCH + b"\r\n\r\n"),
    "trailers that have no end": cut(CHUNKED + b"2\r\nok\r\n0\r\n" + b"X: y\r\n" * (MUCH // 6) + b"\r\n"),
}

REFUSED: Final = {
    "not HTTP": refused(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    "binary": refused(bytes(range(256))),
    "a request": refused(b"GET / HTTP/1.1\r\n\r\n"),
    "TLS": refused(b"\x15\x03\x01\x00\x02\x02\x46"),
    "no status": refused(b"HTTP/1.1 OK\r\n\r\n"),
    "a status below all": refused(
        b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok", Made(End.WHOLE, 99, b"ok"), NUMBERS
    ),
    "a status of four digits": refused(b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
    "a version that is none": refused(SHORT.replace(b"1.1", b"1.2")),
    "a header without a colon": refused(OK + b"what\r\n\r\n"),
    "a header without a name": refused(OK + b": what\r\n\r\n"),
    "a space behind a name": refused(OK + b"X : y\r\n" + REST),
    "a folded header": refused(OK + b"X: y\r\n z\r\n" + REST, OKAY, LENIENT),
    "NUL in a header": refused(OK + b"X: a\x00b\r\n" + REST),
    "lines that end with LF alone": refused(SHORT.replace(b"\r\n", b"\n"), OKAY, LENIENT),
    "one line that ends with LF alone": refused(OK + b"X: y\n" + REST, OKAY, LENIENT),
    "a length that is none": refused(OK + b"Content-Length: many\r\n\r\n"),
    "a length below nothing": refused(OK + b"Content-Length: -2\r\n\r\nok"),
    "a length beyond all bounds": refused(OK + b"Content-Length: 99999999999999999999\r\n\r\nok"),
    "two lengths": refused(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nok"),
    "the same length twice": refused(OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    "a length and chunks": refused(OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"ok")),
    "chunks and a length": refused(CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n" + chunks(b"ok")),
    "an upgrade": refused(SWITCH + b"Upgrade: x\r\nConnection: upgrade\r\n\r\nhello", SWITCHED, SWITCHES),
    "an upgrade to nothing": refused(SWITCH + b"\r\n" + SHORT, SWITCHED, SWITCHES),
    "100 with a body": refused(b"HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\nabc" + SHORT),
    "100 that ends the connection": refused(b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n" + SHORT),
    "a head just too long": refused(headed(HEAD_BYTES + 1) + b"ok", OKAY, LINES),
    "a head that has no end": refused(OK + b"X: y\r\n" * (MUCH // 6)),
    "a header that has no end": refused(OK + b"X: " + b"x" * MUCH),
    "a reason that has no end": refused(b"HTTP/1.1 200 " + b"x" * MUCH),
    "1xx that have no end": refused(CONTINUE * (MUCH // len(CONTINUE)), NEVER, ENDLESS),
    "empty lines that have no end": refused(b"\r\n" * MUCH, NEVER, ENDLESS),
}

LOST: Final = {
    "nothing": lost(b""),
    "half a line": lost(b"HTTP/1.1 2"),
    "half a head": lost(OK + b"Content-Le"),
    "a head without its last line": lost(OK + b"Content-Length: 2\r\n"),
    "only a 1xx": lost(CONTINUE),
    "a 1xx and half a head": lost(HINTS + OK),
}

CORPUS: Final[dict[str, Case]] = GOOD | GLUED | CUT | REFUSED | LOST
