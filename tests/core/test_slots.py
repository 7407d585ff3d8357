"""What a request for a slot asks, and that its name among the jobs is never that of a model."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core import names, slots
from foreman.core.errors import BadRequest, InvalidModelName
from foreman.core.job import LoadKey
from foreman.core.lanes import Lane
from foreman.core.slots import SlotRequest, exit_status, is_slot, label_of, memory_of, read

LABELS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=80).filter(
    lambda text: text == text.strip() and text.isprintable()
)
REQUESTS = st.builds(
    SlotRequest,
    st.sampled_from(Lane),
    LABELS,
    st.none() | st.integers(1, slots.MOST_MEMORY),
    st.floats(slots.SHORTEST_EXPIRY, slots.LONGEST_EXPIRY),
    st.sampled_from((None, "gate")),
)


@given(REQUESTS)
def test_what_is_kept_of_a_request_is_all_of_it(request: SlotRequest) -> None:
    assert read(request.body) == request
    key = LoadKey.parse(str(request.key))
    assert (key, label_of(key.model), memory_of(key)) == (request.key, request.label, request.memory)
    # The model of a load key is told from its text alone.
    assert str(key).partition("?")[0] == key.model


@given(LABELS)
def test_it_is_never_called_like_a_model(label: str) -> None:
    model = SlotRequest(Lane.LOCAL, label).key.model
    assert is_slot(model)
    with pytest.raises(InvalidModelName):
        names.parse(model)


@pytest.mark.parametrize("model", ["slot:latest", "slot", "user/slot:1", "llama3:latest", ""])
def test_no_model_is_taken_for_one(model: str) -> None:
    assert not is_slot(model)


def test_what_is_left_out_has_a_default() -> None:
    asked = read(b'{"lane": "remote", "memory": null}')
    assert asked == SlotRequest(Lane.REMOTE, "command", None, 30.0)
    assert asked.heartbeat == 10.0


@pytest.mark.parametrize(("text", "size"), [("40GB", 40 * 10**9), ("1.5 GiB", 3 * 2**29), (7, 7)])
def test_a_size_is_read_as_people_write_it(text: object, size: int) -> None:
    assert read(orjson.dumps({"lane": "local", "memory": text})).memory == size


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"lane": "middle"}, "lane"),
        ({"lane": 1}, "lane"),
        ({"memory": "much"}, "memory"),
        ({"memory": 0}, "memory"),
        ({"memory": 1.5}, "memory"),
        ({"memory": "65 TiB"}, "memory"),
        ({"label": " "}, "label"),
        ({"label": "a\x1b[2J"}, "label"),
        ({"label": "x" * 81}, "label"),
        ({"expiry_seconds": "30"}, "expiry_seconds"),
        ({"expiry_seconds": 3601}, "expiry_seconds"),
        ({"expiry_seconds": True}, "expiry_seconds"),
        ({"override": "lane"}, "override"),
        ({"slots": 2}, "slots"),
    ],
)
def test_what_is_wrong_is_named(more: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequest, match=rf"^{named} "):
        read(orjson.dumps({"lane": "local", **more}))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read(body)


def test_the_end_of_a_command() -> None:
    assert [exit_status(body) for body in (b"", b"{}", b'{"exit_status": 137}')] == [None, None, 137]
    for bad in (b'{"exit_status": -1}', b'{"exit_status": true}', b'{"exit_status": "0"}', b'{"status": 0}'):
        with pytest.raises(BadRequest):
            exit_status(bad)
