"""Rows around the transcript: its head, the status below the prompt, the list of chats."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat import Message, Session
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, fit
from vllm_studio_tui.tui.paint.run_words import stage_word

if TYPE_CHECKING:
    from vllm_studio_tui.services.chat.answer import Answer

#: Shares of the context from which it is shown as full, and as nearly full.
FULL, NEARLY = 1.0, 0.8


@dataclass(frozen=True, slots=True)
class ChatView:
    """Everything that is shown around the transcript.

    Attributes:
        last: The answer under the cursor of the transcript, else the last one; None without one.
        context: Tokens used and the most there may be; None where it is not known.
        waiting: How many questions wait to be sent.
        waits_for: The run that has to get ready first.
    """

    session: Session | None
    run: RunView | None
    recipe: str | None
    metrics: EngineMetrics | None
    settings: Mapping[str, Any]
    answer: Answer | None
    last: Message | None
    context: tuple[int | None, int | None]
    waiting: int
    following: bool
    editing: bool
    waits_for: str | None
    model_key: str = ""


def head_rows(view: ChatView, glyphs: Glyphs, width: int, size: Size) -> list[Row]:
    """Return the head: title, model, and how full the context is."""
    row = Row()
    x = 2 if width >= 50 else 1  # where the transcript begins
    end = width - 2
    used, limit = view.context
    if used is not None and limit is not None:
        share = used / limit
        colour = "err" if share >= FULL else "warn" if share >= NEARLY else "fg"
        text = f"{numbers.count(used)}/{numbers.count(limit)}"
        end = row.put_right(end, text, colour) - 1
        if size >= Size.BASE:
            bar = 10
            charts.put_bar(row, end - bar, glyphs, share, bar, colour if colour != "fg" else "data")
            end = row.put_right(end - bar - 1, "context", "dim") - 3
    elif used is not None:
        end = row.put_right(end, f"{numbers.count(used)} tok", "dim") - 3
    name = view.run.name if view.run is not None else view.recipe or ""
    if name:
        room = max(8, min(28, end - 30))
        name = fit(name, room)
        end = row.put_right(end, name, "fg")
        if view.run is not None:
            mark, colour = glyphs.state(view.run.state)
            row.put_right(end - 1, mark, colour)
            end -= 2
    title = view.session.title if view.session is not None else "New chat"
    row.put(x, title or "New chat", "fg bold", max(4, end - x - 3))
    if size < Size.BASE:
        return [row]
    line = Row()
    line.put(x, glyphs.hairline * max(0, width - x - 2), "track")
    return [row, line]


def status_row(view: ChatView, glyphs: Glyphs, width: int, size: Size) -> Row:
    """Below the prompt: what goes on, and what is set."""
    row = Row()
    x, end = 2, width - 2
    answer = view.answer
    loading = view.run is not None and view.run.state in (State.STARTING, State.LOADING, State.BACKOFF)
    if answer is not None:
        end = row.put_right(end, "esc stop", "dim") - 3
        spin = glyphs.state("loading")[0]
        if answer.first_token is None:
            row.run(x, [(f"{spin} ", "accent"), ("waiting for the first token  ", "dim"),
                        (numbers.duration(time.monotonic() - answer.began), "fg")])  # fmt: skip
        else:
            word = "writing" if answer.content else "thinking"
            parts = [(f"{spin} ", "accent"), (f"{word}  ", "dim")]
            if answer.speed is not None:
                parts += [(f"~{numbers.rate(answer.speed)}", "fg"), (" tok/s  ", "dim")]
            parts += [(f"~{answer.tokens}", "fg"), (" tok", "dim")]
            row.run(x, parts)
        return row
    if view.editing:
        row.run(x, [(f"{glyphs.changed} ", "warn"), ("editing an earlier question   ", "fg"), ("esc", "fg bold"),
                    (" leaves it as it was", "dim")])  # fmt: skip
        return row
    if loading and view.run is not None:
        status = view.run.status
        mark, colour = glyphs.state(view.run.state)
        parts = [(f"{mark} ", colour), (f"{view.run.name} is {view.run.state}", "fg")]
        if status.stage:
            parts.append((f"   {stage_word(status.stage)}", "dim"))
        if status.progress is not None:
            parts.append((f"   {numbers.percent(status.progress)}", "fg"))
        if view.waits_for:
            parts.append(("   sent when it is ready", "dim"))
        row.run(x, parts)
        return row
    if not view.following:
        end = row.put_right(end, "following off: G in the transcript", "dim") - 3
    else:
        right = []
        thinking = view.settings.get("thinking")
        if thinking is not None:
            right.append(f"thinking {'on' if thinking else 'off'}")
        if view.settings.get("temperature") is not None:
            right.append(f"temperature {view.settings['temperature']:g}")
        if view.settings.get("system"):
            right.append("system prompt")
        if right and size >= Size.BASE:
            end = row.put_right(end, "   ".join(right), "dim") - 3
    metrics = view.metrics
    if view.run is None and view.recipe is None:
        row.run(x, [("No model is up.   ", "dim"), (view.model_key, "fg bold"), (" choose one", "dim")])
    elif metrics is not None and metrics.running is not None and size >= Size.BASE:
        parts = [(f"{metrics.running}", "fg"), (" running   ", "dim"), (f"{metrics.waiting or 0}", "fg"),
                 (" waiting", "dim")]  # fmt: skip
        if metrics.kv_cache_usage is not None:
            parts += [("   KV ", "dim"), (numbers.percent(metrics.kv_cache_usage), "fg")]
        row.run(x, parts)
    elif view.run is not None and view.run.state is State.UNHEALTHY:
        row.run(x, [(f"{glyphs.warning} ", "warn"), (f"{view.run.name} does not answer its health check", "fg")])
    return row


def queue_rows(waiting: Sequence[str], width: int, height: int) -> list[Row]:
    """Questions that wait for their answer."""
    if not waiting:
        return []
    head = Row()
    head.run(2, [(f"{len(waiting)} waiting", "dim")])
    rows = [head]
    for text in waiting[:3]:
        row = Row()
        row.put(4, text, "faint", width - 6)
        rows.append(row)
    return rows


def session_rows(
    sessions: Sequence[Session],
    total: int,
    here: str | None,
    width: int,
    height: int,
    now: float,
    going: Container[str],
    glyphs: Glyphs,
    find_key: str,
) -> list[Row]:
    """Return the list of chats, by day. `going` holds the ids of those that are being answered."""
    head = Row(plane="surf")
    head.run(2, [("CHATS", "dim bold"), (f"  {total}", "faint")])
    start = head.put_right(width - 2, f"{find_key} find", "faint")
    head.link(start, width - 2, "chat.chats")
    rows = [Row(plane="surf"), head]
    group = ""
    for session in sessions:
        at = numbers.when(session.updated_at)
        name = day(at, now)
        if name != group:
            group = name
            title = Row(plane="surf")
            title.put(2, name, "faint")
            rows += [Row(plane="surf"), title]
        row = Row(key=session.id, plane="sel" if session.id == here else "surf")
        text = numbers.moment(at, now)
        row.put(2, session.title or "New chat", "fg bold" if session.id == here else "fg", width - 5 - len(text))
        if session.id in going:
            row.put_right(width - 2, glyphs.state("loading")[0], "accent")
        else:
            row.put_right(width - 2, text, "faint")
        row.link(0, width, f"chat:{session.id}")
        rows.append(row)
    if total > len(sessions):
        more = Row(plane="surf")
        more.put(2, f"{total - len(sessions)} more behind {find_key}", "faint")
        rows.append(more)
    return rows + [Row(plane="surf") for _ in range(height - len(rows))]


def day(at: float | None, now: float) -> str:
    """Return the heading of a chat that was used at this time."""
    if at is None:
        return "Earlier"
    here, then = time.localtime(now), time.localtime(at)
    if here[:3] == then[:3]:
        return "Today"
    if time.localtime(now - 86_400)[:3] == then[:3]:
        return "Yesterday"
    return "This week" if now - at < 7 * 86_400 else "Earlier"
