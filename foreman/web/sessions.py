"""Sessions of the live page: a browser shows its key once, and a cookie that no script can read stands for it then.

They live in memory and end with this process. A cookie is sent along by the browser whoever makes the request, so it
counts only where the page itself asks: from the same origin, and with a header of its own where anything changes.
"""

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
        self._keys: OrderedDict[str, str] = OrderedDict()

    def begin(self, key_id: str) -> str:
        """The value of a new cookie."""
        token = secrets.token_urlsafe(32)
        self._keys[token] = key_id
        while len(self._keys) > KEPT:
            self._keys.popitem(last=False)
        return token

    def end(self, headers: Mapping[str, str]) -> None:
        self._keys.pop(_cookie(headers), None)

    def key_id(self, method: str, headers: Mapping[str, str]) -> str | None:
        """The id of the key behind a request; None where none is, or the page did not make it.

        A foreign Origin was refused before; without one, Sec-Fetch-Site must say that it is ours.
        """
        token = _cookie(headers)
        if not token or token not in self._keys:
            return None
        if "Origin" not in headers and headers.get("Sec-Fetch-Site") not in ("same-origin", "none"):
            return None
        if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            return None
        if method not in ("GET", "HEAD") and headers.get(PAGE_HEADER) != "1":
            return None
        return self._keys[token]


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        found = SimpleCookie(headers.get("Cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value
