"""A failed run as rows: cause, advice, and the keys that repair it."""

from __future__ import annotations

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.paint.run_parts import RunFacts, head, starts
from vllm_studio_tui.tui.paint.run_words import engine_word


def failed_rows(facts: RunFacts, glyphs: Glyphs, width: int, size: Size, now: float) -> list[Row]:
    """Draw a failed run: cause, advice, and the keys that repair it."""
    run, status = facts.run, facts.run.status
    _, name_x, _, body = starts(width, size)
    first = head(facts, glyphs, width, size)
    when = numbers.moment(status.ended_at, now)
    ran = ""
    if status.ended_at and status.started_at:
        ran = f"after {numbers.duration(status.ended_at - status.started_at)}"
    room = width - body - (26 if size >= Size.WIDE else 2)
    title = wrap(_sentence(status.title or "it ended, and nothing says why"), max(10, room))
    out = [first]
    first.put(body, title[0], "fg")
    if size >= Size.WIDE:
        first.put_right(width - 2, f"{when}   {ran}", "dim")
    more = [(line, "fg") for line in title[1:3]]
    advice = wrap(status.advice or "", max(10, width - body - 2)) if status.advice else []
    more += [(line, "dim") for line in advice[: 2 if size >= Size.WIDE else 1]]
    if facts.since and size >= Size.BASE:
        more += [(line, "dim") for line in wrap(facts.since, max(10, width - body - 2))[:2]]
    if not more:
        evidence = status.evidence[-1] if status.evidence else "Its log says more."
        more = [(evidence, "dim")]
    for index, (text, style) in enumerate(more):
        row = Row(key=first.key)
        if index == 0:
            label = (run.model or engine_word(run)) if size >= Size.WIDE else engine_word(run)
            if size < Size.WIDE and when:
                label = f"{label}, {when}"
            row.put(name_x, label, "dim", body - name_x - 1)
        row.put(body, text, style, width - body - 2)
        out.append(row)
    keys = Row(key=first.key)
    x = body
    if facts.fix:
        start = x
        x = keys.put(x, "f", "accent bold")
        x = keys.put(x + 1, f"fix: {facts.fix}", "fg", max(8, width - x - 30)) + 3
        keys.link(start, x, "dashboard.fix")
    for key, word, action in (
        ("enter", "why", "dashboard.open"),
        ("e", "edit recipe", "dashboard.edit"),
        ("x", "dismiss", "dashboard.dismiss"),
    ):
        if x + len(key) + len(word) + 1 > width - 2:
            break
        after = keys.run(x, [(key, "fg bold"), (f" {word}", "dim")])
        keys.link(x, after, action)
        x = after + 3
    if size >= Size.FULL:
        out.append(Row(key=first.key))
    out.append(keys)
    for row in out:
        row.plane, row.bar = "errbg", "err"
    return out


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
