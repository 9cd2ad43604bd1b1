"""The list of alerts: what speaks first, then what spoke, then the quiet rules; and limits as people write them."""

from __future__ import annotations

import pytest

from vllm_studio_tui.domain.alerts import Alert, AlertRule
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.monitor.alert_rows import alert_rows, put_alerts
from vllm_studio_tui.tui.screens.monitor.flows import limit_of

NOW = 1_795_444_320.0
RULES = [
    AlertRule("died", "engine_died", words="engine died"),
    AlertRule("kv", "kv_cache", above=0.95, words="KV over 95% for 30 s"),
    AlertRule("hot", "gpu_temperature", above=85, words="GPU over 85 °C for 60 s"),
    AlertRule("off", "disk_free", enabled=False, words="disk under 20 GiB"),
]
DIED = Alert("died", "llama-3.3-70b", NOW - 660, "trouble", words="engine died")
OVER = Alert("kv", "qwen3-32b", NOW - 1080, until=NOW - 960, words="KV over 95% for 30 s")


def test_what_speaks_stands_before_what_is_over_and_quiet_rules_are_last() -> None:
    lines = alert_rows(RULES, [OVER, DIED], [DIED], UNICODE, NOW)
    texts = [" ".join(text for text, _ in line) for line in lines]
    assert texts == [
        "ALERTS   2 of 3 rules spoke today",
        "✕ 14:21 engine died llama-3.3-70b",
        "▲ 14:14 KV over 95% for 30 s over 14:16",
        "○ – GPU over 85 °C for 60 s ",
    ]


def test_beside_the_processes_nothing_is_covered_and_what_has_no_row_is_counted() -> None:
    lines = alert_rows(RULES, [OVER], [DIED], UNICODE, NOW)
    rows = [Row(key="pid:1")]
    rows[0].put(3, "a process", "fg")
    made = put_alerts(rows, lines, 116, 160, 3)
    assert len(made) == 3 and made[0].text(160).startswith("   a process")
    assert made[0].text(160).rstrip().endswith("1 more")
    assert all(len(row.text(400)) <= 160 for row in made)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("> 95% for 30 s", {"above": "95%", "for": 30.0}),
        ("below 20 GiB", {"below": "20 GiB"}),
        ("<10 for 2 min", {"below": "10", "for": 120.0}),
        ("2 s", {"above": "2 s"}),
        ("", None),
        ("> > 3", None),
    ],
)
def test_a_limit_is_read_as_people_write_it(text: str, fields: dict[str, object] | None) -> None:
    assert limit_of(text) == fields
