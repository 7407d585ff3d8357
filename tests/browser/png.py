"""A picture of a page made small: its few colours in a palette, as a page hardly has more than a palette holds."""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
COLOURS: Final = 256
# Colours are looked up by their upper bits: nobody sees the difference, and there are far fewer.
COARSE: Final = bytes((value & 0xFC) | value >> 6 for value in range(256))

Colour = tuple[int, int, int]


def smaller(png: bytes) -> bytes:
    """The same picture with at most 256 colours, the rarest taken for the nearest. Raises ValueError for what is no
    picture as a browser makes it: 8 bits, RGB or RGBA, not interlaced."""
    parts = list(_parts(png))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", parts[0][1])
    if depth != 8 or kind not in (2, 6) or interlaced:
        raise ValueError("not a picture as a browser makes it")
    size = 3 if kind == 2 else 4
    raw = zlib.decompress(b"".join(body for name, body in parts if name == b"IDAT"))
    rows = [_colours(row, size) for row in _rows(raw, width * size, size)]
    counts = Counter(colour for row in rows for colour in row)
    palette = [colour for colour, _ in counts.most_common(COLOURS)]
    index = {colour: n for n, colour in enumerate(palette)}
    for colour in counts.keys() - index.keys():
        index[colour] = index[min(palette, key=lambda other: _apart(colour, other))]
    body = b"".join(b"\0" + bytes(index[colour] for colour in row) for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    made = [
        (b"IHDR", head),
        (b"PLTE", b"".join(map(bytes, palette))),
        (b"IDAT", zlib.compress(body, 9)),
        (b"IEND", b""),
    ]
    return SIGNATURE + b"".join(_part(name, body) for name, body in made)


def _parts(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not png.startswith(SIGNATURE):
        raise ValueError("no PNG")
    at = len(SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def _part(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _rows(raw: bytes, width: int, size: int) -> Iterator[bytes]:
    """The rows without their filters (PNG, 9.2)."""
    above = bytes(width)
    for at in range(0, len(raw), width + 1):
        row, kind = bytearray(raw[at + 1 : at + 1 + width]), raw[at]
        for n in range(width) if kind else ():
            left = row[n - size] if n >= size else 0
            corner = above[n - size] if n >= size else 0
            row[n] = (row[n] + _predicted(kind, left, above[n], corner)) & 255
        above = bytes(row)
        yield above


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 1:
        return left
    if kind == 2:
        return up
    if kind == 3:
        return (left + up) // 2
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


def _colours(row: bytes, size: int) -> list[Colour]:
    coarse = row.translate(COARSE)
    return [(coarse[n], coarse[n + 1], coarse[n + 2]) for n in range(0, len(coarse), size)]


def _apart(one: Colour, other: Colour) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
