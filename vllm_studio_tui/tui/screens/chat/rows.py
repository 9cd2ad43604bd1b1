"""Rows around the transcript: its head, the status below the prompt, the list of chats."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from vllm_studio_tui.domain.chat import Message, Session
from vllm_studio_tui.domain.context import ContextReport, level_of
from vllm_studio_tui.domain.draft import Draft
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, fit
from vllm_studio_tui.tui.screens.chat import loading

if TYPE_CHECKING:
    from vllm_studio_tui.runs.estimate import Start
    from vllm_studio_tui.services.chat.answer import Answer
    from vllm_studio_tui.services.chat.calls import Calls

#: Colours of how full the context is.
LEVELS = {"full": "err", "nearly": "warn", "filling": "warn", "": "fg"}


@dataclass(frozen=True, slots=True)
class ChatView:
    """Everything that is shown around the transcript.

    Attributes:
        last: The answer under the cursor of the transcript, else the last one; None without one.
        context: Tokens used and the most there may be; None where it is not known.
        waiting: How many questions wait to be sent.
        below: Lines below what is visible of the transcript.
        waits_for: The run that has to get ready first.
        calls: The calls of the answer that comes.
        rounds: How many rounds of calls the answer had, and how many calls.
        tools: Tools of the chat: what each is called, whether it is on, whether it asks.
        reading: The keys go to the transcript.
        earlier: Earlier starts of the recipe that got ready, while its run is on its way.
        now: When the runs were looked at.
        tab: Which of the open chats it is, such as `2/3`, where they have no row of their own.
        awaits: Tool servers that are waited for, before the question is sent.
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
    below: int
    editing: bool
    waits_for: str | None
    model_key: str = ""
    report: ContextReport | None = None
    calls: Calls | None = None
    rounds: tuple[int, int] = (0, 0)
    tools: Sequence[tuple[str, bool, str]] = ()
    reading: bool = False
    tools_key: str = ""
    earlier: Sequence[Start] = ()
    now: float = 0.0
    tab: str = ""
    awaits: Sequence[str] = ()

    @property
    def level(self) -> str:
        """How full the context is: `full`, `nearly`, `filling` or empty."""
        return level_of(*self.context)

    @property
    def guess(self) -> str:
        """What stands before a number of tokens that nobody really counted."""
        report = self.report
        counted = report is not None and (report.total.by.exact or report.total.tokens != self.context[0])
        return "" if report is None or counted else "~"


def head_rows(view: ChatView, glyphs: Glyphs, width: int, size: Size) -> list[Row]:
    """Return the head: title, model, and how full the context is."""
    row = Row()
    x = 2 if width >= 50 else 1  # where the transcript begins
    end = width - 2
    used, limit = view.context
    if used is not None and limit is not None:
        share = used / limit
        colour = LEVELS[level_of(used, limit)]
        text = f"{view.guess}{numbers.count(used)}/{numbers.count(limit)}"
        end = row.put_right(end, text, colour) - 1
        if size >= Size.BASE:
            bar = 10
            charts.put_bar(row, end - bar, glyphs, share, bar, colour if colour != "fg" else "data")
            end = row.put_right(end - bar - 1, "context", "dim") - 3
    elif used is not None:
        end = row.put_right(end, f"{view.guess}{numbers.count(used)} tok", "dim") - 3
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
    if size < Size.COMPACT and view.run is not None:  # there is no line below the prompt
        title = loading.head_words(view.run, view.earlier, view.now) or title
    if view.tab:
        x = row.put(x, view.tab, "dim") + 1
    row.put(x, title or "New chat", "fg bold", max(4, end - x - 3))
    if size < Size.BASE:
        return [row]
    line = Row()
    line.put(x, glyphs.hairline * max(0, width - x - 2), "track")
    return [row, line]


def status_row(view: ChatView, glyphs: Glyphs, width: int, size: Size) -> Row:
    """Below the prompt: what goes on, and at the right what is not seen and what is set."""
    row = Row()
    at = row.run(2, _going_on(view, glyphs, width, size)) + 3
    right = []
    if view.below:
        lines = "line" if view.below == 1 else "lines"
        right.append((f"{glyphs.down} {numbers.count(view.below)} {lines} below", "accent"))
    if view.answer is not None:
        waits = view.calls is not None and bool(view.calls.waiting)
        right.append(("esc deny" if waits else "esc stop", "dim"))
    elif not view.editing and size >= Size.BASE:
        right += [(text, "dim") for text in _set(view)]
    end = width - 2
    for text, style in reversed(right[:1] if at + sum(cell_len(text) + 3 for text, _ in right) > width else right):
        if at + cell_len(text) <= end:
            end = row.put_right(end, text, style) - 3
    return row


def _set(view: ChatView) -> list[str]:
    """Return what is set for the chat, in words."""
    settings, found = view.settings, []
    if settings.get("preset"):
        found.append(f"preset {settings['preset']}")
    if settings.get("thinking") is not None:
        found.append(f"thinking {'on' if settings['thinking'] else 'off'}")
    if isinstance(settings.get("temperature"), int | float):
        found.append(f"temperature {settings['temperature']:g}")
    if settings.get("form"):
        found.append("form of answers")
    if settings.get("tool_choice"):
        found.append(f"tool choice {clean_line(str(settings['tool_choice']), limit=40)}")
    if settings.get("system"):
        found.append("system prompt")
    on = sum(1 for _, chosen, _ in view.tools if chosen)
    if on:
        found.append(f"tools {on} of {len(view.tools)}" if on < len(view.tools) else f"tools {on}")
    return found


def _going_on(view: ChatView, glyphs: Glyphs, width: int, size: Size) -> list[tuple[str, str]]:
    """Return what goes on: the answer, an edit, the engine."""
    answer, run, metrics = view.answer, view.run, view.metrics
    if answer is not None and view.calls is not None and (told := _calls(view, view.calls, glyphs)):
        return told
    if answer is not None:
        spin = (f"{glyphs.state('loading')[0]} ", "accent")
        if answer.first_token is None:
            waited = numbers.duration(time.monotonic() - answer.began)
            if view.awaits:
                names = clean_line(", ".join(view.awaits), limit=60)
                return [spin, (f"starting the tools of {names}  ", "dim"), (waited, "fg")]
            return [spin, ("waiting for the first token  ", "dim"), (waited, "fg")]
        parts = [spin, (f"{'writing' if answer.content else 'thinking'}  ", "dim")]
        if answer.speed is not None:
            parts += [(f"~{numbers.rate(answer.speed)}", "fg"), (" tok/s  ", "dim")]
        return [*parts, (f"~{answer.tokens}", "fg"), (" tok", "dim")]
    if view.editing:
        return [(f"{glyphs.changed} ", "warn"), ("editing an earlier question   ", "fg"), ("esc", "fg bold"),
                (" leaves it as it was", "dim")]  # fmt: skip
    if run is not None and not run.live and run.state is State.FAILED and not run.dismissed:
        return loading.failed_parts(run, glyphs, size, width)
    if run is None or not run.live:
        if view.recipe is None and run is None:
            return [("No model is up.   ", "dim"), (view.model_key, "fg bold"), (" choose one", "dim")]
        name = run.name if run is not None else view.recipe or ""
        return [(f"{name} is not running.   ", "dim"), ("/load", "fg bold"), (" starts it", "dim")]
    if run.state in loading.COMING:
        return loading.status_parts(run, view.earlier, view.waits_for is not None, glyphs, width - 4, view.now)
    if view.level in ("nearly", "full"):
        words = "the context is full" if view.level == "full" else "the context is nearly full"
        return [(f"{glyphs.warning} ", LEVELS[view.level]), (f"{words}   ", "fg"), ("/compact", "fg bold"),
                (" makes it shorter", "dim")]  # fmt: skip
    if view.report is not None and view.report.heavy_tools:
        share = numbers.percent(view.report.tools_share)
        taken = f"tools take {share} of the context   "
        return [(f"{glyphs.warning} ", "warn"), (taken, "fg"), (view.tools_key, "fg bold"), (" offers fewer", "dim")]
    if metrics is not None and metrics.running is not None and size >= Size.BASE:
        parts = [(f"{metrics.running}", "fg"), (" running   ", "dim"), (f"{metrics.waiting or 0}", "fg"),
                 (" waiting", "dim")]  # fmt: skip
        if metrics.kv_cache_usage is not None:
            parts += [("   KV ", "dim"), (numbers.percent(metrics.kv_cache_usage), "fg")]
        return parts
    if run.state is State.UNHEALTHY:
        return [(f"{glyphs.warning} ", "warn"), (f"{run.name} does not answer its health check", "fg")]
    return []


def _calls(view: ChatView, calls: Calls, glyphs: Glyphs) -> list[tuple[str, str]]:
    """Return which call waits or is made; nothing where none is."""
    waiting, running = calls.waiting, calls.running
    if waiting:
        more = f"   {len(waiting)} calls" if len(waiting) > 1 else ""
        way = [] if view.reading else [("   tab", "fg bold"), (" to it", "dim")]
        return [(f"{glyphs.warning} ", "warn"), ("waits for you", "fg"), (more, "dim"), *way]
    if running:
        name = clean_line(running[0].server_and_title[1], limit=40)
        more = f" and {len(running) - 1} more" if len(running) > 1 else ""
        took = numbers.duration(time.monotonic() - min(one.since for one in running))
        return [(f"{glyphs.state('loading')[0]} ", "accent"), (f"calling {name}{more}  ", "dim"), (took, "fg")]
    return []


def queue_rows(waiting: Sequence[Draft], width: int, height: int) -> list[Row]:
    """Questions that wait for their answer."""
    if not waiting:
        return []
    head = Row()
    head.run(2, [(f"{len(waiting)} waiting", "dim")])
    rows = [head]
    for one in waiting[:3]:
        row = Row()
        row.put(4, one.title, "faint", width - 6)
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
    unseen: Container[str] = (),
) -> list[Row]:
    """Return the list of chats, by day.

    Args:
        going: The ids of those that are being answered.
        unseen: Of those whose answer ended while another was shown.
    """
    head = Row(plane="surf")
    head.run(2, [("CHATS", "dim bold"), (f"  {total}", "faint")])
    start = head.put_right(width - 2, f"{find_key} find", "faint")
    head.link(start, width - 2, "chat.chats")
    rows = [Row(plane="surf"), head]
    group = ""
    for session in sessions:
        at = numbers.when(session.updated_at)
        name = "Pinned" if session.pinned_at is not None else day(at, now)
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
        elif session.id in unseen:
            row.put_right(width - 2, f"{text} {glyphs.bullet}", "accent")
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
