"""A picture is made small and stays the picture it was."""

import struct
import zlib

import pytest

from tests.browser.png import SIGNATURE, _part, _parts, smaller

WHITE, RED, BLUE = (255, 255, 255), (255, 0, 0), (0, 0, 255)


def picture(rows: list[bytes], width: int, kind: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, len(rows), 8, kind, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    return SIGNATURE + b"".join(_part(name, body) for name, body in parts)


def colours(png: bytes) -> list[tuple[int, ...]]:
    parts = dict(_parts(png))
    width, height = struct.unpack_from(">II", parts[b"IHDR"])
    raw, palette = zlib.decompress(parts[b"IDAT"]), parts[b"PLTE"]
    pixels = [raw[y * (width + 1) + 1 + x] for y in range(height) for x in range(width)]
    return [tuple(palette[3 * n : 3 * n + 3]) for n in pixels]


@pytest.mark.parametrize(
    "row",
    [
        b"\0" + bytes((*RED, *BLUE)),
        b"\1" + bytes((*RED, 1, 0, 255)),
        b"\2" + bytes((0, 1, 1, 1, 1, 0)),
        b"\3" + bytes((128, 129, 129, 1, 129, 128)),
        b"\4" + bytes((0, 1, 1, 1, 0, 255)),
    ],
    ids=["none", "left", "up", "both", "paeth"],
)
def test_every_filter_is_undone(row: bytes) -> None:
    first = b"\0" + bytes((*WHITE, *WHITE))
    assert colours(smaller(picture([first, row], 2)))[:3] == [WHITE, WHITE, RED]
    assert colours(smaller(picture([first, row], 2)))[3] == BLUE


def test_transparency_is_left_out() -> None:
    assert colours(smaller(picture([b"\0" + bytes((*RED, 255, *BLUE, 255))], 2, kind=6))) == [RED, BLUE]


def test_more_colours_than_a_palette_holds_become_their_neighbours() -> None:
    row = b"\0" + b"".join(bytes((4 * (n % 64), 4 * (n // 64), 0)) for n in range(320))
    found = colours(smaller(picture([row], 320)))
    assert len(set(found)) == 256
    assert all(abs(red - 4 * (n % 64)) + abs(green - 4 * (n // 64)) <= 12 for n, (red, green, _) in enumerate(found))


@pytest.mark.parametrize("png", [b"GIF89a", picture([b"\0\0"], 1, kind=0)])
def test_what_no_browser_makes_is_refused(png: bytes) -> None:
    with pytest.raises(ValueError, match="no"):
        smaller(png)
