"""One question to several at once: their answers stand side by side in the tree of a chat, and a person says which is
better. Names may be hidden until then.
"""

from __future__ import annotations

import builtins
import contextlib
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat import Attachment, Delta, Ended, Message, Relabel, Sampling, StreamEvent, Target
from vllm_studio_tui.domain.compare import FEWEST, MOST, Question, Score, Side, Vote, scores_of
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.services.chat.asking_once import Record
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.library import Library
from vllm_studio_tui.services.chat.request import title_of
from vllm_studio_tui.services.chat.request_lab import RequestLab
from vllm_studio_tui.services.chat.side_spec import FindPreset, read_spec
from vllm_studio_tui.store.arena_votes import ArenaVoteRows
from vllm_studio_tui.store.database import Database

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import LauncherApi

#: Finds who answers, by `recipe` (a run is named so too) or by `model`; see `services.launching.targets`.
FindTarget = Callable[..., Target]


class Compare:
    """Comparisons of answers, and the votes on them.

    Args:
        find: Raises NotFound where nobody answers to a name.
        find_preset: Returns what a preset sets; raises NotFound where there is none.
        lab: The request lab, which looks at the requests of single answers.
    """

    def __init__(
        self, db: Database, chat: ChatService, find: FindTarget, find_preset: FindPreset, lab: RequestLab
    ) -> None:
        self._db = db
        self._chat = chat
        self._find = find
        self._find_preset = find_preset
        self.lab = lab
        self._votes = ArenaVoteRows(db)

    # --- asking -----------------------------------------------------------------------------------------

    def sides(
        self, specs: Sequence[str], *, settings: Mapping[str, Any] | None = None, shuffled: bool = False
    ) -> builtins.list[Side]:
        """Return those that shall answer. Blocking.

        Args:
            specs: `WHO`, or `WHO,preset=exact,seed=7`: a recipe, run or model, and what differs for it.
            settings: Those of the chat, which hold where a side sets nothing else.
            shuffled: In an order that tells nothing of them.

        Raises:
            UsageError: There are too few or too many, two are the same, or one is written wrongly.
            StudioError: One does not answer.
        """
        if not FEWEST <= len(specs) <= MOST:
            raise UsageError(
                f"{len(specs)} {'side' if len(specs) == 1 else 'sides'}",
                cause=f"From {FEWEST} to {MOST} answer side by side.",
                advice="Name runs, or the same run with other settings: RUN and RUN,temperature=0.",
            )
        found = [read_spec(one, settings or {}, self._find_preset) for one in specs]
        names = [one.name for one in found]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            advice = f"Set something else for one of them: {twice.split(',', 1)[0]},temperature=0."
            raise UsageError(f"{twice[:80]} is named twice", advice=advice)
        sides = [Side(one.name, self._target(one.who), one.sampling) for one in found]
        return random.sample(sides, len(sides)) if shuffled else sides

    def _target(self, name: str) -> Target:
        """Return who answers to the name of a recipe, run or model."""
        try:
            return self._find(recipe=name)
        except NotFound as error:
            try:
                return self._find(model=name)
            except NotFound:
                raise error from None

    def begin(
        self,
        text: str,
        *,
        session_id: str | None = None,
        system: str | None = None,
        images: Sequence[str] = (),
        files: Sequence[Attachment] = (),
        sides: Sequence[Side] = (),
    ) -> Question:
        """Keep the question, at the end of a chat or in a new one. Blocking.

        Args:
            images: Data URLs.
            files: What goes with it, see `ChatService.send`.
            sides: Those that shall answer: each is asked whether it reads pictures, where some go with it.

        Raises:
            NotFound: There is no such chat.
            UsageError: A side reads no pictures. Nothing is kept.
        """
        for side in sides if images else ():
            self._chat.check_sight(side.target)
        sessions, messages = self._chat.sessions, self._chat.messages
        with self._db.write():
            if session_id is None:
                settings = {"system": system} if system else {}
                session_id = sessions.create(title_of(text), settings=settings).id
            elif not sessions.get(session_id).title:
                sessions.rename(session_id, title_of(text))
            parent = messages.leaf(session_id)
            asked = messages.append(
                Message("", session_id, "user", text, parent_id=parent, images=tuple(images), files=tuple(files))
            )
        return Question(session_id, asked.id)

    async def answer(
        self,
        session_id: str,
        question_id: str,
        target: Target,
        *,
        name: str,
        sampling: Sampling | None = None,
        answer_id: str = "",
        blind: bool = False,
        place: int = 0,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Have one side answer; the answers to a question stand beside each other in the chat.

        Args:
            name: The name of the side, by which votes and scores call it.
            answer_id: What the message of the answer will be called; empty: the store names it.
            place: Its place among the sides, from 0 on.

        Raises:
            StudioError: The answer could not be kept.
        """
        side = {"name": name, "recipe": target.recipe_id, "blind": blind, "place": place}
        events = self._chat.answer(
            session_id, question_id, target, sampling=sampling, answer_id=answer_id, details={"side": side}
        )
        try:
            async for event in events:
                if isinstance(event, Delta | Relabel | Ended):  # it calls no tools
                    yield event
        finally:
            await events.aclose()

    def answers(self, question_id: str) -> builtins.list[Message]:
        """Return the answers that stand side by side below a question, the latest of each side, by their place.

        Raises:
            NotFound: There is no such question, or none are there.
        """
        asked = self._chat.messages.get(question_id)
        latest: dict[str, Message] = {}
        for one in self._chat.tree(asked.session_id):
            if one.parent_id == asked.id and (name := side_name(one)):
                latest[name] = one
        if len(latest) < FEWEST:
            raise NotFound("no answers stand side by side there", advice="Ask: vllm-studio compare PROMPT --side A …")
        return sorted(latest.values(), key=lambda one: (_place(one), one.seq))

    def keep(self, answer_id: str) -> Message:
        """Let a chat go on from one of the answers, and with whoever wrote it; return that answer. Blocking.

        Raises:
            NotFound: There is no such answer.
        """
        sessions = self._chat.sessions
        kept = self._chat.messages.get(answer_id)
        side = kept.details.get("side")
        side = side if isinstance(side, Mapping) else {}
        settings = dict(sessions.get(kept.session_id).settings)
        recipe = side.get("recipe")
        if isinstance(recipe, str) and recipe:
            settings["recipe"] = recipe
        else:
            settings.pop("recipe", None)
        with contextlib.suppress(StudioError):  # its preset may be gone
            settings = dict(read_spec(side_name(kept), settings, self._find_preset).settings)
        with self._db.write():
            sessions.set_leaf(kept.session_id, kept.id)
            sessions.set_model(kept.session_id, kept.model)
            sessions.set_settings(kept.session_id, settings)
        return kept

    # --- votes ------------------------------------------------------------------------------------------

    def vote(self, question_id: str, winner: str | None) -> Vote:
        """Keep which answer is better, in the place of an earlier vote on the same question. Blocking.

        Args:
            winner: The name of a side; None: none is better.

        Raises:
            NotFound: There are no answers side by side.
            UsageError: No side is called so.
        """
        answers = self.answers(question_id)
        names = tuple(side_name(one) for one in answers)
        if winner is not None and winner not in names:
            raise UsageError(f"no side is called {winner[:80]}", advice=f"They are: {' · '.join(names)}.")
        earlier = self._votes.of(question_id)
        # With the first vote the names were shown: one that is changed after it is not blind.
        blind = earlier is None and all(_side(one).get("blind") is True for one in answers)
        self._votes.put(Vote(names, winner, blind, answers[0].session_id, question_id))
        kept = self._votes.of(question_id)
        assert kept is not None
        return kept

    def vote_of(self, question_id: str) -> Vote | None:
        """Return the vote on a question; None where there is none. Blocking."""
        return self._votes.of(question_id)

    def votes(self, limit: int | None = None) -> builtins.list[Vote]:
        """Return votes, the latest first. Blocking."""
        return self._votes.list(limit=limit)

    def scores(self, *, seen: bool = False) -> builtins.list[Score]:
        """Return how all sides stand, the best first. Blocking.

        Args:
            seen: Also by the votes of those who saw the names.
        """
        return scores_of(self._votes.list(blind_only=not seen))


def make_compare(db: Database, chat: ChatService, launcher: LauncherApi, library: Library, record: Record) -> Compare:
    """Return comparisons and the request lab over the chats, runs and presets of a studio."""

    def preset(name: str) -> Mapping[str, Any]:
        return library.get("preset", name).data

    return Compare(db, chat, launcher.target, preset, RequestLab(chat, launcher, preset, record))


def side_name(answer: Message) -> str:
    """Return the name of the side that wrote an answer; empty where it stood beside no other."""
    name = _side(answer).get("name")
    return name if isinstance(name, str) else ""


def _side(answer: Message) -> Mapping[str, Any]:
    side = answer.details.get("side")
    return side if isinstance(side, Mapping) else {}


def _place(answer: Message) -> int:
    place = _side(answer).get("place")
    return place if isinstance(place, int) else MOST
