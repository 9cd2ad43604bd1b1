"""What is made for Prometheus, held against Prometheus itself: `pytest -m prometheus`.

A real server finds `serve` and two engines by discovery, with a key, and every expression of the dashboards is asked.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.functional.stage import snapshot
from tests.ports import free_port
from tests.process.house import House, until, wait_ready
from tests.prometheus_tools import Prometheus, promtool, running
from tests.unit.test_exposition import request
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control
from vllm_studio_tui.services import demo
from vllm_studio_tui.services.render.grafana import DASHBOARDS
from vllm_studio_tui.services.render.grafana_panels import PANELS
from vllm_studio_tui.services.render.prometheus import KEY_FILE
from vllm_studio_tui.services.render.recording_rules import RECORDS
from vllm_studio_tui.services.render.registry import render
from vllm_studio_tui.services.render.source import RenderSource
from vllm_studio_tui.services.serving.exposition import ServeMetrics
from vllm_studio_tui.studio import Studio

pytestmark = pytest.mark.prometheus

RULES_TEST = Path(__file__).parents[1] / "fixtures" / "prometheus" / "rules-test.yml"
#: What stands for Grafana's variables in an expression.
VARIABLES = {"$instance": ".*", "$recipe": ".*", "$__rate_interval": "2m", "$__range": "1h"}


def write(folder: Path, url: str = "http://127.0.0.1:8080", key: str = "any") -> None:
    for name, text in render("prometheus", RenderSource((), Settings(), url, "1")).items():
        (folder / name).write_text(text)
    (folder / KEY_FILE).write_text(f"{key}\n")


def test_promtool_takes_the_configuration_the_rules_and_our_metrics(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("prometheus.yml", "prometheus-exporter.yml"):
        assert "SUCCESS" in promtool(tmp_path, "check", "config", name)
    shutil.copy(RULES_TEST, tmp_path)
    assert "SUCCESS" in promtool(tmp_path, "test", "rules", RULES_TEST.name)
    metrics = ServeMetrics()
    metrics.observe(request(load_seconds=1.0, reasoning_tokens=3))
    metrics.stream_opened("default")
    metrics.published("status")
    text = metrics.text(snapshot(tmp_path), queue_length={"a": 1}, in_flight={"a": 1}, degraded=False)
    assert promtool(tmp_path, "check", "metrics", text=text) == ""


@pytest.mark.parametrize("uid", [one.uid for one in DASHBOARDS.values()])
def test_grafanas_own_types_hold_all_that_a_dashboard_says(uid: str) -> None:
    """`pip install grafana-foundation-sdk`: Grafana itself is in no package index."""
    types = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    pytest.importorskip("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder").JSONEncoder()
    made = json.loads(
        render("grafana", RenderSource((), Settings(), "http://127.0.0.1:8080", "1"))[f"dashboards/{uid}.json"]
    )
    assert lost(made, json.loads(encoder.encode(types.Dashboard.from_json(made)))) == []


def lost(said: Any, kept: Any, path: str = "") -> list[str]:
    """What a reader dropped or changed; what it adds are its defaults."""
    if isinstance(said, dict) and isinstance(kept, dict):
        return [
            one for name in said for one in (lost(said[name], kept[name], f"{path}/{name}") if name in kept else [path])
        ]
    if isinstance(said, list) and isinstance(kept, list) and len(said) == len(kept):
        return [one for at, pair in enumerate(zip(said, kept, strict=True)) for one in lost(*pair, f"{path}/{at}")]
    return [] if said == kept else [path]


@contextmanager
def serving(house: House) -> Iterator[str]:
    """`serve` on a home; yields its address."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "vllm_studio_tui", "serve", "--port", str(port)],
        env={**os.environ, "VLLM_STUDIO_HOME": str(house.root), "VLLM_STUDIO_SIMULATE_GPUS": "2"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert str(port) in process.stdout.readline()
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timeout(200)
def test_the_exporter_alone_is_enough_for_the_same_names(tmp_path: Path, house: House) -> None:
    exporter = subprocess.Popen(
        [sys.executable, "-m", "vllm_studio_tui", "exporter", "--port", "0", "--interval", "1"],
        env={**os.environ, "VLLM_STUDIO_HOME": str(house.root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert exporter.stdout is not None
        address = exporter.stdout.readline().strip().removeprefix("http://").removesuffix("/metrics")
        write(tmp_path)
        config = (tmp_path / "prometheus-exporter.yml").read_text()
        config = re.sub(r"_interval: 15s", "_interval: 1s", config)
        (tmp_path / "prometheus-exporter.yml").write_text(config.replace("127.0.0.1:9489", address))
        run = house.ready(house.launch())
        with running(tmp_path, "prometheus-exporter.yml") as prometheus:
            chosen = f'{{run="{run.run_id}"}}'
            # Nothing of the engine's own is scraped: the studio's words for it are recorded.
            until(lambda: bool(prometheus.values(f"vllm_studio:requests_running{chosen}")), "its requests", 30)
            spent = sum(house.ask(run)[1] for _ in range(3))
            until(lambda: prometheus.values(f"vllm_studio:generation_tokens{chosen}") == [spent], "its tokens", 30)
            speed = f"vllm_studio:generation_tokens:rate1m{chosen} > 0"
            until(lambda: bool(prometheus.values(speed)), "its speed", 30)
            assert prometheus.values('{__name__=~"vllm:.+"}') == []
            control.stop(run)
            until(lambda: not prometheus.values(f"vllm_studio_run_info{chosen}"), "its end", 30)
            exporter.send_signal(signal.SIGTERM)
            assert exporter.wait(20) == 0
            until(lambda: prometheus.values('up{job="vllm-studio"}') == [0.0], "that the exporter has ended", 30)
    finally:
        exporter.kill()
        exporter.communicate()


def small_model() -> Path:
    pytest.importorskip("xllamacpp")
    named = os.environ.get("VLLM_STUDIO_TEST_MODEL")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vllm-studio-tests"
    try:
        return demo.fetch(Places.under(cache), Path(named) if named else None, lambda progress: None)
    except StudioError as error:
        pytest.skip(f"the small model cannot be had here: {error}")


def ask(url: str, key: str, model: str) -> None:
    """One answer of a model through `serve`."""
    # Streamed: only there is a first token.
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Count to five."}],
        "max_tokens": 8,
        "stream": True,
    }
    asked = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from None


def filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def unanswered(prometheus: Prometheus) -> list[str]:
    """Panels without a value for something that is up; an expression that is wrong fails at once."""
    empty = []
    for panel in PANELS:
        for series in panel.series:
            values = prometheus.values(filled(series.expression))
            if not [one for one in values if math.isfinite(one)]:
                empty.append(f"{panel.title}: {series.expression}")
    return empty


@pytest.mark.timeout(300)
def test_a_real_server_finds_all_answers_every_panel_and_no_restart_makes_a_negative_rate(
    tmp_path: Path, house: House
) -> None:
    model = small_model()
    with Studio.open_sync(house.places) as studio:
        recipe = demo.demo_recipe(studio.recipes)
        studio.recipes.save(recipe.model_copy(update={"model_path": str(model), "on_demand": True}))
        _, scraper = studio.keys.add("prometheus", scopes=("metrics",))
        _, agent = studio.keys.add("agent", scopes=("inference", "read"), may_launch=True)
    began = time.time()
    with serving(house) as url:
        write(tmp_path, url, scraper)
        config = (tmp_path / "prometheus.yml").read_text()
        (tmp_path / "prometheus.yml").write_text(re.sub(r"_interval: 15s", "_interval: 1s", config))
        events = urllib.request.Request(f"{url}/events", headers={"Authorization": f"Bearer {agent}"})
        with running(tmp_path) as prometheus, urllib.request.urlopen(events, timeout=60):
            until(lambda: prometheus.values("vllm_studio_build_info") == [1.0], "a first scrape", 30)
            # An engine that is imitated keeps histograms, and starts again when it is killed.
            imitated = house.ready(house.launch(restart=Restart("on-failure", delay=0.3)))
            ask(url, agent, recipe.id)
            stop_when_seen(prometheus, house, recipe.id)
            # Loaded for a request a second time, so that how long it takes has grown while it was watched.
            ask(url, agent, recipe.id)
            deadline = time.monotonic() + 60
            while empty := unanswered(prometheus):
                assert time.monotonic() < deadline, empty
                for name in ("sim", recipe.id):
                    ask(url, agent, name)
            targets = prometheus.ask("targets")["activeTargets"]
            assert {one["labels"].get("run", "") for one in targets} >= {"", imitated.run_id}
            assert {one["health"] for one in targets if one["labels"].get("run") in (None, imitated.run_id)} == {"up"}

            before = house.now(imitated).status.attempt
            house.kill_engine(imitated)
            until(
                lambda: house.now(imitated).state is State.READY and house.now(imitated).status.attempt > before,
                "another engine",
                30,
            )
            ask(url, agent, "sim")
            counter = f'resets(vllm:generation_tokens_total{{run="{imitated.run_id}"}}[5m])'
            until(lambda: bool(prometheus.values(f"{counter} > 0")), "the counter began anew", 30)
            until(lambda: bool(prometheus.values("vllm_studio_run_restarts_total == 1")), "the restart", 30)
            ask(url, agent, "sim")
            expressions = [record.name for record in RECORDS]
            expressions += [filled(series.expression) for panel in PANELS for series in panel.series]
            for one in expressions:
                history = [value for value in prometheus.history(one, began) if not math.isnan(value)]
                assert min(history, default=0.0) >= 0.0, one
            # A restart of one is no burst: what was generated in all bounds every rate.
            spent = max(prometheus.history("sum(vllm_studio:generation_tokens)", began))
            assert max(prometheus.history("vllm_studio:generation_tokens:rate1m", began)) <= spent

            broken = house.launch("--crash-after", "0", recipe="broken")
            wait_ready(broken, 30)
            until(
                lambda: any(
                    one["labels"]["alertname"] == "VllmStudioRunFailed" and one["labels"]["run"] == broken.run_id
                    for one in prometheus.ask("alerts")["alerts"]
                ),
                "the alert of a run that failed",
                30,
            )
            control.stop(imitated)
            until(lambda: not prometheus.values(f'vllm_studio_run_info{{run="{imitated.run_id}"}}'), "its end", 30)
    assert scraper not in (tmp_path / "prometheus.log").read_text()


def stop_when_seen(prometheus: Prometheus, house: House, recipe: str) -> None:
    """Stop the live run of a recipe once Prometheus has read its engine's metrics twice."""
    with Studio.open_sync(house.places) as studio:
        for run in studio.runs.live():
            if run.recipe_id == recipe:
                seen = f'count_over_time(up{{run="{run.run_id}"}}[1m]) >= 2'
                until(lambda: bool(prometheus.values(seen)), "its engine in two scrapes", 30)  # noqa: B023
                control.stop(run)
