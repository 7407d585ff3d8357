import io
import json
import logging
import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman import log
from foreman.settings import LogFormat, LogLevel

LOGGER = logging.getLogger("foreman.test")
BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
HOSTILE = st.text(
    st.characters(codec=None) | st.sampled_from('\x1b\r\n\u202e\u2066\u2028\x9b\ud800\\"= '), max_size=400
)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("foreman")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def configured(log_format: LogFormat = "json", level: LogLevel = "info") -> io.StringIO:
    out = io.StringIO()
    log.configure(log_format, level, out)
    return out


def only_line(out: io.StringIO) -> str:
    (line,) = out.getvalue().splitlines()
    return line


def test_json_lines_hold_time_level_event_sentence_and_fields() -> None:
    out = configured()
    before = datetime.now(UTC)
    log.log_event(LOGGER, logging.INFO, "job.finished", "job finished", id="01H", tokens=5, ok=True, first_byte_ms=None)
    line = json.loads(only_line(out))
    at = datetime.fromisoformat(line.pop("ts"))
    assert at.utcoffset() is not None
    assert abs((at - before).total_seconds()) < 5
    assert line == {
        "level": "info",
        "event": "job.finished",
        "msg": "job finished",
        "fields": {"id": "01H", "tokens": 5, "ok": True, "first_byte_ms": None},
    }


def test_text_lines_hold_time_level_sentence_and_fields() -> None:
    out = configured("text")
    log.log_event(
        LOGGER, logging.WARNING, "x", "disk is filling", free=12, ratio=0.12345, ok=False, none=None, name="a b"
    )
    shape = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARNING disk is filling free=12 ratio=0\.123 ok=false name=\"a b\""
    assert re.fullmatch(shape, only_line(out))


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ("a b", '"a b"'), ("a=b", '"a=b"'), ('a"b', '"a\\"b"'), ("", '""'), (1.5, "1.5"), (2**70, str(2**70))],
)
def test_values_in_text_cannot_be_taken_for_further_fields(value: object, text: str) -> None:
    out = configured("text")
    log.log_event(LOGGER, logging.INFO, "x", "s", value=value)
    assert only_line(out).endswith(f" s value={text}")


@given(HOSTILE)
def test_escaped_text_is_one_printable_line(text: str) -> None:
    escaped = log.escape(text, limit=1000)
    assert not {unicodedata.category(char) for char in escaped} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(char) for char in escaped} & BIDI_CONTROLS
    assert not set(escaped) & set("\u061c\u200e\u200f\ufeff")
    assert len(escaped.splitlines()) <= 1
    assert escaped.encode().decode() == escaped


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain ünïcode 日本", "plain ünïcode 日本"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\r\nb", "a\\x0d\\x0ab"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\x9b", "\\x9b"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_escapes_look_like(text: str, escaped: str) -> None:
    assert log.escape(text) == escaped


def test_values_are_cut() -> None:
    assert log.escape("x" * 256) == "x" * 256
    assert log.escape("x" * 257) == "x" * 255 + "…"
    out = configured()
    log.log_event(LOGGER, logging.INFO, "x", "s", model="m" * 100_000)
    assert len(json.loads(only_line(out))["fields"]["model"]) == log.VALUE_LIMIT


@given(value=HOSTILE)
def test_hostile_values_make_one_line_in_both_formats(value: str) -> None:
    record = LOGGER.makeRecord("foreman", logging.INFO, "f", 1, "%s", (value,), None, None, {"fields": {"v": value}})
    line = log.JsonFormatter().format(record)
    assert len(line.splitlines()) == 1
    assert json.loads(line)["fields"]["v"] == log.escape(value)
    assert len(log.TextFormatter().format(record).splitlines()) == 1


@pytest.mark.parametrize("value", [2**63, -(2**64), float("inf"), float("nan"), b"\x00", object(), ["a"], {"a": 1}])
def test_any_value_can_be_logged(value: object) -> None:
    out = configured()
    log.log_event(LOGGER, logging.INFO, "x", "s", value=value)
    assert json.loads(only_line(out))["event"] == "x"


def test_fields_may_be_named_like_anything() -> None:
    out = configured()
    log.log_event(LOGGER, logging.INFO, "x", "s", event="e", level="l", msg="m", name="n", logger="g")
    assert json.loads(only_line(out))["fields"] == {"event": "e", "level": "l", "msg": "m", "name": "n", "logger": "g"}


def test_a_sentence_is_not_a_template() -> None:
    out = configured()
    log.log_event(LOGGER, logging.INFO, "x", "100 % of %s done")
    assert json.loads(only_line(out))["msg"] == "100 % of %s done"


def test_an_exception_keeps_its_traceback_and_one_json_line() -> None:
    out = configured()
    try:
        raise ValueError("wrong\x1b[0m\nthing")
    except ValueError:
        LOGGER.exception("it broke")
    line = json.loads(only_line(out))
    assert line["traceback"][0] == "Traceback (most recent call last):"
    assert line["traceback"][-2:] == ["ValueError: wrong\\x1b[0m", "thing"]


def test_a_traceback_in_text_is_set_in() -> None:
    out = configured("text")
    try:
        raise ValueError("wrong\x1b[0m\n2026-01-31 INFO forged")
    except ValueError:
        LOGGER.exception("it broke")
    first, *trace = out.getvalue().splitlines()
    assert first.endswith("ERROR it broke")
    assert all(line.startswith("    ") for line in trace)
    assert "\x1b" not in out.getvalue()


def test_of_a_long_traceback_the_end_is_kept() -> None:
    lines = log.escape_lines("head\n" + "x\n" * 10_000 + "ValueError: end")
    assert lines[-1] == "ValueError: end"
    assert sum(map(len, lines)) < 10_000


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_cuts_off_what_matters_less(level: LogLevel, count: int) -> None:
    out = configured(level=level)
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        log.log_event(LOGGER, number, "x", "s")
    assert len(out.getvalue().splitlines()) == count


def test_libraries_stay_silent_below_warning() -> None:
    out = configured(level="debug")
    library = logging.getLogger("aiosqlite")
    library.debug("executing INSERT with %s", "a whole prompt")
    library.info("hello")
    assert out.getvalue() == ""
    library.warning("odd\nthing")
    line = json.loads(only_line(out))
    assert (line["event"], line["msg"], line["fields"]) == ("aiosqlite", "odd\\x0athing", {})


def test_auto_is_text_on_a_terminal_and_json_elsewhere() -> None:
    terminal = Terminal()
    log.configure("auto", "info", terminal)
    log.log_event(LOGGER, logging.INFO, "x", "s")
    assert terminal.getvalue().endswith("INFO s\n")
    assert configured("auto").isatty() is False
    out = configured("auto")
    log.log_event(LOGGER, logging.INFO, "x", "s")
    assert json.loads(only_line(out))["msg"] == "s"


def test_the_log_goes_to_standard_error_and_only_once(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")
    log.configure("json", "info")
    log.log_event(LOGGER, logging.INFO, "x", "s")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
