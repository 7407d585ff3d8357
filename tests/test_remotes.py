"""[[remote]] in the settings file: what is read, and what is refused with its line."""

from pathlib import Path
from typing import Any

import pytest

from foreman.config import load
from foreman.core.errors import ConfigError
from foreman.remotes import FIELDS, Remote

GOOD = """\
max_queued = 7
[[remote]]  # the first
name = "one"
base_url = "https://api.example.com/v1/"
api_key_env = "ONE_KEY"
models = ["gpt-5", "o4-*"]
slots = 3
idle_timeout_seconds = "2m"

[[ remote ]]
name = "two"
base_url = "http://127.0.0.1:8080"
"""
ONE = '[[remote]]\nname = "one"\nbase_url = "http://a/v1"\n'
TWO = '[[remote]]\nname = "two"\nbase_url = "http://b/v1"\n'


def read(folder: Path, text: str) -> tuple[Remote, ...]:
    path = folder / "foreman.toml"
    path.write_text(text)
    return load({}, {"HOME": str(folder)}, path).settings.remotes


def test_all_of_it_is_read(tmp_path: Path) -> None:
    one, two = read(tmp_path, GOOD)
    assert (one.name, one.base_url, one.models) == ("one", "https://api.example.com/v1", ("gpt-5", "o4-*"))
    assert (one.slots, one.idle_timeout_seconds, one.api_key_env) == (3, 120.0, "ONE_KEY")
    assert (two.slots, two.models, two.key({})) == (None, (), "")
    assert one.key({"ONE_KEY": " sk-12345678 "}) == "sk-12345678"


def test_there_need_be_none(tmp_path: Path) -> None:
    assert read(tmp_path, "max_queued = 7\n") == ()


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (ONE.replace("http://a/v1", "ftp://a"), 3, "base_url must be an http or https URL"),
        (ONE.replace("http://a", "http://me:secret@a"), 3, "without a user name or password"),
        (ONE.replace("http://a/v1", "http://a/v1?key=secret"), 3, "without a query or fragment"),
        (ONE.replace('"one"', '"One/Two"'), 2, "name must be 1 to 32 of a-z"),
        (ONE + "slotz = 3\n", 4, "unknown key 'slotz' of a remote; did you mean slots?"),
        (ONE + 'api_key = "sk-secret"\n', 4, "unknown key 'api_key' of a remote; did you mean api_key_"),
        (ONE + 'target = "x"\n', 4, r"target is no key of a remote; it must stand above the first \[\[remote\]\]"),
        (ONE + "slots = 0\n", 4, "slots must be at least 1"),
        (ONE + 'models = ["*"]\n', 4, "models must be a list of model names"),
        (ONE + 'models = ["a*b"]\n', 4, "models must be a list of model names"),
        (ONE + 'api_key_env = "sk-secret"\n', 4, "api_key_env must be the name of an environment variable"),
        (ONE + 'api_key_env = "A"\napi_key_file = "b"\n', 5, "exclude each other"),
        ("\n" + ONE.replace('name = "one"\n', ""), 2, "the remote has no name"),
        (ONE + TWO + ONE, 8, "there is a remote named one already"),
        (ONE + 'models = ["m"]\n' + TWO + 'models = ["x", "m"]\n', 8, "m belongs to the remote one already"),
        (ONE + 'models = ["m-*"]\n' + TWO + 'models = ["m-1"]\n', 8, "m-1 belongs to the remote one already"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"foreman\.toml, line {line}: .*{said}") as caught:
        read(tmp_path, text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ['remote = "x"\n', "[remote]\nname = 1\n", "remote = [1]\n"])
def test_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"must be written as \[\[remote\]\]"):
        read(tmp_path, text)


def test_where_the_lines_cannot_be_told_the_number_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"foreman\.toml, remote 2: .* has no base_url"):
        read(tmp_path, 'remote = [{name = "a", base_url = "http://a"}, {name = "b"}]\n')


def test_foremans_own_settings_stand_in_the_file_and_not_as_flags(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean remote"):
        read(tmp_path, "remotes = []\n")
    with pytest.raises(ConfigError, match="unknown environment variable FOREMAN_REMOTES"):
        load({}, {"HOME": str(tmp_path), "FOREMAN_REMOTES": "x"})


def of(**values: Any) -> Remote:
    return Remote(**{"name": "one", "base_url": "http://a", "where": "foreman.toml, line 5", **values})


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    assert of(api_key_file=key_file(tmp_path, "sk-12345678\nmore\n")).key({}) == "sk-12345678"


@pytest.mark.parametrize(("text", "mode", "said"), [
    ("sk-12345678\n", 0o644, "is open to other users: chmod 600 it"),
    ("short\n", 0o600, "must hold a key of at least 8 characters in its first line"),
    ("sk 12345678\n", 0o600, "visible ASCII characters"),
])  # fmt: skip
def test_a_bad_key_file_is_refused_with_its_line(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^foreman\.toml, line 5: api_key_file .* {said}") as caught:
        of(api_key_file=key_file(tmp_path, text, mode)).key({})
    assert text.strip() not in str(caught.value)


def test_a_key_file_that_is_not_there_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^foreman\.toml, line 5: .* cannot be read: No such file"):
        of(api_key_file=tmp_path / "none").key({})


@pytest.mark.parametrize(
    ("environ", "said"), [({}, "is not set"), ({"K": "short"}, "at least 8"), ({"K": "sk-1234\n5678"}, "visible ASCII")]
)
def test_a_bad_variable_is_refused_with_its_line(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^foreman\.toml, line 5: the environment variable K .*{said}") as caught:
        of(api_key_env="K").key(environ)
    assert "1234" not in str(caught.value)


def test_every_key_of_a_remote_says_what_it_means() -> None:
    assert all(entry.meta.meaning for entry in FIELDS)
    assert [entry.name for entry in FIELDS][:2] == ["name", "base_url"]
    assert "key" not in repr(of()).replace("api_key_", "")
