"""The examples for Prometheus and Grafana name only what a broker serves, and the guide names all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from broker.metrics.service import DEFAULT_ADDRESS
from tests.metrics_page import broker_metrics
from tests.support.metric_page import full_page
from tests.support.prometheus import read_open, read_text

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
GUIDE = (ROOT / "docs" / "guide" / "metrics.md").read_text()
ALERTS = (EXAMPLES / "prometheus" / "alerts.yml").read_text()
BOARD: dict[str, Any] = json.loads((EXAMPLES / "grafana" / "zcc-farm.json").read_text())
METRICS = broker_metrics()
# What Prometheus adds itself, and what the example's scrape configuration does.
ADDED = {"job", "instance", "farm"}
# What asks for the growth of a counter.
GROWTH = r"(?:rate|increase|changes|irate)\("


def rows_and_panels() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    panels = BOARD["panels"]
    return [each for each in panels if each["type"] == "row"], [
        each for each in panels if each["type"] != "row"
    ]


def expressions() -> dict[str, str]:
    """All that is asked of Prometheus, by where."""
    found = {}
    for panel in rows_and_panels()[1]:
        for target in panel["targets"]:
            found[f"board: {panel['title']} {target['refId']}"] = target["expr"]
    for name, rule in alerts().items():
        found[f"alert: {name}"] = rule["expr"]
    for at, query in enumerate(re.findall(r"^      query: (.*)$", GUIDE, re.MULTILINE)):
        found[f"guide: query {at}"] = query
    for at, asked in enumerate(re.findall(r"`([^`]*\bzcc_[^`]*)`", GUIDE)):
        found[f"guide: {at}"] = asked.replace("\\|", "|")
    return found


def alerts() -> dict[str, dict[str, str]]:
    """The rules by name, each with its fields; as far as these files use YAML."""
    found = {}
    for text in re.split(r"^      - alert: ", ALERTS, flags=re.MULTILINE)[1:]:
        name, _, rest = text.partition("\n")
        folded = re.sub(r">-\n\s+", "", rest)
        folded = re.sub(r"\n {10}(?=[>)])", " ", folded)
        found[name] = dict(re.findall(r"^\s+(\w+): (.+)$", folded, re.MULTILINE))
    return found


def family_of(name: str) -> str:
    """The metric that a sample's name belongs to."""
    return name if name in METRICS else re.sub(r"_(bucket|sum|count)$", "", name)


@pytest.mark.parametrize("place", expressions())
def test_an_expression_asks_for_what_a_broker_serves(place: str) -> None:
    asked = expressions()[place]
    names = re.findall(r"\bzcc_\w+", asked)
    assert names or asked == 'up{job="zcc"} == 0'
    labels = set(ADDED)
    for name in names:
        kind, _, its_labels = METRICS[family_of(name)]
        assert (name not in METRICS) == (kind == "histogram"), name
        labels |= set(its_labels)
    named = {each for many in re.findall(r"by \(([\w, ]+)\)", asked) for each in many.split(", ")}
    assert named <= labels
    for name, matchers in re.findall(r"\b(zcc_\w+)\{([^}]*)\}", asked):
        known = set(METRICS[family_of(name)][2]) | ADDED
        for label, operator, value in re.findall(r'(\w+)(=~|!=|!~|=)"([^"]*)"', matchers):
            assert label in known
            if label not in ADDED:
                told = values_of(family_of(name), label)
                assert set(value.split("|") if "~" in operator else [value]) <= told


def values_of(name: str, label: str) -> set[str]:
    found = re.findall(rf'^{name}\{{[^}}]*\b{label}="([^"]*)"', full_page(), re.MULTILINE)
    return set(found)


@pytest.mark.parametrize("place", [each for each in expressions() if "guide" not in each])
def test_of_a_counter_only_the_growth_is_asked_for(place: str) -> None:
    asked = expressions()[place]
    for name in re.findall(r"\bzcc_\w+", asked):
        kind = METRICS[family_of(name)][0]
        if kind == "counter" and name != "zcc_broker_mistakes_total":
            assert re.search(rf"{GROWTH}{name}\b", asked), name
        elif kind == "gauge" and name != "zcc_broker_start_time_seconds":
            assert not re.search(rf"{GROWTH}{name}\b", asked), name


def test_the_board_is_whole() -> None:
    rows, panels = rows_and_panels()
    assert [row["title"] for row in rows] == [
        "Is it working?", "Nodes", "Queue", "Cache", "Broker",
    ]  # fmt: skip
    assert BOARD["schemaVersion"] >= 42
    assert BOARD["uid"]
    assert "id" not in BOARD
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert len({panel["title"] for panel in panels}) == len(panels)
    variables = {each["name"] for each in BOARD["templating"]["list"]}
    text = json.dumps(BOARD)
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
    assert used == variables == {"datasource", "job"}
    assert not re.search(r"https?://|localhost|127\.0\.0\.1", text)
    for panel in panels:
        assert panel["description"]
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in sources)
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


def test_no_panel_of_the_board_lies_on_another_or_outside() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_each_legend_shows_a_label_that_there_is() -> None:
    for panel in rows_and_panels()[1]:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                kept = re.search(r"by \(([\w, ]+)\)", target["expr"])
                name = family_of(re.findall(r"\bzcc_\w+", target["expr"])[0])
                left = set(kept[1].split(", ")) if kept else {*METRICS[name][2], *ADDED}
                assert label in left, panel["title"]


def test_each_alert_says_what_is_the_case_and_stands_in_the_guide() -> None:
    rules = alerts()
    assert len(rules) >= 10
    for name, rule in rules.items():
        assert rule["severity"] in ("info", "warning", "critical")
        assert rule["expr"]
        assert rule["summary"].endswith(".")
        assert rule["description"].endswith(".")
        assert f"| `{name}` |" in GUIDE
    assert set(re.findall(r"^\| `(Zcc\w+)`", GUIDE, re.MULTILINE)) == set(rules)


def test_the_example_scrapes_where_the_broker_serves_by_default() -> None:
    assert DEFAULT_ADDRESS in (EXAMPLES / "prometheus" / "scrape.yml").read_text()
    assert f"http://{DEFAULT_ADDRESS}/metrics" in GUIDE


def test_names_and_texts_follow_prometheus_own_rules() -> None:
    """https://prometheus.io/docs/practices/naming/, and what `promtool check metrics` asks for."""
    families = read_open(full_page(is_open=True))
    assert families.keys() == read_text(full_page()).keys()
    for name, (kind, text, labels) in METRICS.items():
        assert re.fullmatch(r"zcc_(farm|broker)_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter")
        assert not re.search(
            r"_(ms|milliseconds|kib|mib|percent|count|sum|bucket|info_total)$", name
        )
        assert (kind == "histogram") == ("le" in labels)
        assert text
        assert text[0].islower() or text[0].isdigit() or text.startswith(("CPU", "Unix"))
        assert set(labels) <= {
            "state",
            "role",
            "outcome",
            "tier",
            "kind",
            "reason",
            "le",
            "disk",
            "version",
        }
