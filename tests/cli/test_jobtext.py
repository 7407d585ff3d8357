"""Why a job waits, in the words of the command line."""

from typing import Any

import pytest

from foreman.cli.jobtext import reason, standing
from foreman.cli.table import local

UNTIL = "2026-11-21T12:00:30.000Z"
WAITS: dict[str, Any] = {"state": "queued", "position": 1, "attempts": 0, "hold": None, "slowdown": None, "why": None}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reason": "swap"}, "model is swapped"),
        ({"reason": "local_lane", "why": "a local job runs"}, "waits for the local lane: a local job runs"),
        ({"reason": "held", "why": "no room"}, "is held: no room"),
        (
            {"reason": "remote_paused", "why": "far answered 429 and is left alone", "slowdown": {"until": UNTIL}},
            f"waits for its remote: far answered 429 and is left alone until {local(UNTIL)}",
        ),
        ({"reason": "remote_full", "why": "far is slow", "slowdown": {"until": None}},
         "waits for a slot of its remote: far is slow"),
    ],
)  # fmt: skip
def test_the_words(fields: dict[str, Any], words: str) -> None:
    assert reason({**WAITS, **fields}) == words


def test_figures_alone_are_no_change() -> None:
    waits = {**WAITS, "reason": "remote_lane", "why": "3 remote jobs run"}
    assert standing(waits) == standing({**waits, "why": "2 remote jobs run"})
    assert standing(waits) != standing({**waits, "position": 2})
    assert standing(waits) != standing({**waits, "hold": {"cause": "disk"}})
