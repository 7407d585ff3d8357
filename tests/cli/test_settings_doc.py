from pathlib import Path

import pytest

from foreman.cli import settings_doc
from foreman.remotes import FIELDS
from foreman.settings import SETTINGS

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == settings_doc.page(), "run: python -m foreman.cli.settings_doc > docs/settings.md"


def test_every_setting_has_a_row_of_six_cells() -> None:
    rows = rows_of(settings_doc.page().partition("## Remote APIs")[0])
    assert [row.split("`")[1] for row in rows] == [entry.name for entry in SETTINGS]
    assert {row.count("|") for row in rows} == {7}


def test_every_key_of_a_remote_has_a_row_of_four_cells() -> None:
    rows = rows_of(settings_doc.page().partition("## Remote APIs")[2])
    assert [row.split("`")[1] for row in rows] == [entry.name for entry in FIELDS]
    assert {row.count("|") for row in rows} == {5}


def rows_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| `")]


def test_the_page_does_not_depend_on_who_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings_doc.page()
    monkeypatch.setenv("HOME", "/elsewhere")
    monkeypatch.setenv("XDG_DATA_HOME", "/elsewhere/data")
    assert settings_doc.page() == before
