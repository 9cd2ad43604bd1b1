"""Metrics that somebody added: read from a file and from packages, measured, shown, exported."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.functional.stage import snapshot
from vllm_studio_tui.cli import metrics as command
from vllm_studio_tui.config import custom_metrics as module
from vllm_studio_tui.config.custom_metrics import MOST, custom_metrics
from vllm_studio_tui.domain.custom_metric import KINDS, UNITS, CustomMetric, CustomValue, custom_series
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.probes.engine.reader import EngineProbe
from vllm_studio_tui.services.serving.exposition import ServeMetrics
from vllm_studio_tui.services.watching.history import History
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.screens.monitor import lane_groups

CAPTURES = Path(__file__).parents[1] / "fixtures" / "metrics"
PLUG_INS = str(Path(__file__).parents[1] / "fixtures" / "example_plug_ins")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places.under(tmp_path)
    made.config.mkdir(mode=0o700)
    return made


@pytest.fixture
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(PLUG_INS)
    module._of_packages.cache_clear()
    yield
    module._of_packages.cache_clear()


def written(places: Places, text: str) -> tuple[tuple[CustomMetric, ...], tuple[str, ...]]:
    path = places.config / "metrics.yaml"
    path.write_text(text)
    path.chmod(0o600)
    return custom_metrics(places)


def metric(name: str = "x", **options: Any) -> CustomMetric:
    return CustomMetric(name, options.pop("names", ("e:x",)), **options)


def measured(metrics: list[CustomMetric], *scrapes: str, backend: str = "vllm") -> EngineMetrics:
    probe = EngineProbe(backend, custom=metrics)
    found = [probe.observe(text, float(at)) for at, text in enumerate(scrapes)]
    return found[-1]


def value_of(one: CustomMetric, *scrapes: str, backend: str = "vllm") -> float | None:
    return measured([one], *scrapes, backend=backend).custom[0].value


# --- the table ------------------------------------------------------------------------------------------


def test_without_a_file_there_are_none(places: Places) -> None:
    assert custom_metrics(places) == ((), ())


def test_a_row_of_the_file(places: Places) -> None:
    found, problems = written(
        places,
        """
accepted:
  title: accepted drafts
  names: [vllm:new_name_total, vllm:old_name_total]
  over: vllm:drafts_total
  kind: ratio
  unit: ratio
  engine: vllm
  scale: 0.5
short:
  names: e:x
""",
    )
    assert problems == ()
    assert found == (
        CustomMetric(
            "accepted", ("vllm:new_name_total", "vllm:old_name_total"), "accepted drafts", "ratio", "ratio",
            ("vllm:drafts_total",), "vllm", 0.5,
        ),
        CustomMetric("short", ("e:x",)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("good:\n  names: e:y\nx:\n  nmaes: e:x\n", 4, "'nmaes' is no key of a metric: did you mean names?"),
        ("good:\n  names: e:y\nx:\n  names: e:x\n  unit: secnds\n", 5, "x: unit is none of empty, seconds, ratio"),
        ("good:\n  names: e:y\nx:\n  names: e:x\n  kind: p42\n", 5, "x: kind is none of gauge"),
        ("good:\n  names: e:y\nx:\n  names: e:x\n  engine: vlm\n", 5, "there is no engine 'vlm': did you mean vllm?"),
        ("good:\n  names: e:y\nx:\n  names: e:x\n  scale: much\n", 5, "scale is no number"),
        ("good:\n  names: e:y\nx:\n  names: e:x\n  scale: .inf\n", 5, "scale is no number"),
        ("good:\n  names: e:y\nx:\n  names: ['a b']\n", 4, "x: names is no list of names of samples"),
        ("good:\n  names: e:y\nx:\n  kind: gauge\n", 3, "x has no names of the engine's metric"),
        ("good:\n  names: e:y\nx: 5\n", 3, "x needs rows such as"),
        ("good:\n  names: e:y\nUpper:\n  names: e:x\n", 3, "its name is not a-z, 0-9 and underscore"),
        ("good:\n  names: e:y\ngood:\n  names: e:x\n", 3, "this name is there twice"),
        ("good:\n  names: e:y\n? [a]\n: 1\n", 3, "not a name"),
        ('good:\n  names: e:y\nx:\n  names: e:x\n  title: "a\\eb"\n', 5, "x: title is no text of at most 40"),
        ("good:\n  names: e:y\nx:\n  names: e:x\n  title: [a]\n", 5, "title is no text"),
    ],
)
def test_a_row_that_is_wrong_names_its_line_and_leaves_the_others(
    places: Places, text: str, line: int, says: str
) -> None:
    found, problems = written(places, text)
    assert [one.name for one in found] == ["good"]
    (problem,) = problems
    assert problem.startswith(f"{places.config / 'metrics.yaml'}, line {line}: ")
    assert says in problem


@pytest.mark.parametrize("text", ["[1, 2]\n", "x: [\n", "word\n"])
def test_a_file_that_is_no_table_is_said_with_its_line(places: Places, text: str) -> None:
    found, (problem,) = written(places, text)
    assert found == ()
    assert f"{places.config / 'metrics.yaml'}, line " in problem


def test_a_file_that_others_can_write_is_not_read(places: Places) -> None:
    written(places, "x:\n  names: e:x\n")
    (places.config / "metrics.yaml").chmod(0o666)
    assert custom_metrics(places)[0] == ()
    assert "0666" in custom_metrics(places)[1][0]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(max_size=80),
        st.dictionaries(
            st.sampled_from(["names", "unit", "kind", "over", "scale", "title", "engine", "x"]),
            st.one_of(st.text(max_size=8), st.integers(), st.lists(st.text(max_size=5), max_size=3), st.none()),
            max_size=5,
        ).map(lambda row: f"x: {row!r}\n"),
    )
)
def test_no_text_makes_it_raise(places: Places, text: str) -> None:
    (places.config / "metrics.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    found, problems = custom_metrics(places)
    assert len(found) <= 1
    assert all(isinstance(one, str) for one in problems)


def test_more_than_there_is_room_for_are_said(places: Places) -> None:
    found, problems = written(places, "".join(f"m{number}:\n  names: e:x\n" for number in range(MOST + 1)))
    assert len(found) == MOST
    assert problems == (f"there are {MOST + 1}, only the first {MOST} are taken",)


def test_a_package_adds_its_rows_after_those_of_the_file(places: Places, plug_ins: None) -> None:
    found, problems = written(places, "busy_slots:\n  names: mine\n")
    assert [(one.name, one.names[0]) for one in found] == [
        ("busy_slots", "mine"),
        ("step_tokens", "vllm:iteration_tokens_total"),
    ]
    assert problems == ("busy_slots is there twice: the file comes before packages",)


def test_a_package_that_brings_something_else_is_said(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (5, [metric(), 5], [], "text"):
        with pytest.raises(Exception, match="no CustomMetric"):
            module._accept("p", wrong)
    assert module._accept("p", metric()) == (metric(),)


# --- what is measured -----------------------------------------------------------------------------------


def test_of_several_names_the_first_that_exists_counts_and_it_is_scaled() -> None:
    assert value_of(metric(names=("gone", "e:x", "e:y"), scale=0.001), "e:x 1500\ne:y 3\n") == 1.5
    assert value_of(metric(names=("gone",)), "e:x 1500\nvllm:num_requests_running 1\n") is None
    assert value_of(metric(), "e:x -2.5\n") == -2.5


def test_labels_are_summed_or_averaged() -> None:
    text = 'e:x{a="1"} 2\ne:x{a="2"} 4\n'
    assert value_of(metric(), text) == 6
    assert value_of(metric(kind="mean"), text) == 3


def test_counters_give_their_increase_speed_and_share() -> None:
    before, after = "e:x_total 10\ne:y_total 100\n", "e:x_total 40\ne:y_total 160\n"
    names = ("e:x_total",)
    assert value_of(metric(names=names, kind="total"), before, after) == 40
    assert value_of(metric(names=names, kind="delta"), before, after) == 30
    assert value_of(metric(names=names, kind="rate"), before, after) == 30
    assert value_of(metric(names=names, kind="rate"), after) is None
    assert value_of(metric(names=names, kind="ratio", over=("e:y_total",)), before, after) == 0.5
    first = measured([metric(names=names, kind="ratio", over=("e:y_total",))], before).custom[0]
    assert (first.value, first.since_start) == (0.1, True)


def test_a_histogram_gives_percentiles_and_the_average() -> None:
    text = 'e:h_bucket{le="1"} 50\ne:h_bucket{le="2"} 100\ne:h_bucket{le="+Inf"} 100\ne:h_sum 90\ne:h_count 100\n'
    got = measured([metric(kind, names=("e:h",), kind=kind) for kind in ("p50", "p95", "average")], text)
    assert [one.value for one in got.custom] == [1.0, pytest.approx(1.9), 0.9]


def test_it_is_read_of_the_engines_that_it_is_for() -> None:
    rows = [metric("any"), metric("ours", engine="vllm"), metric("other", engine="sglang")]
    assert [one.metric.name for one in measured(rows, "e:x 1\n").custom] == ["any", "ours"]
    # An engine that has no table of its own is asked where somebody says what it has.
    probe = EngineProbe("transformers", custom=rows)
    assert probe.observe("e:x 1\n", 1.0).custom[0].value == 1
    assert EngineProbe("transformers").read("http://127.0.0.1:1/v1").error == "transformers has no metrics endpoint"


def test_what_an_engine_tells_of_itself_stays_as_it_is() -> None:
    plain = EngineProbe("vllm")
    text = (CAPTURES / "vllm.txt").read_text()
    # A gauge that is called a counter goes down, which must not look like an engine that was restarted.
    odd = metric(names=("e:wrong_total",), kind="delta")
    added = EngineProbe("vllm", custom=[odd])
    for at, number in enumerate((5, 3)):
        one = plain.observe(text, float(at))
        two = added.observe(f"{text}e:wrong_total {number}\n", float(at))
    assert two.interval == one.interval == 1.0
    assert {**two.to_json(), "custom": {}} == one.to_json()
    assert two.to_json()["custom"] == {"x": None}


def test_a_value_of_a_real_engine() -> None:
    text = (CAPTURES / "llamacpp.txt").read_text()
    one = metric("busy", names=("llamacpp:n_busy_slots_per_decode",), engine="llamacpp")
    assert (value_of(one, text, backend="llamacpp") or 0) > 0


@given(st.sampled_from(sorted(UNITS)), st.one_of(st.none(), st.floats()))
def test_any_value_has_a_text(unit: str, value: float | None) -> None:
    text = metric(unit=unit).text(value, "-")
    assert text
    if value is None or not math.isfinite(value):
        assert text == "-"


@given(st.sampled_from(KINDS), st.text(max_size=60))
def test_no_scrape_makes_it_raise(kind: str, text: str) -> None:
    one = metric(kind=kind, over=("e:y",) if kind == "ratio" else ())
    measured([one], f"e:x {text}\n{text}", f"e:x 1\n{text}")


# --- where it goes --------------------------------------------------------------------------------------


def test_history_keeps_it() -> None:
    history = History()
    one = metric()
    for at in range(5):
        engines = {"run-1": EngineMetrics(custom=(CustomValue(one, float(at)),))}
        history.record(Tick(float(at), GpuReport(float(at)), Host(), engines))
    assert history.peak(custom_series("run-1", "x")) == 4.0


def shown(root: Path, **options: Any) -> Snapshot:
    """The stage's snapshot, with such a metric of the engine that answers."""
    plain = snapshot(root)
    run_id, engine = next(iter(plain.tick.engines.items()))
    value = CustomValue(metric("busy_slots", title="busy slots", **options), 2.5)
    engines = {**plain.tick.engines, run_id: replace(engine, custom=(value,))}
    return replace(plain, tick=replace(plain.tick, engines=engines))


def test_the_monitor_has_a_chart_of_it_after_the_first_ones(tmp_path: Path) -> None:
    found = shown(tmp_path)
    run_id = next(iter(found.tick.engines))
    group = next(one for one in lane_groups.groups(found) if any(lane.label == "busy slots" for lane in one.lanes))
    at = [lane.label for lane in group.lanes].index("busy slots")
    assert at == 6 and group.lanes[at].rank < 3  # beside the latencies, and one of the last to go
    assert group.lanes[at].series == (custom_series(run_id, "busy_slots"),)
    assert (group.lanes[at].form(2.5), group.lanes[at].form(None)) == ("2.5", "–")


def test_prometheus_gets_it(tmp_path: Path) -> None:
    found = shown(tmp_path)
    run_id = next(iter(found.tick.engines))
    text = ServeMetrics().text(found).decode()
    assert "# HELP vllm_studio_custom_busy_slots busy slots\n# TYPE vllm_studio_custom_busy_slots gauge\n" in text
    (line,) = [one for one in text.splitlines() if one.startswith("vllm_studio_custom_busy_slots{")]
    assert f'run="{run_id}"' in line
    assert line.endswith(" 2.5")


def test_the_command_prints_it_and_says_what_is_wrong_in_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    values = (
        CustomValue(metric("busy_slots", title="busy slots"), 2.5),
        CustomValue(metric("steps", unit="seconds", kind="p95"), 0.25, since_start=True),
        CustomValue(metric("gone"), None),
    )
    run = SimpleNamespace(recipe_id="r", run_id="r-1", backend="vllm", state="ready")
    command.show(run, EngineMetrics(custom=values))  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert "busy slots         2.5\n" in said
    assert "steps              250 ms  since its start\n" in said
    assert "gone               -\n" in said
