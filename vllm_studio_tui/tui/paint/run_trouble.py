"""A run that failed or does not answer as a block: what happened, what to do, and the keys that repair it."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.elsewhere import trouble_of
from vllm_studio_tui.runs.unhealthy import unhealthy_since, what_comes, why_unhealthy
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, cut_lines
from vllm_studio_tui.tui.paint.run_parts import RunFacts, head, starts
from vllm_studio_tui.tui.paint.run_words import engine_word

#: A key, its word, and the action that a click on it runs.
Key = tuple[str, str, str]


def trouble_rows(facts: RunFacts, glyphs: Glyphs, width: int, size: Size, now: float) -> list[Row]:
    """Draw a run that failed or does not answer."""
    run, status = facts.run, facts.run.status
    body = starts(size, facts.names)[3]
    room = max(10, width - body - 2)
    keys: list[Key] = [("enter", "why", "dashboard.open")]
    if run.state is State.UNHEALTHY:
        since = unhealthy_since(run)
        right = f"for {numbers.duration(now - since)}" if since is not None else ""
        titles, advice = _sentence(why_unhealthy(run)), what_comes(run, now)
        keys += [("s", "stop", "dashboard.stop"), ("L", "log", "dashboard.log")]
    else:
        right = numbers.moment(status.ended_at, now)
        if status.ended_at and status.started_at:
            right = f"{right}   after {numbers.duration(status.ended_at - status.started_at)}"
        titles, advice = _sentence(status.title or "it ended, and nothing says why"), status.advice or ""
        if facts.fix:
            keys.insert(0, ("f", f"fix: {facts.fix}", "dashboard.fix"))
        keys += [
            ("r", "run again", "dashboard.run"),
            ("e", "edit", "dashboard.edit"),
            ("d", "dismiss", "dashboard.dismiss"),
        ]
    wide = size >= Size.WIDE
    title = cut_lines(titles, max(10, room - (len(right) + 3 if wide else 0)), 2)
    more = [(line, "fg") for line in title[1:]]
    more += [(line, "dim") for line in cut_lines(advice, room, 2 if wide else 1)] if advice else []
    if words := trouble_of(run):
        more.insert(len(title) - 1, (f"{glyphs.warning} {words}", "fg"))
    if not more:
        more = [(status.evidence[-1] if status.evidence else "Its log says more.", "dim")]
    if run.state is State.FAILED:
        # What has changed since it worked is looked up later: its rows are there before, so that none below moves.
        kept = 2 if size >= Size.FULL else 1
        changed = cut_lines(facts.since, room, kept) if facts.since else []
        more += [(line, "dim") for line in [*changed, *[""] * (kept - len(changed))]]
    elif size >= Size.FULL:
        more.append(("", "dim"))
    first = head(facts, glyphs, size)
    first.put(body, title[0], "fg", room)
    if wide:
        first.put_right(width - 2, right, "dim")
    label = (
        (run.model or engine_word(run))
        if wide
        else f"{engine_word(run)}, {right.split('  ')[0]}"
        if right
        else engine_word(run)
    )
    return _block(first, more, label, keys, facts, width, size)


def _block(
    first: Row,
    more: Sequence[tuple[str, str]],
    label: str,
    keys: Sequence[Key],
    facts: RunFacts,
    width: int,
    size: Size,
) -> list[Row]:
    _, name_x, _, body = starts(size, facts.names)
    out = [first]
    for index, (text, style) in enumerate(more):
        row = Row(key=first.key)
        if index == 0:
            row.put(name_x, label, "dim", body - name_x - 1)
        row.put(body, text, style, width - body - 2)
        out.append(row)
    row = Row(key=first.key)
    x = body
    for index, (key, word, action) in enumerate(keys):
        if x + len(key) + len(word) + 1 > width - 2:
            break
        after = row.run(
            x, [(key, "accent bold" if index == 0 else "fg bold"), (f" {word}", "fg" if index == 0 else "dim")]
        )
        row.link(x, after, action)
        x = after + 3
    out.append(row)
    for row in out:
        row.plane, row.bar = ("warnbg", "warn") if facts.run.state is State.UNHEALTHY else ("errbg", "err")
    return out


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
