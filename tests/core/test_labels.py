"""What jobs are called where names must be few."""

from dataclasses import dataclass

import orjson
import pytest

from foreman.core.inventory import EMPTY, Inventory
from foreman.core.labels import label
from foreman.core.lanes import Lane


@dataclass(frozen=True)
class Api:
    name: str
    models: tuple[str, ...]


TAGS = Inventory.of(orjson.dumps({"models": [{"name": "llama3:latest"}, {"name": "far/own:latest"}]}))
APIS = (Api("far", ("gpt-5", "big-*")),)


@pytest.mark.parametrize(
    ("lane", "model", "told"),
    [
        (Lane.LOCAL, "llama3:latest", "llama3:latest"),
        (Lane.LOCAL, "thought-of:latest", "other"),
        (Lane.LOCAL, "far/gpt-5", "other"),
        (Lane.LOCAL, "far/own:latest", "far/own:latest"),
        (Lane.REMOTE, "far/gpt-5", "far/gpt-5"),
        (Lane.REMOTE, "far/big-1", "far/other"),
        (Lane.REMOTE, "far/big-*", "far/other"),
        (Lane.REMOTE, "far/", "far/other"),
        (Lane.REMOTE, "far", "far/other"),
        (Lane.REMOTE, "near/gpt-5", "other"),
        (Lane.LOCAL, "pull thought-of:latest", "pull"),
        (Lane.LOCAL, "create thought-of:latest", "create"),
        (Lane.LOCAL, "slot my secret build", "slot"),
        (Lane.LOCAL, "", "other"),
    ],
)
def test_only_known_names_are_told(lane: Lane, model: str, told: str) -> None:
    assert label(lane, model, TAGS, APIS) == told


def test_before_the_first_look_nothing_is_known() -> None:
    assert label(Lane.LOCAL, "llama3:latest", EMPTY, ()) == "other"
