"""What is begun in the prompt, and what it may go on to: a command, a file, a text of the library."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vllm_studio_tui.domain.chat_settings import shaped
from vllm_studio_tui.domain.sampling import PARAMETERS, read_form, written
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.file_walk import Walk, walk
from vllm_studio_tui.kit.fuzzy import score
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    from vllm_studio_tui.domain.library import LibraryText

#: What is listed at most, and seconds after which a folder is read again.
LISTED, FRESH = 50, 10.0
#: The word before the cursor, if it begins something; a path may stand in quotes.
_WORD = re.compile(r"(?:^|(?<=\s))([@#])(\"[^\"]*|[^\s\"]*)$")
_COMMAND = re.compile(r"^/([a-z-]*)$")
_ARGUMENT = re.compile(r"^/([a-z-]+)\s+(\S*)$")


@dataclass(frozen=True, slots=True)
class Begun:
    """Something that is begun before the cursor.

    Attributes:
        kind: `/`, `@`, `#` or `!`; `=` for what stands behind a command.
        word: What is typed of it.
        start: The column of its sign, or of the word behind a command.
        command: The name of that command.
    """

    kind: str
    word: str
    start: int
    command: str = ""


class CommandWords(Protocol):
    """What is listed of a slash command."""

    @property
    def name(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def argument(self) -> str: ...
    @property
    def choices(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that it may go on to.

    Attributes:
        value: What is taken: a path, the name of a command, `kind:name` of the library.
        goes_on: More may follow at once: a folder, a command with an argument.
    """

    value: str
    label: str
    note: str = ""
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Offers:
    """What there is to choose from, and a line below it."""

    offers: tuple[Offer, ...] = ()
    foot: str = ""


def begun(before: str, *, first_line: bool) -> Begun | None:
    """Return what is begun at the end of the text of a line up to the cursor."""
    if first_line:
        if found := _COMMAND.match(before):
            return Begun("/", found[1], 0)
        if found := _ARGUMENT.match(before):
            return Begun("=", found[2], found.start(2), found[1])
        if before.startswith("!") and before != "!!":
            return Begun("!", before[1:], 0)
    found = _WORD.search(before)
    if found is None:
        return None
    return Begun(found[1], found[2].removeprefix('"'), found.start(1))


def quoted(path: str) -> str:
    """Return a path as it stands behind `@`."""
    return f'"{path}"' if re.search(r"\s", path) else path


class Completion:
    """Finds what something that is begun may go on to. `find` is blocking.

    Args:
        commands: The slash commands that can be given now.
        library: Reads the library.
    """

    def __init__(
        self, commands: Callable[[], Sequence[CommandWords]], library: Callable[[], Sequence[LibraryText]]
    ) -> None:
        self._commands = commands
        self._library = library
        self._walks: dict[tuple[str, bool], tuple[float, Walk]] = {}

    def find(self, one: Begun) -> Offers:
        """Return what it may go on to; nothing where nothing is known."""
        if one.kind == "/":
            return self._commands_for(one.word)
        if one.kind == "=":
            return self._arguments(one)
        if one.kind == "@":
            return self._files(one.word)
        if one.kind == "#":
            return self._texts(one.word)
        return Offers((), "enter asks, then runs it here; what it prints comes into the prompt")

    def _commands_for(self, typed: str) -> Offers:
        found = [(score(typed, command.name), command) for command in self._commands()]
        ranked = sorted(
            ((rank, command) for rank, command in found if rank is not None),
            key=lambda pair: (not pair[1].name.startswith(typed), -pair[0] if typed else 0),
        )
        offers = tuple(
            Offer(one.name, f"/{one.name}{f' {one.argument}' if one.argument else ''}", one.help, bool(one.argument))
            for _, one in ranked[:LISTED]
        )
        return Offers(offers, f"{len(offers)} of {len(found)} commands")

    def _arguments(self, one: Begun) -> Offers:
        """Return what may stand behind a command."""
        choices = next((command.choices for command in self._commands() if command.name == one.command), "")
        if choices == "file":
            return self._files(one.word)
        if choices == "preset":
            every = [(entry.name, summary(entry.data)) for entry in self._library() if entry.kind == "preset"]
        elif choices == "parameter":
            every = [(entry.name, entry.help) for entry in PARAMETERS]
        else:
            every = [(word, "") for word in choices.split()]
        typed = one.word.replace("-", "_") if choices == "parameter" else one.word
        if typed in [value for value, _ in every]:
            return Offers()  # nothing is left to be completed
        ranked = sorted(
            ((rank, value, note) for value, note in every if (rank := score(typed, value)) is not None),
            key=lambda found: -found[0] if typed else 0,
        )
        return Offers(tuple(Offer(value, value, note, choices == "parameter") for _, value, note in ranked[:LISTED]))

    def _texts(self, typed: str) -> Offers:
        texts = [one for one in self._library() if one.kind in ("prompt", "system")]
        ranked = sorted(
            ((rank, one) for one in texts if (rank := score(typed, one.name)) is not None), key=lambda pair: -pair[0]
        )
        offers = []
        for _, one in ranked[:LISTED]:
            first = clean_line(one.text.strip().partition("\n")[0], limit=60)
            offers.append(
                Offer(f"{one.kind}:{one.name}", one.name, f"system prompt  {first}" if one.kind == "system" else first)
            )
        return Offers(tuple(offers), f"{len(offers)} of {len(texts)} texts; /library writes and changes them")

    # --- files ------------------------------------------------------------------------------------------

    def _files(self, typed: str) -> Offers:
        folder, begins, wanted = _split(typed)
        whole = self._walk(folder, hidden=wanted.startswith(".") or "/." in wanted)
        ranked = sorted(
            (
                (rank, at)
                for at, path in enumerate(whole.paths)
                if (rank := score(wanted, path)) is not None and f"{begins}{path}" != typed
            ),
            key=lambda pair: (-pair[0], pair[1]) if wanted else (0, pair[1]),
        )
        offers = tuple(_file(folder, begins, whole.paths[at]) for _, at in ranked[:LISTED])
        if typed[len(begins) :] in whole.paths and not typed.endswith("/"):
            return Offers()  # nothing is left to be completed
        most = "" if whole.whole else "+"
        home = str(Path.home())
        where = f"~{folder[len(home) :]}" if folder == home or folder.startswith(f"{home}/") else folder
        return Offers(offers, f"{len(ranked)} of {len(whole.paths)}{most} in {clean_line(where, limit=60)}")

    def _walk(self, folder: str, *, hidden: bool) -> Walk:
        at, found = self._walks.get((folder, hidden), (-FRESH, Walk((), whole=True)))
        if time.monotonic() - at > FRESH:
            found = walk(folder, hidden=hidden)
            self._walks = {(folder, hidden): (time.monotonic(), found)}  # of one folder at a time
        return found


def summary(preset: Mapping[str, Any]) -> str:
    """Return what is set in a preset, in a line."""
    parts = []
    for name, value in shaped(preset).items():
        said = read_form(value).words if name == "form" else written(value).replace("\n", "  ")
        parts.append(f"{name} {said}")
    return clean_line("  ".join(parts), limit=80)


def _split(typed: str) -> tuple[str, str, str]:
    """Return the folder to look in, how what is found there begins, and what is looked for."""
    if typed.startswith(("/", "~", "./", "../")) or typed == "..":
        begins, slash, wanted = typed.rpartition("/")
        begins += slash
        folder = os.path.expanduser(begins or "~/")  # noqa: PTH111, RUF100
        return str(Path(folder).absolute()), begins or "~/", wanted if slash else ""
    return str(Path.cwd()), "", typed


def _file(folder: str, begins: str, path: str) -> Offer:
    value = f"{begins}{path}"
    if path.endswith("/"):
        return Offer(value, value, "folder", goes_on=True)
    note = ""
    try:
        info = os.stat(os.path.join(folder, path))  # noqa: PTH116, PTH118, RUF100
        note = numbers.size(info.st_size) if stat.S_ISREG(info.st_mode) else "no file"
    except (OSError, ValueError):
        pass
    return Offer(value, value, note)
