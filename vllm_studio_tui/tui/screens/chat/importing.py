"""Importing chats on the screen: a file is chosen, what would come of it is shown, then it is taken in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vllm_studio_tui.domain.chat import MAX_FILE, Session
from vllm_studio_tui.domain.chat_imports import GrownChat
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.file_reading import read_bounded, unwritten
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.models.path_completion import is_path, paths_from
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Question

ENDINGS = (".json", ".zip", ".db", ".md", ".markdown", ".sqlite")
#: Where chats of other programs often lie.
PLACES = (
    ("~/.local/share/oterm/store.db", "chats of oterm"),
    ("~/.lmstudio/conversations/", "chats of LM Studio"),
    ("~/.cache/lm-studio/conversations/", "chats of LM Studio"),
    ("~/Downloads/", "ChatGPT's export comes as a .zip"),
    ("~/", ""),
    ("./", ""),
)
#: Files of a folder that are taken in at once.
MOST_FILES = 2000
_ALL = "all:"


@dataclass(slots=True)
class _Found:
    """What files hold, or what was taken in of them."""

    taken: list[Session] = field(default_factory=list)
    grown: list[GrownChat] = field(default_factory=list)
    known: list[Session] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    form: str = ""

    @property
    def new(self) -> bool:
        return bool(self.taken or self.grown)

    def lines(self) -> list[str]:
        """Return what there is, in words."""
        lines = []
        if self.taken:
            messages = sum(one.messages for one in self.taken)
            lines.append(f"{_count(len(self.taken), 'new chat')}, {_count(messages, 'message')}: {_titles(self.taken)}")
        lines += [f"{clean_line(one.session.title, limit=40)} went on: {one.words}" for one in self.grown[:3]]
        if len(self.grown) > 3:
            lines.append(f"{_count(len(self.grown) - 3, 'further chat')} went on")
        if self.known:
            lines.append(f"{_count(len(self.known), 'chat')} here already, with nothing new")
        return lines + [clean_line(one, limit=200) for one in (*self.notes[:4], *self.failed[:2])]


class ImportFlows:
    """Takes chats of files in."""

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._shell = screen.shell

    async def run(self, path: str = "") -> None:
        """Ask for a file, show what is in it, and take that in if the person agrees.

        Args:
            path: The file; empty: it is asked for.
        """
        files = [path] if path and not path.endswith("/") else await self._choose(path)
        if not files:
            return
        seen = await self._shell.in_thread(lambda: self._read(files, dry_run=True))
        name = clean_line(Path(files[0]).name if len(files) == 1 else f"{len(files)} files", limit=60)
        if not seen.new:
            if seen.failed and not seen.known:
                raise StudioError(f"{name}: nothing to import", cause=seen.failed[0])
            self._shell.tell("\n".join([f"Nothing new in {name}.", *seen.lines()]))
            return
        title = f"Import from {name}?"
        text = "\n".join([f"It is of: {seen.form}", *seen.lines()])
        answer = await self._shell.ask(Question(title, text, [Option("i", "import it", gentle=True)], "import nothing"))
        if answer is None:
            return
        done = await self._shell.in_thread(lambda: self._read(files, dry_run=False))
        await self._screen.reload_list()
        self._shell.tell("\n".join(["Imported.", *done.lines()]))
        shown = self._screen.state.shown.id
        if len(done.taken) == 1 and not done.grown:
            await self._screen.open(done.taken[0].id)
        elif shown in {one.session.id for one in done.grown} and self._screen.running is None:
            await self._screen.open(shown or "")

    async def _choose(self, begun: str) -> list[str]:
        """Ask for a file, or all of a folder."""
        while True:
            chosen = await self._shell.ask(
                Chooser(
                    self._offers,
                    title="a file with chats: .json, .zip, .db, .md",
                    empty="No such folder, and no such file.",
                    free=True,
                    initial=begun,
                )
            )
            if not chosen:
                return []
            if chosen.startswith(_ALL):
                folder = chosen.removeprefix(_ALL)
                return await self._shell.in_thread(partial(_files_of, folder))
            if not chosen.endswith("/"):
                return [chosen]
            begun = chosen

    def _offers(self, typed: str) -> Sequence[Choice]:
        """Return what may be meant. Blocking; called in a thread."""
        if not is_path(typed):
            there = [(path, note) for path, note in PLACES if os.path.exists(os.path.expanduser(path))]  # noqa: PTH110, PTH111, RUF100
            return [Choice(path, path, note) for path, note in there if typed.lower() in f"{path} {note}".lower()]
        found = paths_from(typed, ENDINGS)
        offers = [Choice(one.path, one.name, one.note) for one in found]
        if not offers and os.path.isfile(os.path.expanduser(typed)):  # noqa: PTH111, PTH113, RUF100
            return [Choice(typed, os.path.basename(typed), "this file")]  # noqa: PTH119, RUF100
        files = [one for one in found if one.path.lower().endswith(".json")]
        if typed.endswith("/") and len(files) > 1:
            offers.insert(0, Choice(f"{_ALL}{typed}", f"all {len(_files_of(typed))} files ending in .json", ""))
        return offers

    def _read(self, files: Sequence[str], *, dry_run: bool) -> _Found:
        """Look at files, or take them in. Blocking.

        Raises:
            StudioError: It is one file, and it cannot be read.
        """
        found = _Found()
        for file in files:
            try:
                one = self._screen.studio.chats.import_(_bytes_of(file), Path(file).name, dry_run=dry_run)
            except StudioError as error:
                if len(files) == 1:
                    raise
                found.failed.append(f"{Path(file).name}: {error.title}")
                continue
            found.taken += one.taken
            found.grown += one.grown
            found.known += one.known
            found.notes += [note for note in (*one.notes, *unwritten(file)) if note not in found.notes]
            found.form = found.form or one.form
        if len(found.failed) > 2:
            found.failed[1:] = [f"{_count(len(found.failed) - 1, 'further file')} cannot be read"]
        return found


def _files_of(folder: str) -> list[str]:
    """Return the JSON files of a folder, by name. Blocking."""
    try:
        with os.scandir(os.path.expanduser(folder)) as entries:  # noqa: PTH111, RUF100
            names = sorted(one.name for one in entries if one.name.lower().endswith(".json") and one.is_file())
    except OSError:
        return []
    return [f"{folder}{name}" for name in names[:MOST_FILES]]


def _bytes_of(file: str) -> bytes:
    try:
        return read_bounded(file, MAX_FILE)
    except OSError as error:
        raise StudioError(f"{file} cannot be read", cause=error.strerror or str(error)) from None


def _titles(sessions: Sequence[Session]) -> str:
    shown = ", ".join(clean_line(one.title, limit=30) for one in sessions[:3])
    return f"{shown} and others" if len(sessions) > 3 else shown


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
