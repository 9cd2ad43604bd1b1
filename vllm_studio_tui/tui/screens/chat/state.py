"""A chat as the screen knows it. A flow keeps the one that it began with: another may be shown when it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.chat import Session
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.runs.read import RunView, pick_run

#: States of a run in which it is asked.


@dataclass(slots=True, eq=False)
class Chat:
    """One chat: a person may type into it, open another, and come back.

    Attributes:
        session: None until its first question is sent.
        recipe: Who answers; None: whom it was held with, or what is ready.
        settings: What was chosen for it.
        queue: Questions that wait.
        waiting_for: The run that has to be ready before they are sent.
        asking: A question is on its way and its answer has not begun.
    """

    session: Session | None = None
    recipe: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    queue: list[str] = field(default_factory=list)
    waiting_for: str | None = None
    asking: bool = False

    @property
    def id(self) -> str | None:
        return self.session.id if self.session is not None else None

    @property
    def busy(self) -> bool:
        """Something of it goes on, also while another chat is shown."""
        return bool(self.queue or self.waiting_for or self.asking)


class Chats:
    """The chats that were shown, or of which something goes on.

    Attributes:
        shown: The one in front.
    """

    def __init__(self) -> None:
        self.shown = Chat()
        self._others: list[Chat] = []

    def show(self, chat: Chat) -> None:
        """Bring a chat to the front; of the one before, what goes on is not forgotten."""
        kept = [one for one in [*self._others, self.shown] if one is not chat and (one.busy or one.session is not None)]
        self.shown, self._others = chat, kept

    def of(self, session_id: str) -> Chat | None:
        """The chat of this id, where it is known."""
        return next((one for one in self.all() if one.id == session_id), None)

    def all(self) -> list[Chat]:
        return [self.shown, *self._others]


def run_of_chat(chat: Chat, runs: list[RunView]) -> RunView | None:
    """The run that would answer a chat: its recipe's, else one of the model it was held with, else what is up."""
    if chat.recipe is not None:
        return pick_run(runs, chat.recipe)
    live = [run for run in runs if run.live]
    if chat.session is not None and chat.session.model is not None:
        live = [run for run in live if chat.session.model in (run.model, run.recipe_id)]
    answering = [run for run in live if run.state in ANSWERING]
    return next(iter(answering or live), None)
