"""Sessions of the live page: a browser shows its key once, and a cookie that no script can read stands for it then.

They live in memory and end with this process. A cookie is sent along by the browser whoever makes the request, so it
counts only where the page itself asks: from the same origin, and with a header of its own where anything changes.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final

COOKIE: Final = "foreman_session"
PAGE_HEADER: Final = "X-Foreman-Page"
# So many are remembered, those that were begun last.
KEPT: Final = 1000


class Sessions:
    """Which key stands behind which cookie."""

    def __init__(self) -> None:
        self._keys: OrderedDict[bytes, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def begin(self, key_id: str) -> str:
        """The value of a new cookie."""
        token = secrets.token_urlsafe(32)
        self._keys[_hashed(token)] = key_id
        while len(self._keys) > KEPT:
            self._keys.popitem(last=False)
        return token

    def end(self, headers: Mapping[str, str]) -> None:
        self._keys.pop(_hashed(_cookie(headers)), None)

    def key_id(self, method: str, headers: Mapping[str, str]) -> str | None:
        """The id of the key behind a request; None where none is, or the page did not make it."""
        token = _cookie(headers)
        return self._keys.get(_hashed(token)) if token and from_the_page(method, headers) else None


def from_the_page(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a page of foreman's own asks, and means it where that changes something.

    An origin that may call is not therefore ours. Without TLS a browser tells of neither where a request changes
    nothing; then it may be a page on another port, which gets no answer to read, for none is given to its origin.
    """
    site, origin, marked = headers.get("Sec-Fetch-Site"), headers.get("Origin"), headers.get(PAGE_HEADER) == "1"
    host = headers.get("Host", "")
    if site not in (None, "same-origin") or origin not in (None, f"http://{host}", f"https://{host}"):
        return False
    return marked or method in ("GET", "HEAD")


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        found = SimpleCookie(headers.get("Cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value
