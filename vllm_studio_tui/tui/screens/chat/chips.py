"""Chips over the prompt: what goes with the question that is being written, and what of it would be refused."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Protocol

from rich.cells import cell_len
from textual.binding import BindingType
from textual.timer import Timer

from vllm_studio_tui.domain.chat import Attached, Attachment
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.chat.attachments import looking, reading, words
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Row, fit
from vllm_studio_tui.tui.screens.chat.context import target_of
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.services.chat_protocols import ChatApi
    from vllm_studio_tui.tui.paint.ink import Ink
    from vllm_studio_tui.tui.screens.chat.state import Chat

#: Seconds that the words have to rest before their files are looked at.
REST = 0.25
#: Rows at most, and the widest name.
ROWS, NAME = 2, 30


@dataclass(frozen=True, slots=True)
class Chip:
    """Something that goes with the question.

    Attributes:
        problem: Why it would be refused; empty: it would not.
        attached: It goes besides the words; None: these name it.
        word: How they do.
    """

    file: Attachment
    problem: str = ""
    attached: Attached | None = None
    word: str = ""

    @property
    def kind(self) -> str:
        if self.file.media_type.startswith("image/"):
            return "image"
        return "text" if self.file.path is None else "file"


class ChipScreen(ChatScreen, Protocol):
    """The chat screen, as this part sees it."""

    @property
    def chip_row(self) -> ChipRow: ...
    def set_timer(self, delay: float, callback: Callable[[], None]) -> Timer: ...


class Chips:
    """What goes with the question that is being written, in the chat in front."""

    def __init__(self, screen: ChipScreen) -> None:
        self._screen = screen
        self._look = looking.FileLook()
        self._looked: tuple[Hashable, Sequence[looking.Looked]] = (("", "", False), ())
        self._blind = ""  # who reads no pictures, in words
        self._timer: Timer | None = None
        self._busy = False
        self._removed: Chip | None = None

    def all(self) -> list[Chip]:
        """Return what goes with it: what goes besides its words, then what these name."""
        state, text = self._screen.state, self._screen.prompt.text
        asked = state.editing.content if state.editing is not None else ""
        named = {one.file.path: one.word for one in self._named}
        found = [
            Chip(one.file, self._refused(one.file), attached=one, word=named.get(one.file.path, ""))
            for one in state.attached
            if one.file.name in text or one.file.name not in asked  # else it is no longer named, see `ask_again`
        ]
        there = {one.file.path for one in found if one.file.path is not None}
        found += [
            Chip(one.file, one.problem or self._refused(one.file), word=one.word)
            for one in self._named
            if one.file.path not in there
        ]
        return sorted(found, key=lambda chip: not chip.problem)  # what is in the way of sending it comes first

    @property
    def _named(self) -> Sequence[looking.Looked]:
        """The files that were found in what is typed, as far as it still names them."""
        text = self._screen.prompt.text
        return [one for one in self._looked[1] if one.word in text]

    def _refused(self, file: Attachment) -> str:
        return self._blind if file.media_type.startswith("image/") else ""

    @property
    def removed(self) -> Chip | None:
        """What was taken away last, and can be brought back."""
        return self._removed

    def sent(self) -> str:
        """Return the words with the texts that go besides them, to be counted."""
        texts = [one.file.text for one in self._screen.state.attached if one.file.text]
        return "\n\n".join([*texts, self._screen.prompt.text])

    # --- looking ----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Show what goes with it now; what its words name is looked at when they rest."""
        self._screen.chip_row.show_chips(self.all(), self._removed)
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        now = self._what()
        if now != self._looked[0] and (reading.names_files(now[0]) or now[2]):
            self._timer = self._screen.set_timer(REST, self._rested)

    def _what(self) -> tuple[str, str, bool]:
        """Return what there is to look at: the words, who would answer, and whether pictures go besides the words."""
        screen = self._screen
        run = screen.run_for(screen.state.shown)
        pictures = any(one.image is not None for one in screen.state.attached)
        return screen.prompt.text, run.run_id if run is not None else "", pictures

    def _rested(self) -> None:
        self._timer = None
        if not self._busy:
            self._busy = True
            self._screen.shell.spawn(self._find(), group="chips")

    async def _find(self) -> None:
        screen, chat, now = self._screen, self._screen.state.shown, self._what()
        try:
            found = await screen.shell.in_thread(partial(self._look.at, now[0]))
            blind = ""
            if now[2] or any(one.file.media_type.startswith("image/") for one in found):
                service = await screen.service()
                blind = await screen.shell.in_thread(partial(_blind, service, screen, chat))
        finally:
            self._busy = False
        self._looked, self._blind = (now, found), blind
        self.look()

    # --- what is done with one --------------------------------------------------------------------------

    def take_away(self, chip: Chip) -> None:
        """Have the question go without it."""
        screen = self._screen
        if chip.attached is not None:
            screen.state.detach(chip.attached)
        if chip.word:
            at = screen.prompt.text.find(chip.word)
            before, after = screen.prompt.text[:at], screen.prompt.text[at + len(chip.word) :]
            screen.prompt.text = f"{before}{after.lstrip(' ') if not before.strip() or before[-1:] == ' ' else after}"
            screen.prompt.move_cursor(screen.prompt.document.end)
        self._removed = chip
        self.look()

    def bring_back(self) -> None:
        """Have it go with the question again."""
        chip, self._removed = self._removed, None
        if chip is None:
            return
        if chip.attached is not None:
            self._screen.state.attach(chip.attached)
        if chip.word:
            text = self._screen.prompt.text
            gap = "" if not text or text[-1:].isspace() else " "
            self._screen.prompt.set_text(f"{text}{gap}{chip.word} ")
        self.look()

    def forget(self) -> None:
        """What was taken away stays so."""
        self._removed = None
        self.look()

    async def show(self, chip: Chip) -> None:
        """Show it whole."""
        from vllm_studio_tui.tui.sheets.attachments import AttachmentSheet

        shell, attached = self._screen.shell, chip.attached
        if attached is None:
            try:
                attached = await shell.in_thread(partial(looking.read_again, chip.file))
            except StudioError as error:
                shell.tell_error(error)
                return
        await shell.ask(AttachmentSheet([attached]))


def _blind(service: ChatApi, screen: ChatScreen, chat: Chat) -> str:
    """Return that who would answer reads no pictures, in words; empty: somebody does, or nobody says so. Blocking."""
    target = target_of(screen, chat)
    try:
        if target is not None:
            service.check_sight(target)
    except StudioError as error:
        return error.title
    return ""


class ChipRow(Canvas, can_focus=True):
    """Shows the chips. Backspace in an empty prompt, or shift+tab, leads to them."""

    SCOPE = "chips"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("chips")]

    def __init__(self, chips: Chips, get_ink: Callable[[], Ink], size: Callable[[], Size], *, id: str) -> None:  # noqa: A002, RUF100
        super().__init__(self._rows_of, get_ink, id=id)
        self._of = chips
        self._size_class = size
        self._chips: Sequence[Chip] = ()
        self._removed: Chip | None = None
        self._at = 0

    @property
    def chosen(self) -> Chip | None:
        """The chip under the cursor."""
        return self._chips[self._at] if self._at < len(self._chips) else None

    def show_chips(self, chips: Sequence[Chip], removed: Chip | None) -> None:
        """Show these; without any, take the row away, unless one that was taken away can be brought back."""
        self._chips, self._removed = chips, removed
        self._at = max(0, min(self._at, len(chips) - 1))
        shown = bool(chips) or (self.has_focus and removed is not None)
        self.display = shown and self._size_class() > Size.LINE
        rows = max(1, len(self._rows_of(self.size.width or self.app.size.width, ROWS)))
        if self.styles.height is None or self.styles.height.value != rows:
            self.styles.height = rows
        self.repaint()

    def stand_on(self, index: int) -> None:
        """Move the cursor to a chip; -1 is the last."""
        self._at = index % len(self._chips) if self._chips else 0
        self.repaint()

    def on_focus(self) -> None:
        self.repaint()

    def on_blur(self) -> None:
        self._of.forget()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "undo":
            return self._removed is not None
        if action in ("open", "delete"):
            return self.chosen is not None
        if action in ("previous", "next"):
            return len(self._chips) > 1
        return super().check_action(action, parameters)

    def action_previous(self) -> None:
        self.stand_on(self._at - 1)

    def action_next(self) -> None:
        self.stand_on(self._at + 1)

    def action_delete(self) -> None:
        if self.chosen is not None:
            self._of.take_away(self.chosen)

    def action_undo(self) -> None:
        self._of.bring_back()
        self.stand_on(-1)

    def action_open(self) -> None:
        if self.chosen is not None:
            self.run_worker(self._of.show(self.chosen), group="chips", exit_on_error=False)

    def _rows_of(self, width: int, height: int) -> list[Row]:
        if not self._chips and self._removed is not None:
            row = Row()
            name = words.name_of(self._removed.file)
            row.run(margin(width), [("u", "fg bold"), (f" brings {name} back", "dim")])
            return [row]
        at = self._at if self.has_focus else None
        return chip_rows(self._chips, width, self._size_class(), at, self._get_ink())


def margin(width: int) -> int:
    """Return the first column."""
    return 2 if width >= 70 else 0


def chip_rows(chips: Sequence[Chip], width: int, size: Size, at: int | None, ink: Ink) -> list[Row]:
    """Return chips as rows: as many as there is room for, the rest counted; in the smallest windows all as one line.

    Args:
        at: The one under the cursor.
    """
    if not chips:
        return []
    if size <= Size.STRIP:
        return [_short(chips, width, at)]
    for first in range(len(chips)):
        rows, last = _laid(chips, first, width, size, at, ink)
        if at is None or at <= last:
            break
    return rows


def _laid(chips: Sequence[Chip], first: int, width: int, size: Size, at: int | None, ink: Ink) -> tuple[list[Row], int]:
    """Return the rows that begin with a chip, and which chip is the last on them."""
    left, most = margin(width), ROWS if size >= Size.BASE else 1
    rows, x = [Row()], left
    if first:
        x = rows[-1].put(x, f"+{first} ", "faint")
    for index, chip in list(enumerate(chips))[first:]:
        parts = _parts(chip, size, max(8, width - left - 6), here=index == at, ink=ink)
        needed, rest = sum(cell_len(text) for text, _ in parts), len(chips) - index
        room = width - left - (5 if rest > 1 and len(rows) == most else 0)
        if x + needed > room and index > first:
            if len(rows) == most:
                rows[-1].put(x, f"+{rest}", "faint")
                return rows, index - 1
            rows.append(Row())
            x = left
        end = rows[-1].run(x, parts)
        rows[-1].link(x, end, f"chip:{index}")
        x = end + 1
    return rows, len(chips) - 1


def _parts(chip: Chip, size: Size, most: int, *, here: bool, ink: Ink) -> list[tuple[str, str]]:
    """Return a chip: a plane of its own, or brackets where there are no planes."""
    bare = ink.plain or ink.colour("surf") == ink.colour("bg")
    plane = "" if bare else " on-sel" if here else " on-surf"
    name = fit(words.name_of(chip.file), min(NAME, max(6, most - 14)))
    facts = words.facts_of(chip.file)
    if size < Size.BASE and len(facts) > 1:
        facts = facts[-1:] if chip.file.tokens is not None and not chip.file.cut else facts[:1]
    told, style = ("  ".join(facts), "dim") if not chip.problem else (chip.problem, "err")
    mark = ink.glyphs.cursor if here else "[" if bare else " "
    parts = [(mark, f"accent bold{plane}" if here else f"dim{plane}")]
    if size >= Size.BASE:
        parts.append((f"{chip.kind} ", f"dim{plane}"))
    if chip.problem:
        parts.append((f"{ink.glyphs.state('failed')[0]} ", f"err{plane}"))
    used = sum(cell_len(text) for text, _ in parts) + cell_len(name) + 3
    parts += [(name, f"fg{' bold' if here else ''}{plane}"), (f"  {fit(told, max(0, most - used))}", f"{style}{plane}")]
    return [*parts, ("]" if bare else " ", f"dim{plane}")]


def _short(chips: Sequence[Chip], width: int, at: int | None) -> Row:
    """Return all of them as one short line; the one under the cursor by its name."""
    row, tokens = Row(), sum(chip.file.tokens or 0 for chip in chips if not chip.problem)
    refused = sum(bool(chip.problem) for chip in chips)
    if at is not None:
        told = chips[at].problem or (f"{numbers.count(chips[at].file.tokens)} tok" if chips[at].file.tokens else "")
        row.run(0, [(f"{at + 1}/{len(chips)} ", "accent bold"), (fit(words.name_of(chips[at].file), 20), "fg bold"),
                    (f"  {told}", "err" if chips[at].problem else "dim")])  # fmt: skip
        return row
    name = fit(words.name_of(chips[0].file), 20) if len(chips) == 1 else f"{len(chips)} attached"
    x = row.put(0, name, "fg", width)
    if refused:
        x = row.put(x, f"  {refused} refused", "err")
    if tokens:
        row.put(x, f"  {numbers.count(tokens)} tok", "dim")
    return row
