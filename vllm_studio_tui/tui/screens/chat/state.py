"""The state of the chat screen. Only this module changes it: the others read it and call its methods.

Whatever waits for something keeps the `Chat` that it began with: another one may be shown when it continues.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.chat import Attached, Attachment, Message, Session
from vllm_studio_tui.domain.draft import Draft, joined
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.runs.find import pick_run
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.chat.drafts import TABS, LeftOff

#: Chats of which it is known where one was reading.
PLACES = 50


@dataclass(frozen=True, slots=True)
class ReadingPlace:
    """Where somebody reads in a chat, above its end.

    Attributes:
        message: The id of the message at the top of what is visible.
        block, line: The block of that message, from 0, and the line of it.
        cursor: The id of the message under the cursor.
    """

    message: str
    block: int
    line: int
    cursor: str | None = None


@dataclass(slots=True, eq=False)
class Chat:
    """One chat: a person may type into it, open another one, and come back.

    Attributes:
        session: None until its first question is sent.
        recipe: The recipe or run that answers; None: whom the chat was held with, or what is ready.
        settings: What was chosen for it, as it is kept with the session.
        queue: Questions that wait to be sent.
        waiting_for: The id of the run that has to be ready before they are.
        asking: A question is on its way and its answer has not begun.
    """

    session: Session | None = None
    recipe: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    queue: Sequence[Draft] = ()
    waiting_for: str | None = None
    asking: bool = False

    @property
    def id(self) -> str | None:
        return self.session.id if self.session is not None else None

    @property
    def busy(self) -> bool:
        """Whether something of it goes on, also while another chat is shown."""
        return bool(self.queue or self.waiting_for or self.asking)

    # --- changes ----------------------------------------------------------------------------------------

    def set_session(self, session: Session) -> None:
        """Take the session as the database has it now."""
        self.session = session

    def load_settings(self, session: Session) -> None:
        """Take session, settings and recipe as they are kept."""
        self.session, self.settings = session, dict(session.settings)
        recipe = self.settings.get("recipe")
        self.recipe = recipe if isinstance(recipe, str) else None

    def set(self, name: str, value: Any) -> None:
        """Change a setting; None leaves it to the engine."""
        others = {key: kept for key, kept in self.settings.items() if key != name}
        self.settings = others if value is None else {**others, name: value}

    def replace_settings(self, settings: Mapping[str, Any]) -> None:
        """Put others in the place of all settings."""
        self.settings = dict(settings)

    def use_recipe(self, recipe_id: str | None, *, keep: bool = False) -> None:
        """Have another recipe answer.

        Args:
            keep: It becomes one of the settings that are kept with the chat.
        """
        self.recipe = recipe_id
        if keep:
            self.set("recipe", recipe_id)

    def begin_asking(self) -> None:
        self.asking = True

    def end_asking(self) -> None:
        self.asking = False

    def enqueue(self, question: Draft, *, first: bool = False) -> None:
        """Have a question wait, behind the others or before them."""
        self.queue = (question, *self.queue) if first else (*self.queue, question)

    def next_question(self) -> Draft:
        """Take the first question that waits."""
        question, *rest = self.queue
        self.queue = tuple(rest)
        return question

    def wait_for(self, run_id: str | None) -> None:
        """Hold the questions back until a run is ready; None: no longer."""
        self.waiting_for = run_id

    def take_back(self) -> Draft:
        """Give up waiting; return all questions that waited, as one."""
        question = joined(*self.queue)
        self.queue, self.waiting_for = (), None
        return question


class ChatState:
    """What the screen shows, and the chats behind it.

    Attributes:
        shown: The chat in front.
        tree: All messages of that chat.
        editing: The question that is being edited in the prompt; None where the prompt holds a new one.
        attached: What goes with what is typed, besides the files that its words name.
        listed, total: Sessions in the list beside the transcript, and how many there are.
        unseen: Ids of chats whose answer ended while another one was shown.
        loose: The id of the chat that was shown last and is in no tab of its own.
        places: Where one was reading in chats that are not shown, by their ids.
        left_off: What is kept until the screen is opened again: drafts, prompts that were sent, the open chat.
    """

    def __init__(self) -> None:
        self.shown = Chat()
        self.tree: Sequence[Message] = ()
        self.editing: Message | None = None
        self.attached: tuple[Attached, ...] = ()
        self.listed: Sequence[Session] = ()
        self.total = 0
        self.unseen: set[str] = set()
        self.loose: str | None = None
        self.places: dict[str, ReadingPlace] = {}
        self.left_off = LeftOff()
        self._others: list[Chat] = []

    def all(self) -> list[Chat]:
        """Return the chats that were shown, or of which something goes on."""
        return [self.shown, *self._others]

    def of(self, session_id: str) -> Chat | None:
        """Return the chat of a session, where it is known."""
        return next((chat for chat in self.all() if chat.id == session_id), None)

    # --- what is shown ----------------------------------------------------------------------------------

    def restore(self, left_off: LeftOff) -> None:
        """Begin with what was left off."""
        self.left_off = left_off
        self.shown.recipe = left_off.recipe

    def open(self, session: Session, tree: Sequence[Message]) -> None:
        """Show a chat that is kept."""
        chat = self.of(session.id) or Chat()
        chat.load_settings(session)
        self._show(chat, tree)

    def open_new(self) -> None:
        """Show a chat that begins to exist with its first question, with the recipe of the one before."""
        kept = {name: value for name, value in self.shown.settings.items() if name == "recipe"}
        self._show(Chat(recipe=self.shown.recipe, settings=kept), ())

    def _show(self, chat: Chat, tree: Sequence[Message]) -> None:
        others = [other for other in self.all() if other is not chat and (other.busy or other.session is not None)]
        self.shown, self._others = chat, others
        self.tree, self.editing = tree, None
        self.left_off.session = chat.id
        if chat.id not in self.left_off.tabs:
            self.loose = chat.id
        self.unseen.discard(chat.id or "")

    def keep_open(self, session_id: str) -> bool:
        """Keep a chat in a tab; False where there are as many as there may be."""
        if len(self.left_off.tabs) >= TABS:
            return False
        self.left_off.tabs = [*self.left_off.tabs, session_id]
        return True

    def let_go(self, *session_ids: str) -> None:
        """Keep chats in tabs no longer."""
        self.left_off.tabs = [one for one in self.left_off.tabs if one not in session_ids]

    def answered(self, session_id: str) -> None:
        """An answer has ended: where its chat is not shown, somebody has yet to see it."""
        if session_id != self.shown.id:
            self.unseen.add(session_id)

    def keep_place(self, place: ReadingPlace | None) -> None:
        """Keep where one reads in the chat in front; None: at its end."""
        if self.shown.id is None:
            return
        self.places.pop(self.shown.id, None)
        if place is not None:
            self.places[self.shown.id] = place
            for old in list(self.places)[:-PLACES]:
                del self.places[old]

    def begin_session(self, chat: Chat, session: Session) -> None:
        """A new chat exists, because its first question is sent."""
        chat.session = session
        if chat is self.shown:
            self.left_off.session = self.loose = session.id

    def forget_session(self) -> None:
        """The chat that was left off with is gone."""
        self.left_off.session = None

    def set_list(self, sessions: Sequence[Session], total: int) -> None:
        self.listed, self.total = sessions, total

    def set_tree(self, tree: Sequence[Message]) -> None:
        """Take the messages of the chat in front as the database has them now."""
        self.tree = tree

    def replace_message(self, message: Message) -> None:
        self.tree = [message if other.id == message.id else other for other in self.tree]

    # --- what is typed ----------------------------------------------------------------------------------

    def begin_editing(self, message: Message) -> None:
        """Have the prompt hold a question that was asked, with all that went with it."""
        self.editing, self.attached = message, attached_of(message)

    def end_editing(self) -> Message | None:
        """Leave the edit; return the question that was edited."""
        edited, self.editing = self.editing, None
        return edited

    def attach(self, one: Attached) -> None:
        """Have something go with what is typed."""
        self.attached = (*self.attached, one)

    def detach(self, one: Attached) -> None:
        """Have it go without something."""
        self.attached = tuple(other for other in self.attached if other is not one)

    def next_name(self, name: str) -> str:
        """Return a name with the first number that nothing attached has: `pasted text 1`."""
        there = {one.file.name for one in self.attached}
        return next(f"{name} {number}" for number in range(1, len(there) + 2) if f"{name} {number}" not in there)

    def take_draft(self, draft: Draft | None = None) -> str:
        """Have what goes with a draft, by default that of this chat, go with what is typed; return its words."""
        draft = self.left_off.draft(self.shown.id) if draft is None else draft
        self.attached = draft.attached
        return draft.text

    def keep_draft(self, text: str) -> None:
        """Keep what is typed in the chat in front; an edited question is no draft."""
        if self.editing is None:
            self.left_off.set_draft(self.shown.id, Draft(text, self.attached))

    def sent(self, text: str) -> Draft:
        """Keep a prompt in the history: it is no draft any more. Return it, with what goes with it."""
        self.left_off.remember(text)
        self.left_off.set_draft(self.shown.id, Draft())
        question, self.attached = Draft(text, self.attached), ()
        return question

    def add_to_draft(self, chat: Chat, drafts: Iterable[Draft]) -> None:
        """Put questions before the draft of a chat."""
        self.left_off.set_draft(chat.id, joined(*drafts, self.left_off.draft(chat.id)))

    def leave(self) -> None:
        """The screen is left: keep who answers."""
        self.left_off.recipe = self.shown.recipe

    def close(self) -> None:
        """The studio closes: questions that wait become drafts."""
        for chat in self.all():
            if chat.queue:
                self.add_to_draft(chat, chat.queue)
        self.leave()


def attached_of(message: Message) -> tuple[Attached, ...]:
    """Return what went with a question that was asked."""
    images = iter(message.images)
    found = [Attached(one, next(images, None) if one.text is None else None) for one in message.files]
    for number, image in enumerate(images, 1):  # that nothing more is known of
        kind = image[5:].partition(";")[0]
        found.append(Attached(Attachment(f"picture {number}", kind, len(image) * 3 // 4), image))
    return tuple(found)


def run_of_chat(chat: Chat, runs: Sequence[RunView]) -> RunView | None:
    """Return the run that would answer a chat: its recipe's, else one of its model, else any that is up."""
    if chat.recipe is not None:
        return pick_run(list(runs), chat.recipe)
    live = [run for run in runs if run.live]
    if chat.session is not None and chat.session.model is not None:
        live = [run for run in live if chat.session.model in (run.model, run.recipe_id)]
    answering = [run for run in live if run.state in ANSWERING]
    return next(iter(answering or live), None)
