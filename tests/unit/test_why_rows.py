"""The box that says why it was slow: whole at every size, and harmless whatever a name or a sentence holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vllm_studio_tui.domain.why import Why
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.screens.monitor.why_rows import why_rows

NOW = 1_795_444_320.0
WHY = Why(
    "kv-preempt", "The KV cache was full, and prompts were computed twice.", True, "r", "qwen3-32b", NOW - 1040,
    NOW - 1100, NOW - 970, (NOW - 1800, NOW - 1200),
    ("KV 98% for 62 s: 12 requests of 25.2k tokens filled 302.6k of 308.8k.", "Output fell from 1790 to 214 tok/s.",
     "31 requests waited.", "a fourth"),
    ("power 590 of 700 W a GPU", "clocks full"), ("Requests queue.",), "Make room.", {"kv_cache_dtype": "fp8"}, "fp8",
    requests=43,
)  # fmt: skip
KEYS = [("f", "fp8 cache: room for 617.7k tokens", "(shows the change)"), ("p", "pin this moment", "")]


@pytest.mark.parametrize(
    ("size", "width", "rows"), [(Size.FULL, 160, 8), (Size.WIDE, 120, 8), (Size.BASE, 80, 4), (Size.COMPACT, 60, 2)]
)
def test_the_answer_stands_first_and_smaller_windows_keep_the_strongest_sentence(
    size: Size, width: int, rows: int
) -> None:
    made = why_rows(WHY, "qwen3-32b", WHY.at, NOW, width, size, KEYS)
    texts = [row.text(width) for row in made]
    assert len(made) == rows
    assert texts[0].strip().startswith("Why slow at 14:14?") and "KV cache" in texts[0]
    assert "KV 98%" in texts[1]
    assert ("f fp8 cache" in texts[-1]) is (size > Size.COMPACT), "the charts need that row, and the footer has keys"
    assert all(len(text) <= width for text in texts)
    assert all((row.plane, row.bar) == ("warnbg", "warn") for row in made)
    assert [text for _, text, style in made[1].pieces if style == "fg bold"] == ["98%"]


def test_what_is_not_slow_is_no_warning_and_what_is_looked_up_says_so() -> None:
    calm = replace(WHY, slow=False, rule="not-slow", title="It is not slower than before.", not_it=(), changes={})
    made = why_rows(calm, "q", NOW, NOW, 160, Size.FULL, [])
    assert made[0].plane == "panel" and "not slower" in made[0].text(160)
    looking = why_rows(None, "q", NOW, NOW, 160, Size.FULL, [])
    assert len(looking) == 1 and "looking" in looking[0].text(160)


def test_text_from_outside_cannot_reach_the_terminal() -> None:
    evil = replace(
        WHY, title="\x1b]0;x\x07" * 50, sentences=("\x1b[2J" + "9" * 9000,), not_it=("\x9b1m",), advice="\n\n"
    )
    for size, width in ((Size.FULL, 160), (Size.COMPACT, 60)):
        for row in why_rows(evil, "\x1b[31m", NOW, NOW, width, size, KEYS):
            assert "\x1b" not in row.text(width) and "\x9b" not in row.text(width)
