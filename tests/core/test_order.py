"""The order told ahead equals what claiming one job after the other gives."""

from hypothesis import given
from hypothesis import strategies as st

from foreman.core.job import Hot
from foreman.core.order import Place, Reason, Waiting, drain_order

MODELS = st.sampled_from(["a:latest", "b:latest", "pull a:latest"])
OPTIONS = st.sampled_from(["", "?num_ctx=1", "?num_ctx=2"])


@st.composite
def queues(draw: st.DrawFn) -> list[Waiting]:
    pairs = draw(st.lists(st.tuples(MODELS, OPTIONS), max_size=25))
    return [Waiting(seq, model, model + options) for seq, (model, options) in enumerate(pairs, 1)]


def claimed_one_by_one(queued: list[Waiting], hot: Hot) -> list[tuple[int, Reason]]:
    """The rule said by sorting all that is left, again for every job."""
    left, order = list(queued), []
    while left:
        left.sort(key=lambda w: (w.load_key not in hot.load_keys, w.model not in hot.models, w.seq))
        chosen = left.pop(0)
        if chosen.load_key in hot.load_keys:
            order.append((chosen.seq, Reason.LOADED))
            continue
        if chosen.model == "pull a:latest":
            order.append((chosen.seq, Reason.PULL))
            continue
        order.append((chosen.seq, Reason.RELOAD if chosen.model in hot.models else Reason.SWAP))
        hot = Hot((chosen.load_key,), (chosen.model,))
    return order


LOADED = st.sampled_from(["a:latest", "b:latest"])


@given(queues(), st.lists(LOADED, max_size=2), st.lists(st.tuples(LOADED, OPTIONS), max_size=2))
def test_the_whole_order_is_what_claiming_would_give(
    queued: list[Waiting], models: list[str], keys: list[tuple[str, str]]
) -> None:
    loaded = tuple(model + options for model, options in keys)
    hot = Hot(loaded, (*models, *(model for model, _ in keys)))
    places = list(drain_order(queued, hot))
    assert [(place.waiting.seq, place.reason) for place in places] == claimed_one_by_one(queued, hot)
    assert [place.position for place in places] == list(range(1, len(queued) + 1))


def test_two_interleaved_models_swap_once_each() -> None:
    queued = [Waiting(seq, model, model) for seq, model in enumerate("abababab", 1)]
    reasons = [place.reason for place in drain_order(queued, Hot())]
    assert reasons.count(Reason.SWAP) == 2


def test_a_pull_stands_where_a_swap_would_and_loads_nothing() -> None:
    queued = [Waiting(seq, model, model) for seq, model in enumerate(("pull a", "a", "b", "pull a", "a"), 1)]
    places = [(place.waiting.seq, place.reason) for place in drain_order(queued, Hot(("a",), ("a",)))]
    assert places == [
        (2, Reason.LOADED),
        (5, Reason.LOADED),
        (1, Reason.PULL),
        (3, Reason.SWAP),
        (4, Reason.PULL),
    ]


def test_an_empty_queue_has_no_order() -> None:
    assert list(drain_order([], Hot(("a",), ("a",)))) == []


def test_a_place_names_its_job() -> None:
    only = Waiting(7, "a:latest", "a:latest?num_ctx=1")
    assert list(drain_order([only], Hot((), ("a:latest",)))) == [Place(1, only, Reason.RELOAD)]


def test_the_order_falls_into_parts_where_the_other_lane_has_its_turns() -> None:
    queued = [Waiting(seq, model, model) for seq, model in ((2, "a"), (3, "b"), (5, "a"), (6, "b"), (9, "b"))]
    places = list(drain_order(queued, Hot(("b",), ("b",)), others=[1, 4, 7, 8]))
    assert [(place.waiting.seq, place.turns) for place in places] == [(3, 1), (2, 1), (5, 2), (6, 2), (9, 3)]
    assert [place.reason for place in places] == [
        Reason.LOADED,
        Reason.SWAP,
        Reason.LOADED,
        Reason.SWAP,
        Reason.LOADED,
    ]
    assert [place.position for place in places] == [1, 2, 3, 4, 5]
