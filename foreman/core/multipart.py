"""The model named in a multipart/form-data body (audio transcriptions).

Rules: the value of the first part that is called `model` and is no file counts, as in Go's FormValue; lines may end in
CRLF or in LF alone; parts are looked at by their heads, and files are never copied. What no client sends (thousands of
parts, heads of many kilobytes) is refused: the email parser needs time in the square of a head's length.
It must not know what else a form says.
"""

from collections.abc import Iterator
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import collapse_rfc2231_value
from typing import Final

from foreman.core.body import RequestBody
from foreman.core.errors import BadRequest

_MAX_HEAD: Final = 2 * 1024
_MAX_PARTS: Final = 1000  # Go reads no more either
_HEADERS: Final = BytesHeaderParser()


def read_multipart(content_type: str, body: bytes) -> RequestBody | None:
    """Read the form in `body`; None when it is none, or its model is absent or empty.

    A `model` in the query of the URL would go before the one in the form, which is for the caller to look at.
    Raises BadRequest for a form whose model cannot be told in good time.
    """
    if len(content_type) > _MAX_HEAD:
        raise BadRequest("the Content-Type is too long to be read")
    head = Message()
    head["Content-Type"] = content_type
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/form-data" or not boundary:
        return None
    for count, (start, end) in enumerate(_parts(body, b"--" + boundary.encode("utf-8", "surrogateescape"))):
        if count == _MAX_PARTS:
            raise BadRequest(f"the form has more than {_MAX_PARTS} parts")
        value = _model(body, start, end)
        if value is not None:
            model = value.decode("utf-8", "replace")
            return RequestBody(model) if model else None
    return None


def _parts(body: bytes, dashes: bytes) -> Iterator[tuple[int, int]]:
    """Where each part lies between its delimiter lines; a last part that was cut off is left out."""
    start: int | None = None
    position = 0
    while (position := body.find(dashes, position)) >= 0:
        line = position
        position += len(dashes)
        is_last = body.startswith(b"--", position)
        if not _is_delimiter(body, line, position, is_last=is_last):
            continue
        if start is not None:
            yield start, _before_newline(body, line)
        if is_last:
            return
        start = position = body.index(b"\n", position) + 1


def _is_delimiter(body: bytes, line: int, end: int, *, is_last: bool) -> bool:
    """Whether the dashes and the boundary stand on a line of their own."""
    if line and body[line - 1 : line] != b"\n":
        return False
    newline = body.find(b"\n", end, end + 256)
    rest = body[end : newline if newline >= 0 else end + 256].strip(b" \t\r")
    return rest == b"--" if is_last else rest == b"" and newline >= 0


def _before_newline(body: bytes, line: int) -> int:
    return line - 2 if body[line - 2 : line] == b"\r\n" else line - 1


def _model(body: bytes, start: int, end: int) -> bytes | None:
    """The value of the part, if it is the field `model`."""
    head_end, value = _head_end(body, start, end)
    headers = _HEADERS.parsebytes(body[start:head_end])
    if headers.get_content_disposition() != "form-data" or _parameter(headers, "filename"):
        return None
    return body[value:end] if _parameter(headers, "name") == "model" else None


def _head_end(body: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the head of a part ends and its value starts."""
    limit = min(end, start + _MAX_HEAD)
    for blank in (b"\r\n\r\n", b"\n\n"):
        position = body.find(blank, start, limit)
        if position >= 0:
            return position, position + len(blank)
    if limit < end:
        raise BadRequest("a part of the form has a head that is too long to be read")
    return start, end


def _parameter(headers: Message, name: str) -> str:
    value = headers.get_param(name, header="content-disposition")
    return collapse_rfc2231_value(value) if value else ""
