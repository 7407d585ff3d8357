from dataclasses import replace

import pytest

from bench.figures.charts import charts
from bench.figures.record import Record
from bench.parts.mixed import SCENARIOS, WAYS, Kind, Tally, ask
from bench.wire import drive
from bench.wire.connection import AnswerVoid
from foreman.testing import Script, StubOllama
from tests.bench.figures.samples import record


def test_a_kind_is_a_request_with_its_context_length() -> None:
    assert "options" not in Kind("a").body()
    assert Kind("a", 4096).body()["options"] == {"num_ctx": 4096}


def test_scenarios_have_two_to_four_kinds_and_one_has_two_context_lengths() -> None:
    assert [len(set(kinds)) for kinds in SCENARIOS.values()] == [2, 4, 3]
    lengths = [{kind.num_ctx for kind in kinds if kind.num_ctx} for kinds in SCENARIOS.values()]
    assert max(map(len, lengths)) == 2


def test_half_is_told_when_so_many_have_ended() -> None:
    tally = Tally(until=2)
    tally.ended(1.0, True)
    assert not tally.half.is_set()
    tally.ended(2.0, False)
    assert tally.half.is_set()
    assert (tally.waits, tally.failures) == ([1.0, 2.0], 1)


def test_each_scenario_and_way_has_a_bar_of_its_own() -> None:
    one, *_ = record().mixed
    rows = [replace(one, scenario=scenario, way=way) for scenario in SCENARIOS for way in WAYS]
    labels = {label for label, _ in charts(Record(mixed=rows))["mixed"].bars}
    assert len(labels) == len(rows)


@pytest.mark.parametrize("again", [False, True])
async def test_a_chat_without_an_answer_is_no_hang(monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    monkeypatch.setattr(drive, "PATIENCE", 0.1)
    async with StubOllama() as stub:
        stub.script("*", Script(hold=0))
        with pytest.raises(AnswerVoid, match="without an answer"):
            await ask(stub.url, [Kind("llama3")], Tally(), again=again)
