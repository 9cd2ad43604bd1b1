"""Usage: tokens, requests, seconds, energy. None is unknown, which is not zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.chat import FINISHES
from vllm_studio_tui.domain.engine_metrics import Percentiles
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.local_time import begin_of, day_of

#: By what usage can be divided.
BY = ("model", "recipe", "day", "hour", "week", "key", "source", "session")
#: Divisions of time.
TIMES = frozenset({"day", "hour", "week"})
DAY = 86_400
#: The source of what an engine counted beyond the requests that we know of.
ENGINE = "engine"
#: How a request ended: as an answer does, by a client that left, or without ever being sent to an engine.
ENDS = (*FINISHES, "cancelled", "refused")
#: Ends that somebody wanted: the user stopped it, or the client left.
CUT = frozenset({"stopped", "cancelled"})
#: Ends of an answer that are no failures. `refused` is none of a model: who only looks at answers leaves it out.
SUCCESSES = frozenset({"stop", "length", "tool_calls", *CUT})
#: Ends of an answer that came whole: only those say how long answers take.
WHOLE = frozenset({"stop", "length", "tool_calls"})
#: As `heatmap` has them.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
#: Letters of a token, about, where only letters can be counted.
LETTERS = 4.0


def about_tokens(text: str) -> int:
    """Return a rough estimate of the number of tokens of a text."""
    return -(-len(text) // int(LETTERS))


@dataclass(frozen=True, slots=True)
class CompletedRequest:
    """One completion, as a face or a proxy saw it. `at` is its end in seconds since the epoch.

    Attributes:
        source: Who asked: chat, bench, probe, proxy.
        run_id: The run that answered and its `attempt`; None for a server that is not ours.
        finish: One of `ENDS`; `streaming` only until it is over.
        estimated: The completion's tokens are counted by letters, because the engine did not tell them.
        key_id, key_name: The key that asked `serve`.
        endpoint: The path that was asked, as `/v1/chat/completions`.
        requested_model: The model as the client wrote it; `model` is what the engine is asked for.
        status: The HTTP status of the answer.
        queued_seconds, load_seconds: Waited for others, and for the model to load; both are part of `ttft`.
        overhead_seconds: What `serve` itself took before the request was sent on.
        upstream_id: The engine's own id of the answer.
        client: The address that asked, or what the client calls itself.
        bytes_in, bytes_out: Of the two bodies.
    """

    at: float
    source: str
    finish: str
    id: str = ""
    run_id: str | None = None
    attempt: int | None = None
    recipe_id: str | None = None
    model: str | None = None
    session_id: str | None = None
    message_id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    ttft: float | None = None
    total_seconds: float | None = None
    tokens_per_second: float | None = None
    error: str | None = None
    estimated: bool = False
    key_id: str | None = None
    key_name: str | None = None
    endpoint: str | None = None
    requested_model: str | None = None
    status: int | None = None
    streamed: bool | None = None
    queued_seconds: float | None = None
    load_seconds: float | None = None
    overhead_seconds: float | None = None
    upstream_id: str | None = None
    client: str | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None

    @property
    def asked_for(self) -> str | None:
        """Return what people know it by: its recipe, else what the client wrote; engines have paths for names."""
        return self.recipe_id or self.requested_model or self.model


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which usage to report.

    Attributes:
        days: The last so many days of this machine's calendar, today among them. None: all.
        by: One of `BY`.
        since: Seconds since the epoch, included; together with `days` the later one counts.
        until: Seconds since the epoch, excluded.
        every: Divided by all of `BY` but hours and sessions, which are made where `by` asks for them. Else by `by`
            and by day alone, with a heatmap for hours only, and days without latencies: that is quicker.
        latencies: Also what is known of single requests: latencies, speeds, how they ended. Without them it is quicker.
    """

    days: int | None = None
    by: str = "model"
    since: float | None = None
    until: float | None = None
    every: bool = True
    latencies: bool = True

    def window(self, now: float) -> tuple[float | None, float | None]:
        """Return the first second and the one after the last, since the epoch; None for an open bound."""
        since = self.since
        if self.days is not None:
            first = begin_of(day_of(now) - max(1, self.days) + 1)
            since = first if since is None else max(since, first)
        return since, self.until


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a kilowatt hour, and its currency."""

    per_kwh: float
    currency: str

    def of(self, row: UsageRow) -> float | None:
        """Return the price of a row's energy; None if none was measured."""
        return None if row.energy_wh is None else row.energy_wh / 1000 * self.per_kwh

    def of_a_million(self, row: UsageRow) -> float | None:
        """Return the price of the energy of a million tokens, prompt and completion together."""
        return None if row.kwh_per_million_tokens is None else row.kwh_per_million_tokens * self.per_kwh


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one model, recipe, day or session used, or all together.

    Attributes:
        key: The model's name, the recipe's id, the day (YYYY-MM-DD), the hour (with its offset from UTC), the week
            (YYYY-Wnn), the name of the key, the source, the session's id. Empty: not known, or without one.
        requests: Finished requests; successful, stopped and failed ones are known of those that we saw ourselves.
        cache_hit_tokens: Prompt tokens that came from the engine's prefix cache, of `cache_prompt_tokens`.
        energy_wh: Watt hours of its GPUs; None where nothing was measured.
        energy_estimated: Part of that is a share of a GPU that several runs had at once.
        tokens_estimated: Some of the completion's tokens are estimated from its length: the engine did not report them.
        ttft: Seconds, of the requests that we saw ourselves.
        latency: Seconds, of those among them that were answered whole.
        tokens_per_second: Median speed of generation of those.
        thinking_tokens: Of the completion, as far as engines told.
    """

    key: str
    title: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    requests: int | None = None
    seen: int = 0
    stopped: int = 0
    failed: int = 0
    cache_hit_tokens: int | None = None
    cache_prompt_tokens: int | None = None
    energy_wh: float | None = None
    energy_estimated: bool = False
    ttft: Percentiles = field(default_factory=Percentiles)
    latency: Percentiles = field(default_factory=Percentiles)
    tokens_per_second: float | None = None
    tokens_estimated: bool = False
    thinking_tokens: int | None = None

    @property
    def total_tokens(self) -> int | None:
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)

    @property
    def success_rate(self) -> float | None:
        """Return the share 0-1 of the requests recorded by us that did not fail."""
        return None if not self.seen else (self.seen - self.failed) / self.seen

    @property
    def hit_rate(self) -> float | None:
        """Return the share 0-1 of prompt tokens from the cache, over the requests of which it is known."""
        if self.cache_hit_tokens is None or not self.cache_prompt_tokens:
            return None
        return min(1.0, self.cache_hit_tokens / self.cache_prompt_tokens)

    @property
    def kwh_per_million_tokens(self) -> float | None:
        """Return kilowatt hours per million tokens, prompt and completion together."""
        if self.energy_wh is None or not self.total_tokens:
            return None
        return self.energy_wh / 1000 / (self.total_tokens / 1e6)

    @property
    def tokens_per_watt_hour(self) -> float | None:
        """Return the tokens of a watt hour, prompt and completion together."""
        return self.total_tokens / self.energy_wh if self.energy_wh and self.total_tokens else None

    @property
    def kinds(self) -> dict[str, int | None]:
        """Return the tokens by kind; together they are all of them.

        `computed` and `cached` are those of the prompts of which it is known, `untold` those of the others. What was
        thought where the engine does not tell it is part of `answer`.
        """
        known, cached = self.cache_prompt_tokens or 0, self.cache_hit_tokens
        prompt, completion = self.prompt_tokens, self.completion_tokens
        told = min(known, prompt or 0)
        from_cache = None if cached is None else min(cached, told)
        thought = None if self.thinking_tokens is None else min(self.thinking_tokens, completion or 0)
        return {
            "computed": None if cached is None else told - (from_cache or 0),
            "cached": from_cache,
            "untold": None if prompt is None else prompt - (told if cached is not None else 0),
            "thinking": thought,
            "answer": None if completion is None else completion - (thought or 0),
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "total_tokens": self.total_tokens,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "tokens_estimated": self.tokens_estimated,
            "total_requests": self.requests,
            "requests_seen": self.seen,
            "stopped": self.stopped,
            "failed": self.failed,
            "success_rate": self.success_rate,
            "energy_wh": self.energy_wh,
            "energy_estimated": self.energy_estimated,
            "kwh_per_million_tokens": self.kwh_per_million_tokens,
            "tokens_per_watt_hour": self.tokens_per_watt_hour,
            "kinds": self.kinds,
            "tokens_per_second": self.tokens_per_second,
            "cache_hit_rate": self.hit_rate,
            "ttft": percentiles_document(self.ttft),
            "latency": percentiles_document(self.latency),
        }


@dataclass(frozen=True, slots=True)
class HeatCell:
    """What was used in one hour of a weekday; `seen` and `failed` are of the requests that we saw ourselves."""

    requests: int = 0
    tokens: int = 0
    seen: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Usage in a window of time.

    Attributes:
        at: When it was made, seconds since the epoch.
        by_model, by_recipe: Largest first.
        daily: Latest first; days without anything are left out.
        by_source: Largest first: chat, proxy (what asked `serve`), bench, probe, and `engine`, what engines counted
            beyond those. Tokens are those that the engine counted, each once.
        by_key: Largest first; the row without a key has all that came without one.
        weeks: Latest first, from Monday on.
        hours, by_session: Latest first; filled when it is asked for. Sessions are of requests that we saw ourselves.
        heatmap: By weekday, Monday first, and hour of the day.
        zone: The name of the time zone of days, hours and weeks.
        peaks: The best speeds ever, by model: `prefill_tps`, `generation_tps`, `ttft`.
        lifetime: Totals over all time by name; in a report of a part of the time as they were last kept.
        price: What energy costs, where the settings say so.
        missing: What is not in the report and why, for a person; empty where it is up to date.
    """

    query: UsageQuery
    at: float
    since: float | None
    until: float | None
    totals: UsageRow
    by_model: tuple[UsageRow, ...] = ()
    by_recipe: tuple[UsageRow, ...] = ()
    daily: tuple[UsageRow, ...] = ()
    by_session: tuple[UsageRow, ...] = ()
    sessions: int = 0
    peaks: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    lifetime: Mapping[str, float | None] = field(default_factory=dict)
    price: Price | None = None
    missing: str = ""
    by_source: tuple[UsageRow, ...] = ()
    by_key: tuple[UsageRow, ...] = ()
    weeks: tuple[UsageRow, ...] = ()
    hours: tuple[UsageRow, ...] = ()
    heatmap: tuple[tuple[HeatCell, ...], ...] = ()
    zone: str = "UTC"

    @property
    def rows(self) -> tuple[UsageRow, ...]:
        """Return the rows of the grouping that was asked for."""
        return {
            "recipe": self.by_recipe,
            "day": self.daily,
            "hour": self.hours,
            "week": self.weeks,
            "key": self.by_key,
            "source": self.by_source,
            "session": self.by_session,
        }.get(self.query.by, self.by_model)

    def _row(self, row: UsageRow) -> dict[str, Any]:
        return {
            **row.to_json(),
            "cost": self.price.of(row) if self.price else None,
            "cost_per_million_tokens": self.price.of_a_million(row) if self.price else None,
        }

    def to_json(self) -> dict[str, Any]:
        nothing: Mapping[str, float | None] = {}
        document: dict[str, Any] = {
            "at": iso_time(self.at),
            "since": iso_time(self.since),
            "until": iso_time(self.until),
            "time_zone": self.zone,
            "currency": self.price.currency if self.price else None,
            "totals": {**self._row(self.totals), "unique_sessions": self.sessions},
            "cache": {
                "hit_tokens": self.totals.cache_hit_tokens,
                "prompt_tokens": self.totals.cache_prompt_tokens,
                "hit_rate": self.totals.hit_rate,
            },
            "by_model": [
                {"model": row.key or None, **self._row(row), "peaks": dict(self.peaks.get(row.key, nothing))}
                for row in self.by_model
            ],
            "daily": [{"date": row.key, **self._row(row)} for row in self.daily],
            "by_recipe": [{"recipe": row.key or None, **self._row(row)} for row in self.by_recipe],
            "by_source": [{"source": row.key or None, **self._row(row)} for row in self.by_source],
            "by_key": [{"key": row.key or None, **self._row(row)} for row in self.by_key],
            "weeks": [{"week": row.key, "days": row.title, **self._row(row)} for row in self.weeks],
            "heatmap": [
                {"weekday": WEEKDAYS[weekday], "hour": hour, "requests": cell.requests, "tokens": cell.tokens}
                for weekday, hours in enumerate(self.heatmap)
                for hour, cell in enumerate(hours)
            ],
            "lifetime": dict(self.lifetime),
        }
        if self.query.by == "hour":
            document["hours"] = [{"hour": row.key, **self._row(row)} for row in self.hours]
        if self.query.by == "session":
            document["by_session"] = [
                {"session": row.key or None, "title": row.title, **self._row(row)} for row in self.by_session
            ]
        return document


def percentiles_document(values: Percentiles) -> dict[str, float | int | None]:
    return {"p50": values.p50, "p95": values.p95, "p99": values.p99, "mean": values.mean, "count": values.count}


def percentiles_of(values: list[float]) -> Percentiles:
    """Return percentiles by nearest rank: each is a value that occurred."""
    if not values:
        return Percentiles()
    ordered = sorted(values)
    p50, p95, p99 = (ordered[max(0, -(-len(ordered) * share // 100) - 1)] for share in (50, 95, 99))
    return Percentiles(p50, p95, p99, count=len(ordered), mean=sum(ordered) / len(ordered))
