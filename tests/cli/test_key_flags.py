"""The grammar of `foreman keys`."""

import pytest

from foreman.cli import flags
from foreman.cli.key_flags import KeysAsk
from foreman.core.access import USUAL, Scope
from foreman.core.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "ask"),
    [
        ("keys create", KeysAsk("keys create", scopes=USUAL)),
        (
            "keys create --label page --scopes infer,admin --expires 90d",
            KeysAsk("keys create", label="page", scopes=frozenset({Scope.INFER, Scope.ADMIN}), expires=90 * 86_400),
        ),
        ("keys list --json", KeysAsk("keys list", as_json=True)),
        ("keys revoke abc", KeysAsk("keys revoke", key="abc")),
        ("keys revoke abc --forget --url http://b:1", KeysAsk("keys revoke", "http://b:1", key="abc", forget=True)),
    ],
)
def test_what_is_asked(line: str, ask: KeysAsk) -> None:
    assert flags.parse(line.split()).keys == ask


@pytest.mark.parametrize("line", ["", "revoke", "create --scopes all", "create --expires 0d", "create --expires 1y"])
def test_what_is_wrong_is_said(line: str) -> None:
    with pytest.raises(ConfigError):
        flags.parse(["keys", *line.split()])
