import orjson
import pytest

from bench.figures.record import Record
from tests.bench.figures.samples import record


def test_a_record_is_read_back_as_it_was() -> None:
    found = record()
    again = Record.read(found.json())
    assert again == found
    assert again.json() == found.json()


def test_an_empty_record_is_one() -> None:
    assert Record.read(Record().json()) == Record()


@pytest.mark.parametrize(
    "change", [{"turns": [{"subject": "x"}]}, {"extra": 1}, {"waiting": [{"round": 0, "clients": 1, "kB": 2}]}]
)
def test_what_is_no_record_is_not_read(change: dict[str, object]) -> None:
    found = orjson.loads(Record().json()) | change
    with pytest.raises(ValueError, match="not the record of a run"):
        Record.read(orjson.dumps(found))
    with pytest.raises(ValueError, match="not the record of a run"):
        Record.read(b"[]")
