"""The dashboard and the alert rules: what they ask for is what foreman tells. The names are those of a scrape."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from foreman.app import engine_of
from foreman.engine.clock import SystemClock
from foreman.settings import Settings
from foreman.web.counted import counted
from foreman.web.metrics import exposition
from foreman.web.standing import standing
from tests.test_docs import DOCS, ROOT, rows

PAGE = DOCS / "metrics.md"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
# What Prometheus itself adds, and the words of its language.
ADDED = {"instance", "job", "le"}


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana.json").read_text())
    return found


async def _families(db: Path) -> tuple[list[Metric], str]:
    chosen = Settings(target="http://127.0.0.1:9", db=db)
    async with engine_of(chosen, SystemClock()) as engine:
        return [*standing(engine, None, {}), *counted(engine)], (await exposition(engine)).decode()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Metric], str]:
    return asyncio.run(_families(tmp_path_factory.mktemp("foreman") / "foreman.db"))


@pytest.fixture(scope="module")
def families(scraped: tuple[list[Metric], str]) -> list[Metric]:
    return scraped[0]


@pytest.fixture(scope="module")
def samples(families: list[Metric]) -> dict[str, set[str]]:
    """The labels of each name of a sample."""
    return {
        family.name + suffix: {*labels_of(family), *ADDED} for family in families for suffix in SUFFIXES[family.type]
    }


def labels_of(family: Metric) -> tuple[str, ...]:
    found: tuple[str, ...] = family._labelnames  # type: ignore[attr-defined]
    return found


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def queries(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def alerts() -> list[str]:
    found = re.findall(r"expr: (\|\n(?: {10,}.*\n)+|.*\n)", PAGE.read_text())
    return [text.removeprefix("|\n") for text in found]


def names(query: str) -> list[str]:
    return re.findall(r"\bforeman_\w+", query)


def check(query: str, samples: dict[str, set[str]]) -> None:
    """Every metric of a query is told, with the labels it is asked for."""
    asked = names(query)
    assert asked, query
    assert set(asked) <= samples.keys(), query
    shared = set.intersection(*(samples[name] for name in asked))
    for by in re.findall(r"by \(([^)]*)\)", query):
        assert {label.strip() for label in by.split(",")} <= shared, query
    for name, matchers in re.findall(r"(foreman_\w+)\{([^}]*)\}", query):
        assert set(re.findall(r"(\w+)=", matchers)) <= samples[name], query


def test_every_query_of_the_dashboard_asks_for_what_is_told(
    dashboard: dict[str, Any], samples: dict[str, set[str]]
) -> None:
    for query in queries(dashboard):
        if query.startswith("label_values("):
            metric, label = query.removeprefix("label_values(").removesuffix(")").split(", ")
            assert label in samples[metric]
        else:
            check(query, samples)


def test_every_metric_is_on_the_dashboard(dashboard: dict[str, Any], families: list[Metric]) -> None:
    asked = {name for query in queries(dashboard) for name in names(query)}
    unseen = {f.name for f in families if asked.isdisjoint(f.name + suffix for suffix in SUFFIXES[f.type])}
    assert unseen == set()


def test_the_legends_name_labels_that_are_left(dashboard: dict[str, Any], samples: dict[str, set[str]]) -> None:
    for panel in panels(dashboard):
        for target in panel["targets"]:
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            left = re.search(r"by \(([^)]*)\)", target["expr"])
            there = {label.strip() for label in left[1].split(",")} if left else samples[names(target["expr"])[0]]
            assert wanted <= there, target


def test_it_has_its_rows_and_no_panel_covers_another(dashboard: dict[str, Any]) -> None:
    titles = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    assert titles == ["Queue", "Waits", "Loads", "Machine", "Errors"]
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert all(x < 24 for x, _ in cells), panel["title"]
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_no_data_source_is_written_down(dashboard: dict[str, Any]) -> None:
    named = [*panels(dashboard), *dashboard["templating"]["list"][1:]]
    named += [target for panel in panels(dashboard) for target in panel["targets"]]
    assert all(each["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for each in named)
    assert "__inputs" not in dashboard
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "instance", "model"]
    assert json.dumps(dashboard).count('"datasource": ') == len(named)


def test_the_alerts_ask_for_what_is_told(samples: dict[str, set[str]]) -> None:
    found = alerts()
    assert len(found) == 3
    for query in found:
        check(query, samples)


def test_the_page_has_every_metric_as_it_is(families: list[Metric]) -> None:
    expected = [
        [
            f"`{family.name}{'_total' * (family.type == 'counter')}`",
            family.type,
            ", ".join(f"`{name}`" for name in labels_of(family)) or "-",
            family.documentation,
        ]
        for family in families
    ]
    assert rows(PAGE, "What is told") == expected


def test_a_scrape_has_these_families_and_no_others(scraped: tuple[list[Metric], str]) -> None:
    families, text = scraped
    read = {(family.name, family.type) for family in text_string_to_metric_families(text)}
    assert read == {(family.name, family.type) for family in families}
