"""The `[[remote]]` tables of the settings file: one for each API that foreman may send jobs to.

Rules:
1. What is unknown, missing, of the wrong type or claimed twice is a ConfigError that names the line of the file.
2. A key stands in a file of its own or in the environment, never in the settings: they can be shown.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from foreman.core import addresses, units
from foreman.core.errors import ConfigError
from foreman.core.upstreams import conflicts
from foreman.keyfile import check_key, read_api_key
from foreman.kinds import COUNT, OPTIONAL_PATH, SECONDS, Kind, Meta, checked, close_to
from foreman.kinds import described as _of

DAY_SECONDS: Final = 86_400.0
# Stars take the place of a key wherever an answer holds it: a shorter one could be an ordinary word.
KEY_LENGTH: Final = 8

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
_MODEL: Final = re.compile(r"[!-)+->@-~]{1,200}\*?")
_HEADER: Final = re.compile(r"\s*\[\[\s*remote\s*\]\]\s*(#.*)?")


def _read_name(value: object) -> str:
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise ValueError("1 to 32 of a-z, 0-9, _ and -, such as openai")
    return value


def _read_variable(value: object) -> str:
    if not isinstance(value, str) or _VARIABLE.fullmatch(value) is None:
        raise ValueError("the name of an environment variable in capitals, such as OPENAI_API_KEY")
    return value


def _read_models(value: object) -> tuple[str, ...]:
    models = units.read_list(value)
    if not all(map(_MODEL.fullmatch, models)):
        raise ValueError('a list of model names, of which one may end in * but not be it, such as ["gpt-5", "o4-*"]')
    return models


def _show_models(models: tuple[str, ...]) -> str:
    return ", ".join(models) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """One API. Made by `read_remotes`; directly in tests. `where` is the place in the file."""

    name: str = field(metadata=_of(Kind("name", _read_name), "What stands before the slash: `NAME/model` goes there."))
    base_url: str = field(
        metadata=_of(
            Kind("URL", addresses.read_target),
            "An OpenAI-compatible API, with its `/v1` where it has one; http or https.",
        )
    )
    api_key_env: str = field(
        default="",
        metadata=_of(
            Kind("variable", _read_variable), "The environment variable that holds the key.", default_text="none"
        ),
    )
    api_key_file: Path | None = field(
        default=None,
        metadata=_of(OPTIONAL_PATH, "A file with mode 0600 whose first line is the key.", default_text="none"),
    )
    models: tuple[str, ...] = field(
        default=(),
        metadata=_of(
            Kind("list of models", _read_models, _show_models),
            "Models that go there without the name before them; one that ends in `*` stands for all that begin so.",
        ),
    )
    slots: int | None = field(
        default=None,
        metadata=_of(
            COUNT,
            "How many requests it gets at once; all remotes together never more than `remote_slots`.",
            1,
            1000,
            "`remote_slots`",
        ),
    )
    connect_timeout_seconds: float = field(
        default=10.0, metadata=_of(SECONDS, "How long a connection may take to open.", 0.01, 3600)
    )
    first_byte_timeout_seconds: float = field(
        default=900.0, metadata=_of(SECONDS, "How long it may take to begin an answer.", 0.01, DAY_SECONDS)
    )
    idle_timeout_seconds: float = field(
        default=300.0, metadata=_of(SECONDS, "How long an answer that has begun may fall silent.", 0.01, DAY_SECONDS)
    )
    busy_seconds: float = field(
        default=7200.0,
        metadata=_of(
            SECONDS,
            "For how long a job is tried again while the answer is 429 or 503; then that answer is passed on.",
            0,
            30 * DAY_SECONDS,
        ),
    )
    where: str = "the settings"

    def key(self, environ: Mapping[str, str]) -> str:
        """The key to send; empty where none is wanted. Raises ConfigError."""
        try:
            return self._key(environ)
        except ConfigError as error:
            raise ConfigError(f"{self.where}: {error}") from error

    def _key(self, environ: Mapping[str, str]) -> str:
        variable = f"the environment variable {self.api_key_env}"
        if self.api_key_file is not None:
            return read_api_key(self.api_key_file, KEY_LENGTH)
        if not self.api_key_env:
            return ""
        if self.api_key_env not in environ:
            raise ConfigError(f"{variable} is not set")
        return check_key(environ[self.api_key_env].strip().encode("utf-8", "surrogateescape"), variable, KEY_LENGTH)


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a `[[remote]]` table as its users meet it."""

    name: str
    meta: Meta
    default: object

    @property
    def shown_default(self) -> str:
        """As the docs state it."""
        if self.default is MISSING:
            return "must be there"
        return self.meta.default_text or f"`{self.meta.kind.show(self.default)}`"


FIELDS: Final = tuple(Field(f.name, f.metadata["setting"], f.default) for f in fields(Remote) if f.metadata)
_BY_NAME: Final = {entry.name: entry for entry in FIELDS}


def read_remotes(tables: object, text: str, path: Path, known: Sequence[str]) -> tuple[Remote, ...]:
    """All tables of the file with this text. `known` are foreman's own settings. Raises ConfigError."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{path}: remote must be written as [[remote]], once for each of them")
    starts = [number for number, line in enumerate(text.splitlines(), 1) if _HEADER.fullmatch(line)]
    places = _Places(path, text.splitlines(), starts if len(starts) == len(tables) else [])
    found = [_remote(table, places, place, known) for place, table in enumerate(tables)]
    for place, remote in enumerate(found):
        if any(remote.name == earlier.name for earlier in found[:place]):
            raise ConfigError(f"{places.of(place, 'name')}: there is a remote named {remote.name} already")
    for place, model, earlier in conflicts(found):
        raise ConfigError(f"{places.of(place, 'models')}: {model} belongs to the remote {earlier.name} already")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where things stand in the file. `starts` are the lines of the headers, none where they cannot be told."""

    path: Path
    lines: Sequence[str]
    starts: Sequence[int]

    def of(self, place: int, key: str = "") -> str:
        if not self.starts:
            return f"{self.path}, remote {place + 1}"
        start = self.starts[place]
        end = self.starts[place + 1] - 1 if place + 1 < len(self.starts) else len(self.lines)
        line = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
        found = (number for number in range(start + 1, end + 1) if key and line.match(self.lines[number - 1]))
        return f"{self.path}, line {next(found, start)}"


def _remote(table: dict[str, Any], places: _Places, place: int, known: Sequence[str]) -> Remote:
    for name in table:
        if name not in _BY_NAME:
            where = places.of(place, name)
            if name in known:
                raise ConfigError(f"{where}: {name} is no key of a remote; it must stand above the first [[remote]]")
            hint = close_to(name, tuple(_BY_NAME), f"; a remote has {', '.join(_BY_NAME)}")
            raise ConfigError(f"{where}: unknown key {name!r} of a remote{hint}")
    for name in ("name", "base_url"):
        if name not in table:
            raise ConfigError(f"{places.of(place)}: the remote has no {name}")
    if "api_key_env" in table and "api_key_file" in table:
        raise ConfigError(f"{places.of(place, 'api_key_file')}: api_key_env and api_key_file exclude each other")
    # What was given is not shown: it could be a key in the wrong place.
    values: dict[str, Any] = {
        name: checked(_BY_NAME[name].meta, raw, f"{places.of(place, name)}: {name} must be")
        for name, raw in table.items()
    }
    key = "api_key_file" if "api_key_file" in table else "api_key_env"
    return Remote(**values, where=places.of(place, key))
