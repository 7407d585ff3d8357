"""The scanner against the parser of the standard library, on good texts and on damaged ones."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.jsonscan import NotJSON, members

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(), v, max_size=4))
PAIRS = st.lists(st.tuples(st.sampled_from(["a", "b", 'q"\\', "é"]), VALUES), max_size=5)


def spell(pairs: list[tuple[str, Any]], space: str) -> bytes:
    inner = f"{space},{space}".join(f"{json.dumps(k)}{space}:{space}{json.dumps(v, indent=1)}" for k, v in pairs)
    return f"{space}{{{space}{inner}{space}}}".encode()


@given(PAIRS, st.sampled_from(["", " ", "\r\n\t "]))
def test_spans_cut_out_each_pair_in_order(pairs: list[tuple[str, Any]], space: str) -> None:
    text = spell(pairs, space)
    spans = list(members(text))
    assert [(json.loads(text[slice(*key)]), json.loads(text[slice(*value)])) for key, value in spans] == pairs
    assert list(members(text + b"}]", checked=True)) == spans


def is_json(text: bytes) -> bool:
    """Whether Python's strict parser finds an object at the start; it takes NaN and the like, which is no JSON."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        decoded = text.decode()
        start = len(decoded) - len(decoded.lstrip(" \t\r\n"))
        return isinstance(json.JSONDecoder(parse_constant=refuse).raw_decode(decoded, start)[0], dict)
    except ValueError:
        return False


@given(PAIRS, st.data())
def test_damaged_texts_are_refused_as_others_do(pairs: list[tuple[str, Any]], data: st.DataObject) -> None:
    text = bytearray(spell(pairs, data.draw(st.sampled_from(["", " "]))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", *map(bytes, zip(b'{}[]",:\\u0e-+.\x01 tn'))])
        )
    try:
        accepted = list(members(bytes(text))) is not None
    except NotJSON:
        accepted = False
    assert accepted == is_json(bytes(text))


@pytest.mark.parametrize("count", [254, 255, 256, 257, 999, 1000, 1001, 2500])
def test_the_bounds_of_the_patterns_are_no_bounds_of_the_text(count: int) -> None:
    values: list[Any] = ["\n" * count, "\n" * count + "x" * 5000, list(range(count)), {str(i): i for i in range(count)}]
    text = json.dumps({"\t" * count: values, "last": values}).encode()
    assert [text[slice(*key)] for key, _ in members(text)][-1] == b'"last"'
    assert list(members(text)) == list(members(text, checked=True))
    with pytest.raises(NotJSON):
        list(members(text[:-1]))


@pytest.mark.parametrize("size", [4095, 4096, 4097, 10_000])
def test_a_control_character_far_inside_a_string_is_found(size: int) -> None:
    assert len(list(members(b'{"a":"' + b"x" * size + b'","b":1}'))) == 2
    for bad in (b"\n", b"\\", b"\\x", b"\x1f"):
        with pytest.raises(NotJSON):
            list(members(b'{"a":"' + b"x" * size + bad + b'","b":1}'))


@pytest.mark.parametrize("text", [b'{"a":', b'{"a":[', b'{"a":"', b'{"a":"\\"', b'{"a":[{}', b'{"a"'])
def test_a_text_that_breaks_off_is_refused_also_where_it_was_said_to_be_right(text: bytes) -> None:
    for checked in (False, True):
        with pytest.raises(NotJSON):
            list(members(text, checked=checked))
