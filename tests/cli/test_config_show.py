import json
from pathlib import Path

import pytest

from foreman.cli.config_show import show
from foreman.config import Configured, load
from foreman.settings import SETTINGS


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    file = tmp_path / "f.toml"
    file.write_text('allowed_hosts = ["a.lan", "b.lan"]\ndb = "/x/\\u202ey.db"\n')
    flags = {"max_body_bytes": "2MiB", "listen": "[::1]:0", "api_key_file": "/k"}
    return load(flags, {"HOME": str(tmp_path), "FOREMAN_POLL_SECONDS": "5m"}, file)


def test_the_table_has_aligned_columns_and_a_row_for_each_setting(configured: Configured) -> None:
    header, *rows = show(configured, as_json=False).splitlines()
    value, source = header.index("VALUE"), header.index("SOURCE")
    assert [row[:value].strip() for row in rows] == [entry.name for entry in SETTINGS]
    assert all(row[start - 1] == " " != row[start] for row in rows for start in (value, source))
    cells = {row[:value].strip(): (row[value:source].strip(), row[source:]) for row in rows}
    assert cells["max_body_bytes"] == ("2 MiB", "flag --max-body-bytes")
    assert cells["poll_seconds"] == ("300", "FOREMAN_POLL_SECONDS")
    assert cells["listen"] == ("[::1]:0", "flag --listen")
    assert cells["allowed_hosts"][0] == "a.lan, b.lan"
    assert cells["allowed_hosts"][1].endswith("/f.toml")
    assert cells["allowed_origins"] == ("none", "default")
    assert cells["db"][0] == "/x/\\u202ey.db"


def test_json_has_plain_values(configured: Configured) -> None:
    table = json.loads(show(configured, as_json=True))
    assert list(table) == [entry.name for entry in SETTINGS]
    values = {name: cell["value"] for name, cell in table.items()}
    assert values["max_body_bytes"] == 2 * 1024**2
    assert values["poll_seconds"] == 300
    assert values["listen"] == "[::1]:0"
    assert values["allowed_hosts"] == ["a.lan", "b.lan"]
    assert values["api_key_file"] == "/k"
    assert values["insecure_no_auth"] is False
    assert table["poll_seconds"]["source"] == "FOREMAN_POLL_SECONDS"


def test_remotes_stand_below_without_a_key(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text('[[remote]]\nname = "far"\nbase_url = "http://a/v1"\napi_key_env = "FAR_KEY"\n')
    configured = load({}, {"HOME": str(tmp_path), "FAR_KEY": "sk-secret-1234"}, file)
    text, table = show(configured, as_json=False), json.loads(show(configured, as_json=True))
    assert text.splitlines()[-1].split() == ["remote", "far", "http://a/v1", f"{file},", "line", "4"]
    assert table["remote"]["value"][0]["api_key_env"] == "FAR_KEY"
    assert "sk-secret" not in text + json.dumps(table)
