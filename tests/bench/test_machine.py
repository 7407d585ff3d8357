from pathlib import Path

import pytest

from bench import machine


def test_a_run_says_what_it_was_made_on(tmp_path: Path) -> None:
    found = machine.description(tmp_path)
    assert found["cores"] >= 1
    assert found["packages"]["aiohttp"]
    assert found["fsync_us"] >= 0
    assert list(tmp_path.iterdir()) == []


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert machine.commit() is None
