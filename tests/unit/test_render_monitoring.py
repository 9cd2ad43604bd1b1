"""Files for Prometheus and Grafana: whole, and about names that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.stage import snapshot
from tests.unit.test_exposition import request
from vllm_studio_tui.backends import registry as engines
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.kit.prometheus import parse
from vllm_studio_tui.services.render.alert_rules import ALERTS, JOB
from vllm_studio_tui.services.render.grafana import COLUMNS, DASHBOARDS
from vllm_studio_tui.services.render.grafana_panels import PANELS, Needs
from vllm_studio_tui.services.render.recording_rules import RECORDS, recording_rules
from vllm_studio_tui.services.render.registry import render
from vllm_studio_tui.services.render.source import Files, RenderSource
from vllm_studio_tui.services.serving.exposition import ServeMetrics

FIXTURES = Path(__file__).parents[1] / "fixtures" / "metrics"
NAME = re.compile(r"\bvllm_studio[a-zA-Z0-9_:]*")


def files(kind: str, url: str = "http://127.0.0.1:8080") -> Files:
    return render(kind, RenderSource((), Settings(exporter_port=9777), url, "1.2.3"))


def ours(tmp_path: Path) -> set[str]:
    """Names of all that we expose ourselves."""
    metrics = ServeMetrics()
    metrics.observe(request(load_seconds=1.0))
    metrics.stream_opened("default")
    metrics.published("status")
    shown = snapshot(tmp_path)
    text = metrics.text(shown, queue_length={}, in_flight={}, degraded=False).decode()
    names = set(re.findall(r"^# TYPE (\S+)", text, re.M)) | set(re.findall(r"^([^#{ ]+)", text, re.M))
    # What these GPUs and this engine do not tell.
    told = {"gpu_energy_joules_total", "gpu_stale_seconds", "gpus_simulated", "engine_prompt_tokens_total",
            "engine_generation_tokens_total", "engine_cached_tokens_total", "engine_requests_total"}  # fmt: skip
    return names | {f"vllm_studio_{name}" for name in told}


def test_prometheus_finds_all_by_discovery_and_the_key_goes_to_serve_alone() -> None:
    made = files("prometheus", "http://[::1]:8080")
    (job,) = yaml.safe_load(made["prometheus.yml"])["scrape_configs"]
    assert job["job_name"] == JOB
    (discovery,) = job["http_sd_configs"]
    assert discovery["url"] == "http://[::1]:8080/prometheus/sd"
    key = {"type": "Bearer", "credentials_file": "vllm-studio.key"}
    assert discovery["authorization"] == job["authorization"] == key
    assert "static_configs" not in job
    (other,) = yaml.safe_load(made["prometheus-exporter.yml"])["scrape_configs"]
    assert other == {"job_name": JOB, "static_configs": [{"targets": ["[::1]:9777"]}]}
    for name in ("prometheus.yml", "prometheus-exporter.yml"):
        assert set(yaml.safe_load(made[name])["rule_files"]) <= set(made)
    assert all("1.2.3" in text.splitlines()[0] for text in made.values())


def test_every_name_of_every_engine_is_recorded_and_ours_comes_last(tmp_path: Path) -> None:
    rules = recording_rules()
    expressions = {rule["record"]: str(rule["expr"]) for rule in rules}
    assert len({(rule["record"], str(rule.get("labels"))) for rule in rules}) == len(rules)
    for record in RECORDS:
        for engine in engines.backends().values():
            for row in engine.metrics or ():
                if row.field == record.field:
                    for name in row.names:
                        assert re.search(rf"\b{name}(_bucket)?\b", expressions[record.name]), (record.name, name)
        if record.own:
            assert f"vllm_studio_{record.own}" in expressions[record.name].splitlines()[-1]
            assert f"vllm_studio_{record.own}" in ours(tmp_path)


def test_what_three_engines_answer_is_recorded() -> None:
    expected = {
        "vllm": {record.name for record in RECORDS} - {"vllm_studio:speculative_acceptance:ratio"},
        "sglang": {record.name for record in RECORDS} - {"vllm_studio:preemptions:rate1m"},
        "llamacpp": {
            "vllm_studio:requests_running", "vllm_studio:requests_waiting", "vllm_studio:prompt_tokens:rate1m",
            "vllm_studio:generation_tokens:rate1m", "vllm_studio:prompt_tokens", "vllm_studio:generation_tokens",
            "vllm_studio:prefix_cache_hits:ratio", "vllm_studio:speculative_acceptance:ratio",
        },
    }  # fmt: skip
    for engine, wanted in expected.items():
        known = set(parse((FIXTURES / f"{engine}.txt").read_text()))
        found = {
            str(rule["record"])
            for rule in recording_rules()
            if known & set(re.findall(r"\b[a-z]+:[a-z0-9_]+", str(rule["expr"]).replace("vllm_studio:", "")))
        }
        assert found == wanted, engine


def test_no_rule_rates_a_sum_and_no_counter_is_shown_as_a_speed() -> None:
    """A restart must make no negative rate, and none of all engines for the restart of one."""
    expressions = [str(rule["expr"]) for rule in recording_rules()] + [alert.expression for alert in ALERTS]
    expressions += [series.expression for panel in PANELS for series in panel.series]
    for one in expressions:
        assert not re.search(r"\b(rate|increase)\(\s*(sum|avg|max)\b", one), one
        assert not re.search(r"\b(rate|irate|increase|delta|idelta)\(vllm_studio:", one), one
        for name in re.findall(r"\b(?:delta|deriv|idelta)\((\S+?)[\[{]", one):
            assert not name.endswith("_total"), one


def test_every_expression_asks_for_names_that_there_are(tmp_path: Path) -> None:
    known = ours(tmp_path) | {record.name for record in RECORDS}
    for where, expression in [
        *((alert.name, alert.expression) for alert in ALERTS),
        *((panel.title, series.expression) for panel in PANELS for series in panel.series),
    ]:
        names = set(NAME.findall(re.sub(r'"[^"]*"', '""', expression)))
        assert names or "up{" in expression, where
        assert names <= known, where


def test_alerts_say_what_and_where_and_their_names_are_their_own() -> None:
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)
    for alert in ALERTS:
        assert alert.severity in ("warning", "critical")
        assert re.fullmatch(r"\d+[sm]", alert.lasting)
        assert alert.summary
        assert alert.description.endswith(".") or alert.description.endswith("?")


@pytest.mark.parametrize("key", sorted(DASHBOARDS))
def test_a_dashboard_is_whole(key: str) -> None:
    dashboard = json.loads(files("grafana")[f"dashboards/{DASHBOARDS[key].uid}.json"])
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], int] = {}
    for panel in panels:
        place = panel["gridPos"]
        assert place["w"] > 0
        assert place["x"] + place["w"] <= COLUMNS
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["id"]) == panel["id"], panel["title"]
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert [panel["title"] for panel in shown] == [panel.title for panel in PANELS if panel.dashboard == key]
    for panel in shown:
        references = [target["refId"] for target in panel["targets"]]
        assert references == [chr(ord("A") + number) for number in range(len(references))]
        assert references
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        assert panel["options"]
        assert panel["fieldConfig"]["defaults"]["unit"]
    assert None not in list(values(dashboard["templating"]))
    used = set(re.findall(r"\$(\w+)", json.dumps(dashboard)))
    assert used <= {one["name"] for one in dashboard["templating"]["list"]} | {"__rate_interval", "__range", "__all"}


def values(data: Any) -> Iterator[Any]:
    if isinstance(data, dict | list):
        for one in data.values() if isinstance(data, dict) else data:
            yield from values(one)
    else:
        yield data


def test_the_originals_panels_are_there() -> None:
    titles = {panel.title for panel in PANELS}
    assert {
        "Inference server up", "Model switches", "Launch failures", "Switch duration, p99", "SSE connections",
        "SSE events a second", "Memory used", "Utilization", "Temperature", "Memory utilization",
        "Requests running and waiting", "KV cache usage", "Token throughput", "Tokens since the engine's start",
        "Switches over time", "Switch duration",
    } <= titles  # fmt: skip
    dashboard = json.loads(files("grafana")["dashboards/vllm-studio-main.json"])
    assert (dashboard["refresh"], dashboard["time"]["from"]) == ("10s", "now-1h")
    assert {panel.needs for panel in PANELS} == set(Needs)


def test_grafana_is_told_of_prometheus_and_of_the_dashboards() -> None:
    made = files("grafana")
    (source,) = yaml.safe_load(made["provisioning/datasources/vllm-studio.yml"])["datasources"]
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load(made["provisioning/dashboards/vllm-studio.yml"])["providers"]
    assert provider["options"]["path"]
