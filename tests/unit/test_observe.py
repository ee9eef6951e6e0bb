"""deploy/prometheus and deploy/grafana, held against what the service exports, logs and can be told."""

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from typer.main import get_command

from detector.cli.main import build
from detector.modes.decision import Kind
from detector.service.metrics import Metrics, Tally
from detector.service.mirror.metrics import OUTCOMES as MIRROR_OUTCOMES
from detector.service.mirror.metrics import MirrorMetrics
from detector.service.otlp.counts import Counts
from detector.service.settings import Settings
from detector.service.survey import OUTCOMES
from topics.control import Disposition
from topics.names import topics

ROOT = Path(__file__).parents[2]
PROMETHEUS, GRAFANA = ROOT / "deploy" / "prometheus", ROOT / "deploy" / "grafana"
SCRAPED = {"job", "instance"}  # what Prometheus adds to each series
NOT_OURS = {"up": set[str](), "ALERTS": {"alertname", "alertstate", "severity"}}
VALUES = {
    "kind": set(get_args(Kind)),
    "disposition": set(get_args(Disposition)),
    "outcome": {*OUTCOMES, *MIRROR_OUTCOMES},
    "outbox": {"control", "bulk", "snapshots", "otlp"},
}
PATHS = {"/healthz", "/readyz", "/metrics", "/-/reload"}

METRIC = re.compile(r"\b(?:detector_\w+|up|ALERTS)\b")
SELECTOR = re.compile(rf"({METRIC.pattern})\{{([^}}]*)\}}")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
GROUPED = re.compile(r"\b(?:sum|min|max|avg|count) by \(([^)]*)\) \(")
MATCHED = re.compile(r"\b(?:on|ignoring|group_left|group_right) \(([^)]*)\)")


def _whose(name: str) -> str:
    return "self" if name.startswith("_") else "_counts"


def families() -> Iterator[tuple[str, Any, Metric]]:
    """Of each metric of worker, mirror and otlp: its place in the source, itself, what a registry is told.

    Otlp's are set from outside where they have a public name, and in their own class where not.
    """
    places = [
        *((f"metrics.{name}.", metric) for name, metric in vars(Metrics()).items()),
        *((f"metrics.{name}.", metric) for name, metric in vars(MirrorMetrics(["redis"])).items()),
        *((f"{_whose(name)}.{name}.", metric) for name, metric in vars(Counts()).items()),
    ]
    for place, metric in places:
        if isinstance(metric, MetricWrapperBase | Tally):
            described = metric.collect() if isinstance(metric, Tally) else metric.describe()
            yield place, metric, next(iter(described))


def exported() -> dict[str, set[str]]:
    """Labels by the name of each sample that a scrape may hold."""
    found: dict[str, set[str]] = {}
    for _, metric, family in families():
        labels = {metric.label} if isinstance(metric, Tally) else set(metric._labelnames)
        if family.type == "histogram":
            found |= {f"{family.name}_bucket": labels | {"le"}, f"{family.name}_count": labels}
            found[f"{family.name}_sum"] = labels
        else:
            found[family.name + "_total" * (family.type == "counter")] = labels
    return found


EXPORTED = exported()
LABELS = {name: labels | SCRAPED for name, labels in (EXPORTED | NOT_OURS).items()}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return json.loads((GRAFANA / "dashboard.json").read_text("utf-8"))["panels"]


RULES, PANELS = rules(), panels()
SHOWING = [panel for panel in PANELS if panel["type"] != "row"]
EXPRESSIONS = [pytest.param(rule["expr"], id=rule["alert"]) for rule in RULES] + [
    pytest.param(target["expr"], id=f"{panel['id']}{target['refId']}")
    for panel in SHOWING
    for target in panel["targets"]
]


def names(listed: str) -> set[str]:
    return {name.strip() for name in listed.split(",")} - {""}


def body(text: str, start: int) -> str:
    """What stands from `start` on up to the parenthesis that ends it."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if not depth:
            return text[start:at]
    raise ValueError(f"no end: {text[start:]}")


def wrong(expr: str) -> list[str]:
    """Names in an expression that no scrape holds."""
    bare = re.sub(r'"[^"]*"', '""', expr)
    used = METRIC.findall(bare)
    found = [name for name in used if name not in LABELS]
    for name, inside in SELECTOR.findall(expr):
        for label, value in MATCHER.findall(inside):
            if label not in LABELS.get(name, ()):
                found.append(f"{name}{{{label}}}")
            elif label in VALUES and value not in VALUES[label]:
                found.append(f'{name}{{{label}="{value}"}}')
    for grouped in GROUPED.finditer(bare):
        inner = body(bare, grouped.end())
        each = [LABELS.get(name, set()) for name in METRIC.findall(inner)]
        have = set[str]().union(*each) if "group_left" in inner else each[0].intersection(*each)
        found += [f"by {label}" for label in names(grouped[1]) - have]
    for matched in MATCHED.finditer(bare):
        found += names(matched[1]) - set().union(*(LABELS.get(name, set()) for name in used))
    return found


def kept(expr: str) -> set[str]:
    """Labels that the result carries."""
    if grouped := GROUPED.search(expr):
        return names(grouped[1])
    if re.match(r"(sum|min|max|count|absent|histogram_quantile)\b", expr):
        return set()
    return LABELS[METRIC.findall(expr)[0]]


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_what_is_asked_for_is_exported(expr: str) -> None:
    """Every metric, label and bounded value of the rules and the dashboard is one that the service has."""
    assert METRIC.search(expr)
    assert wrong(expr) == []


@pytest.mark.parametrize(
    "expr",
    [
        "detector_late_records > 0",
        "sum by (job, route) (detector_active_scopes) > 0",
        'detector_records_total{partition="1"} > 0',
        'detector_outbox_messages{outbox="controls"} > 0',
        "detector_active_scopes > on (job, scope) detector_partition_owned",
        "sum by (le) (rate(detector_batch_seconds_sum[5m]))",
    ],
)
def test_a_name_that_is_not_exported_is_found(expr: str) -> None:
    """Counters without `_total`, labels of other metrics, and values that a label never has, too."""
    assert len(wrong(expr)) == 1


def test_what_is_asked_for_is_set_somewhere() -> None:
    """A metric that is declared and never set exports nothing but 0, and its rule never fires."""
    files = (ROOT / "detector" / "service").rglob("*.py")
    source = "".join(path.read_text("utf-8") for path in files)
    asked = {name for param in EXPRESSIONS for name in METRIC.findall(str(param.values[0]))} - NOT_OURS.keys()
    asked = {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in asked}
    places = {place for place, _, family in families() if family.name in asked}

    assert asked == {family.name for _, _, family in families() if family.name in asked}
    assert {place for place in places if place not in source} == set()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_how_urgent_it_is_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    """One sentence of meaning, and an action; it waits before it fires: a single scrape wakes nobody."""
    assert re.fullmatch(r"Detector([A-Z][a-z]+)+", rule["alert"])
    assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"[1-9]\d*[mh]", rule["for"])
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "action"}
    assert re.fullmatch(r"[^.]+(\.\w[^.]*)*\.", rule["annotations"]["summary"])
    assert rule["annotations"]["action"].endswith((".", "?"))


def test_no_two_rules_have_one_name() -> None:
    """Alertmanager would take them for one alert."""
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_names_only_labels_that_its_alert_carries(rule: dict[str, Any]) -> None:
    """One that is not there is an empty place in the sentence that somebody is woken by."""
    used = set(re.findall(r"\$labels\.(\w+)", "".join(rule["annotations"].values())))

    assert used <= kept(rule["expr"])


def test_the_page_tells_of_every_rule() -> None:
    """Each alert is in the table of deploy/README.md, under when to look at it, and no other."""
    told = (ROOT / "deploy" / "README.md").read_text("utf-8").partition("\n## Alerts\n")[2]
    at_once, later = (set(re.findall(r"`(Detector\w+)`", part)) for part in told.split("In the morning:", 1))

    assert at_once == {rule["alert"] for rule in RULES if rule["labels"]["severity"] == "page"}
    assert later == {rule["alert"] for rule in RULES if rule["labels"]["severity"] == "ticket"}


def test_nobody_left_is_an_alert() -> None:
    """A dead worker exports nothing, and of nothing no other rule fires."""
    assert [rule["labels"]["severity"] for rule in RULES if "absent(" in rule["expr"]] == ["page"]


def test_every_rule_is_seen_to_fire() -> None:
    """`promtool` runs the cases: those in which a rule fires name it."""
    cases = yaml.safe_load((PROMETHEUS / "alerts.test.yaml").read_text("utf-8"))["tests"]
    fire = {
        name
        for case in cases
        for asked in case["promql_expr_test"]
        for sample in asked["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }

    assert fire == {rule["alert"] for rule in RULES}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on the path")
def test_rules_fire_when_they_should_and_no_takeover_sets_one_off() -> None:
    """As Prometheus' own tool evaluates them."""
    done = subprocess.run(
        ["promtool", "test", "rules", PROMETHEUS / "alerts.test.yaml"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def logged() -> Iterator[str]:
    """Events that the service logs: the first word of each call of a logger."""
    for path in (ROOT / "detector" / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                first = node.args[0]
                if node.func.attr in {"info", "warning", "error"} and isinstance(first, ast.Constant):
                    yield str(first.value)


def unknown(said: str) -> list[str]:
    """What stands in backticks and is no command, event, metric, topic, path or key of the contract."""
    commands = get_command(build()).commands
    declared = topics("")
    plain = {
        *logged(),
        *EXPORTED,
        *(re.sub(r"_bucket$", "", name) for name in EXPORTED),
        *(getattr(declared, field.name).name for field in fields(declared)),
        *PATHS,
        "revert_within_s",
    }
    found = []
    for quoted in re.findall(r"`([^`]*)`", said):
        words = quoted.split()
        if words[0] == "detector" and len(words) > 1:
            found += [quoted] if words[1] not in commands else []
        elif quoted not in plain:
            found.append(quoted)
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_action_names_what_there_is(rule: dict[str, Any]) -> None:
    """Somebody types it at three in the morning: commands, log events, metrics, topics and paths exist."""
    action = rule["annotations"]["action"]

    assert "`" in action
    assert unknown(" ".join(rule["annotations"].values())) == []


@pytest.mark.parametrize(
    "said", ["`detector status`", "log `not_redy`", "`detector_lag`", "`detector.contrl`"]
)
def test_an_action_that_names_something_else_is_found(said: str) -> None:
    """A misspelt command, event, metric or topic."""
    assert len(unknown(said)) == 1


def test_prometheus_loads_the_rules_and_scrapes_what_the_compose_file_starts() -> None:
    """The job that a rule names, the services, and the ports that they listen on."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text("utf-8"))
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    (job,) = config["scrape_configs"]
    named = {name for rule in RULES for name in re.findall(r'job="(\w+)"', rule["expr"])}

    assert config["rule_files"] == ["alerts.yaml"]
    assert named == {job["job_name"]}
    assert [found["names"] for found in job["dns_sd_configs"]] == [["detector"], ["mirror"]]
    for found in job["dns_sd_configs"]:
        service = services[found["names"][0]]
        assert str(found["port"]) == service["command"][service["command"].index("--http-port") + 1]
        assert service["environment"]["DETECTOR_HTTP_HOST"] == "0.0.0.0"
    assert "http_host" in {field.name for field in fields(Settings)}


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    """Grafana would draw one over the other, and show one in place of the other."""
    places = [panel["gridPos"] for panel in PANELS]

    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert all(at["x"] >= 0 and at["x"] + at["w"] <= 24 for at in places)
    assert not [
        (a, b)
        for a, b in combinations(places, 2)
        if a["x"] < b["x"] + b["w"]
        and b["x"] < a["x"] + a["w"]
        and a["y"] < b["y"] + b["h"]
        and b["y"] < a["y"] + a["h"]
    ]


@pytest.mark.parametrize("panel", SHOWING, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    """A title, what it means, a unit, and the data source that was chosen, for one installation."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    for target in panel["targets"]:
        legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        chosen = re.findall(r"detector_\w+(?!\w)(?:\{(job=~\"\$job\")?)?", target["expr"])

        assert legend <= kept(target["expr"])
        assert all(chosen)


def test_variables_ask_for_what_is_exported() -> None:
    """The list of installations comes from a metric that every worker has."""
    board = json.loads((GRAFANA / "dashboard.json").read_text("utf-8"))
    source, job = board["templating"]["list"]

    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert job["name"] == "job"
    assert METRIC.findall(job["query"]["query"])[0] in EXPORTED


def test_grafana_finds_what_is_mounted_into_it() -> None:
    """The provider reads the folder that holds the dashboard; the data source is the Prometheus beside it."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    held = GRAFANA / "provisioning"
    (provider,) = yaml.safe_load((held / "dashboards" / "detector.yaml").read_text("utf-8"))["providers"]
    (source,) = yaml.safe_load((held / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]

    dashboard = mounts["./deploy/grafana/dashboard.json"]
    assert str(Path(dashboard).parent) == provider["options"]["path"]
    assert services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == dashboard
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"]
