"""Who may call: the Host and Origin checks, CORS, and keys.

A page in a browser can reach every port of the machine it runs on, so listening on loopback alone protects nothing:
a foreign Host means DNS rebinding, a foreign Origin a page that makes requests behind its user's back. Both checks are
always on. Ollama's default origins are let in, but for `file://` and `null`, which any downloaded page can claim.
"""

import ipaddress
import logging
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from foreman.core.access import ANY, OPEN, Caller, Needs, Scope
from foreman.core.errors import BadRequest, HostRefused, KeyRefused, OriginRefused, ScopeMissing, TooManyFailures
from foreman.core.failures import Failures
from foreman.engine.clock import Clock
from foreman.engine.keyring import Keyring
from foreman.log import log_event
from foreman.web.cookie import Sessions
from foreman.web.errors import Handler
from foreman.web.paths import route_path
from foreman.web.relayed import Relayed

log = logging.getLogger(__name__)

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "0.0.0.0", "[::1]")  # noqa: S104 (a name to compare with)
DEFAULT_ORIGINS: Final = (
    *(f"{scheme}://{name}{port}" for scheme in ("http", "https") for name in LOCAL_NAMES for port in ("", ":*")),
    "app://*",
    "tauri://*",
    "vscode-webview://*",
    "vscode-file://*",
)
# Names by which containers reach the machine they run on.
CONTAINER_HOSTS: Final = ("host.docker.internal", "host.containers.internal")
ALLOW_METHODS: Final = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
ALLOW_HEADERS: Final = (
    "Authorization, Content-Type, User-Agent, Accept, X-Requested-With, X-Api-Key, Idempotency-Key, Prefer, "
    "Anthropic-Version, Anthropic-Beta, OpenAI-Beta, X-Stainless-Arch, X-Stainless-Async, X-Stainless-Custom-Poll-"
    "Interval, X-Stainless-Helper-Method, X-Stainless-Lang, X-Stainless-OS, X-Stainless-Package-Version, X-Stainless-"
    "Poll-Helper, X-Stainless-Retry-Count, X-Stainless-Runtime, X-Stainless-Runtime-Version, X-Stainless-Timeout, "
    "X-Foreman-Override"
)
EXPOSE_HEADERS: Final = "X-Foreman-Job, X-Foreman-Error, X-Foreman-Stale, Retry-After"
PREFLIGHT: Final = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: ALLOW_METHODS,
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ALLOW_HEADERS,
    hdrs.ACCESS_CONTROL_MAX_AGE: "43200",
}
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{0,5}))?")
_PORTS: Final = 65536
# The same for every key that lets nobody in, whatever the reason.
KEY_NEEDED: Final = "a valid key is needed: send it as Authorization: Bearer, or as x-api-key"
# Who asks for what is open, without a key where one is needed.
NOBODY: Final = Caller("", frozenset())


def host_of(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets. Raises BadRequest where it is none."""
    match = _HOST.fullmatch(header)
    if match is None or int(match[2] or 0) >= _PORTS:
        raise BadRequest("the Host header is missing or malformed")
    return match[1].strip("[]").rstrip(".").lower()


class Guard:
    """The checks, made once from the settings and the keys in force."""

    def __init__(self, hosts: Iterable[str], origins: Iterable[str], keyring: Keyring, clock: Clock) -> None:
        machine = socket.gethostname().lower()
        own = ("localhost", machine, machine.split(".")[0], machine.split(".")[0] + ".local")
        self._hosts = frozenset((*own, *CONTAINER_HOSTS, *(host.lower() for host in hosts)))
        self._origins = tuple(_pattern(origin) for origin in (*origins, *DEFAULT_ORIGINS))
        self._keyring = keyring
        self._clock = clock
        self._failures = Failures()
        self.sessions = Sessions()

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Where a request was sent to and where it comes from. Raises BadRequest, HostRefused or OriginRefused."""
        host = headers.get(hdrs.HOST, "")
        self.check_host(host)
        self.check_origin(method, host, headers)

    def check_host(self, header: str) -> None:
        """A literal IP address cannot be rebound to another machine, so every one passes."""
        name = host_of(header)
        if name in self._hosts or name.endswith(".localhost") or _is_ip(name):
            return
        raise HostRefused(f'the host name "{name}" is not allowed here; add it to allowed_hosts if it is yours')

    def check_origin(self, method: str, host: str, headers: Mapping[str, str]) -> None:
        origin = headers.get(hdrs.ORIGIN)
        if origin is not None:
            if not self.allows(origin, host):
                raise OriginRefused("this origin is not allowed here; add it to allowed_origins if it is yours")
            return
        # A browser that sends no Origin still says where a request comes from. Following a link is harmless.
        navigates = method in (hdrs.METH_GET, hdrs.METH_HEAD) and headers.get("Sec-Fetch-Mode") == "navigate"
        if headers.get("Sec-Fetch-Site") == "cross-site" and not navigates:
            raise OriginRefused("requests from other sites are not allowed here")

    def allows(self, origin: str, host: str) -> bool:
        """Whether pages of this origin may call: those foreman itself would serve, and the listed ones."""
        if origin in (f"http://{host}", f"https://{host}"):
            return True
        return any(pattern.fullmatch(origin) for pattern in self._origins)

    def admit(self, needs: Needs, method: str, headers: Mapping[str, str], address: str | None) -> Caller:
        """Who asks, if he may. Raises KeyRefused, TooManyFailures and ScopeMissing."""
        if needs is OPEN:
            return self._known(method, headers, address) or NOBODY
        caller = self._known(method, headers, address)
        if caller is None:
            raise self._refusal(headers, address)
        if not caller.may(needs):
            one = " or ".join(scope for scope in Scope if scope in needs)
            hint = "" if caller.key_id else f"; it is given to keys: foreman keys create --scopes infer,read,{one}"
            raise ScopeMissing(f"this needs the scope {one}{hint}")
        return caller

    def look(self, needs: Needs, headers: Mapping[str, str], address: str | None) -> Caller | None:
        """The same for the short way, which leaves it to the other one to refuse, and knows no sessions."""
        caller = self._by_key(_shown(headers), address)
        return caller if caller is not None and caller.may(needs) else None

    def still(self, caller: Caller) -> bool:
        """Whether who was let in a while ago would be now."""
        return not caller.key_id or self._keyring.caller_of(caller.key_id) is not None

    def caller_of(self, key: str, address: str | None) -> Caller:
        """Whose key this is. Raises KeyRefused and TooManyFailures."""
        caller = self._keyring.caller(key, given=not self._waits(address))
        if caller is None:
            raise self._wrong(address)
        return caller

    def _known(self, method: str, headers: Mapping[str, str], address: str | None) -> Caller | None:
        key = _shown(headers)
        if key or not self._keyring.demanded:
            return self._by_key(key, address)
        key_id = self.sessions.key_id(method, headers)
        return None if key_id is None else self._keyring.caller_of(key_id)

    def _by_key(self, key: str, address: str | None) -> Caller | None:
        # Where no key is asked for, clients send whatever they please.
        caller = self._keyring.caller(key, given=not self._waits(address)) if key else None
        return caller or (None if self._keyring.demanded else self._keyring.anybody)

    def _waits(self, address: str | None) -> bool:
        return self._failures.wait(address or "", self._clock.monotonic()) is not None

    def _refusal(self, headers: Mapping[str, str], address: str | None) -> KeyRefused | TooManyFailures:
        return self._wrong(address) if _shown(headers) else KeyRefused(KEY_NEEDED)

    def _wrong(self, address: str | None) -> KeyRefused | TooManyFailures:
        """What to say to a wrong key, which is counted."""
        now = self._clock.monotonic()
        wait = self._failures.wait(address or "", now)
        if wait is not None:
            return TooManyFailures("too many wrong keys came from this address", wait)
        if self._failures.note(address or "", now):
            log_event(log, logging.WARNING, "wrong_keys", "too many wrong keys came from an address", client=address)
        return KeyRefused(KEY_NEEDED)


def _shown(headers: Mapping[str, str]) -> str:
    """The key that a request shows; empty where it shows none."""
    scheme, _, token = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("X-Api-Key", "")


GUARD: Final = web.AppKey("GUARD", Guard)
ORIGIN: Final = web.RequestKey("ORIGIN", str)
CALLER: Final = web.RequestKey("CALLER", Caller)


def guarded(needs_of: Callable[[web.Request], Needs]) -> Middleware:
    """Checks every request before anything else looks at it, and answers the preflight of a browser.

    `needs_of` says what the route of a request asks of its caller.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        guard, headers = request.app[GUARD], request.headers
        guard.check(request.method, headers)
        origin = headers.get(hdrs.ORIGIN)
        if origin is not None:
            # From here on the page may read the answer, a refusal of its key too.
            request[ORIGIN] = origin
            # A browser sends no key ahead, so it can be asked for none.
            if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in headers:
                return web.Response(status=204, headers=PREFLIGHT)
        needs = needs_of(request)
        request[CALLER] = guard.admit(needs, request.method, headers, request.remote)
        if Scope.MANAGE in needs and needs != ANY:
            _note(request)
        return await handler(request)

    return check


def _note(request: web.Request) -> None:
    """Which model it is about stands in the body, and that is nobody's business."""
    log_event(
        log,
        logging.INFO,
        "managed",
        "models or the queue are managed, or nobody here knows what it is",
        method=request.method,
        path=route_path(request)[:200],
        key=request[CALLER].key_id or None,
        client=request.remote,
    )


async def sign(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """The headers that every answer carries. An origin is echoed only after it has passed the check."""
    if isinstance(response, Relayed):
        response.strip()
    response.headers[hdrs.SERVER] = "foreman"
    origin = request.get(ORIGIN)
    if origin is not None:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSE_HEADERS
        response.headers[hdrs.VARY] = hdrs.ORIGIN


def _pattern(origin: str) -> re.Pattern[str]:
    """An origin where `*` stands for anything."""
    return re.compile(".*".join(map(re.escape, origin.split("*"))), re.IGNORECASE)


@lru_cache(maxsize=256)
def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
