"""What is drawn around the transcript: the list of chats, the head, the status, the rail, questions that wait."""

from __future__ import annotations

import time

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.domain.context import CountedBy
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.flows.run_facts import Facts
from vllm_studio_tui.tui.keys.actions import key_text
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.chat import loading, rail
from vllm_studio_tui.tui.screens.chat import rows as paint
from vllm_studio_tui.tui.screens.chat.context import ChatMeter
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen


class ChatFrame:
    """Paints each part of the frame from what the screen shows now."""

    def __init__(self, screen: ChatScreen, meter: ChatMeter) -> None:
        self._screen = screen
        self._meter = meter
        self._state = screen.state
        self._facts = Facts(screen.shell, screen.update_place)

    def view(self) -> paint.ChatView:
        """Return what is shown around the transcript."""
        screen, chat = self._screen, self._state.shown
        run, running, snapshot = screen.run_for(chat), screen.running, screen.snapshot
        return paint.ChatView(
            chat.session,
            run,
            chat.recipe,
            snapshot.engine(run.run_id) if snapshot is not None and run is not None else None,
            chat.settings,
            running.answer if running is not None else None,
            self._last_answer(),
            self.context(run),
            len(chat.queue),
            screen.document.below,
            self._state.editing is not None,
            chat.waiting_for,
            self._key("chat.model"),
            self._meter.report,
            running.calls if running is not None else None,
            self._rounds(),
            screen.tool_flows.of(chat),
            screen.document.has_focus,
            self._key("chat.tools"),
            self._facts.earlier(run) if run is not None else (),
            self._now(),
            "{}/{}".format(*screen.tabs.place()) if screen.tabs.several and screen.size_class < Size.COMPACT else "",
            running.awaits if running is not None else (),
        )

    def hint(self) -> tuple[str, list[tuple[str, str]]]:
        """Return what stands in an empty chat: whom one talks to, or how a model comes up; and the keys for it."""
        run = self._screen.run_for(self._state.shown)
        name = run.name if run is not None else self._state.shown.recipe
        model, chats = self._key("chat.model"), self._key("chat.chats")
        may = not self._screen.shell.read_only
        if name is None:
            return "No model is up.", [(model, "choose or launch one" if may else "choose one"), ("alt+1", "dashboard")]
        if run is not None and run.state in loading.COMING:
            words = loading.stage_words(run), loading.left_words(run, self._facts.earlier(run), self._now())
            title = ", ".join([f"{name} is {run.state}", *filter(None, words)])
            return f"{title}.", [("enter", "send when it is ready"), (chats, "earlier chats"), (model, "another model")]
        if run is not None and not run.live and run.state is State.FAILED and not run.dismissed:
            again = [("/load", "tries again")] if may else []
            cause = loading.why_not(run) or "nothing says why"
            return f"{name} failed: {cause}.", [*again, (model, "another model"), (chats, "earlier chats")]
        if run is None or not run.live:
            choose = "launch it, or choose another" if may else "choose another"
            return f"{name} is not running.", [(model, choose), (chats, "earlier chats")]
        keys = [("enter", "send"), ("^j", "new line"), (chats, "earlier chats"), (model, "another model")]
        return f"Ask {name} anything.", keys

    def _now(self) -> float:
        snapshot = self._screen.snapshot
        return snapshot.tick.at if snapshot is not None else time.time()

    def context(self, run: RunView | None) -> tuple[int | None, int | None]:
        """Return the tokens that the chat takes, and the most there may be.

        Where only a guess could be made, the engine's count of the last answer is nearer the truth.
        """
        used, report = None, self._meter.report
        recipe = run.spec.recipe.get("max_model_len") if run is not None and run.spec is not None else None
        limit = report.limit if report is not None and report.limit else recipe
        limit = limit if isinstance(limit, int) and limit > 0 else None
        if report is not None and (report.total.by is not CountedBy.ESTIMATE or report.shortened):
            return report.total.tokens, limit
        for entry in reversed(self._screen.document.entries):
            usage = entry.message.usage
            if usage.total_tokens is not None:
                used = usage.total_tokens
                break
        if used is None and report is not None:
            used = report.total.tokens
        return used, limit

    def _last_answer(self) -> Message | None:
        """Return the answer under the cursor of the transcript, else the last one."""
        document = self._screen.document
        at = document.current if document.current is not None else len(document.entries) - 1
        for entry in reversed(document.entries[: at + 1]):
            if entry.message.role == "assistant":
                return entry.message
        return None

    def _rounds(self) -> tuple[int, int]:
        """Return how many rounds of calls the question under the cursor took, and how many calls."""
        document = self._screen.document
        at = document.current if document.current is not None else len(document.entries) - 1
        messages = [entry.message for entry in document.entries]
        first = next(
            (index for index in range(min(at, len(messages) - 1), -1, -1) if messages[index].role == "user"), 0
        )
        last = next((at for at in range(first + 1, len(messages)) if messages[at].role == "user"), len(messages))
        with_calls = [one for one in messages[first:last] if one.role == "assistant" and one.tool_calls]
        return len(with_calls), sum(len(one.tool_calls) for one in with_calls)

    def _key(self, action_id: str) -> str:
        """Return the first key of an action, as it is shown."""
        return key_text(self._screen.shell.keys_of(action_id).split(",")[0])

    def chats(self, width: int, height: int) -> list[Row]:
        state, screen = self._state, self._screen
        return paint.session_rows(
            state.listed,
            state.total,
            state.shown.id,
            width,
            height,
            time.time(),
            screen.answers.running,
            screen.ink.glyphs,
            self._key("chat.chats"),
            state.unseen,
        )

    def head(self, width: int, height: int) -> list[Row]:
        return paint.head_rows(self.view(), self._screen.ink.glyphs, width, self._screen.size_class)

    def status(self, width: int, height: int) -> list[Row]:
        return [paint.status_row(self.view(), self._screen.ink.glyphs, width, self._screen.size_class)]

    def rail(self, width: int, height: int) -> list[Row]:
        return rail.rail_rows(self.view(), self._screen.ink.glyphs, width, height, self._key("chat.settings"))

    def queue(self, width: int, height: int) -> list[Row]:
        return paint.queue_rows(self._state.shown.queue, width, height)

    def bar(self, width: int, height: int) -> list[Row]:
        focused = self._screen.prompt.has_focus
        rows = []
        for _ in range(height):
            row = Row(plane="surf")
            glyphs = self._screen.ink.glyphs
            row.put(0, glyphs.cursor if focused else glyphs.block, "accent" if focused else "track")
            rows.append(row)
        return rows
