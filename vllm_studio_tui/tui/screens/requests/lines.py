"""A row of the table of requests: one that is under way, or one that has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vllm_studio_tui.domain.requests import LiveRequest, came
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.serving import Phase
from vllm_studio_tui.domain.usage import CUT, WHOLE, CompletedRequest
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.table import Column, Parts

#: Who asks without a key.
SOURCES = {"chat": "you, chat", "bench": "benchmark", "probe": "you, test", "proxy": "no key"}
#: How requests end, in words.
ENDS = {"tool_calls": "tool calls", "cancelled": "client left"}
PHASES: dict[str, str] = {Phase.SENT: "no token yet", Phase.STREAMING: "answers"}
#: Ends by what they are called together. One at its own `max_tokens` (`length`) is whole: its client wanted no more.
GROUPS = {
    "good": WHOLE,
    "cut off": CUT,
    "refused": frozenset({"refused"}),
    "failed": frozenset({"failed", "interrupted"}),
}


@dataclass(frozen=True, slots=True)
class Line:
    """A request: either of the two is there."""

    live: LiveRequest | None = None
    ended: CompletedRequest | None = None

    @property
    def key(self) -> str:
        """Its id, which stays the same when it ends."""
        return self.live.id if self.live is not None else self.ended.id if self.ended is not None else ""

    @property
    def who(self) -> str:
        if self.live is not None:
            return self.live.key or SOURCES.get(self.live.source, self.live.source)
        assert self.ended is not None
        return self.ended.key_name or SOURCES.get(self.ended.source, self.ended.source)

    @property
    def model(self) -> str | None:
        if self.live is not None:
            return self.live.asked_for
        assert self.ended is not None
        return self.ended.asked_for

    @property
    def run_id(self) -> str | None:
        one = self.live or self.ended
        return one.run_id if one is not None else None

    @property
    def recipe(self) -> str | None:
        return self.live.recipe if self.live is not None else self.ended.recipe_id if self.ended is not None else None

    @property
    def tokens(self) -> tuple[int | None, int | None, bool]:
        """Return prompt tokens, generated ones, and whether those are an estimate."""
        if self.live is not None:
            return self.live.prompt_tokens, self.live.completion_tokens, False
        assert self.ended is not None
        return self.ended.prompt_tokens, self.ended.completion_tokens, self.ended.estimated

    @property
    def speed(self) -> float | None:
        one = self.live or self.ended
        return one.tokens_per_second if one is not None else None

    @property
    def ttft(self) -> float | None:
        one = self.live or self.ended
        return one.ttft if one is not None else None

    @property
    def waited(self) -> float | None:
        """Return the seconds that it waited for others and for its model."""
        if self.live is not None:
            parts = (self.live.queued, self.live.load)
        else:
            assert self.ended is not None
            parts = (self.ended.queued_seconds, self.ended.load_seconds)
        return None if parts == (None, None) else (parts[0] or 0.0) + (parts[1] or 0.0)

    @property
    def hit(self) -> float | None:
        """Return the share of its prompt that came from the cache."""
        one = self.ended
        if one is None or one.cached_tokens is None or not one.prompt_tokens:
            return None
        return min(1.0, one.cached_tokens / one.prompt_tokens)

    @property
    def endpoint(self) -> str:
        one = self.live or self.ended
        path = (one.endpoint if one is not None else None) or ""
        return path.removesuffix("/completions") if path.startswith("/v1/chat/") else path

    def words(self) -> str:
        """Return what a filter looks through."""
        words = f"{self.key} {self.who} {self.model or ''} {self.endpoint} {self.state()} {self._called()}"
        return f"{words} {self.run_id or ''}"

    def within(self, since: float, until: float) -> bool:
        """Return whether it was under way at a moment between these two."""
        if self.live is not None:
            return self.live.at <= until
        assert self.ended is not None
        return self.ended.at >= since and came(self.ended) <= until

    def _called(self) -> str:
        """Return what its state is called in the sums above, and its end in the CLI."""
        if self.live is not None:
            return "waits" if self.live.waits else "running"
        assert self.ended is not None
        groups = [words for words, ends in GROUPS.items() if self.ended.finish in ends]
        return " ".join([self.ended.finish, *groups])

    def state(self) -> str:
        """Return where it is, or how it ended, in words."""
        if self.live is not None:
            return live_words(self.live)
        assert self.ended is not None
        return end_words(self.ended)


def live_words(one: LiveRequest) -> str:
    """Return where a request is, and what it waits for."""
    if one.phase == Phase.LOADING:
        parts = ["loading", *([one.stage] if one.stage else [])]
        if one.progress is not None and not (one.stage and "/" in one.stage):
            parts.append(numbers.percent(one.progress))
        if one.eta is not None:
            parts.append(f"about {numbers.about(one.eta)} left")
        return ", ".join(parts)
    if one.phase == Phase.QUEUED:
        return f"waits, {one.position} before it" if one.position else "waits for its model"
    return PHASES.get(one.phase, one.phase)


def end_words(one: CompletedRequest) -> str:
    """Return how a request ended."""
    status = f"{one.status}, " if one.status is not None and one.status >= 400 else ""
    if one.error and one.finish not in WHOLE:
        return status + " ".join(one.error.split())[:200]
    return status + ENDS.get(one.finish, one.finish)


def wait(seconds: float | None, unknown: str = "–") -> str:
    """Return a time of waiting; what nobody notices is not told in tenths of milliseconds."""
    if seconds is not None and seconds < 0.001:
        return "<1 ms" if seconds else "0 ms"
    return numbers.latency(seconds, unknown)


def lead(line: Line, glyphs: Glyphs) -> tuple[str, str]:
    """Return the mark before a row, and its colour."""
    if line.live is not None:
        if line.live.phase == Phase.QUEUED:
            return glyphs.state("queued")
        if line.live.phase == Phase.LOADING:
            return glyphs.state(State.LOADING)
        return glyphs.state(State.READY if line.live.phase == Phase.STREAMING else State.STARTING)
    assert line.ended is not None
    if line.ended.finish in WHOLE:
        return glyphs.passed, "ok"
    return glyphs.state(State.EXITED) if line.ended.finish in CUT else (glyphs.failed, "err")


def rank(line: Line) -> tuple[int, float, str]:
    """Return what rows are ordered by: waiting, running, each the oldest first; then ended, the latest first."""
    if line.live is not None:
        return (0 if line.live.waits else 1, line.live.at, line.key)
    assert line.ended is not None
    return (2, -line.ended.at, line.key)


def columns_of(glyphs: Glyphs, now: float, size: Size) -> list[Column[Line]]:
    """Return the columns of the table."""
    least = 24 if size >= Size.WIDE else 16 if size >= Size.BASE else 10

    def when(line: Line) -> Parts:
        if line.live is not None:
            return [(numbers.duration(line.live.age, glyphs.unknown), "fg")]
        assert line.ended is not None
        return [(numbers.moment(line.ended.at, now), "dim")]

    def began(line: Line) -> float:
        if line.live is not None:
            return now - (line.live.age or 0.0)
        return line.ended.at if line.ended is not None else 0.0

    def figure(
        name: str, value: Callable[[Line], float | None], form: Callable[[float | None], str], drop: int, head: str = ""
    ) -> Column[Line]:
        def parts(line: Line) -> Parts:
            found = value(line)
            if found is None:
                return [(glyphs.unknown, "faint")]
            about = "~" if name == "out" and line.tokens[2] else ""
            return [(about + form(found), "fg")]

        return Column(name, parts, 5, head or name, right=True, drop=drop, order=value, falling=True)

    def state(line: Line) -> Parts:
        _, colour = lead(line, glyphs)
        if line.ended is not None and line.ended.finish == "length":
            return [(line.state(), "faint")]
        quiet = line.ended is not None and line.ended.finish in WHOLE | CUT
        return [(line.state(), "dim" if quiet else colour if colour in ("err", "warn") else "fg")]

    return [
        Column("who", lambda line: [(line.who, "fg")], 9, grow=2, order=lambda line: line.who.lower()),
        Column(
            "model", lambda line: [(line.model or glyphs.unknown, "fg" if line.model else "faint")], 8, grow=1,
            order=lambda line: (line.model or "").lower(),
        ),
        Column("when", when, 5, "age, end", right=True, order=began, falling=True),
        figure("prompt", lambda line: line.tokens[0], numbers.count, 4),
        figure("cached", lambda line: line.hit, numbers.percent, 8),
        figure("out", lambda line: line.tokens[1], numbers.count, 2),
        figure("tok/s", lambda line: line.speed, numbers.rate, 3),
        figure("TTFT", lambda line: line.ttft, numbers.latency, 5),
        figure("waited", lambda line: line.waited, wait, 7),
        Column("endpoint", lambda line: [(line.endpoint or glyphs.unknown, "faint")], 10, grow=3, drop=9,
               order=lambda line: line.endpoint),
        Column("state", state, least, grow=4, order=lambda line: line.state()),
    ]  # fmt: skip
