"""The page at `/ui`: files of the package, sent as they are, with leave to run nothing but themselves.

Nothing here is private: all that the page shows it asks for at foreman's other routes.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from foreman.core.errors import NothingHere

FOLDER: Final = Path(__file__).parent / "ui"
INDEX: Final = "index.html"
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asked for again each time, and nearly always answered by 304.
    hdrs.CACHE_CONTROL: "no-cache",
}


@dataclass(frozen=True, slots=True)
class File:
    """The bytes of a file, the same compressed where that helps, and its tag."""

    body: bytes
    packed: bytes | None
    tag: str


@cache
def files() -> dict[str, File]:
    return {path.name: _read(path) for path in FOLDER.iterdir() if path.suffix in TYPES}


def _read(path: Path) -> File:
    body = path.read_bytes()
    packed = None if path.suffix == ".woff2" else gzip.compress(body, mtime=0)
    return File(body, packed, f'"{hashlib.sha256(body).hexdigest()[:16]}"')


async def page(request: web.Request) -> web.Response:
    return _sent(request, INDEX)


async def file(request: web.Request) -> web.Response:
    """Raises NothingHere."""
    return _sent(request, request.match_info["file"])


def _sent(request: web.Request, name: str) -> web.Response:
    if name not in files():
        raise NothingHere(f"the page has no file {name[:64]}")
    found = files()[name]
    # Weak, for it stands for both forms.
    headers = {**HEADERS, hdrs.ETAG: f"W/{found.tag}", hdrs.VARY: hdrs.ACCEPT_ENCODING}
    asked = [text.strip().removeprefix("W/") for text in request.headers.get(hdrs.IF_NONE_MATCH, "").split(",")]
    if found.tag in asked or "*" in asked:
        return web.Response(status=304, headers=headers)
    headers[hdrs.CONTENT_TYPE] = TYPES[Path(name).suffix]
    if found.packed is None or "gzip" not in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        return web.Response(body=found.body, headers=headers)
    return web.Response(body=found.packed, headers={**headers, hdrs.CONTENT_ENCODING: "gzip"})
