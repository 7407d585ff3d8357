from xml.etree import ElementTree

from bench.figures.charts import Chart, charts
from bench.figures.record import Record
from bench.figures.spread import Spread
from tests.bench.figures.samples import record

SPACE = "{http://www.w3.org/2000/svg}"


def test_a_bar_is_as_long_as_its_median_and_crossed_from_least_to_most() -> None:
    text = Chart("A & B", "us", [("one", Spread(50.0, 0.0, 100.0)), ("two", Spread(100.0, 100.0, 100.0))]).svg()
    root = ElementTree.fromstring(text)
    _, one, two = root.iter(f"{SPACE}rect")
    assert 2 * float(one.attrib["width"]) == float(two.attrib["width"])
    line = next(root.iter(f"{SPACE}line"))
    assert float(line.attrib["x2"]) - float(line.attrib["x1"]) == float(two.attrib["width"])
    assert [part.text for part in root.iter(f"{SPACE}text")] == ["A & B", "one", "50.0 us", "two", "100 us"]


def test_a_run_has_the_pictures_of_its_parts() -> None:
    found = charts(record())
    assert [label for label, _ in found["lone"].bars] == ["nginx", "pass-through", "foreman"]
    assert [label for label, _ in found["mixed"].bars] == [
        "two models, direct: 16 loads",
        "two models, foreman: 2 loads",
        "two models, restarted: 3 loads",
    ]
    for chart in found.values():
        ElementTree.fromstring(chart.svg())
    assert charts(Record()) == {}
