from bench.parts.mixed import SCENARIOS, Kind, Tally


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
