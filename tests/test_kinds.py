from pathlib import Path
from typing import Literal

import pytest

from foreman import kinds


def test_the_kind_of_a_literal_is_one_of_its_words() -> None:
    kind = kinds.one_of(Literal["a", "b"])
    assert (kind.choices, kind.unit, kind.read("B")) == (("a", "b"), "one of a, b", "b")


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kinds.PATH.read("~/x y.db") == tmp_path / "x y.db"


@pytest.mark.parametrize("value", ["", "  ", "a\0b", 1, None, [], "~nobody-of-that-name/x"])
def test_what_is_no_path(value: object) -> None:
    with pytest.raises(ValueError, match="a path"):
        kinds.PATH.read(value)


def test_an_optional_path_may_be_empty() -> None:
    assert [kinds.OPTIONAL_PATH.show(kinds.OPTIONAL_PATH.read(text)) for text in ("", "key")] == ["none", "key"]


@pytest.mark.parametrize(
    ("kind", "limit", "text"),
    [(kinds.SECONDS, 0.01, "0.01 seconds"), (kinds.COUNT, 1, "1"), (kinds.BYTES, 1024, "1 KiB")],
)
def test_limits_are_shown_with_their_unit(kind: kinds.Kind, limit: float, text: str) -> None:
    assert kind.show_limit(limit) == text


def test_lists_and_switches_are_shown_in_words() -> None:
    assert kinds.HOSTS.show(()) == "none"
    assert kinds.ORIGINS.show(("a", "b")) == "a, b"
    assert [kinds.SWITCH.show(on) for on in (True, False)] == ["true", "false"]
