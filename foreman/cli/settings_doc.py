"""The page docs/settings.md, made from the settings: `python -m foreman.cli.settings_doc > docs/settings.md`."""

from foreman.config import CONFIG_ENV
from foreman.kinds import Meta
from foreman.remotes import FIELDS, Field
from foreman.settings import SETTINGS, Setting, Settings

_HEAD = f"""# Settings

<!-- Made from foreman/settings.py by `python -m foreman.cli.settings_doc > docs/settings.md`; a test compares. -->

Every setting can be given in three ways. A flag wins over an environment variable, which wins over the file,
which wins over the default:

1. a flag: `foreman serve --poll-seconds 10`
2. an environment variable: `FOREMAN_POLL_SECONDS=10`
3. a TOML file: `poll_seconds = 10`. It is the one that `--config FILE` names, else the one that `{CONFIG_ENV}` names,
   else `~/.config/foreman/foreman.toml` if that exists.

A name that foreman does not know (a flag, a variable that begins with `FOREMAN_`, a key in the file) is an error, and
so is a value it cannot take. `foreman config show` prints the value of each setting and where it came from;
`foreman config show --json` does so for programs. `OLLAMA_HOST` is not read: name the target with `target`.

How values are written:

- **seconds** and **hours**: a number (`30`, `1.5`) or a time (`"500ms"`, `"30s"`, `"5m"`, `"1h30m"`).
- **bytes**: a number (`1000000`) or a size (`"64MiB"`, `"2 GiB"`, `"500 MB"`).
- **duration**: a time as Ollama reads it (`"30m"`, `"1h30m"`), negative for "for ever" (`"-1m"`); a bare number counts
  seconds. As a flag, write a value that begins with a minus sign as `--keep-alive=-1m`.
- **lists**: text with commas (`box.lan, box.local`); in the file also an array (`["box.lan", "box.local"]`).
- **true or false**: as a flag, the name alone means true.

"""


_REMOTES = """
## Remote APIs

Each `[[remote]]` table of the file is one API beside the target (see [remotes](remotes.md)). They have no flags and no
variables, and stand below all other settings of the file.

| key | type | default | meaning |
|---|---|---|---|
"""


def page() -> str:
    """The whole page, as it must stand in docs/settings.md."""
    defaults = Settings()
    rows = [_row(entry, getattr(defaults, entry.name)) for entry in SETTINGS]
    head = ["| setting | flag | environment | type | default | meaning |", "|---|---|---|---|---|---|"]
    return _HEAD + "\n".join(head + rows) + "\n" + _REMOTES + "".join(map(_remote_row, FIELDS))


def _row(entry: Setting, default: object) -> str:
    shown = entry.meta.default_text or f"`{entry.show(default)}`"
    cells = (f"`{entry.name}`", f"`{entry.flag}`", f"`{entry.env}`", _unit(entry.meta), shown, entry.meta.meaning)
    return "| " + " | ".join(cells) + " |"


def _remote_row(entry: Field) -> str:
    return f"| `{entry.name}` | {_unit(entry.meta)} | {entry.shown_default} | {entry.meta.meaning} |\n"


def _unit(meta: Meta) -> str:
    kind, low, high = meta.kind, meta.low, meta.high
    return kind.unit if low is None or high is None else f"{kind.unit}, {kind.show(low)} to {kind.show(high)}"


if __name__ == "__main__":
    print(page(), end="")
