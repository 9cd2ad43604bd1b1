"""The figures of an answer in words: how many tokens, how fast, and what its engine tells of its making."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.answer_share import AnswerShare
from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.domain.sampling import FORMS
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line


def generated_tokens(answer: Message) -> str:
    """Return how many tokens were generated: `140`, or `~140` where only their speed was measured; empty: unknown.

    An answer that was stopped has no count of the engine's, because an engine counts at the end.
    """
    if answer.usage.completion_tokens is not None:
        return str(answer.usage.completion_tokens)
    if (counted := counted_here(answer)) is not None:
        return counted
    timings = answer.timings
    if timings.tokens_per_second is None or timings.total is None or timings.ttft is None:
        return ""
    return f"~{max(1, round(timings.tokens_per_second * max(0.0, timings.total - timings.ttft)))}"


def speed(answer: Message) -> str:
    """Return tokens per second: `59.8`, or `~59.8` where the engine did not count them; empty: unknown."""
    if answer.timings.tokens_per_second is None:
        return ""
    mark = "" if answer.usage.completion_tokens is not None else "~"
    return f"{mark}{numbers.rate(answer.timings.tokens_per_second)}"


def counted_here(answer: Message) -> str | None:
    """Return the tokens of an answer whose engine sent no counts, `~` before a guess; None: they were not counted."""
    counted = answer.details.get("counted")
    tokens = counted.get("completion_tokens") if isinstance(counted, Mapping) else None
    if not isinstance(tokens, int) or isinstance(tokens, bool) or not 0 <= tokens < 1e12:
        return None
    return f"{'~' if counted is not None and counted.get('by') == 'estimate' else ''}{tokens}"


def engine_figure(answer: Message, name: str) -> float | None:
    """Return a figure that the engine told of this answer, by its name in `inference.engine_figures`."""
    told = answer.details.get("engine")
    value = told.get(name) if isinstance(told, Mapping) else None
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12
    return float(value) if value is not None and known else None


def cached(answer: Message) -> tuple[int, int] | None:
    """Return how many tokens of the prompt were in the engine's cache, and how many it has; None: it does not say."""
    told = answer.usage.cached_tokens
    found = engine_figure(answer, "cached_tokens") if told is None else told
    read = engine_figure(answer, "prefill_tokens")
    prompt = answer.usage.prompt_tokens
    if prompt is None and found is not None and read is not None:
        prompt = int(found + read)
    return None if found is None or not prompt else (min(int(found), prompt), prompt)


def during(answer: Message) -> AnswerShare | None:
    """Return what went on at the engine while the answer came; None: nothing is known of it."""
    return AnswerShare.from_json(answer.details.get("during"))


def energy(answer: Message) -> str:
    """Return its share of the GPUs' energy, always an estimate: `~83 mWh`; empty: it was not measured."""
    share = during(answer)
    return "" if share is None or share.watt_hours is None else f"~{numbers.energy(share.watt_hours)}"


def preempted(answer: Message) -> str:
    """Return how often it was preempted; where others were there too, how often the engine preempted any meanwhile."""
    share = during(answer)
    if share is None or not share.preemptions:
        return ""
    times = {1: "once", 2: "twice"}.get(share.preemptions, f"{share.preemptions} times")
    count = "1 preemption" if share.preemptions == 1 else f"{share.preemptions} preemptions"
    return f"preempted {times}" if share.alone else f"{count} meanwhile"


def measured_here(answer: Message) -> list[str]:
    """Return what this program measured itself, from the first byte it sent: it has the network and the queue in it."""
    timings = answer.timings
    found = ["TTFT"] if timings.ttft is not None else []
    if timings.tokens_per_second is not None and engine_figure(answer, "decode_tps") is None:
        found.append("speed")
    if answer.usage.completion_tokens is None and counted_here(answer) is not None:
        found.append("tokens")
    if timings.thinking is not None and not answer.usage.reasoning_tokens:
        found.append("thinking")
    return [*found, "took"] if timings.total is not None else found


def parts(answer: Message, *, detail: bool = False) -> list[str]:
    """Return the figures that are known, each with its unit; with `detail` also those of the prompt."""
    usage, timings = answer.usage, answer.timings
    found = []
    if timings.ttft is not None:
        found.append(f"TTFT {numbers.latency(timings.ttft)}")
    if rate := speed(answer):
        found.append(f"{rate} tok/s")
    tokens = generated_tokens(answer)
    if timings.total is not None:
        found.append(f"{tokens} tok in {numbers.latency(timings.total)}" if tokens else numbers.latency(timings.total))
    elif tokens:
        found.append(f"{tokens} tok")
    if (queue := engine_figure(answer, "queue_seconds")) is not None:
        found.append(f"queue {numbers.latency(queue)}")
    hit = cached(answer)
    if hit is not None and hit[0]:
        found.append(f"cached {hit[0]} of {hit[1]}")
    found += filter(None, (energy(answer), preempted(answer)))
    if detail:
        if (speed_of_reading := engine_figure(answer, "prefill_tps")) is not None:
            found.append(f"read at {numbers.rate(speed_of_reading)} tok/s")
        if usage.prompt_tokens is not None and not (hit is not None and hit[0]):
            found.append(f"prompt {usage.prompt_tokens}")
        if usage.reasoning_tokens:
            found.append(f"thinking {usage.reasoning_tokens}")
    return found


def remarks(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is to be said of an answer besides, each with its colour: `ok`, `warn` or `err`.

    It may come from a file of somebody else: what is not as we write it is left out.
    """
    found = []
    form = details.get("form")
    if isinstance(form, Mapping):
        name, problem = (clean_line(str(form.get(key) or ""), limit=200) for key in ("name", "problem"))
        what = FORMS.get(str(form.get("kind")), "the form asked for") + (f": {name}" if name else "")
        if form.get("valid") is True:
            found.append(("ok", f"valid, {what}"))
        elif form.get("valid") is False:
            found.append(("err", f"not valid, {what}{f' ({problem})' if problem else ''}"))
        else:
            found.append(("warn", f"not looked at, {what}{f' ({problem})' if problem else ''}"))
    if isinstance(details.get("unheeded"), str):
        found.append(("warn", clean_line(details["unheeded"], limit=200)))
    not_sent = details.get("not_sent")
    if isinstance(not_sent, Mapping) and not_sent:
        why = "; ".join(clean_line(str(one), limit=80) for one in list(not_sent.values())[:4])
        more = f" and {len(not_sent) - 4} more" if len(not_sent) > 4 else ""
        found.append(("warn", f"not sent: {why}{more}"))
    unsure = details.get("unsure")
    if isinstance(unsure, list) and unsure:
        found.append(("warn", f"sent, perhaps not looked at: {clean_line(', '.join(map(str, unsure)), limit=120)}"))
    return found
