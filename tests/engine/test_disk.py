"""Where the models are thought to be, and how much is free there."""

from pathlib import Path

import pytest

from foreman.engine import disk
from foreman.engine.disk import models_folder, room_in


@pytest.fixture(autouse=True)
def no_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "service"
    monkeypatch.setattr(disk, "SERVICE", folder)
    return folder


def test_the_named_folder_or_what_is_there_above_it(tmp_path: Path) -> None:
    assert models_folder({"HOME": "/", "OLLAMA_MODELS": str(tmp_path)}) == tmp_path
    assert models_folder({"HOME": "/", "OLLAMA_MODELS": str(tmp_path / "not" / "yet")}) == tmp_path


def test_the_users_own_then_the_services_then_home(tmp_path: Path, no_service: Path) -> None:
    environ = {"HOME": str(tmp_path), "OLLAMA_MODELS": " "}
    assert models_folder(environ) == tmp_path
    no_service.mkdir()
    assert models_folder(environ) == no_service
    own = tmp_path / ".ollama" / "models"
    own.mkdir(parents=True)
    assert models_folder(environ) == own


def test_what_is_free_is_read_anew_each_time(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    room = room_in(folder, 5)
    assert (room.reserve, room.folder, room.free()) == (5, str(folder), None)
    folder.mkdir()
    free = room.free()
    assert free is not None
    assert free > 0
