"""What is drawn around a chat's document: the list of chats, the head, the state, the engine, what waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.chat import rows as paint

if TYPE_CHECKING:
    from vllm_studio_tui.tui.screens.chat.place import ChatPlace


class ChatFrame:
    """Paints each part of the frame from what the place shows now."""

    def __init__(self, place: ChatPlace) -> None:
        self._place = place

    def view(self) -> paint.ChatView:
        """What is shown around the document."""
        run = self._place.target_run()
        snapshot = self._place.snapshot
        metrics = snapshot.engine(run.run_id) if snapshot is not None and run is not None else None
        return paint.ChatView(
            self._place.session,
            run,
            self._place.recipe,
            metrics,
            self._place.settings,
            self._place.turn.answer if self._place.turn is not None else None,
            self.context(run),
            len(self._place.chat.queue),
            self._place.document.following,
            self._place.editing is not None,
            self._place.chat.waiting_for,
        )

    def hint(self) -> tuple[str, list[tuple[str, str]]]:
        """What stands in an empty chat: whom one talks to, or how a model comes up; and the keys for it."""
        run = self._place.target_run()
        name = run.name if run is not None else self._place.recipe
        if name is None:
            return "No model is up.", [("f2", "choose or launch one"), ("alt+1", "dashboard")]
        if run is None or not run.live:
            return f"{name} is not running.", [("f2", "launch it, or choose another"), ("^o", "earlier chats")]
        keys = [("enter", "send"), ("^j", "new line"), ("^o", "earlier chats"), ("f2", "another model")]
        return f"Ask {name} anything.", keys

    def context(self, run: RunView | None) -> tuple[int | None, int | None]:
        """Tokens that the chat takes, as the engine counted them with the last answer, and the most there may be."""
        used = None
        for entry in reversed(self._place.document.entries):
            usage = entry.message.usage
            if usage.total_tokens is not None:
                used = usage.total_tokens
                break
        limit = run.spec.recipe.get("max_model_len") if run is not None and run.spec is not None else None
        return used, limit if isinstance(limit, int) and limit > 0 else None

    def chats(self, width: int, height: int) -> list[Row]:
        place = self._place
        here = place.session.id if place.session is not None else None
        return paint.session_rows(
            place.listed, place.total, here, width, height, time.time(), place.answers.running, place.ink.glyphs
        )

    def head(self, width: int, height: int) -> list[Row]:
        return paint.head_rows(self.view(), self._place.ink.glyphs, width, self._place.size_class)

    def status(self, width: int, height: int) -> list[Row]:
        return [paint.status_row(self.view(), self._place.ink.glyphs, width, self._place.size_class)]

    def rail(self, width: int, height: int) -> list[Row]:
        return paint.rail_rows(self.view(), self._place.ink.glyphs, width, height)

    def queue(self, width: int, height: int) -> list[Row]:
        return paint.queue_rows(self._place.chat.queue, width, height)

    def bar(self, width: int, height: int) -> list[Row]:
        focused = self._place.prompt.has_focus
        rows = []
        for _ in range(height):
            row = Row(plane="surf")
            glyphs = self._place.ink.glyphs
            row.put(0, glyphs.cursor if focused else glyphs.block, "accent" if focused else "track")
            rows.append(row)
        return rows
