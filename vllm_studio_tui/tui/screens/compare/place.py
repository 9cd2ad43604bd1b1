"""The widget of answers side by side: its columns, what is asked of whom, the vote."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, ClassVar

from textual import events
from textual.binding import BindingType
from textual.timer import Timer

from vllm_studio_tui.domain.chat import Delta, Ended, Message, Relabel
from vllm_studio_tui.domain.compare import MOST
from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.domain.tools import ChatEvent
from vllm_studio_tui.services.chat.answers import Answers, RunningAnswer
from vllm_studio_tui.tui.document.view import Document
from vllm_studio_tui.tui.flows.named_files import named_files
from vllm_studio_tui.tui.flows.sides import add_side
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.compare.frame import VIEWS, CompareFrame
from vllm_studio_tui.tui.screens.compare.lanes import Lane, Lanes, Wanted
from vllm_studio_tui.tui.sheets.dialogs import Writing
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: Seconds between two pictures of the figures while answers come.
PACE = 0.25


class ComparePage(CompareFrame):
    """Answers side by side."""

    SCOPE = "compare"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("compare")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._answers = Answers(self._on_event, self._on_end)
        self._ticks: Timer | None = None

    def focus_first(self) -> None:
        if VIEWS[self._view] != "answers":
            self.query_one("#compare-sheet").focus()
        elif self.state.lanes:
            self._columns[self.state.at].document.focus()
        else:
            self._columns[0].document.focus()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        for column in self._columns:
            if column.document is event.widget and column.place < len(self.state.lanes):
                self._go_to(column.place)

    def _go_to(self, place: int) -> None:
        if place != self.state.at:
            self.state.at = place
            self.update_place()
            self.shell.update_frame()

    # --- asking -----------------------------------------------------------------------------------------

    def open_item(self, item: str) -> None:
        """Ask what the item says; answers that come to an earlier question go on in their chat until they end."""
        self._begin(Wanted.read(item))

    def _begin(self, wanted: Wanted) -> None:
        self.state = Lanes(wanted, wanted.session_id, wanted.question_id)
        self._view = 0
        for column in self._columns:
            column.document.show_entries([])
        if self.shell.read_only:
            self.shell.tell("read-only: nothing is asked", "warning")
            return
        self.shell.spawn(self._ask(self.state))

    async def _ask(self, state: Lanes) -> None:
        wanted, service = state.wanted, await self._service()
        sides = await self.shell.in_thread(
            lambda: service.sides(wanted.sides, settings=wanted.settings, shuffled=wanted.blind)
        )
        if state.question_id is None:
            system = wanted.settings.get("system") if wanted.session_id is None else None
            attached = await named_files(self.shell, wanted.text)
            asked = await self.shell.in_thread(
                lambda: service.begin(
                    wanted.text,
                    session_id=wanted.session_id,
                    system=system,
                    images=[one.image for one in attached if one.image is not None],
                    files=[one.file for one in attached],
                    sides=sides,
                )
            )
            state.session_id, state.question_id = asked.session_id, asked.message_id
        if state is not self.state:
            return
        state.lanes = [Lane(side) for side in sides]
        for place in range(len(state.lanes)):
            await self._start(state, place)
        await self._read_scores()
        self.focus_first()

    async def _start(self, state: Lanes, place: int) -> None:
        """Have one side answer."""
        lane, service = state.lanes[place], await self._service()
        assert state.session_id is not None
        assert state.question_id is not None
        coming = service.answer(
            state.session_id,
            state.question_id,
            lane.side.target,
            name=lane.side.name,
            sampling=lane.side.sampling,
            answer_id=lane.answer_id,
            blind=state.wanted.blind,
            place=place,
        )
        lane.answer = self._answers.start(lane.answer_id, coming).answer
        if state is self.state:
            self._columns[place].begin()
            self.update_place()
            self.shell.update_frame()
        if self._ticks is None:
            self._ticks = self.set_interval(PACE, self._tick)

    async def _service(self) -> Any:
        return await self.shell.in_thread(lambda: self.studio.compare)

    def _tick(self) -> None:
        """Draw how far the answers are, while some come."""
        if not self._answers.running and self._ticks is not None:
            self._ticks.stop()
            self._ticks = None
        if self.display:
            for column in self._columns[: len(self.state.lanes)]:
                column.repaint()
            self.query_one("#compare-foot", Canvas).repaint()

    def _place_of(self, answer_id: str) -> int | None:
        lanes = self.state.lanes
        return next((place for place, lane in enumerate(lanes) if lane.answer_id == answer_id), None)

    def _on_event(self, running: RunningAnswer, event: ChatEvent) -> None:
        place = self._place_of(running.session_id)
        if place is not None and isinstance(event, Delta | Relabel):
            self._columns[place].document.feed(event)

    def _on_end(self, running: RunningAnswer, error: StudioError | None) -> None:
        self.shell.notices.answered(time.monotonic() - running.began)
        if error is not None:
            self.shell.tell_error(error)
        self.shell.spawn(self._show_end(running), group="chats")

    async def _show_end(self, running: RunningAnswer) -> None:
        """Show an answer as it is kept; of one that could not be kept what came."""
        service = await self.shell.in_thread(lambda: self.studio.chat)
        try:
            message = await self.shell.in_thread(lambda: service.messages.get(running.session_id))
        except NotFound:
            content, reasoning = running.answer.text()
            ended = running.answer.ended or Ended("stopped")
            message = Message(running.session_id, "", "assistant", content, reasoning=reasoning, finish=ended.finish)
        place = self._place_of(running.session_id)
        if place is None or not self.is_attached:
            return
        self.state.lanes[place].message = message
        self._columns[place].finish(message)
        self.update_place()
        self.shell.update_frame()

    async def leaving(self) -> None:
        """The studio closes: what has come is kept."""
        await self._answers.stop_all()

    # --- one step back ----------------------------------------------------------------------------------

    def escape(self) -> bool:
        if self._answers.running:
            for lane in self.state.lanes:
                self._answers.stop(lane.answer_id)
        elif self._view:
            self._show_view(0)
        elif self.state.session_id is not None:
            self.shell.spawn(self.commands.open_chat(self.state.session_id))
        else:
            self.shell.close_page()
        return True

    def escape_word(self) -> str:
        return "stop all" if self._answers.running else "answers" if self._view else "leave"

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        state = self.state
        lane, answers = state.here, self._view == 0
        if lane is None:
            return name == "view"
        if name in ("previous", "next"):
            return len(state.lanes) > 1
        if name in ("mark", "dismiss"):
            return state.over and not (name == "mark" and state.better(state.at))
        if name == "take":
            return lane.ended and bool(lane.text.strip())
        if name == "stop":
            return not lane.ended
        if name == "again":
            return lane.ended and state.vote is None
        if name == "copy":
            return bool(lane.text)
        if name == "new":
            return len(state.lanes) < MOST and state.vote is None
        if name == "edit":
            return state.over
        return answers or name in ("view", "up", "down", "page-up", "page-down", "first", "last")

    def labelled(self, action: Action) -> Action:
        if action.id == "compare.view":
            return replace(action, label=VIEWS[(self._view + 1) % len(VIEWS)])
        if action.id == "compare.take" and self.state.hidden:
            return replace(action, label="is better, go on")
        return super().labelled(action)

    def action_previous(self) -> None:
        self._turn(-1)

    def action_next(self) -> None:
        self._turn(1)

    def _turn(self, step: int) -> None:
        self._go_to((self.state.at + step) % len(self.state.lanes))
        if self._view == 0:
            self._columns[self.state.at].document.focus()

    def action_mark(self) -> None:
        if (lane := self.state.here) is not None:
            self.shell.spawn(self._vote(lane.side.name))

    def action_dismiss(self) -> None:
        self.shell.spawn(self._vote(None))

    async def _vote(self, winner: str | None) -> None:
        state, service = self.state, await self._service()
        assert state.question_id is not None
        question = state.question_id
        state.vote = await self.shell.in_thread(lambda: service.vote(question, winner))
        await self._read_scores()
        self.shell.update_frame()

    async def _read_scores(self) -> None:
        service = await self._service()
        self._scores, votes = await self.shell.in_thread(lambda: (service.scores(), service.votes()))
        self._votes = sum(one.blind for one in votes)
        self.update_place()

    def action_take(self) -> None:
        if (lane := self.state.here) is not None:
            self.shell.spawn(self._keep(lane))

    async def _keep(self, lane: Lane) -> None:
        """Go on with an answer in the chat. Where the names are hidden it is the better one by that."""
        state, service = self.state, await self._service()
        if state.hidden and state.over:
            await self._vote(lane.side.name)
        kept: Message = await self.shell.in_thread(lambda: service.keep(lane.answer_id))
        self.shell.tell(f"The chat goes on with {lane.side.name}. The other answers stay beside this one.")
        await self.commands.open_chat(kept.session_id)

    def action_stop(self) -> None:
        if (lane := self.state.here) is not None:
            self._answers.stop(lane.answer_id)

    def action_again(self) -> None:
        if (lane := self.state.here) is not None:
            self.state.lanes[self.state.at] = Lane(lane.side)
            self.shell.spawn(self._start(self.state, self.state.at))

    def action_copy(self) -> None:
        if (lane := self.state.here) is not None:
            self.shell.copy(lane.text)

    def action_view(self) -> None:
        self._show_view((self._view + 1) % len(VIEWS))

    def _show_view(self, view: int) -> None:
        self._view = view
        self.query_one("#compare-sheet", ListCanvas).top = 0
        self.update_place()
        self.focus_first()
        self.shell.update_frame()

    def action_new(self) -> None:
        self.shell.spawn(self._add())

    async def _add(self) -> None:
        state, service = self.state, await self._service()
        here = [lane.side.name for lane in state.lanes]
        chosen = await add_side(self.shell, here)
        if chosen is None or state is not self.state:
            return
        sides = await self.shell.in_thread(lambda: service.sides([*here, chosen], settings=state.wanted.settings))
        state.lanes.append(Lane(sides[-1]))
        await self._start(state, len(state.lanes) - 1)

    def action_edit(self) -> None:
        self.shell.spawn(self._ask_more())

    async def _ask_more(self) -> None:
        """Ask another question below the better answer, else below the one under the cursor."""
        state = self.state
        text = await self.shell.ask(
            Writing("Ask the same ones", "", note="f2 asks; the answers so far stay in the chat")
        )
        if text is None or not text.strip() or state is not self.state or state.here is None:
            return
        at = next((place for place in range(len(state.lanes)) if state.better(place)), state.at)
        session_id, leaf = state.session_id, state.lanes[at].answer_id
        assert session_id is not None
        service = await self.shell.in_thread(lambda: self.studio.chat)
        await self.shell.in_thread(lambda: service.sessions.set_leaf(session_id, leaf))
        names = [lane.side.name for lane in state.lanes]
        self._begin(replace(state.wanted, text=text, session_id=session_id, question_id=None, sides=names))

    def action_fold_all(self) -> None:
        for column in self._columns[: len(self.state.lanes)]:
            column.document.toggle_thinking()

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        if event.action.startswith("column:"):
            event.stop()
            self._go_to(int(event.action[7:]))
            self.focus_first()
        else:
            super().on_canvas_clicked(event)

    # --- reading ----------------------------------------------------------------------------------------

    @property
    def _reading(self) -> Document:
        """The answer that keys scroll; another view has the focus itself, and moves by the keys of lists."""
        return self._columns[self.state.at].document

    def action_up(self) -> None:
        self._reading.scroll_lines(-1)

    def action_down(self) -> None:
        self._reading.scroll_lines(1)

    def action_page_up(self) -> None:
        self._reading.page(-1)

    def action_page_down(self) -> None:
        self._reading.page(1)

    def action_first(self) -> None:
        self._reading.to_start()

    def action_last(self) -> None:
        self._reading.to_end()
