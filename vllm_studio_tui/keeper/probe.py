"""Probes the engine in a thread beside the keeper's own: whether it is ready and healthy, and its counters.

An engine may take 20 s to answer or never stop answering; the keeper must stop it all the same. So one thread asks,
one question at a time, and every question has an end. A server that is not ours is asked nothing but its model's name,
and never given our key.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from vllm_studio_tui.domain.spec import CounterNames, ReadyProbe, RunSpec
from vllm_studio_tui.keeper import engine_http
from vllm_studio_tui.keeper.port_owner import PortOwner, PortOwnership, Stranger
from vllm_studio_tui.keeper.worker import Done, Worker

MODELS = "/v1/models"
#: Seconds that a stranger has to name its model.
NAMING = 1.0
#: Seconds between two looks at what the engine has bound without listening.
BOUND = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question.

    Attributes:
        kind: ready or counters.
        attempt: The attempt it was asked for.
        ok: The engine answered as it should, and it was ours.
        detail: Why not.
        stranger: Somebody else's server that has our port.
        holder: The process of ours that listens, where that can be told.
        values: Cumulative counters by our names; those the engine lacks are absent.
        fault: What went wrong on our side.
    """

    kind: str
    attempt: int
    ok: bool
    detail: str = ""
    stranger: Stranger | None = None
    holder: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    fault: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What the prober's thread is to ask. `members`: the processes of the run, by number, with their start."""

    kind: str
    attempt: int
    what: ReadyProbe | CounterNames
    key: str | None
    members: Mapping[int, int]


def address_of(host: str) -> str:
    """Return where a server that listens on `host` is asked."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def ownership(spec: RunSpec) -> PortOwnership:
    return PortOwnership(spec.run_id, address_of(spec.host), spec.port, contained=bool(spec.stop_argv))


def named(stranger: Stranger, host: str, port: int) -> Stranger:
    """Return the same with the first model that it lists; it is not told our key."""
    names, _ = engine_http.listed(MODELS, NAMING, host, port, None)
    model = "".join(c for c in names[0] if c.isprintable())[:80] if names else None
    return dataclasses.replace(stranger, model=model or None)


def load() -> None:
    """Import what this thread will need, now: the installation may be replaced under us.

    In the thread, so that the engine does not wait for it.
    """
    import http.client

    assert http.client


class Prober:
    """Asks in a thread. Answers are taken with `answers()` after the wake pipe became readable."""

    def __init__(self, spec: RunSpec) -> None:
        self._timeout = spec.ready.timeout
        self._host, self._port = address_of(spec.host), spec.port
        self._owner = ownership(spec)
        self._stranger: tuple[tuple[int, ...], Stranger] | None = None
        self._bound: tuple[float, int | None] = (0.0, None)
        # An engine that answers no request, and some seconds.
        self._worker = Worker("prober", patience=30.0 + 4 * spec.ready.timeout, prepare=load)
        self._attempts: dict[str, int] = {}

    @property
    def wake_read(self) -> int:
        return self._worker.wake_read

    def ask_ready(self, attempt: int, probe: ReadyProbe, key: str | None, members: Mapping[int, int]) -> None:
        self._ask(Question("ready", attempt, probe, key, members))

    def ask_counters(self, attempt: int, names: CounterNames, key: str | None, members: Mapping[int, int]) -> None:
        self._ask(Question("counters", attempt, names, key, members))

    def pending(self, kind: str) -> bool:
        return self._worker.pending(kind)

    def _ask(self, question: Question) -> None:
        if self._worker.ask(question.kind, lambda: self._answer(question)):
            self._attempts[question.kind] = question.attempt

    def answers(self) -> list[Answer]:
        """Return what has come since; empties the wake pipe."""
        return [self._of(done) for done in self._worker.answers()]

    def _of(self, done: Done) -> Answer:
        if isinstance(done.value, Answer):
            return done.value
        words = f"its answer cannot be read: {type(done.fault).__name__}"
        return Answer(done.kind, self._attempts.get(done.kind, 0), False, words, fault=done.fault)

    def _answer(self, question: Question) -> Answer:
        self._owner.members = question.members
        before = self._owner.look()
        if before.stranger is not None:
            return self._strange(question, before, before.stranger)
        if before.kind == "nobody" and not self._owner.elsewhere():
            return Answer(question.kind, question.attempt, False, self._silence())
        if isinstance(question.what, CounterNames):
            values = engine_http.counters(question.what, self._host, self._port, question.key, self._timeout)
            answer = Answer(question.kind, question.attempt, values is not None, values=values or {})
        else:
            ok, detail = engine_http.ready(question.what, self._host, self._port, question.key)
            if ok and before.kind == "unknown":
                ok, detail = engine_http.asks_for_key(question.what, self._host, self._port, question.key)
            answer = Answer(question.kind, question.attempt, ok, detail, holder=before.holder)
        after = self._owner.look()
        if after.stranger is not None:
            return self._strange(question, after, after.stranger)
        if answer.ok and after.sockets != before.sockets:  # who answered is not certain: it is asked again
            return Answer(question.kind, question.attempt, False, f"who listens on :{self._port} has changed")
        return answer

    def _strange(self, question: Question, owner: PortOwner, stranger: Stranger) -> Answer:
        """Its model is asked for once; while it does not say, again each time."""
        if self._stranger is None or self._stranger[0] != owner.sockets or self._stranger[1].model is None:
            self._stranger = owner.sockets, named(stranger, self._host, self._port)
        stranger = dataclasses.replace(stranger, model=self._stranger[1].model)
        return Answer(question.kind, question.attempt, False, stranger.words(self._port), stranger)

    def _silence(self) -> str:
        now = time.monotonic()
        if now - self._bound[0] >= BOUND:
            self._bound = now, self._owner.holder_without_listening()
        if self._bound[1] is not None:
            return f"port {self._port} is bound, not listening"
        return f"nothing listens on :{self._port}"
