"""Log lines: a sentence for people, an event word and fields for machines; text or JSON, on one line, to one stream.

Rules:
1. Every value is encoded: control characters, escape sequences and bidirectional marks never reach a terminal or a
   log reader as themselves, and no value is longer than 256 characters.
2. No prompt and no answer is ever logged. Libraries stay at WARNING whatever `log_level` says: aiosqlite, for one,
   logs the parameters of its statements at DEBUG, and those hold whole requests.
"""

import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TextIO

import orjson

from foreman.settings import LogFormat, LogLevel

Field = str | int | float | bool | None

VALUE_LIMIT: Final = 256
# Sentences and tracebacks of libraries; our own sentences are far shorter.
_TEXT_LIMIT: Final = 8192
_ROOT: Final = "foreman"

# C0, DEL, C1, bidirectional marks, line and paragraph separators, byte order mark, lone surrogates.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]",
)
_BARE: Final = re.compile(r"[^\s\"=]+")


def log_event(logger: logging.Logger, level: int, event: str, sentence: str, /, **fields: object) -> None:
    """Log one event: `event` is its stable word, `sentence` is for people, `fields` are what varies."""
    if logger.isEnabledFor(level):
        logger.log(level, "%s", sentence, extra={"event": event, "fields": fields}, stacklevel=2)


def escape(text: str, limit: int = VALUE_LIMIT) -> str:
    """The text with every character that could fool a terminal or a log reader escaped, cut to `limit` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return _UNSAFE.sub(_escaped, cut)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def configure(log_format: LogFormat, log_level: LogLevel, stream: TextIO | None = None) -> None:
    """Send the log to `stream` (standard error) in place of wherever it went before."""
    out = sys.stderr if stream is None else stream
    as_text = log_format == "text" or (log_format == "auto" and out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    logging.basicConfig(handlers=[handler], force=True)
    level: int = getattr(logging, log_level.upper())
    logging.getLogger().setLevel(max(level, logging.WARNING))
    logging.getLogger(_ROOT).setLevel(level)


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00.123 INFO sentence key=value ...` in local time."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        time = at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03d}"
        fields = _fields(record)
        line = [time, record.levelname, escape(record.getMessage(), _TEXT_LIMIT)]
        line += [f"{name}={_quoted(value)}" for name, value in fields.items() if value is not None]
        if record.exc_info:
            trace = escape_lines(self.formatException(record.exc_info))
            return "\n    ".join([" ".join(line), *trace])
        return " ".join(line)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts (UTC, RFC 3339), level, event, msg, fields, and `traceback` after an exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "msg": escape(record.getMessage(), _TEXT_LIMIT),
            "fields": _fields(record),
        }
        if record.exc_info:
            line["traceback"] = escape_lines(self.formatException(record.exc_info))
        return orjson.dumps(line).decode()


def escape_lines(text: str) -> list[str]:
    """The text's lines, each escaped. Of a long text the end is kept: there a traceback says what happened."""
    return [escape(line) for line in text[-_TEXT_LIMIT:].split("\n")]


def _fields(record: logging.LogRecord) -> Mapping[str, Field]:
    return {name: _plain(value) for name, value in getattr(record, "fields", {}).items()}


def _plain(value: object) -> Field:
    # orjson takes integers of 64 bits only.
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return escape(str(value))


def _quoted(value: Field) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(round(value, 3) if isinstance(value, float) else value)
    return text if _BARE.fullmatch(text) else '"' + text.replace('"', '\\"') + '"'
