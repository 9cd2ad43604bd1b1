"""Artifacts of the chat that is shown: what its answers hold that can stand alone, to look at, copy and save."""

from __future__ import annotations

from functools import partial
from pathlib import PurePath

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.chat.artifacts import Artifact, artifacts_of
from vllm_studio_tui.tui.flows.export import export
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option

_COPY, _SAVE = "ctrl+y", "ctrl+s"


class ArtifactFlows:
    """What a person does with the artifacts of a chat."""

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._shell = screen.shell

    async def choose(self) -> None:
        """List them until one is copied or saved, or esc; enter shows one whole."""
        branch = [entry.message for entry in self._screen.document.entries]
        found = await self._shell.in_thread(partial(artifacts_of, branch))
        by_number = {str(item.number): item for item in found}
        while True:
            chosen = await self._shell.ask(
                Chooser(
                    [_choice(item) for item in reversed(found)],
                    title="an artifact, or words in it",
                    empty="No code block, page or drawing is in the answers of this chat.",
                    extra=tuple(Option(key, "") for key in (_COPY, _SAVE)),
                    keys=(("^y", "copy"), ("^s", "save")) if found else (),
                )
            )
            if chosen is None:
                return
            key, _, rest = chosen.rpartition(":")
            item = by_number.get(rest)
            if item is None:
                continue
            if key == _COPY:
                self._shell.copy(item.text)
                return
            if key == _SAVE:
                await self._save(item)
                return
            await self._show(item)

    async def _show(self, item: Artifact) -> None:
        from vllm_studio_tui.tui.sheets.artifact import ArtifactSheet

        await self._shell.ask(ArtifactSheet(item))

    async def _save(self, item: Artifact) -> None:
        name = PurePath(item.name)
        await export(self._shell, name.stem, name.suffix, lambda: item.text, what=clean_line(item.name, limit=60))


def _choice(item: Artifact) -> Choice:
    said = [item.kind, numbers.size(len(item.data)), *(["cut off"] if item.cut else [])]
    return Choice(
        str(item.number),
        clean_line(item.name, limit=60),
        "  ".join(said),
        group="In thinking" if item.thinking else "In the answers",
        words=item.text[:2000],
    )
