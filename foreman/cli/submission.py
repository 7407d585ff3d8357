"""What `foreman submit` hands over: the words of a command line as a job.

A prompt goes to the target's own chat route; where its model is one of a remote API, to the one that such an API knows.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

from foreman.cli.api import Api, Json
from foreman.cli.client_flags import Ask
from foreman.core.errors import ConfigError, Refused
from foreman.core.upstreams import named

CHAT: Final = "/api/chat"
REMOTE_CHAT: Final = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote API as foreman tells of it."""

    name: str
    models: tuple[str, ...]


async def submission(ask: Ask, api: Api) -> Json:
    """The body of POST /jobs. Raises ConfigError, and NotReached."""
    if (ask.path is None) != (ask.body is None):
        raise ConfigError("--path and --body belong together; see foreman submit --help")
    if ask.path is not None and ask.body is not None:
        if ask.model is not None:
            raise ConfigError("with --path and --body the body names the model; leave MODEL and PROMPT out")
        job: Json = {"path": ask.path, "body": _json_of(ask)}
    else:
        model, prompt = _asked(ask)
        body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
        remote = named(await _remotes(api), model) is not None
        job = {"path": REMOTE_CHAT, "body": {**body, "stream": True}} if remote else {"path": CHAT, "body": body}
    if ask.force:
        job["override"] = "gate"
    if ask.not_before is not None:
        job["not_before"] = float(ask.not_before) if _is_number(ask.not_before) else zoned(ask.not_before)
    return job


def _asked(ask: Ask) -> tuple[str, str]:
    if ask.model is None:
        raise ConfigError("name a MODEL and what to ask it, or --path and --body; see foreman submit --help")
    prompt = " ".join(ask.prompt) or sys.stdin.read()
    if not prompt.strip():
        raise ConfigError("there is nothing to ask: give a PROMPT, or write it to standard input")
    return ask.model, prompt


async def _remotes(api: Api) -> Sequence[Remote]:
    with suppress(Refused):  # it says so again, and better, when it is asked for the job
        health = await api.ask("GET", "/health")
        return [Remote(remote["name"], tuple(remote["models"])) for remote in health["remotes"]]
    return ()


def _json_of(ask: Ask) -> object:
    name = str(ask.body)
    try:
        text = sys.stdin.buffer.read() if name == "-" else open(name, "rb").read()  # noqa: SIM115
        return orjson.loads(text)
    except OSError as error:
        raise ConfigError(f"the body {name} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"the body {name} is not JSON: {error.msg} at byte {error.pos}") from error


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal() and text.isascii()


def zoned(text: str) -> str:
    """A time on this machine's clock where it names no zone. Raises ConfigError."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise ConfigError(f"{text!r} is no time such as 2026-01-31T22:00, and no number of seconds") from None
