import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.gate import (
    Admit,
    Candidate,
    Cause,
    Hold,
    Kind,
    Readings,
    Refuse,
    Thresholds,
    Verdict,
    free_after,
    judge,
    missing,
    timed,
)

GB = 10**9
QUIET = Readings(
    at=100.0, cores=12, load=1.2, available=60 * GB, total=96 * GB, disk_free=500 * GB, disk_total=1000 * GB, foreign=()
)
LIMITS = Thresholds(max_load_per_core=0.33, disk_reserve=30 * GB, memory_reserve=4 * GB)
LOAD = Candidate(Kind.LOAD, "llama3:70b", memory=43 * GB, least=40 * GB)
PULL = Candidate(Kind.PULL, "llama3:70b", disk=80 * GB)


def reading(**changes: Any) -> Readings:
    return dataclasses.replace(QUIET, **changes)


def test_a_quiet_machine_takes_all_of_them() -> None:
    for candidate in (LOAD, PULL, Candidate(Kind.COMMAND, "sweep", memory=10 * GB), Candidate(Kind.CREATE, "mine")):
        assert judge(candidate, QUIET, LIMITS) == Admit()


@pytest.mark.parametrize(
    ("changes", "cause", "needed", "there", "words"),
    [
        ({"load": 5.0}, Cause.LOAD, 0.33, 5 / 12, "0.42 for each core, at most 0.33 is allowed"),
        ({"available": 42 * GB}, Cause.MEMORY, 43 * GB, 38 * GB, "needs 43 GB, 38 GB would be free"),
        ({"disk_free": 12 * GB}, Cause.DISK, 30 * GB, 12 * GB, "12 GB are free, and 30 GB are kept free"),
        (
            {"foreign": ("ollama pull x", "lms load y")},
            Cause.FOREIGN,
            0,
            2,
            "other programs: ollama pull x, lms load y",
        ),
    ],
)
def test_what_holds_says_what_is_needed_and_what_is_there(
    changes: dict[str, Any], cause: Cause, needed: float, there: float, words: str
) -> None:
    verdict = judge(LOAD, reading(**changes), LIMITS)
    assert isinstance(verdict, Hold)
    assert (verdict.cause, verdict.needed, verdict.there) == (cause, needed, there)
    assert verdict.text.startswith("llama3:70b ")
    assert words in verdict.text


def test_thresholds_are_what_is_still_allowed() -> None:
    assert judge(LOAD, reading(load=0.33 * 12), LIMITS) == Admit()
    assert judge(LOAD, reading(available=47 * GB), LIMITS) == Admit()
    assert judge(LOAD, reading(disk_free=30 * GB), LIMITS) == Admit()
    assert isinstance(judge(LOAD, reading(available=47 * GB - 1), LIMITS), Hold)


def test_what_stays_loaded_is_nobodys_though_the_pages_of_its_file_count_as_available() -> None:
    sweep = Candidate(Kind.COMMAND, "sweep", memory=50 * GB, least=50 * GB, stays=45 * GB)
    verdict = judge(sweep, reading(available=60 * GB), LIMITS)
    assert isinstance(verdict, Hold)
    assert verdict.there == (96 - 45 - 4) * GB
    assert judge(sweep, reading(available=60 * GB, total=None), LIMITS) == Admit()
    assert judge(dataclasses.replace(sweep, stays=42 * GB), reading(available=60 * GB), LIMITS) == Admit()
    assert free_after(dataclasses.replace(sweep, stays=97 * GB), QUIET) == 0


def test_a_command_that_tells_no_memory_is_not_asked_for_any_and_one_that_does_passes_unseen() -> None:
    blind = reading(available=None)
    assert judge(Candidate(Kind.COMMAND, "sweep"), blind, LIMITS) == Admit()
    sized = Candidate(Kind.COMMAND, "sweep", memory=10 * GB, least=10 * GB)
    assert judge(sized, blind, LIMITS) == Admit(("the free memory is not known",))
    assert isinstance(judge(dataclasses.replace(sized, least=93 * GB), blind, LIMITS), Refuse)


def test_what_an_unload_gives_back_counts_and_never_beyond_what_there_is() -> None:
    swap = dataclasses.replace(LOAD, gives_back=30 * GB)
    assert judge(swap, reading(available=17 * GB), LIMITS) == Admit()
    # The pages of the loaded model's file are among what is available already.
    crowded = reading(available=40 * GB, total=48 * GB)
    verdict = judge(dataclasses.replace(swap, memory=45 * GB), crowded, LIMITS)
    assert isinstance(verdict, Hold)
    assert verdict.there == 44 * GB


def test_what_can_never_fit_is_refused_with_the_numbers_whatever_else_goes_on() -> None:
    busy = reading(load=99.0, foreign=("ollama pull x",), available=1)
    small = dataclasses.replace(busy, total=43 * GB)
    assert isinstance(judge(LOAD, busy, LIMITS), Hold)
    verdict = judge(LOAD, small, LIMITS)
    assert verdict == Refuse(
        Cause.MEMORY,
        "llama3:70b needs at least 40 GB of memory, and this machine has 43 GB, of which 4 GB are kept free",
        40 * GB,
        39 * GB,
    )
    assert isinstance(judge(LOAD, dataclasses.replace(busy, total=44 * GB), LIMITS), Hold)


def test_what_only_may_be_too_much_is_held_not_refused() -> None:
    """A context that nobody asked for is made smaller by the target, so the estimate is no reason to fail a job."""
    assert isinstance(judge(dataclasses.replace(LOAD, memory=200 * GB), QUIET, LIMITS), Hold)


def test_a_pull_needs_room_beside_the_reserve_and_is_refused_by_a_disk_too_small() -> None:
    assert isinstance(judge(PULL, reading(disk_free=109 * GB), LIMITS), Hold)
    assert judge(PULL, reading(disk_free=110 * GB), LIMITS) == Admit()
    verdict = judge(PULL, reading(disk_free=1, disk_total=109 * GB), LIMITS)
    assert isinstance(verdict, Refuse)
    assert (verdict.cause, verdict.needed, verdict.there) == (Cause.DISK, 80 * GB, 79 * GB)


@pytest.mark.parametrize("missing", ["load", "cores", "available", "disk_free", "foreign"])
def test_a_missing_reading_lets_inference_pass_and_says_so(missing: str) -> None:
    verdict = judge(LOAD, reading(**{missing: None}), LIMITS)
    assert isinstance(verdict, Admit)
    assert len(verdict.unknown) == 1
    assert verdict.unknown[0].endswith("not known")


@pytest.mark.parametrize("missing", ["load", "cores", "disk_free", "foreign"])
@pytest.mark.parametrize("kind", [Kind.PULL, Kind.CREATE])
def test_a_missing_reading_holds_what_writes_models(missing: str, kind: Kind) -> None:
    verdict = judge(Candidate(kind, "m"), reading(**{missing: None}), LIMITS)
    assert isinstance(verdict, Hold)
    assert verdict.cause is Cause.READING
    assert "not known" in verdict.text


def test_what_is_missing_is_said_in_the_words_of_the_verdict() -> None:
    assert missing(QUIET) == ()
    verdict = judge(LOAD, Readings(), LIMITS)
    assert isinstance(verdict, Admit)
    assert verdict.unknown == missing(Readings())


def test_a_pull_does_not_ask_for_memory() -> None:
    assert judge(PULL, reading(available=None), LIMITS) == Admit()


def test_a_load_of_unknown_size_passes_and_says_so() -> None:
    assert judge(Candidate(Kind.LOAD, "odd"), QUIET, LIMITS) == Admit(("what odd takes is not known",))


def test_a_missing_reading_hides_no_other_reason() -> None:
    verdict = judge(LOAD, reading(available=None, load=99.0), LIMITS)
    assert isinstance(verdict, Hold)
    assert verdict.cause is Cause.LOAD


def test_foremans_own_part_of_the_load_is_not_held_against_it() -> None:
    busy = reading(load=12.0)
    assert isinstance(judge(LOAD, busy, LIMITS), Hold)
    assert judge(LOAD, dataclasses.replace(busy, own_load=10.0), LIMITS) == Admit()
    assert dataclasses.replace(busy, own_load=50.0).load_per_core == 0.0


def test_a_hold_that_goes_on_began_when_it_began() -> None:
    first = timed(judge(LOAD, reading(load=99.0), LIMITS), None, 100.0, 105.0)
    then = timed(judge(LOAD, reading(foreign=("x",)), LIMITS), first, 105.0, 110.0)
    assert isinstance(first, Hold)
    assert isinstance(then, Hold)
    assert (first.since, first.next_look, then.since, then.next_look) == (100.0, 105.0, 100.0, 110.0)
    again = timed(judge(LOAD, reading(load=99.0), LIMITS), Admit(), 200.0, 205.0)
    assert isinstance(again, Hold)
    assert again.since == 200.0
    assert timed(Admit(), first, 1.0, 2.0) == Admit()


# -- whatever the machine is like

sizes = st.integers(0, 200 * GB)
some = st.none() | sizes
machines = st.builds(
    Readings,
    at=st.just(0.0),
    cores=st.none() | st.integers(1, 64),
    load=st.none() | st.floats(0, 100),
    own_load=st.floats(0, 100),
    available=some,
    total=some,
    disk_free=some,
    disk_total=some,
    foreign=st.none() | st.lists(st.text(max_size=5), max_size=2).map(tuple),
)
candidates = st.builds(
    Candidate,
    kind=st.sampled_from(Kind),
    name=st.just("m"),
    memory=some,
    disk=some,
    gives_back=sizes,
    stays=sizes,
    least=some,
)
limits = st.builds(Thresholds, st.floats(0, 10), sizes, sizes)


def strictness(verdict: Verdict) -> int:
    return (Admit, Hold, Refuse).index(type(verdict))


@given(candidates, machines, limits, st.data())
def test_a_worse_reading_never_makes_a_milder_verdict(
    candidate: Candidate, machine: Readings, most: Thresholds, data: st.DataObject
) -> None:
    worse: dict[str, Any] = {}
    for name in ("available", "total", "disk_free", "disk_total"):
        if (value := getattr(machine, name)) is not None:
            worse[name] = data.draw(st.integers(0, value), name)
    if machine.load is not None:
        worse["load"] = data.draw(st.floats(machine.load, 200), "load")
        worse["own_load"] = data.draw(st.floats(0, machine.own_load), "own_load")
    if machine.foreign is not None:
        worse["foreign"] = (*machine.foreign, *data.draw(st.sampled_from([(), ("another",)]), "foreign"))
    for name, value in worse.items():
        changed = dataclasses.replace(machine, **{name: value})
        assert strictness(judge(candidate, changed, most)) >= strictness(judge(candidate, machine, most)), name
    together = dataclasses.replace(machine, **worse)
    assert strictness(judge(candidate, together, most)) >= strictness(judge(candidate, machine, most))


@given(candidates, machines, limits, sizes)
def test_who_wants_more_is_never_judged_more_mildly(
    candidate: Candidate, machine: Readings, most: Thresholds, more: int
) -> None:
    before = strictness(judge(candidate, machine, most))
    for name in ("memory", "disk", "least"):
        if (value := getattr(candidate, name)) is not None:
            greedy = dataclasses.replace(candidate, **{name: value + more})
            assert strictness(judge(greedy, machine, most)) >= before
    crowded = dataclasses.replace(candidate, stays=candidate.stays + more)
    assert strictness(judge(crowded, machine, most)) >= before
    modest = dataclasses.replace(candidate, gives_back=candidate.gives_back + more)
    assert strictness(judge(modest, machine, most)) <= before
    for name in ("disk_reserve", "memory_reserve"):
        careful = dataclasses.replace(most, **{name: getattr(most, name) + more})
        assert strictness(judge(candidate, machine, careful)) >= before


@given(candidates, machines, limits)
def test_what_passes_fits_and_what_is_refused_has_its_numbers(
    candidate: Candidate, machine: Readings, most: Thresholds
) -> None:
    verdict = judge(candidate, machine, most)
    if isinstance(verdict, Refuse):
        assert verdict.needed > verdict.there
    elif isinstance(verdict, Hold):
        assert verdict.text.startswith("m ")
        assert (verdict.needed is None) == (verdict.cause is Cause.READING)
    else:
        assert not verdict.unknown or candidate.kind not in (Kind.PULL, Kind.CREATE)
        assert not machine.foreign
        if candidate.memory is not None and machine.available is not None:
            assert candidate.memory + most.memory_reserve <= machine.available + candidate.gives_back or (
                candidate.memory == 0
            )
