"""The head of the page of a run: its state in a line, and its figures."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.elsewhere import elsewhere_words
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.ink import Row, fit
from vllm_studio_tui.tui.paint.run_parts import left
from vllm_studio_tui.tui.paint.run_words import engine_word
from vllm_studio_tui.tui.screens.run.facts import PageFacts

Parts = list[tuple[str, str]]
#: The widest that a name is drawn.
NAME = 40


def state_row(page: PageFacts) -> Row:
    """Draw the state: since when or when and after what, which run of which revision; engine, GPUs and port."""
    run, x = page.run, margin(page.size)
    row = Row()
    mark, colour = page.glyphs.state(run.state)
    row.put(x, mark, colour)
    at = row.put(x + 2, fit(run.name, NAME if page.size >= Size.WIDE else 24), "fg bold")
    at = max(at + 2, x + (18 if page.size >= Size.WIDE else 0))
    at = row.put(at, str(run.state), colour if run.state is not State.EXITED else "dim") + 2
    if page.size >= Size.WIDE:
        at = max(at, x + 31)
    end = page.width - (3 if page.size >= Size.WIDE else 2)
    behind = _behind(page)
    ahead = [_when(page), *_record(page)]
    # What a person looks for first stays longest.
    while ahead and at + _width(ahead) > end:
        ahead.pop()
    at = _put(row, at, ahead)
    while behind and at + _width(behind) > end:
        behind.pop(0)
    _put(row, end - _width(behind), behind)
    return row


def _width(parts: Sequence[Parts]) -> int:
    return sum(cell_len(text) for part in parts for text, _ in part) + 3 * max(
        0, len([one for one in parts if one]) - 1
    )


def _put(row: Row, x: int, parts: Sequence[Parts]) -> int:
    for part in parts:
        if part:
            x = row.run(x, part) + 3
    return x


def _when(page: PageFacts) -> Parts:
    status, now, state = page.run.status, page.now, page.run.state
    if state is State.READY and status.ready_at:
        return [("up ", "dim"), (numbers.duration(now - status.ready_at), "fg")]
    if state is State.UNHEALTHY:
        since = status.heard_at
        return [("for ", "dim"), (numbers.duration(now - since), "fg")] if since else []
    if state in (State.STARTING, State.LOADING) and status.started_at:
        parts: Parts = [("for ", "dim"), (numbers.duration(now - status.started_at), "fg")]
        rest = left(page.facts, now)
        return parts if rest is None else [*parts, (f", about {numbers.about(rest)} left", "dim")]
    if state is State.BACKOFF and status.next_start_at:
        wait = numbers.duration(max(0.0, status.next_start_at - now))
        return [("again in ", "dim"), (wait, "fg"), (f", attempt {status.attempt + 1}", "dim")]
    if status.final and status.ended_at:
        parts = [(numbers.moment(status.ended_at, now), "fg")]
        if status.started_at:
            parts += [(" after ", "dim"), (numbers.duration(status.ended_at - status.started_at), "fg")]
        return parts
    return []


def _record(page: PageFacts) -> list[Parts]:
    """Return which run of which revision it is, and how often the recipe worked."""
    found: list[Parts] = []
    story, spec = page.story, page.run.spec
    if story is not None:
        found.append([("run ", "dim"), (str(story.number), "fg")])
    number = story.launch.revision_number if story is not None else spec.revision_number if spec is not None else None
    if number is not None:
        found.append([("revision ", "dim"), (str(number), "fg")])
    if page.run.status.restarts:
        found.append([("restarts ", "dim"), (str(page.run.status.restarts), "warn")])
    if story is not None and story.of > 1:
        found.append([("worked in ", "dim"), (f"{story.worked} of {story.of}", "fg"), (" runs", "dim")])
    return found


def _behind(page: PageFacts) -> list[Parts]:
    """Return model, engine, size, GPUs and port, the least important first."""
    run = page.run
    spec = run.spec
    found: list[Parts] = []
    if page.size >= Size.WIDE and run.model and run.model != run.name:
        found.append([(fit(run.model, 44), "dim")])
    version = spec.engine_version if spec is not None else None
    found.append([(engine_word(run), "dim"), (f" {version}" if version else "", "dim")])
    recipe = spec.recipe if spec is not None else page.story.launch.recipe if page.story is not None else {}
    if page.size >= Size.WIDE and isinstance(size := recipe.get("tensor_parallel_size"), int) and size > 1:
        found.append([("tp ", "dim"), (str(size), "fg")])
    gpus, far = page.gpu_names(), elsewhere_words(run)
    if far:
        found.append([(fit(far, 40), "fg")])
    elif gpus and page.size >= Size.WIDE:
        found.append([("GPU ", "dim"), (" ".join(gpus), "fg")])
    if run.port and page.size != Size.BASE and run.live:
        found.append([(f":{run.port}", "fg")])
    return found


def figure_rows(page: PageFacts) -> list[Row]:
    """Draw speed, requests, cache and latencies; only what is known. Empty for a run that does not answer."""
    if page.run.state not in ANSWERING:
        return []
    if page.run.state is State.UNHEALTHY and page.metrics.generation_tokens_per_second is None:
        return []  # why it does not answer stands there already
    return _wide_figures(page) if page.size >= Size.WIDE else _narrow_figures(page)


def _wide_figures(page: PageFacts) -> list[Row]:
    metrics, x, end = page.metrics, margin(page.size), page.width - 3
    first, second = Row(), Row()
    value = "dim" if page.facts.age is not None else "fg bold"
    speed = metrics.generation_tokens_per_second
    at = first.put(x, f"{'~' if page.facts.age is not None else ''}{numbers.rate(speed, page.glyphs.unknown)}", value)
    at = max(first.put(at + 1, "tok/s", "dim") + 2, x + 13)
    spark = 38 if page.size == Size.FULL else 24
    recent = list(page.facts.speeds)[-spark:]
    if recent:
        first.run(at, charts.spark(page.glyphs, [None] * (spark - len(recent)) + recent, page.facts.peak))
    at += spark + 4
    at = _put(first, at, [_counts(page)]) if _counts(page) else at
    if metrics.kv_cache_usage is not None:
        first.put(at, "KV", "dim")
        room = 20 if page.size == Size.FULL else 12
        colour = "warn" if metrics.kv_cache_usage > 0.95 else "data"
        charts.put_bar(first, at + 3, page.glyphs, metrics.kv_cache_usage, room, colour)
        first.put_right(at + 3 + room + 6, numbers.percent(metrics.kv_cache_usage), value)
    parts = [
        _prompt(page),
        _both("TTFT", metrics.ttft.p50, metrics.ttft.p95),
        _both("ITL", metrics.itl.p50, metrics.itl.p95),
    ]
    if metrics.preemptions:
        parts.append([(str(metrics.preemptions), "warn"), (" preempted", "dim")])
    parts = [part for part in parts if part]
    power = _power(page)
    room = end - x - (sum(cell_len(text) for text, _ in power) + 3 if power else 0)
    while parts and _width(parts) > room:
        parts.pop()
    _put(second, x, parts)
    if power:
        _put(second, end - sum(cell_len(text) for text, _ in power), [power])
    if page.facts.age is not None and not parts:
        second.put(x, f"no answer for {numbers.duration(page.facts.age)}", "dim")
    elif metrics.error and not parts:
        second.put(x, "its metrics cannot be read", "faint")
    return [first, second] if second.pieces else [first]


def _narrow_figures(page: PageFacts) -> list[Row]:
    metrics, x, end = page.metrics, margin(page.size), page.width - 2
    first, second = Row(), Row()
    value = "dim" if page.facts.age is not None else "fg bold"
    at = first.put(x, numbers.rate(metrics.generation_tokens_per_second, page.glyphs.unknown), value)
    at = first.put(at + 1, "tok/s", "dim") + 2
    recent = list(page.facts.speeds)[-13:]
    if page.size >= Size.BASE and recent:
        first.run(at, charts.spark(page.glyphs, [None] * (13 - len(recent)) + recent, page.facts.peak))
        at += 15
    at = _put(first, at, [_counts(page)])
    if metrics.kv_cache_usage is not None and end - at >= 12:
        first.put(at, "KV", "dim")
        charts.put_bar(first, at + 3, page.glyphs, metrics.kv_cache_usage, min(18, end - at - 9))
        first.put_right(end, numbers.percent(metrics.kv_cache_usage), value)
    parts: list[Parts] = []
    for word, latency in (("TTFT", metrics.ttft.p95), ("ITL", metrics.itl.p95)):
        if latency is not None:
            parts.append([(f"{word} p95 ", "dim"), (numbers.latency(latency), "fg")])
    if metrics.prefix_cache_hit_rate is not None:
        parts.append([("hits ", "dim"), (numbers.percent(metrics.prefix_cache_hit_rate), "fg")])
    if gpus := page.gpu_names():
        parts.append([("GPU ", "dim"), (" ".join(gpus), "fg")])
    if power := _power(page)[:1]:
        parts.append(power)
    while parts and _width(parts) > end - x:
        parts.pop()
    _put(second, x, parts)
    return [first, second] if second.pieces else [first]


def _counts(page: PageFacts) -> Parts:
    metrics = page.metrics
    if metrics.running is None:
        return []
    short = page.size <= Size.COMPACT
    parts: Parts = [(str(metrics.running), "fg bold"), (" run" if short else " running", "dim")]
    if metrics.waiting is not None:
        parts += [("   ", ""), (str(metrics.waiting), "warn bold" if metrics.waiting else "fg")]
        parts.append((" wait" if short else " waiting", "dim"))
    return parts


def _prompt(page: PageFacts) -> Parts:
    speed, hits = page.metrics.prompt_tokens_per_second, page.metrics.prefix_cache_hit_rate
    parts: Parts = []
    if speed is not None:
        parts += [("prompt ", "dim"), (numbers.rate(speed), "fg"), (" tok/s", "dim")]
    if hits is not None:
        parts += [(", hits " if parts else "cache hits ", "dim"), (numbers.percent(hits), "fg")]
    return parts


def _both(word: str, middle: float | None, high: float | None) -> Parts:
    if middle is None and high is None:
        return []
    parts: Parts = [(word, "dim")]
    for name, latency, style in (("p50", middle, "fg"), ("p95", high, "fg bold")):
        if latency is not None:
            parts += [(f" {name} ", "dim"), (numbers.latency(latency), style)]
    return parts


def _power(page: PageFacts) -> Parts:
    """Return what its GPUs draw, and per token; only where every one of them tells and no other run is on them."""
    own = page.own_gpus()
    if own is None or own.stale is not None or any(gpu.power_draw is None for gpu in own.gpus):
        return []
    others = {process.run_id or str(process.pid) for gpu in own.gpus for process in gpu.processes}
    watts = sum(gpu.power_draw or 0.0 for gpu in own.gpus)
    parts: Parts = [(numbers.power(watts), "fg")]
    speed = page.metrics.generation_tokens_per_second
    if speed and speed >= 1 and others <= {page.run.run_id}:
        parts.append((f"   {numbers.count(watts / speed * 1000)} J/1k written", "dim"))
    return parts
