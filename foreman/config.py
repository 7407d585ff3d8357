"""The settings in force, read from flags, environment and file.

Rules:
1. A flag beats an environment variable, which beats the file, which beats the default.
2. What is unknown, of the wrong type, out of range or unsafe is a ConfigError that names the setting and where it
   came from; nothing is silently ignored.
3. The environment enters as an argument. Only the named file and the key file are read.
"""

import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from foreman.core.addresses import Address, without_userinfo
from foreman.core.errors import ConfigError
from foreman.kinds import checked, close_to
from foreman.remotes import Remote, read_remotes
from foreman.settings import SETTINGS, Setting, Settings, default_db, home_of

CONFIG_ENV: Final = "FOREMAN_CONFIG"
# Where the commands that ask a running foreman find it; no setting of the server.
URL_ENV: Final = "FOREMAN_URL"
_BY_NAME: Final = {entry.name: entry for entry in SETTINGS}


@dataclass(frozen=True, slots=True)
class Configured:
    """The settings in force and where each came from: `flag --target`, `FOREMAN_TARGET`, the file, or `default`."""

    settings: Settings
    sources: Mapping[str, str]


_Given = dict[str, tuple[object, str]]


def load(argv_values: Mapping[str, str], environ: Mapping[str, str], config_path: Path | None = None) -> Configured:
    """Settings from flags (by setting name), environment and file. Raises ConfigError.

    The file is `config_path`, else the one FOREMAN_CONFIG names, else ~/.config/foreman/foreman.toml if it exists.
    """
    from_file, remotes = _from_file(config_path, environ)
    given = from_file | _from_environ(environ) | _from_flags(argv_values)
    values: dict[str, Any] = {name: _read(_BY_NAME[name], *raw) for name, raw in given.items()}
    settings = Settings(**({"db": default_db(environ, sys.platform)} | values), remotes=remotes)
    _check_together(settings)
    return Configured(settings, {name: given[name][1] if name in given else "default" for name in _BY_NAME})


def _from_flags(argv_values: Mapping[str, str]) -> _Given:
    return {name: (text, f"flag {_BY_NAME[name].flag}") for name, text in argv_values.items()}


def _from_environ(environ: Mapping[str, str]) -> _Given:
    by_env = {entry.env: entry.name for entry in SETTINGS}
    known = (*by_env, CONFIG_ENV, URL_ENV)
    for name in environ:
        if name.startswith("FOREMAN_") and name not in known:
            raise ConfigError(f"unknown environment variable {name}{did_you_mean(name, known)}")
    return {name: (environ[env], env) for env, name in by_env.items() if env in environ}


def _from_file(config_path: Path | None, environ: Mapping[str, str]) -> tuple[_Given, tuple[Remote, ...]]:
    named = config_path or (Path(environ[CONFIG_ENV]) if environ.get(CONFIG_ENV) else None)
    base = Path(environ.get("XDG_CONFIG_HOME") or home_of(environ) / ".config")
    path = named or base / "foreman" / "foreman.toml"
    try:
        text = path.read_bytes().decode()
        table = tomllib.loads(text)
    except FileNotFoundError as error:
        if named is None:
            return {}, ()
        raise ConfigError(f"the config file {path} does not exist") from error
    except OSError as error:
        raise ConfigError(f"the config file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # also a number of thousands of digits, which tomllib passes on as it comes
        raise ConfigError(f"the config file {path} is not TOML: {error}") from error
    remotes = read_remotes(table.pop("remote", []), text, path, tuple(_BY_NAME))
    for name in table:
        if name not in _BY_NAME:
            raise ConfigError(f"unknown setting {name!r} in {path}{did_you_mean(name, (*_BY_NAME, 'remote'))}")
    return {name: (value, str(path)) for name, value in table.items()}, remotes


def did_you_mean(word: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """A suggestion to end an error with, or where to look when nothing known comes close."""
    return close_to(word, known, "; `foreman config show` lists all settings")


def _read(entry: Setting, raw: object, source: str) -> object:
    shown = without_userinfo(repr(raw)) if entry.name == "target" else repr(raw)
    where = f"{entry.name} (from {source}) is {shown[:120]} but must be"
    return checked(entry.meta, raw, where)


def _check_together(settings: Settings) -> None:
    if settings.retry_base_seconds > settings.retry_cap_seconds:
        raise ConfigError("retry_base_seconds must not be above retry_cap_seconds")
    target = urlsplit(settings.target)
    at = Address(target.hostname or "", target.port or (443 if target.scheme == "https" else 80))
    if at.port == settings.listen.port and (at.host == settings.listen.host or (at.loopback and _here(settings))):
        raise ConfigError(f"target {settings.target} is where foreman itself listens ({settings.listen})")


def _here(settings: Settings) -> bool:
    return settings.listen.loopback or settings.listen.host in ("0.0.0.0", "::")  # noqa: S104
