"""The sorts of value a setting can have: how each is read, shown and named to people.

Which settings there are, and what they mean, is not known here.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from foreman.core import addresses, programs, units
from foreman.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Kind:
    """`read` takes text or TOML's own type, or raises ValueError with what the value must be; `unit` is for people."""

    unit: str
    read: Callable[[object], object]
    show: Callable[[Any], str] = str
    choices: tuple[str, ...] = ()

    def show_limit(self, limit: float) -> str:
        """A bound as it stands in a sentence: `1`, `900 MiB`, `0.01 seconds`."""
        return f"{self.show(limit)} {self.unit}" if self.unit in ("seconds", "hours") else self.show(limit)


@dataclass(frozen=True, slots=True)
class Meta:
    """What a setting says of itself beside its name, type and default."""

    kind: Kind
    meaning: str
    low: float | None = None
    high: float | None = None
    default_text: str | None = None


def described(
    kind: Kind, meaning: str, low: float | None = None, high: float | None = None, default_text: str | None = None
) -> Mapping[str, Meta]:
    """The metadata of a field that is a setting."""
    return {"setting": Meta(kind, meaning, low, high, default_text)}


def checked(meta: Meta, raw: object, where: str) -> object:
    """The value that `raw` stands for. Raises ConfigError: `where`, and what it must be."""
    try:
        value = meta.kind.read(raw)
    except ValueError as error:
        raise ConfigError(f"{where} {error}") from error
    if isinstance(value, (int, float)):
        if meta.low is not None and value < meta.low:
            raise ConfigError(f"{where} at least {meta.kind.show_limit(meta.low)}")
        if meta.high is not None and value > meta.high:
            raise ConfigError(f"{where} at most {meta.kind.show_limit(meta.high)}")
    return value


def close_to(word: str, known: Iterable[str], otherwise: str) -> str:
    """A suggestion to end an error with; `otherwise` when nothing known comes close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else otherwise


def one_of(literal: object) -> Kind:
    """The kind of a `Literal` type: one of its words."""
    choices = get_args(literal)
    return Kind("one of " + ", ".join(choices), units.read_choice(choices), choices=choices)


def _read_path(value: object) -> Path:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("a path")
    try:
        return Path(value.strip()).expanduser()
    except RuntimeError as error:
        raise ValueError("a path in a home directory that exists") from error


def _read_optional_path(value: object) -> Path | None:
    return None if value == "" else _read_path(value)


def _show_optional(value: object) -> str:
    return "none" if value is None else str(value)


def _show_list(entries: tuple[str, ...]) -> str:
    return ", ".join(entries) or "none"


def _show_switch(on: bool) -> str:
    return "true" if on else "false"


SECONDS: Final = Kind("seconds", units.read_seconds, units.show_number)
HOURS: Final = Kind("hours", units.read_hours, units.show_number)
COUNT: Final = Kind("count", units.read_count)
RATIO: Final = Kind("number", units.read_ratio, units.show_number)
BYTES: Final = Kind("bytes", units.read_bytes, units.show_bytes)
DURATION: Final = Kind("duration", units.read_keep_alive)
PATH: Final = Kind("path", _read_path)
OPTIONAL_PATH: Final = Kind("path", _read_optional_path, _show_optional)
SWITCH: Final = Kind("true or false", units.read_switch, _show_switch)
LISTEN: Final = Kind("host:port", addresses.read_listen)
URL: Final = Kind("URL", addresses.read_target)
HOSTS: Final = Kind("list of host names", addresses.read_hosts, _show_list)
ORIGINS: Final = Kind("list of origins", addresses.read_origins, _show_list)
PROGRAMS: Final = Kind("list of commands", programs.read_patterns, _show_list)
