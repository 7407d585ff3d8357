"""The running foreman as the commands see it: its own routes, over HTTP.

Every failure is one of two: foreman does not answer (`NotReached`), or it says no in its own words (`Refused`).
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
import orjson

from foreman import __version__
from foreman.core.errors import NotReached, Refused

# A question is answered at once or not at all; an answer that is followed may pause for as long as a model loads.
QUESTION_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 5.0

Json = dict[str, Any]


class Api:
    """Asks foreman at `url`; use as an async context manager. Raises NotReached and Refused."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"User-Agent": f"foreman-cli/{__version__}"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout, headers=self._headers, trust_env=False)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        any_status: bool = False,
    ) -> Json:
        """What foreman answers; an empty object where it says nothing. `any_status`: no answer is a refusal."""
        data = None if body is None else orjson.dumps(body)
        timeout = aiohttp.ClientTimeout(total=QUESTION_SECONDS, sock_connect=CONNECT_SECONDS)
        with self._told():
            async with self._session.request(
                method, self.url + path, params=query, data=data, headers=headers, timeout=timeout
            ) as response:
                text = await response.read()
        if response.status >= 400 and not (any_status and response.content_type == "application/json"):
            raise _refused(response.status, text)
        answer: Json = orjson.loads(text) if text else {}
        return answer

    async def job(self, job_id: str) -> Json:
        return await self.ask("GET", job_path(job_id))

    @asynccontextmanager
    async def response(self, job_id: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """A job's answer as it comes, from its first byte."""
        with self._told():
            async with self._session.get(self.url + job_path(job_id) + "/response") as response:
                if response.status >= 400 and response.content_type == "application/problem+json":
                    raise _refused(response.status, await response.read())
                yield response

    @asynccontextmanager
    async def events(self) -> AsyncIterator[aiohttp.ClientResponse]:
        """What happens, as it happens."""
        with self._told():
            async with self._session.get(self.url + "/events") as response:
                if response.status >= 400:
                    raise _refused(response.status, await response.read())
                yield response

    @asynccontextmanager
    async def pull(self, body: Json, *, force: bool = False) -> AsyncIterator[aiohttp.ClientResponse]:
        """The progress of a pull as it comes; who leaves the block early has left the pull."""
        headers = {"X-Foreman-Override": "gate"} if force else None
        with self._told():
            async with self._session.post(self.url + "/api/pull", data=orjson.dumps(body), headers=headers) as response:
                yield response

    @asynccontextmanager
    async def slot(self, wanted: Json, key: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """A slot that is waited for: the head at once, the body when it is granted. The same key is the same slot."""
        with self._told():
            async with self._session.post(
                self.url + "/slots", data=orjson.dumps(wanted), headers={"Idempotency-Key": key}
            ) as response:
                if response.status >= 400:
                    raise _refused(response.status, await response.read())
                yield response

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientError, OSError, orjson.JSONDecodeError) as error:
            reason = getattr(getattr(error, "os_error", None), "strerror", None) or str(error) or type(error).__name__
            raise NotReached(f"foreman does not answer at {self.url} ({reason})") from error


def job_path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def _refused(status: int, text: bytes) -> Refused:
    try:
        problem = orjson.loads(text)
        detail = problem.get("detail") or problem.get("error") or ""
    except (orjson.JSONDecodeError, AttributeError):
        detail = ""
    return Refused(str(detail) or f"foreman answered with status {status}")
