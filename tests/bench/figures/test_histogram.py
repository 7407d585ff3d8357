import math
from xml.etree import ElementTree

import pytest

from bench.figures.histogram import Bin, bar, binned, lines, svg


def test_every_value_is_in_one_bin_and_the_bins_touch() -> None:
    values = [0.001 * 1.1**n for n in range(80)]
    found = binned(values, bins=9)
    assert sum(one.count for one in found) == len(values)
    assert [one.high for one in found[:-1]] == [one.low for one in found[1:]]
    assert (found[0].low, found[-1].high) == (min(values), max(values))
    for one in found:
        inside = [v for v in values if one.low <= v < one.high or (one is found[-1] and v == one.high)]
        assert math.isclose(len(inside), one.count, abs_tol=1)


def test_equal_values_make_one_bin_and_none_make_none() -> None:
    assert binned([0.5, 0.5]) == [Bin(0.5, 0.5, 2)]
    assert binned([]) == []
    with pytest.raises(ValueError, match="above zero"):
        binned([0.0, 1.0])


def test_a_bar_is_as_long_as_its_share() -> None:
    assert [bar(share, 10) for share in (0.0, 0.001, 0.5, 1.0)] == ["", "▏", "█" * 5, "█" * 10]


def test_lines_show_edges_counts_and_bars() -> None:
    assert lines([Bin(0.001, 0.01, 5), Bin(0.01, 0.1, 10)], width=4) == [
        "      1.0 to      10.0 ms   5  ██",
        "     10.0 to       100 ms  10  ████",
    ]


def test_the_picture_is_an_image_with_a_bar_for_each_bin() -> None:
    text = svg("5 <chats>", [("first byte", [0.001, 0.002, 0.1]), ("whole answer", [])])
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    bars = [one for one in root.iter(f"{space}rect") if one.find(f"{space}title") is not None]
    assert len(bars) == len(binned([0.001, 0.002, 0.1]))
    texts = [one.text for one in root.iter(f"{space}text")]
    assert "5 <chats>" in texts
    assert texts.count("1") == 3
