"""Keep the chats of the simulated home, with the requests that they were."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import replace

from vllm_studio_tui.domain.chat import Message, Session, Timings, TokenUsage, ToolCall
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.services.simulated_home.chat_texts import TALKS, Line, Talk
from vllm_studio_tui.services.simulated_home.run_files import RunFiles
from vllm_studio_tui.simulation.answers import count
from vllm_studio_tui.simulation.models import Layout, model_of
from vllm_studio_tui.simulation.traffic import Traffic
from vllm_studio_tui.store.chats import ChatRows, session_row
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import message_row
from vllm_studio_tui.store.peaks import PeakRows
from vllm_studio_tui.store.requests import RequestRows


class PastChats:
    """Writes chats as if they had been held.

    Args:
        runs: Who answered.
    """

    def __init__(self, db: Database, runs: Sequence[RunFiles]) -> None:
        self._db, self._runs = db, runs

    def write(self, now: float) -> None:
        """Keep all chats of the past, and the best speeds of the models."""
        with self._db.write():  # one transaction is faster than a hundred
            for one in TALKS:
                self._write(one, now)
            self._peaks()

    def _peaks(self) -> None:
        peaks = PeakRows(self._db)
        for run in self._runs:
            if run.ready is not None:
                model = run.layout.model
                speed = model.peak / model.running
                peaks.offer(run.spec.model, prefill_tps=6400.0, generation_tps=round(1.16 * speed, 1), ttft=model.ttft)

    def _write(self, talk: Talk, now: float) -> None:
        ended = now - talk.ago * 3600
        at = ended - 90.0 * len(talk.lines)
        session = Session(_id(talk.title), talk.title, talk.recipe, None, _iso(at), _iso(ended))
        with self._db.write() as tables:
            tables.table("chat_sessions").insert(session_row(session), ignore=True)
        prompt, parent, forked = 0, None, None
        for place, line in enumerate(talk.lines):
            at += 40.0
            message = Message(f"{session.id}-{place}", session.id, line.role, line.text, parent, created_at=_iso(at))
            message = replace(message, tool_calls=tuple(ToolCall(f"call_{n}", n, a) for n, a in line.calls.items()))
            if line.role == "tool":
                message = replace(message, tool_call_id="call_get_weather")
            prompt += count(line.text) + 4
            if line.role == "assistant":
                message, at = self._answered(message, line, talk, prompt, at)
            with self._db.write() as tables:
                tables.table("chat_messages").insert(message_row(message))
                tables.table("chat_sessions").update(session.id, {"leaf_id": message.id})
            parent = message.id
            if place + 1 == talk.fork:
                forked = message.id
        if forked is not None:
            fork = ChatRows(self._db).fork(session.id, forked)
            with self._db.write() as tables:
                tables.table("chat_sessions").update(fork.id, {"updated_at": _iso(ended + 300.0)})

    def _answered(self, message: Message, line: Line, talk: Talk, prompt: int, at: float) -> tuple[Message, float]:
        """Return the answer with its figures, and when it ended; its request is kept."""
        run = next((one for one in self._runs if one.recipe.id == talk.recipe and one.served_at(at)), None)
        model = run.layout.model if run else model_of(talk.recipe)
        traffic = run.holder.served if run else Traffic(Layout(model), talk.recipe, at - 1.0)
        speed = 1 / (traffic.at(at).itl or model.running / model.peak)
        thought, tokens = count(line.thought), count(line.thought) + max(1, count(line.text))
        ttft = model.ttft + prompt / 12_000
        total = ttft + tokens / speed
        finish = line.finish or "stop"
        timings = Timings(ttft, thought / speed if thought else None, total, round(speed, 2))
        usage = TokenUsage(prompt, tokens, thought or None, prompt // 2)
        message = replace(
            message, reasoning=line.thought, model=talk.recipe, finish=finish, usage=usage, timings=timings
        )
        RequestRows(self._db).record(
            CompletedRequest(
                at + total,
                "chat",
                finish,
                run_id=run.spec.run_id if run else None,
                attempt=1,
                recipe_id=talk.recipe,
                model=talk.recipe,
                session_id=message.session_id,
                message_id=message.id,
                prompt_tokens=prompt,
                completion_tokens=tokens,
                reasoning_tokens=thought or None,
                cached_tokens=prompt // 2,
                ttft=ttft,
                total_seconds=total,
                tokens_per_second=speed,
            )
        )
        return message, at + total


def made() -> list[str]:
    """Return the ids of the chats that are made."""
    return [_id(one.title) for one in TALKS]


def _id(title: str) -> str:
    return f"{zlib.crc32(title.encode()):08x}{zlib.crc32(title[::-1].encode()):08x}"


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"
