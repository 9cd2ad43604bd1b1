"""An answer, filled from the events of its stream: what the service keeps, the CLI prints and the screen draws."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from vllm_studio_tui.domain.chat import Delta, Ended, Message, Relabel, Timings
from vllm_studio_tui.domain.tools import ChatEvent, RoundEnded

#: Characters of a token, roughly.
CHARACTERS = 4.0
#: An engine that sends more characters than this for each token it reports sends several tokens at a time.
SEVERAL = 10.0
#: Seconds after the first token from which a speed can be told.
MEASURABLE = 0.5


@dataclass(slots=True)
class Answer:
    """One answer: what has been generated so far, and how it ended.

    Attributes:
        before: The message that is continued; None for an answer from its beginning.
        content, reasoning: Pieces generated so far, without what `before` holds.
        began: When it was asked for, in seconds of `time.monotonic`.
        first_token: When the first text came, likewise; None before.
        ended: Its end; None while it comes.
    """

    before: Message | None = None
    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    first_token: float | None = None
    ended: Ended | None = None
    _characters: int = 0
    _reported: int = 0

    def add(self, event: ChatEvent) -> None:
        """Take the next event of the stream; of those of a round of tools, only that it begins concerns an answer."""
        if isinstance(event, Delta):
            if self.first_token is None:
                self.first_token = time.monotonic()
            if event.content:
                self.content.append(event.content)
            if event.reasoning:
                self.reasoning.append(event.reasoning)
            self._characters += len(event.content) + len(event.reasoning)
            self._reported += event.tokens
        elif isinstance(event, Relabel):
            self.reasoning += self.content
            self.content.clear()
        elif isinstance(event, Ended):
            self.ended = event
        elif isinstance(event, RoundEnded):
            self.ended = event.ended

    @property
    def received(self) -> bool:
        """Whether anything has come of it, if only its end."""
        return self.first_token is not None or self.ended is not None

    @property
    def generated(self) -> str:
        """All text that was generated, thinking and content."""
        return "".join(self.reasoning) + "".join(self.content)

    def text(self) -> tuple[str, str]:
        """Return content and thinking, with what was there before it was continued."""
        content, reasoning = "".join(self.content), "".join(self.reasoning)
        if self.before is None:
            return content, reasoning
        return self.before.content + content, self.before.reasoning + reasoning

    @property
    def tokens(self) -> int:
        """Roughly how many tokens have come: as the stream reports them, unless each report stands for several."""
        several = not self._reported or self._characters > self._reported * SEVERAL
        return round(self._characters / CHARACTERS) if several else self._reported

    @property
    def speed(self) -> float | None:
        """Roughly how many tokens per second come after the first; None while that cannot be told."""
        if self.first_token is None:
            return None
        return self.speed_over(time.monotonic() - self.first_token)

    def speed_over(self, seconds: float) -> float | None:
        """Return roughly how many tokens per second those are that have come; None: the time is too short to tell."""
        return self.tokens / seconds if seconds > MEASURABLE else None

    def cut(self, finish: str, error: str | None = None, advice: str | None = None) -> Ended:
        """Make an end that the stream did not send: it was stopped or broke off. Its tokens are unknown."""
        ttft = None if self.first_token is None else self.first_token - self.began
        timings = Timings(ttft=ttft, total=time.monotonic() - self.began)
        return Ended(finish, timings=timings, error=error, advice=advice)
