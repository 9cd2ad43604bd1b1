"""The rail beside the transcript: figures of the answer, the engine, what is set for this chat."""

from __future__ import annotations

import itertools

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.domain.chat_settings import form_of, shaped
from vllm_studio_tui.domain.context import CountedBy
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.sampling import PARAMETERS, written
from vllm_studio_tui.domain.tools import MAX_ROUNDS
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.chat.calls import Calls
from vllm_studio_tui.tui.document import figures
from vllm_studio_tui.tui.document.figures import generated_tokens, speed
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, fit, wrap
from vllm_studio_tui.tui.paint.run_words import engine_word
from vllm_studio_tui.tui.screens.chat import loading
from vllm_studio_tui.tui.screens.chat.rows import ChatView

#: Who counted the tokens of a chat.
COUNTED = {
    CountedBy.ENGINE: "counted by the engine",
    CountedBy.FILES: "counted by the model's files",
    CountedBy.WORDS: "words counted, the rest guessed",
    CountedBy.ESTIMATE: "a guess by letters",
}
#: Requests at once from which it is said that the energy is a share.
MANY = 1.5
#: The first cell of text, of values, and the cells of a bar.
TEXT, VALUE, BAR = 3, 16, 8


def rail_rows(view: ChatView, glyphs: Glyphs, width: int, height: int, settings_key: str) -> list[Row]:
    """Return the rail. What is not known has no line."""
    parts = [_answer(view, glyphs, width), _context(view, glyphs, width), _engine(view, glyphs, width)]
    rows: list[Row] = []
    for part in parts:
        if part:
            rows += [*part, Row()]
    rows += _settings(view, width, settings_key)
    if view.tools:
        rows += [Row(), *_tools(view, glyphs, width)]
    rows = [Row(), *rows][:height]
    rows += [Row() for _ in range(height - len(rows))]
    for row in rows[1:]:
        row.put(0, glyphs.inside, "track")
    return rows


def _answer(view: ChatView, glyphs: Glyphs, width: int) -> list[Row]:
    """Figures of the answer under the cursor; while one comes the status below the prompt has them."""
    last = view.last
    if view.answer is not None and view.calls is not None and view.calls.all:
        return _rounds(view.calls, glyphs, width)
    if last is None or view.answer is not None:
        return []
    usage, timings = last.usage, last.timings
    facts = []
    if (queue := figures.engine_figure(last, "queue_seconds")) is not None:
        facts.append(("queue", numbers.latency(queue)))
    if timings.ttft is not None:
        facts.append(("TTFT", numbers.latency(timings.ttft)))
    if usage.prompt_tokens is not None:
        facts.append(("prompt", f"{numbers.count(usage.prompt_tokens)} tok"))
    if (hit := figures.cached(last)) is not None:
        facts.append(("cached", f"{numbers.count(hit[0])} of {numbers.count(hit[1])}"))
    if (reading := figures.engine_figure(last, "prefill_tps")) is not None:
        facts.append(("read at", f"{numbers.rate(reading)} tok/s"))
    if usage.reasoning_tokens:
        facts.append(("thinking", f"{numbers.count(usage.reasoning_tokens)} tok"))
    elif timings.thinking is not None:
        facts.append(("thinking", numbers.latency(timings.thinking)))
    if tokens := generated_tokens(last):
        facts.append(("answer", f"{tokens} tok"))
    if rate := speed(last):
        facts.append(("speed", f"{rate} tok/s"))
    if timings.total is not None:
        facts.append(("took", numbers.latency(timings.total)))
    facts += _during(last)
    if view.rounds[0]:
        rounds, calls = view.rounds
        facts.append(("rounds", f"{rounds} of {MAX_ROUNDS}, {calls} {'call' if calls == 1 else 'calls'}"))
    if not facts:
        return []
    if last.model:
        facts.append(("model", last.model))
    rows = [_head("THIS ANSWER", width), *(_fact(label, text, width) for label, text in facts)]
    if last.details.get("engine") and (here := figures.measured_here(last)):
        row = Row()
        row.put(TEXT, f"measured here: {', '.join(here)}", "faint", width - TEXT - 1)
        rows.append(row)
    elif last.timings.total is not None:
        row = Row()
        row.put(TEXT, "times measured here", "faint", width - TEXT - 1)
        rows.append(row)
    return rows


def _during(answer: Message) -> list[tuple[str, str]]:
    """Return what went on at the engine while an answer came."""
    share, facts = figures.during(answer), []
    if energy := figures.energy(answer):
        facts.append(("energy", energy))
        if share is not None and share.requests >= MANY:
            facts.append(("shared by", f"{share.requests:.0f} requests"))
    if preempted := figures.preempted(answer):
        facts.append(("engine", preempted))
    return facts


def _rounds(calls: Calls, glyphs: Glyphs, width: int) -> list[Row]:
    """Return what became of the calls of an answer that comes."""
    rows = [_head("THIS ANSWER", width), _fact("rounds", f"{calls.number} of {MAX_ROUNDS}", width)]
    words = {"waiting": "wait for you", "running": "being made", "done": "done", "failed": "failed", "denied": "denied"}
    words |= {"repeated": "as before"}
    for state, text in words.items():
        count = sum(1 for one in calls.all if one.state == state)
        if count:
            rows.append(_fact("calls" if len(rows) == 2 else "", f"{count} {text}", width))
    return rows


def _tools(view: ChatView, glyphs: Glyphs, width: int) -> list[Row]:
    """Return the tools of the chat, those that are on first."""
    on = [one for one in view.tools if one[1]]
    count = f"{len(on)} of {len(view.tools)} on" if len(on) < len(view.tools) else f"{len(on)} on"
    head = _head("TOOLS", width, count)
    head.link(TEXT, width - 1, "chat.tools")
    rows = [head]
    for name, chosen, note in (*on, *(one for one in view.tools if not one[1])):
        row = Row()
        end = (
            row.put_right(width - 1, note if chosen else "off", "dim" if chosen else "faint")
            if note or not chosen
            else width
        )
        mark, colour = (glyphs.passed, "ok") if chosen else (glyphs.pending, "faint")
        row.run(TEXT, [(f"{mark} ", colour)])
        row.put(TEXT + 2, name, "fg" if chosen else "faint", max(4, end - TEXT - 4))
        rows.append(row)
    return rows


def _context(view: ChatView, glyphs: Glyphs, width: int) -> list[Row]:
    used, limit = view.context
    if used is None or limit is None:
        return []
    row = _fact("used", f"{view.guess}{numbers.count(used)}", width)
    charts.put_bar(row, VALUE + 7, glyphs, min(1.0, used / limit), BAR)
    rows = [_head("CONTEXT", width, f"{numbers.count(limit)} tokens"), row]
    report = view.report
    if report is None or report.total.tokens != used:
        return rows
    parts = report.parts()
    for name, tokens in parts if len(parts) > 1 else ():
        row = _fact(name, numbers.count(tokens), width)
        charts.put_bar(row, VALUE + 7, glyphs, min(1.0, tokens / limit), BAR)
        rows.append(row)
        if name == "tools" and report.heavy_tools:
            row = Row()
            words = f"{numbers.percent(report.tools_share)} for tools alone"
            row.run(TEXT, [(f"{glyphs.warning} ", "warn"), (fit(words, width - TEXT - 3), "fg")])
            rows.append(row)
    notes = [COUNTED[report.total.by]]
    if report.left_out:
        notes.append(f"{report.left_out} of {report.messages} messages left out")
    if report.unseen_tools:
        notes.append("its template leaves the tools out")
    if report.unknown_tools:
        notes.append(f"without the tools of {', '.join(report.unknown_tools)}")
    if report.pictures:
        notes.append(f"{report.pictures} {'picture' if report.pictures == 1 else 'pictures'} not counted")
    if report.cuts_answer:
        notes.append(f"no room for {report.answer} tokens more")
    for line in itertools.chain.from_iterable(wrap(note, max(8, width - TEXT - 1)) for note in notes):
        row = Row()
        row.put(TEXT, line, "faint", width - TEXT - 1)
        rows.append(row)
    return rows


def _engine(view: ChatView, glyphs: Glyphs, width: int) -> list[Row]:
    run, metrics = view.run, view.metrics or EngineMetrics()
    rows = [_head("ENGINE", width)]
    if run is None:
        row = Row()
        words = "No model is up." if view.recipe is None else f"{view.recipe} is not running."
        row.put(TEXT, words, "dim", width - TEXT - 1)
        return [*rows, row]
    mark, colour = glyphs.state(run.state)
    row = Row()
    row.run(TEXT, [(f"{mark} ", colour), (str(run.state), colour), (f"  {engine_word(run)}", "dim")])
    rows.append(row)
    if run.state in loading.COMING:
        return rows + loading.rail_rows(run, view.earlier, glyphs, TEXT, width, view.now)
    facts = (
        ("running", None if metrics.running is None else str(metrics.running)),
        ("waiting", None if metrics.waiting is None else str(metrics.waiting)),
        ("speed", None if metrics.generation_tokens_per_second is None
         else f"{numbers.rate(metrics.generation_tokens_per_second)} tok/s"),
        ("TTFT p95", None if metrics.ttft.p95 is None else numbers.latency(metrics.ttft.p95)),
    )  # fmt: skip
    rows += [_fact(label, text, width) for label, text in facts if text is not None]
    if metrics.kv_cache_usage is not None:
        row = _fact("KV cache", numbers.percent(metrics.kv_cache_usage), width)
        charts.put_bar(row, VALUE + 7, glyphs, metrics.kv_cache_usage, BAR)
        rows.append(row)
    return rows


def _settings(view: ChatView, width: int, settings_key: str) -> list[Row]:
    """Only what was chosen for this chat: the rest is the engine's own."""
    settings = view.settings
    thinking, form, values = settings.get("thinking"), form_of(settings), shaped(settings)
    chosen = {
        "preset": str(settings["preset"]) if settings.get("preset") else None,
        "system": str(settings["system"]) if settings.get("system") else None,
        "thinking": None if thinking is None else "on" if thinking else "off",
        "answers": None if form is None else form.words,
    }
    for one in PARAMETERS:
        value = values.get(one.name)
        chosen[one.title] = None if value is None else written(value).replace("\n", "  ")
    rows = [_head("THIS CHAT", width)]
    rows += [_fact(fit(label, VALUE - TEXT - 1), text, width) for label, text in chosen.items() if text is not None]
    if len(rows) == 1:
        row = Row()
        row.put(TEXT, "the engine's own settings", "dim", width - TEXT - 1)
        rows.append(row)
    keys = Row()
    end = keys.run(TEXT, [(settings_key, "fg bold"), (" change", "dim")])
    keys.link(TEXT, end, "chat.settings")
    return [*rows, keys]


def _head(text: str, width: int, note: str = "") -> Row:
    row = Row()
    x = row.put(TEXT, text, "dim bold")
    if note:
        row.put(x + 2, note, "faint", max(0, width - x - 3))
    return row


def _fact(label: str, text: str, width: int) -> Row:
    row = Row()
    row.put(TEXT, label, "dim")
    row.put(VALUE, text, "fg", max(4, width - VALUE - 1))
    return row
