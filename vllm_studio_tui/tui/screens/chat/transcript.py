"""The transcript of a chat: the document with its keys. What is done with a message is posted to the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from textual.binding import BindingType
from textual.message import Message as Notice

from vllm_studio_tui.domain.chat import Delta, Message
from vllm_studio_tui.services.chat.answers import RunningAnswer
from vllm_studio_tui.services.chat.branches import branch_of
from vllm_studio_tui.services.chat.going_on import CutRound, cut_round, is_cut
from vllm_studio_tui.tui.document.round_foot import RoundFoot
from vllm_studio_tui.tui.document.view import Entry
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.screens.chat.call_cards import CallCards
from vllm_studio_tui.tui.screens.chat.state import ReadingPlace

#: Calls of one answer that are looked through for whether they are over.
MOST_CALLS = 500


class Transcript(CallCards):
    """The messages of a chat, and the keys to read them."""

    SCOPE = "transcript"
    SCOPES = ("call", "transcript")
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("call"), *actions.bindings("transcript")]

    @dataclass
    class ActionChosen(Notice):
        """The person chose to do something with a message.

        Attributes:
            name: The action without its scope, such as `regenerate`.
        """

        name: str
        message: Message

    @dataclass
    class NewAsked(Notice):
        """The person wants a new chat."""

    @dataclass
    class SearchOpened(Notice):
        """The person wants to look for words in the chat."""

    @property
    def _spacious(self) -> bool:
        return self._shell.size_class >= Size.FULL

    # --- showing ----------------------------------------------------------------------------------------

    def show_branch(self, tree: Sequence[Message], leaf_id: str | None, running: RunningAnswer | None = None) -> None:
        """Show the branch of a leaf, and below it the answer that is being generated in this chat."""
        entries = [Entry(message, sibling) for message, sibling in branch_of(tree, leaf_id)]
        started = None
        if running is not None and entries:
            last, before = entries[-1].message, running.answer.before
            if (last.finish == "streaming" and last.role == "assistant") or (
                before is not None and last.id == before.id
            ):
                started = entries.pop()
        self.show_entries(entries, spacious=self._spacious, calls=running.calls if running is not None else None)
        self.face_call(calling=False)
        if running is None:
            if (cut := self._cut_round) is not None:
                self.blocks.append(RoundFoot(len(entries) - 1 - len(cut.results), cut))
                self.redraw()
            return
        if started is not None:
            self.begin(started)
            self.feed(Delta(*running.answer.text()))
            if running.calling:  # it ended while the chat was read
                self.show_calls(running)
        elif running.calling:
            self.face_call(calling=True)
        elif entries and entries[-1].message.role == "tool":
            self.show_further(running, None)
        else:  # its message is being kept at this moment
            self.show_answer(running)

    def show_answer(self, running: RunningAnswer) -> None:
        """Show an answer that begins at the end, below its question where it is a new one."""
        if self.blocks and isinstance(self.blocks[-1], RoundFoot):
            del self.blocks[-1]
        if running.question is not None:
            self.add(Entry(_question(running)), spacious=self._spacious)
        self.begin(Entry(Message("", running.session_id, "assistant", "", finish="streaming")))
        content, reasoning = running.answer.text()
        if content or reasoning:
            self.feed(Delta(content, reasoning))

    def show_end(self, tree: Sequence[Message], leaf_id: str | None, running: RunningAnswer | None = None) -> None:
        """Show the end of the answer, as it is kept; `running` is the next one, where there is one already."""
        entries = [Entry(message, sibling) for message, sibling in branch_of(tree, leaf_id)]
        if self.live is not None and len(entries) == len(self.entries):
            self.entries[:-1] = entries[:-1]
            self.finish(entries[-1])
        else:
            self.show_branch(tree, leaf_id, running)

    def cut_at(self, message: Message, *, keep: bool) -> None:
        """Show only what is above a message, and with `keep` the message itself."""
        index = next((at for at, entry in enumerate(self.entries) if entry.message.id == message.id), None)
        kept = self.entries if index is None else self.entries[: index + keep]
        self.show_entries(kept, spacious=self._spacious)

    # --- where one reads --------------------------------------------------------------------------------

    def reading_place(self) -> ReadingPlace | None:
        """Return where somebody reads above the end; None where nobody does."""
        index, line = self._top
        if self.following or index >= len(self.blocks):
            return None
        at = self.blocks[index].message
        if not 0 <= at < len(self.entries):
            return None
        first = next(one for one, block in enumerate(self.blocks) if block.message == at)
        cursor = self.message.message.id if self.message is not None else None
        return ReadingPlace(self.entries[at].message.id, index - first, line, cursor)

    def go_back_to(self, place: ReadingPlace) -> None:
        """Show what was visible when a place was kept; where its message is gone, the end stays."""
        ids = {entry.message.id: at for at, entry in enumerate(self.entries)}
        if place.message not in ids:
            return
        blocks = [one for one, block in enumerate(self.blocks) if block.message == ids[place.message]]
        if blocks:
            self.current = ids.get(place.cursor) if place.cursor is not None else None
            self.show_at(blocks[min(place.block, len(blocks) - 1)], place.line)

    # --- keys -------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        name = action.replace("_", "-")
        if f"call.{name}" in actions.BY_ID:
            return self.can_answer(name)
        known = actions.BY_ID.get(f"transcript.{name}")
        if known is None:
            return super().check_action(action, parameters)
        if known.writes and self._shell.read_only:
            return False
        return self._possible(known.name)

    def _possible(self, name: str) -> bool:
        """Whether something can be done with the message under the cursor."""
        entry = self.message
        if name == "new":
            return True
        if not self.entries:
            return False
        if name in ("up", "down", "page-up", "page-down", "first", "last", "find", "fold-all"):
            return True
        if entry is None:
            return False
        role = entry.message.role
        if name == "regenerate":
            return role in ("user", "assistant") and self.quiet
        if name == "continue":
            return self.quiet and (is_cut(entry.message) or self._in_cut_round(entry))
        if name == "edit":
            return role == "user"
        if name in ("previous", "next"):
            return entry.sibling[1] > 1
        if name == "info":
            return bool(entry.message.details.get("logprobs"))
        if name == "request":
            return role == "assistant" and bool(entry.message.id) and self.live is None
        if name in ("fork", "pin"):
            return bool(entry.message.id)  # it is kept already
        if name == "delete":
            return bool(entry.message.id) and self.quiet
        if name in ("copy", "copy-code", "editor"):
            return bool(self._text)
        return True

    @property
    def _cut_round(self) -> CutRound | None:
        """The round of calls that the branch ends in, where it was cut off."""
        return cut_round([entry.message for entry in self.entries[-MOST_CALLS:]])

    def _in_cut_round(self, entry: Entry) -> bool:
        """Whether a message is of the round of calls that was cut off."""
        cut = self._cut_round
        return cut is not None and entry.message.id in (cut.answer.id, *(one.id for one in cut.results))

    @property
    def _text(self) -> str:
        """The text of the message under the cursor; of an answer that comes, as much as there is."""
        entry, live = self.message, self.live
        if entry is None:
            return ""
        comes = live is not None and entry is self.entries[-1]
        return "".join(live.content) if live is not None and comes else entry.message.content

    def _chosen(self, name: str) -> None:
        if (entry := self.message) is not None:
            self.post_message(self.ActionChosen(name, entry.message))

    @property
    def carries_files(self) -> bool:
        """Whether the message under the cursor is a question with files or pictures."""
        message = self.message.message if self.message is not None else None
        return message is not None and message.role == "user" and bool(message.files or message.images)

    def action_fold(self) -> None:
        if self.carries_files:
            self._chosen("look")
        else:
            self.toggle()

    def action_new(self) -> None:
        self.post_message(self.NewAsked())

    def action_find(self) -> None:
        self.post_message(self.SearchOpened())

    def action_next_stop(self) -> None:
        self._stop(1)

    def action_previous_stop(self) -> None:
        self._stop(-1)

    def _stop(self, step: int) -> None:
        """Go to the next hit while something is looked for, else to the next question."""
        if self.words:
            self.find_next(step)
        else:
            self.move(step, roles=("user",))

    def action_fold_all(self) -> None:
        self.toggle_thinking()

    def action_copy(self) -> None:
        self._shell.copy(self._text)

    def action_copy_code(self) -> None:
        if (entry := self.message) is not None:
            self.post_message(self.ActionChosen("copy-code", replace(entry.message, content=self._text)))

    def action_request(self) -> None:
        self._chosen("request")

    def action_pin(self) -> None:
        self._chosen("pin")

    def action_delete(self) -> None:
        self._chosen("delete")

    def action_editor(self) -> None:
        self._chosen("editor")

    def action_tree(self) -> None:
        self._chosen("tree")

    def action_info(self) -> None:
        self._chosen("info")

    def action_export(self) -> None:
        self._chosen("export")

    def action_continue(self) -> None:
        self._chosen("continue")

    def action_regenerate(self) -> None:
        self._chosen("regenerate")

    def action_edit(self) -> None:
        self._chosen("edit")

    def action_fork(self) -> None:
        self._chosen("fork")

    def action_previous(self) -> None:
        self._chosen("previous")

    def action_next(self) -> None:
        self._chosen("next")


def _question(running: RunningAnswer) -> Message:
    """Return what was asked, as a message with what went with it."""
    return Message(
        "",
        running.session_id,
        "user",
        running.question or "",
        images=tuple(one.image for one in running.attached if one.image is not None),
        files=tuple(one.file for one in running.attached),
    )
