"""Tabs: chats that are kept open, in a row above the transcript, and the one that is merely looked at behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from vllm_studio_tui.domain.chat import Session
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.chat_protocols import ChatApi
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen

#: Cells of a title in a tab: at least, and at most.
LEAST, MOST = 10, 26
#: A new chat's tab.
NEW = "New chat"


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab as it is drawn.

    Attributes:
        session_id: None for the chat that does not exist yet.
        kept: It stays where another chat is opened.
        mark: `waits` for a person, `writing`, `unseen`, or empty.
    """

    session_id: str | None
    title: str
    kept: bool
    mark: str = ""


class Tabs:
    """The tabs of the chat screen.

    Chats are kept open by a key. One more tab, behind them, holds whatever else is opened: the next chat that is opened
    takes its place.
    """

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._state = screen.state
        self._titles: Mapping[str, str] = {}
        self._trashed: frozenset[str] = frozenset()

    # --- what there is ----------------------------------------------------------------------------------

    def ids(self) -> list[str | None]:
        """Return the chats in the order of their tabs; None is the one that does not exist yet."""
        shown, loose = self._state.shown.id, self._state.loose
        kept = [one for one in self._state.left_off.tabs if one not in self._trashed or one == shown]
        last = [shown] if shown not in kept else [loose] if loose is not None and loose not in kept else []
        return [*kept, *last]

    @property
    def several(self) -> bool:
        """Whether there is anything to choose from."""
        return len(self.ids()) > 1

    def place(self) -> tuple[int, int]:
        """Return the number of the tab in front, from 1, and how many there are."""
        ids = self.ids()
        return ids.index(self._state.shown.id) + 1, len(ids)

    def tabs(self) -> list[Tab]:
        """Return the tabs as they are drawn."""
        kept = self._state.left_off.tabs
        return [Tab(one, self._title(one), one in kept, self.mark(one)) for one in self.ids()]

    def mark(self, session_id: str | None) -> str:
        """Return what goes on in a chat: `waits`, `writing`, `unseen`, or nothing."""
        running = self._screen.answers.running.get(session_id) if session_id is not None else None
        if running is not None:
            return "waits" if running.calls.waiting else "writing"
        return "unseen" if session_id in self._state.unseen else ""

    def _title(self, session_id: str | None) -> str:
        if session_id is None:
            return NEW
        chat = self._state.of(session_id)
        known: Sequence[Session | None] = (*self._state.listed, chat.session if chat is not None else None)
        title = next((one.title for one in known if one is not None and one.id == session_id), None)
        return clean_line(title or self._titles.get(session_id) or NEW, limit=80)

    def read(self, service: ChatApi) -> None:
        """Read the titles of the kept chats, and let go of those that are gone. Blocking; called in a thread.

        One in the trash is not shown, and stands where it stood when it is brought back.
        """
        found, trashed = {}, set()
        for session_id in self._state.left_off.tabs:
            try:
                session = service.sessions.get(session_id)
            except NotFound:
                continue
            found[session_id] = session.title
            if session.deleted_at is not None:
                trashed.add(session_id)
        self._titles, self._trashed = found, frozenset(trashed)
        self._state.let_go(*(one for one in self._state.left_off.tabs if one not in found))

    # --- what is done -----------------------------------------------------------------------------------

    def keep(self, session_id: str | None) -> None:
        """Keep a chat open in a tab, or no longer."""
        shell, state = self._screen.shell, self._state
        if session_id is None:
            shell.tell("A chat can be kept in a tab from its first question on.")
            return
        if session_id in state.left_off.tabs:
            state.let_go(session_id)
        elif not state.keep_open(session_id):
            shell.tell(f"{len(state.left_off.tabs)} tabs are the most: let go of one first.", "warning")
            return
        elif not self.several:
            shell.tell("Kept in a tab: the next chat that you open stands beside it.")
        self._screen.update_place()
        shell.spawn(self._screen.save_left_off())

    async def step(self, step: int) -> None:
        """Show the next tab or the one before, round."""
        ids = self.ids()
        session_id = ids[(ids.index(self._state.shown.id) + step) % len(ids)]
        if session_id is None:
            self._screen.new_chat()
        elif session_id != self._state.shown.id:
            await self._screen.open(session_id)

    def rows(self, width: int, height: int) -> list[Row]:
        """Return the row of tabs."""
        return [tab_row(self.tabs(), self._state.shown.id, self._screen.ink.glyphs, width)]


def visible(size: Size, tabs: Tabs) -> bool:
    """Whether the tabs have a row of their own; in the smallest windows the head tells which of them it is."""
    return tabs.several and size >= Size.COMPACT


def tab_row(tabs: Sequence[Tab], shown: str | None, glyphs: Glyphs, width: int) -> Row:
    """Return a row of tabs; those that find no room are counted at its ends."""
    row = Row()
    left = 1 if width >= 50 else 0
    room = width - 2 * left
    here = next((at for at, tab in enumerate(tabs) if tab.session_id == shown), 0)
    fits = max(1, room // (LEAST + 4))
    first = 0 if len(tabs) <= fits else max(0, min(here - fits // 2, len(tabs) - fits))
    seen = tabs[first : first + fits]
    before, after = first, len(tabs) - first - len(seen)
    if before or after:
        room -= 10
    widest = max(4, min(MOST, room // len(seen) - 4))
    x = left
    if before:
        x = row.put(x, f"{glyphs.left}{before} ", "dim")
    for tab in seen:
        x = _put_tab(row, x, tab, widest, glyphs, front=tab.session_id == shown)
    if after:
        row.put(x + 1, f"{after}{glyphs.right}", "dim")
    return row


def _put_tab(row: Row, x: int, tab: Tab, widest: int, glyphs: Glyphs, *, front: bool) -> int:
    """Draw a tab; return the column behind it."""
    marks = {
        "waits": (glyphs.warning, "warn"),
        "writing": (glyphs.state("loading")[0], "accent"),
        "unseen": (glyphs.bullet, "accent"),
    }
    start = x
    x = row.put(x, glyphs.cursor if front else glyphs.inside, "accent" if front else "track")
    if tab.mark:
        mark, colour = marks[tab.mark]
        x = row.run(x, [(mark, colour), (" ", "fg")])
    style = "fg bold" if front else "fg" if tab.kept else "dim"
    x = row.put(x, tab.title, style, max(2, widest - 2 * bool(tab.mark)))
    x = max(x, start + min(widest, cell_len(tab.title)) + 1) + 2
    if tab.session_id is not None and not front:
        row.link(start, x - 1, f"chat:{tab.session_id}")
    return x
