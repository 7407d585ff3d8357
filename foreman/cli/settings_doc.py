"""The page docs/settings.md, made from the settings: `python -m foreman.cli.settings_doc > docs/settings.md`."""

from foreman.config import CONFIG_ENV, SETTINGS, Setting, Settings

_HEAD = f"""# Settings

<!-- Made from foreman/config.py by `python -m foreman.cli.settings_doc > docs/settings.md`; a test compares. -->

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


def page() -> str:
    """The whole page, as it must stand in docs/settings.md."""
    defaults = Settings()
    rows = [_row(entry, getattr(defaults, entry.name)) for entry in SETTINGS]
    head = ["| setting | flag | environment | type | default | meaning |", "|---|---|---|---|---|---|"]
    return _HEAD + "\n".join(head + rows) + "\n"


def _row(entry: Setting, default: object) -> str:
    shown = entry.meta.default_text or f"`{entry.show(default)}`"
    kind = entry.meta.kind
    low, high = entry.meta.low, entry.meta.high
    unit = kind.unit if low is None or high is None else f"{kind.unit}, {kind.show(low)} to {kind.show(high)}"
    cells = (f"`{entry.name}`", f"`{entry.flag}`", f"`{entry.env}`", unit, shown, entry.meta.meaning)
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    print(page(), end="")
