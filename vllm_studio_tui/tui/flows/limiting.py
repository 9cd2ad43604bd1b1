"""Limit how many requests a key may have at once: shown as a diff first, as every change is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.services.recipes.changes import Change, FieldChange
from vllm_studio_tui.tui.sheets.diff import DiffSheet

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell

NO_LIMIT = "no limit"


@dataclass(frozen=True, slots=True)
class KeyLimit:
    """A limit of a key that nobody has agreed to yet."""

    name: str
    old: int | None
    new: int

    @property
    def title(self) -> str:
        return f"at most {self.new} requests at once"

    @property
    def change(self) -> Change:
        old = NO_LIMIT if self.old is None else self.old
        return Change(self.name, (FieldChange(("max_concurrent",), old, self.new),))

    @property
    def notes(self) -> tuple[str, ...]:
        return (
            "What it asks beyond that is refused with 429 until one of its requests has ended.",
            "It counts at once. Requests, v (keys), e changes it again.",
        )


async def limit_key(shell: Shell, name: str, most: int) -> bool:
    """Show what a limit changes, and keep it where that is agreed to; return whether it was. From within `spawn`."""
    keys = shell.studio.keys
    try:
        found = await shell.in_thread(lambda: keys.find(name))
    except NotFound:
        shell.tell(f"The key {name} was deleted meanwhile.", "warning")
        return False
    if found.max_concurrent is not None and found.max_concurrent <= most:
        most = max(1, found.max_concurrent // 2)  # it is not enough
    if found.max_concurrent == most:
        shell.tell(f"{name} has one request at once already.")
        return False
    limit = KeyLimit(found.name, found.max_concurrent, most)
    if await shell.ask(DiffSheet([limit], verb="limit it", edit="", keep="leave it")) is None:
        return False
    try:
        await shell.in_thread(lambda: keys.change(replace(found, max_concurrent=most)))
    except StudioError as error:
        shell.tell_error(error)
        return False
    shell.tell(f"{found.name}: {limit.title}.")
    return True
