"""`compare`: one question to several at once; `arena`: votes on the answers, and how all stand."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import typer

from vllm_studio_tui.cli.chat import ended_by_signals
from vllm_studio_tui.cli.chat_input import attached_files, piped_text, question_of
from vllm_studio_tui.cli.opening import open_studio, open_studio_async
from vllm_studio_tui.cli.output import emit, emit_line, note, say, table
from vllm_studio_tui.domain.chat import Attached, Delta, Ended, Relabel, StreamEvent
from vllm_studio_tui.domain.compare import LABELS, Score, Side, Vote, winner_of
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.services.chat.answer import Answer

if TYPE_CHECKING:
    from vllm_studio_tui.domain.compare import Question
    from vllm_studio_tui.services.compare_protocols import CompareApi

DASH = "–"
#: Settings of `chat` that hold for all sides.
_COMMON = ("temperature", "top_p", "max_tokens", "seed", "thinking")


def register(app: typer.Typer) -> None:
    @app.command("compare")
    def compare(
        prompt: str | None = typer.Argument(None, help="What to ask; text from a pipe is added below it."),
        side: list[str] = typer.Option(
            [],
            "--side",
            metavar="WHO[,NAME=VALUE..]",
            help="A run, recipe or model, with what differs; 2 to 4 of them.",
        ),
        blind: bool = typer.Option(False, "--blind", help="Mix them, and hide their names until the vote."),
        keep: str | None = typer.Option(
            None, "--keep", help="Let the chat go on from this one: a side, or its letter."
        ),
        session: str | None = typer.Option(None, "--session", help="Ask in a chat: its id, or last."),
        system: str | None = typer.Option(None, "--system", help="The system prompt."),
        image: list[str] = typer.Option([], "--image", help="A picture; may be given several times."),
        file: list[str] = typer.Option(
            [], "--file", help="Text, code, a PDF, or a pattern such as 'src/*.py'; may be given several times."
        ),
        temperature: float | None = typer.Option(None, "--temperature", min=0.0, help="For all of them."),
        top_p: float | None = typer.Option(None, "--top-p", min=0.0, max=1.0, help="For all of them."),
        max_tokens: int | None = typer.Option(None, "--max-tokens", min=1, help="For all of them."),
        seed: int | None = typer.Option(None, "--seed", help="For all of them."),
        thinking: bool | None = typer.Option(None, "--thinking/--no-thinking", help="For all of them."),
        as_json: bool = typer.Option(False, "--json", help="One JSON object a line, each with its side."),
    ) -> None:
        """Ask several at once, and show their answers side by side. They are kept in a chat, beside each other."""
        if blind and keep is not None and keep.strip().upper() not in LABELS:
            raise UsageError("with --blind only a letter can be kept", advice="Write --keep A.")
        if session is not None and system is not None:
            raise UsageError("the chat has its system prompt", advice="Leave --system or --session out.")
        text = question_of(prompt, piped_text())
        common = dict(zip(_COMMON, (temperature, top_p, max_tokens, seed, thinking), strict=True))
        comparison = _Comparison(text, attached_files(prompt or "", image, file), blind=blind, as_json=as_json)
        asyncio.run(comparison.run(side, session, system, {k: v for k, v in common.items() if v is not None}, keep))
        if any(one.ended is None or one.ended.finish in ("failed", "interrupted") for one in comparison.answers):
            raise typer.Exit(1)

    nouns = typer.Typer(help="Votes on answers that stood side by side.", no_args_is_help=True)
    app.add_typer(nouns, name="arena")

    @nouns.command("vote")
    def vote(
        question: str = typer.Argument(help="The question's id, as `compare` tells it."),
        winner: str = typer.Argument(help="The letter or the name of the better one, or tie."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Say which answer is better. After a blind comparison the names are told."""
        with open_studio() as studio:
            names = [_name_of(one.details) for one in studio.compare.answers(question)]
            try:
                chosen = winner_of(winner, names)
            except ValueError as error:
                raise UsageError(f"{winner[:80]!r} is none of them", advice=str(error)) from None
            kept = studio.compare.vote(question, chosen)
            scores = studio.compare.scores()
        if as_json:
            emit({"vote": kept.to_json(), "scores": [one.to_json() for one in scores]})
            return
        for label, name in zip(LABELS, names, strict=False):
            say(f"{label}  {name}{'  better' if name == chosen else ''}")
        if not kept.blind:
            note("[it counts with `arena scores --seen` alone: the names were not hidden]")
        _show_scores(scores)

    @nouns.command("scores")
    def scores(
        seen: bool = typer.Option(False, "--seen", help="Count votes of those who saw the names too."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """How all stand after the blind votes, the best first: 400 points more win ten times as often."""
        with open_studio() as studio:
            found = studio.compare.scores(seen=seen)
            if as_json:
                emit({"scores": [one.to_json() for one in found]})
                return
        if not found:
            say("No vote yet. Ask with names hidden: vllm-studio compare --blind PROMPT --side A --side B")
            return
        _show_scores(found)

    @nouns.command("votes")
    def votes(
        limit: int = typer.Option(50, "--limit", "-n", min=1, help="At most so many."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Votes, the latest first."""
        with open_studio() as studio:
            found = studio.compare.votes(limit)
        if as_json:
            emit({"votes": [one.to_json() for one in found]})
        elif not found:
            say("No vote yet.")
        else:
            table(("AT", "BETTER", "OF", "NAMES", "QUESTION"), [_vote_row(one) for one in found])


def _vote_row(one: Vote) -> list[str]:
    at = (iso_time(one.at) or DASH)[:19].replace("T", " ")
    hidden = "hidden" if one.blind else "seen"
    return [at, one.winner or "tie", " · ".join(one.sides), hidden, one.message_id or DASH]


def _show_scores(found: Sequence[Score]) -> None:
    table(
        ("SIDE", "SCORE", "GAMES", "WON", "LOST", "TIED"),
        [[one.name, f"{one.rating:.0f}", *map(str, (one.games, one.wins, one.losses, one.ties))] for one in found],
        right=range(1, 6),
    )


def _name_of(details: Any) -> str:
    side = details.get("side")
    return str(side.get("name") or "") if isinstance(side, dict) else ""


class _Comparison:
    """One run of `compare`.

    Attributes:
        answers: What came, by the place of the side.
    """

    def __init__(self, text: str, attached: Sequence[Attached], *, blind: bool, as_json: bool) -> None:
        self._text = text
        self._attached = attached
        self._blind = blind
        self._json = as_json
        self.answers: list[Answer] = []

    async def run(
        self, specs: Sequence[str], session: str | None, system: str | None, common: dict[str, Any], keep: str | None
    ) -> None:
        try:
            async with open_studio_async() as studio:
                if studio.storage_warning:
                    note(f"warning: {studio.storage_warning}")
                earlier = studio.chat.sessions.find(session) if session is not None else None
                settings = {**(earlier.settings if earlier is not None else {}), **common}
                sides = studio.compare.sides(specs, settings=settings, shuffled=self._blind)
                kept = self._kept(keep, sides)
                asked = studio.compare.begin(
                    self._text,
                    session_id=earlier.id if earlier else None,
                    system=system,
                    images=[one.image for one in self._attached if one.image is not None],
                    files=[one.file for one in self._attached],
                    sides=sides,
                )
                self.answers = [Answer() for _ in sides]
                ids = [uuid.uuid4().hex for _ in sides]
                try:
                    with ended_by_signals(studio):
                        await self._ask_all(studio.compare, asked, sides, ids)
                        if kept is not None:
                            studio.compare.keep(ids[kept])
                finally:
                    self._tell(asked, sides)
                    studio.close_chat()
        except StudioError as error:
            if self._json:
                emit_line({"event": "error", "message": error.title, "cause": error.cause, "advice": error.advice})
            raise

    def _kept(self, keep: str | None, sides: Sequence[Side]) -> int | None:
        """Return the place of the side that is kept."""
        if keep is None:
            return None
        names = [one.name for one in sides]
        try:
            chosen = winner_of(keep, names)
        except ValueError as error:
            raise UsageError(f"--keep {keep[:80]}: no such side", advice=str(error)) from None
        if chosen is None:
            raise UsageError("--keep names no side", advice="Leave it out, and the chat goes on from the last of them.")
        return names.index(chosen)

    async def _ask_all(self, compare: CompareApi, asked: Question, sides: Sequence[Side], ids: Sequence[str]) -> None:
        tasks = [
            asyncio.create_task(
                self._read(
                    place,
                    compare.answer(
                        asked.session_id,
                        asked.message_id,
                        side.target,
                        name=side.name,
                        sampling=side.sampling,
                        answer_id=ids[place],
                        blind=self._blind,
                        place=place,
                    ),
                    side,
                )
            )
            for place, side in enumerate(sides)
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _read(self, place: int, events: AsyncGenerator[StreamEvent, None], side: Side) -> None:
        async with aclosing(events):
            async for event in events:
                self.answers[place].add(event)
                if self._json:
                    self._emit(place, side, event)

    def _emit(self, place: int, side: Side, event: StreamEvent) -> None:
        whose = {"side": LABELS[place], "name": None if self._blind else side.name}
        if isinstance(event, Delta):
            for kind, text in (("reasoning", event.reasoning), ("content", event.content)):
                if text:
                    emit_line({"event": kind, **whose, "text": text})
        elif isinstance(event, Relabel):
            text = "".join(self.answers[place].reasoning)
            emit_line({"event": "reasoning", **whose, "text": text, "relabel": True})
        elif isinstance(event, Ended):
            if event.error:
                emit_line({"event": "error", **whose, "message": event.error, "advice": event.advice})
            told = {**event.to_json(), **({"model": None} if self._blind else {})}
            emit_line({"event": "stats", **whose, "content": self.answers[place].text()[0], **told})

    def _tell(self, asked: Question, sides: Sequence[Side]) -> None:
        if self._json:
            emit_line({"event": "compared", "session_id": asked.session_id, "question_id": asked.message_id})
            return
        for place, (side, answer) in enumerate(zip(sides, self.answers, strict=True)):
            say(f"{LABELS[place]}{'' if self._blind else f'  {side.name}'}")
            say(answer.text()[0].strip("\n") or "(nothing came)")
            if answer.ended is not None and answer.ended.error:
                note(f"error: {answer.ended.error}")
            say()
        table(
            ("", "TTFT", "TOK/S", "TOKENS", "THOUGHT", "TOTAL", "END"),
            [_figures(LABELS[place], answer) for place, answer in enumerate(self.answers)],
            right=range(1, 6),
        )
        note(f"[chat {asked.session_id}, question {asked.message_id}]")
        note(f"[which is better? vllm-studio arena vote {asked.message_id} A]")


def _figures(label: str, answer: Answer) -> list[str]:
    ended = answer.ended
    if ended is None:
        return [label, DASH, DASH, DASH, DASH, DASH, "stopped"]
    timings = ended.timings
    tokens = ended.usage.completion_tokens
    return [
        label,
        numbers.latency(timings.ttft),
        numbers.rate(timings.tokens_per_second),
        f"~{answer.tokens}" if tokens is None and answer.tokens else numbers.count(tokens),
        numbers.latency(timings.thinking),
        numbers.latency(timings.total),
        ended.finish,
    ]
