"""The sorts of value a setting can have: how each is read, shown and named to people.

Which settings there are, and what they mean, is not known here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from foreman.core import addresses, programs, units


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
