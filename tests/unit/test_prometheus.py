"""Reading the Prometheus text format."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from vllm_studio_tui.kit import prometheus

FIXTURES = Path(__file__).parent.parent / "fixtures" / "metrics"

names = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,12}", fullmatch=True)
label_names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(lambda s: not s.startswith("__"))
label_values = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.floats(allow_nan=True, allow_infinity=True)


def escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def exposition(rows: list[tuple[str, dict[str, str], float]]) -> str:
    lines = []
    for name, labels, value in rows:
        inner = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{'{' + inner + '}' if inner else ''} {value!r}")
    return "\n".join(lines) + "\n"


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@given(st.lists(st.tuples(names, st.dictionaries(label_names, label_values, max_size=4), values), max_size=12))
def test_generated_expositions_read_as_written_and_as_the_reference_parser_reads_them(
    rows: list[tuple[str, dict[str, str], float]],
) -> None:
    text = exposition(rows)
    ours = [(name, labels, value) for name, some in prometheus.parse(text).items() for labels, value in some]
    by_name = sorted(rows, key=lambda row: row[0])
    assert len(ours) == len(rows)
    for (name, labels, value), mine in zip(by_name, sorted(ours, key=lambda row: row[0]), strict=True):
        assert (mine[0], mine[1]) == (name, labels)
        assert same(mine[2], value)
    # The reference splits lines at every character Python knows, and so cannot read some label values.
    if len(text.splitlines()) == len(rows) and "\r" not in text:
        theirs = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        assert sorted((s.name, sorted(s.labels.items())) for s in theirs) == sorted(
            (name, sorted(labels.items())) for name, labels, _ in ours
        )


@given(st.binary(max_size=400) | st.text(max_size=400))
def test_nothing_that_arrives_makes_it_fail(text: str | bytes) -> None:
    for rows in prometheus.parse(text).values():
        assert rows
        assert all(isinstance(value, float) for _, value in rows)


@given(st.lists(st.sampled_from(["a", "{", "}", '"', "\\", "=", ",", " ", "1", "\n", "#", "le"]), max_size=60))
def test_broken_syntax_never_makes_it_fail(pieces: list[str]) -> None:
    prometheus.parse("".join(pieces))


def test_real_captures_read_as_the_reference_parser_reads_them() -> None:
    for file in sorted(FIXTURES.glob("*.txt")):
        text = file.read_text()
        theirs: dict[str, list[tuple[dict[str, str], float]]] = {}
        # Without its types, by which the reference renames counters that do not end in _total.
        untyped = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
        for family in text_string_to_metric_families(untyped):
            for sample in family.samples:
                theirs.setdefault(sample.name, []).append((sample.labels, sample.value))
        assert prometheus.parse(text) == theirs, file.name


def test_only_wanted_names_are_kept() -> None:
    text = (FIXTURES / "vllm.txt").read_text()
    wanted = frozenset({"vllm:generation_tokens_total", "vllm:num_requests_running"})
    assert prometheus.parse(text, wanted) == {
        name: rows for name, rows in prometheus.parse(text).items() if name in wanted
    }
    assert set(prometheus.parse(text.encode(), wanted)) == wanted


def test_timestamps_exemplars_and_quoted_names_are_understood() -> None:
    text = 'a 1 1700000000\nb_bucket{le="1",} 2 # {trace_id="x"} 0.5\n{"c.d", x="y"} 3\r\n'
    assert prometheus.parse(text) == {
        "a": [({}, 1.0)],
        "b_bucket": [({"le": "1"}, 2.0)],
        "c.d": [({"x": "y"}, 3.0)],
    }


def test_lines_that_are_no_samples_are_left_out() -> None:
    broken = ['a{b="1" 2', "a{b=1} 2", "a", "a x", "a 1_000", "a-b 1", 'a{b="1"c="2"} 1', '{b="1"} 2', "= 1"]
    assert prometheus.parse("\n".join([*broken, "good 1"])) == {"good": [({}, 1.0)]}


def test_sizes_are_bounded() -> None:
    assert prometheus.parse("a" * (prometheus.MAX_LINE + 1) + " 1\nb 2") == {"b": [({}, 2.0)]}
    many = ",".join(f'l{n}="x"' for n in range(prometheus.MAX_LABELS + 1))
    assert prometheus.parse(f"a{{{many}}} 1") == {}
    flood = prometheus.parse("a 1\n" * (prometheus.MAX_SAMPLES + 10))
    assert len(flood["a"]) == prometheus.MAX_SAMPLES


def test_a_total_is_of_the_first_name_that_exists_and_ignores_nan() -> None:
    samples = prometheus.parse('new{e="0"} 2\nnew{e="1"} NaN\nnew{e="2"} 3\nold 100\nodd NaN')
    assert prometheus.total(samples, ("new", "old")) == 5
    assert prometheus.total(samples, ("missing", "old")) == 100
    assert prometheus.mean(samples, ("new",)) == 2.5
    assert prometheus.total(samples, ("missing",)) is None
    assert prometheus.total(samples, ("odd",)) is None


def test_buckets_are_summed_over_labels_and_sorted_by_edge() -> None:
    text = "\n".join(
        f'h_bucket{{e="{e}",le="{le}"}} {n}'
        for e in (0, 1)
        for le, n in (("+Inf", 7), ("10.0", 5), ("2.5", 3), ("x", 9))
    )
    assert prometheus.buckets(prometheus.parse(text), "h") == [(2.5, 6), (10.0, 10), (math.inf, 14)]
    assert prometheus.buckets(prometheus.parse(text), "missing") == []


huge = st.sampled_from(["1e308", "-1e308", "9" * 400, "Inf", "-Inf", "NaN", "1e-400", "0", "1"])


@given(st.lists(st.tuples(st.sampled_from(["a_total", "a_sum", 'a_bucket{le="1"}', 'a_bucket{le="+Inf"}']), huge)))
def test_numbers_at_the_end_of_what_a_float_holds_are_summed_or_unknown(rows: list[tuple[str, str]]) -> None:
    samples = prometheus.parse("\n".join(f"{name} {value}" for name, value in rows))
    for number in (prometheus.total(samples, ["a_total"]), prometheus.mean(samples, ["a_total"])):
        assert number is None or math.isfinite(number)
    assert all(math.isfinite(count) for _, count in prometheus.buckets(samples, "a"))


UNITS = [
    "{",
    "}",
    '"',
    "\\",
    ",",
    "=",
    " ",
    "\t",
    "a",
    "1",
    'a="',
    'a="b",',
    '"a",',
    'a="\\"',
    'a= "',
    ", ,",
    "#",
    "=1 ",
]


@pytest.mark.parametrize("unit", [one + other for one in UNITS for other in ("", *UNITS)])
def test_whatever_is_repeated_in_a_line_costs_what_its_length_costs(unit: str) -> None:
    size = prometheus.MAX_LINE - 8

    def cost(text: str) -> float:
        begin = time.thread_time()
        prometheus.parse(text)
        return time.thread_time() - begin

    usual = max(cost("a{" + 'b="c",' * (size // 6)), 1e-4)
    # What runs over a line again from each of its characters costs thousands of times as much.
    assert min(cost(start + unit * (size // len(unit))) for start in ("a{", "a{", "a{")) < 200 * usual
    assert cost(unit * (size // len(unit))) < 200 * usual


_LINE_PARTS = st.sampled_from(
    ["x", "y_total", "{", "}", 'a="1"', 'b="}"', 'c="{"', ",", " ", "1", "2.5", "NaN", "#", "\t", '"']
)


@given(st.lists(st.lists(_LINE_PARTS, max_size=9).map("".join), max_size=8), st.booleans())
def test_what_is_remembered_of_lines_changes_nothing(lines: list[str], some: bool) -> None:
    text, wanted = "\n".join(lines), {"x"} if some else None
    heads: prometheus.Heads = {}
    plain = repr(prometheus.parse(text, wanted))
    assert repr(prometheus.parse(text, wanted, heads)) == plain
    assert repr(prometheus.parse(text, wanted, heads)) == plain


@pytest.mark.parametrize("name", ["vllm", "sglang", "llamacpp"])
def test_a_real_scrape_is_the_same_with_what_is_remembered(name: str) -> None:
    text = (Path(__file__).parent.parent / "fixtures" / "metrics" / f"{name}.txt").read_text()
    heads: prometheus.Heads = {}
    for _ in range(2):
        assert repr(prometheus.parse(text, None, heads)) == repr(prometheus.parse(text))
    assert len(heads) <= prometheus.MAX_HEADS
