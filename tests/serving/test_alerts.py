"""What is installed beside Prometheus: rules that fire when they should, names that exist, a runbook for each alert."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import parser

from serving.metrics import Metrics
from serving.monitor.trends import MEANING, Trend

SERVING = Path(__file__).resolve().parents[2] / "serving"
RULES = [rule for group in yaml.safe_load((SERVING / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
TESTS = yaml.safe_load((SERVING / "alerts_test.yml").read_text())["tests"]
DASHBOARD = json.loads((SERVING / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SHOWN = [target["expr"] for panel in PANELS for target in panel["targets"]]


def check(*command: str) -> None:
    """Run one of Prometheus's own programs beside the files; skip where it is not installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed here (Debian: prometheus, prometheus-alertmanager)")
    done = subprocess.run(command, cwd=SERVING, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def told() -> set[str]:
    """Every name that a service gives to Prometheus, of families and of series."""
    metrics = Metrics("1", "2")
    metrics.add_release("adult@1")
    metrics.evidence_changed("adult@1", 0.0, 1e5)
    metrics.request_refused("adult@1", 404)  # what is told by status is told once there is one
    metrics.diversity_measured("adult@1", dict.fromkeys(MEANING, Trend(1, 1, 0)))
    families = parser.text_string_to_metric_families(metrics.render()[0].decode())
    return {sample.name for family in families for sample in family.samples}


def test_rules_are_valid() -> None:
    check("promtool", "check", "rules", "alerts.yml")


def test_rules_fire_when_they_should() -> None:
    check("promtool", "test", "rules", "alerts_test.yml")


def test_prometheus_takes_its_configuration() -> None:
    check("promtool", "check", "config", "prometheus.yml")


def test_alertmanager_takes_its_configuration() -> None:
    check("amtool", "check-config", "alertmanager.yml")


def test_what_the_dashboard_asks_is_promql(tmp_path: Path) -> None:
    plain = [expr.replace("$__rate_interval", "1m").replace("$release", ".*") for expr in SHOWN]
    rules = [{"record": f"panel:{k}", "expr": expr} for k, expr in enumerate(plain)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    check("promtool", "check", "rules", str(tmp_path / "panels.yml"))


@pytest.mark.parametrize("where", ["rules", "tests", "dashboard"])
def test_every_name_exists(told: set[str], where: str) -> None:
    series = [entry["series"] for test in TESTS for entry in test["input_series"]]
    variables = [variable["definition"] for variable in DASHBOARD["templating"]["list"]]
    texts = {
        "rules": [rule["expr"] + yaml.safe_dump(rule.get("annotations")) for rule in RULES],
        "tests": series,
        "dashboard": SHOWN + variables,
    }[where]
    text = "\n".join(texts)
    for name in RECORDED:
        text = text.replace(name, "")
    names = set(re.findall(r"artesian_[a-z_]+", text))
    assert names and names <= told
    assert set(re.findall(r"\w+:artesian_\w+:\w+", text)) == set(), "a recorded name that no rule records"


def test_every_metric_is_looked_at(told: set[str]) -> None:
    """By a rule or a panel; parts of histograms aside, what nobody looks at need not be told."""
    text = "\n".join([*SHOWN, *(rule["expr"] for rule in RULES)])
    assert {name for name in told if not name.endswith(("_count", "_sum"))} <= set(
        re.findall(r"artesian_[a-z_]+", text)
    )


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_and_where_and_how_urgent(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    place = "instance" if alert in ("ArtesianMetricsAbsent", "ArtesianSaturation", "ArtesianKeysStale") else "release"
    for text in ("summary", "description"):
        assert f"$labels.{place}" in rule["annotations"][text]
    file, anchor = rule["annotations"]["runbook_url"].split("#")
    headings = re.findall(r"^## (.+)$", (SERVING / file).read_text(), flags=re.MULTILINE)
    assert anchor == alert.lower() and alert in headings
    section = (SERVING / file).read_text().split(f"\n## {alert}\n")[1].split("\n## ")[0]
    assert f"*{rule['labels']['severity'].capitalize()}.*" in section


def test_the_runbook_has_no_section_without_an_alert() -> None:
    headings = re.findall(r"^## (.+)$", (SERVING / "RUNBOOK.md").read_text(), flags=re.MULTILINE)
    assert sorted(headings) == sorted(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_case_that_fires_and_one_that_must_not(alert: str) -> None:
    cases: list[dict[str, Any]] = [
        case for test in TESTS for case in test["alert_rule_test"] if case["alertname"] == alert
    ]
    assert any(case["exp_alerts"] for case in cases)
    # One in which nothing of the kind fires at all, not only "not yet".
    quiet = [
        test for test in TESTS if {case["alertname"] for case in test["alert_rule_test"] if case["exp_alerts"]} == set()
    ]
    assert any(case["alertname"] == alert for test in quiet for case in test["alert_rule_test"])


def test_who_is_told_of_what() -> None:
    """Every severity has a way out, and what silences an alert is an alert."""
    manager = yaml.safe_load((SERVING / "alertmanager.yml").read_text())
    receivers = {receiver["name"] for receiver in manager["receivers"]}
    assert receivers == {rule["labels"]["severity"] for rule in ALERTS.values()}
    assert manager["route"]["group_by"] == ["release"]
    for rule in manager["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            assert matcher.split(" = ")[1] in ALERTS


def test_the_dashboard_can_be_imported() -> None:
    (source,) = DASHBOARD["__inputs"]
    assert source["pluginId"] == "prometheus"
    uses = [DASHBOARD["annotations"]["list"][0], DASHBOARD["templating"]["list"][0], *PANELS]
    assert {use["datasource"]["uid"] for use in uses} == {"${" + source["name"] + "}"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["release"]
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Diversity and alarm", "Traffic", "Latency", "Saturation", "Monitor"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    for panel in PANELS:
        assert panel["title"] and panel["description"] and panel["targets"], panel
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)


def test_panels_don_t_overlap() -> None:
    taken = [
        (column, line)
        for panel in DASHBOARD["panels"]
        for at in [panel["gridPos"]]
        for column in range(at["x"], at["x"] + at["w"])
        for line in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(taken)) == len(taken) and max(column for column, _ in taken) < 24


def test_the_runbook_speaks_of_panels_that_exist() -> None:
    book = (SERVING / "RUNBOOK.md").read_text()
    titles = {panel["title"] for panel in PANELS}
    elsewhere = {"Page.", "Ticket.", "page", "ticket", "Artesian", "Status → Targets", "classifier"}
    said = set(re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", book)) - elsewhere
    assert said and said <= titles


def test_the_runbook_knows_every_figure() -> None:
    book = (SERVING / "RUNBOOK.md").read_text()
    assert all(f"`{figure}`" in book for figure in MEANING)
