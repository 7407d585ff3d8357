"""`foreman config show`: every setting, its value, and where the value came from."""

from pathlib import Path

import orjson

from foreman.config import Configured
from foreman.core.addresses import Address
from foreman.log import escape
from foreman.remotes import FIELDS
from foreman.settings import SETTINGS


def show(configured: Configured, as_json: bool) -> str:
    """A table for people, or one JSON object of `{name: {value, source}}` with sizes in bytes and times as numbers."""
    remotes = configured.settings.remotes
    if as_json:
        table = {
            entry.name: {
                "value": _plain(getattr(configured.settings, entry.name)),
                "source": configured.sources[entry.name],
            }
            for entry in SETTINGS
        }
        if remotes:
            values = [{entry.name: _plain(getattr(remote, entry.name)) for entry in FIELDS} for remote in remotes]
            table["remote"] = {"value": values, "source": ", ".join(remote.where for remote in remotes)}
        return orjson.dumps(table, option=orjson.OPT_INDENT_2).decode()
    rows = [("SETTING", "VALUE", "SOURCE")]
    for entry in SETTINGS:
        value = entry.show(getattr(configured.settings, entry.name))
        rows.append((entry.name, escape(value), escape(configured.sources[entry.name])))
    rows += [(f"remote {remote.name}", escape(remote.base_url), escape(remote.where)) for remote in remotes]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}" for name, value, source in rows)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, (Path, Address)) else value
