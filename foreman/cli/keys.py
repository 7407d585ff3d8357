"""`foreman keys`: on the database where no foreman has it, else through the foreman that does.

A new key goes to stdout and everything else to stderr, so that it can be piped into a file.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import orjson

from foreman.cli.api import Api, Json
from foreman.cli.ask import Output, address
from foreman.cli.key_flags import KeysAsk
from foreman.cli.table import Cell, age, count, duration, local, moment
from foreman.config import URL_ENV, Configured
from foreman.core.access import Usage, shown_scopes
from foreman.core.errors import KeyNotFound, Refused, StoreInUse
from foreman.engine.clock import SystemClock, millis
from foreman.engine.ids import new_id
from foreman.engine.keyring import Keyring
from foreman.engine.sqlite import SqliteStore
from foreman.web.keys import key_view

HEAD: Final = ("ID", "LABEL", "SCOPES", "STATE", "LAST USED", "JOBS", "TOKENS IN", "TOKENS OUT", "AT WORK")


def run(ask: KeysAsk, configured: Configured, environ: Mapping[str, str] = os.environ) -> int:
    """Do it and return the exit status. Raises StoreUnusable, NotReached, Refused and ConfigError."""
    output = Output(sys.stdout, sys.stderr, environ)
    answer = asyncio.run(_answered(ask, configured, environ))
    _SHOWN[ask.command](ask, answer, output)
    return 0


async def _answered(ask: KeysAsk, configured: Configured, environ: Mapping[str, str]) -> Json:
    if ask.url is None and not environ.get(URL_ENV):
        clock = SystemClock()
        try:
            async with SqliteStore.open(configured.settings.db, new_id(millis(clock))) as store:
                keyring = Keyring(store, clock)
                await keyring.start()
                return await _IN_FILE[ask.command](ask, keyring, millis(clock))
        except KeyNotFound as error:
            raise Refused(str(error)) from error
        except StoreInUse:
            pass
    async with Api(*address(ask.url, configured, environ)) as api:
        return await _OVER_HTTP[ask.command](ask, api)


async def _create(ask: KeysAsk, keyring: Keyring, now: int) -> Json:
    expires = None if ask.expires is None else now + ask.expires * 1000
    token, key = await keyring.create(ask.label, ask.scopes, expires)
    return {"key": token, **key_view(key, Usage())}


async def _list(ask: KeysAsk, keyring: Keyring, now: int) -> Json:  # noqa: ARG001
    return {"keys": [key_view(key, usage) for key, usage in await keyring.listed()]}


async def _revoke(ask: KeysAsk, keyring: Keyring, now: int) -> Json:  # noqa: ARG001
    if not ask.forget:
        return key_view(await keyring.revoke(ask.key), Usage())
    await keyring.forget(ask.key)
    return {}


async def _ask_create(ask: KeysAsk, api: Api) -> Json:
    body: dict[str, Any] = {"label": ask.label, "scopes": shown_scopes(ask.scopes).split(",")}
    if ask.expires is not None:
        body["expires_in_seconds"] = ask.expires
    return await api.ask("POST", "/keys", body=body)


async def _ask_list(ask: KeysAsk, api: Api) -> Json:  # noqa: ARG001
    return await api.ask("GET", "/keys")


async def _ask_revoke(ask: KeysAsk, api: Api) -> Json:
    query = {"forget": "true"} if ask.forget else None
    return await api.ask("DELETE", f"/keys/{quote(ask.key, safe='')}", query=query)


_IN_FILE: Final[Mapping[str, Callable[[KeysAsk, Keyring, int], Coroutine[Any, Any, Json]]]] = {
    "keys create": _create,
    "keys list": _list,
    "keys revoke": _revoke,
}
_OVER_HTTP: Final[Mapping[str, Callable[[KeysAsk, Api], Coroutine[Any, Any, Json]]]] = {
    "keys create": _ask_create,
    "keys list": _ask_list,
    "keys revoke": _ask_revoke,
}


def _show_created(ask: KeysAsk, key: Json, output: Output) -> None:
    if ask.as_json:
        output.print(orjson.dumps(key).decode())
        return
    until = "for ever" if key["expires_at"] is None else f"until {local(key['expires_at'])}"
    output.say(f"key {key['id']} may {', '.join(key['scopes'])}, {until}; it is shown this once:")
    output.print(key["key"])


def _show_list(ask: KeysAsk, answer: Json, output: Output) -> None:
    if ask.as_json:
        output.print(orjson.dumps(answer).decode())
    elif answer["keys"]:
        now = datetime.now(UTC)
        output.table(HEAD, [_row(key, now) for key in answer["keys"]])
    else:
        output.say("there are no keys: on this machine nobody is asked for one")


def _show_revoked(ask: KeysAsk, key: Json, output: Output) -> None:
    if ask.as_json:
        output.print(orjson.dumps(key).decode())
        return
    output.say(f"key {ask.key} is forgotten" if ask.forget else f"key {ask.key} lets nobody in any more")


_SHOWN: Final[Mapping[str, Callable[[KeysAsk, Json, Output], None]]] = {
    "keys create": _show_created,
    "keys list": _show_list,
    "keys revoke": _show_revoked,
}


def _row(key: Json, now: datetime) -> Sequence[Cell]:
    usage = key["usage"]
    return (
        key["id"],
        key["label"] or "-",
        ",".join(key["scopes"]),
        _state(key, now),
        "never" if key["last_used_at"] is None else f"{age(key['last_used_at'], now)} ago",
        count(usage["jobs"]),
        count(usage["prompt_tokens"]),
        count(usage["output_tokens"]),
        duration(usage["busy_seconds"]),
    )


def _state(key: Json, now: datetime) -> str:
    if key["revoked_at"] is not None:
        return "revoked"
    expires = moment(key["expires_at"])
    if expires is None:
        return "works"
    left = (expires - now).total_seconds()
    return "expired" if left <= 0 else f"works {duration(left)} more"
