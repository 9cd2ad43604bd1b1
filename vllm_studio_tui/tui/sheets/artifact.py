"""The sheet that shows an artifact of a chat whole."""

from __future__ import annotations

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.chat.artifacts import Artifact
from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.sheets.call import text_rows
from vllm_studio_tui.tui.sheets.dialogs import Pages


class ArtifactSheet(Pages):
    """Shows the source of an artifact, below its name."""

    def __init__(self, item: Artifact) -> None:
        super().__init__(self._rows, leave="back")
        self._item = item
        self._made: tuple[int, list[Row]] = (-1, [])

    def _rows(self, ink: Ink, width: int) -> list[Row]:
        if self._made[0] != width:
            item, head = self._item, Row()
            x = head.put(2, clean_line(item.name, limit=80), "fg bold", width - 4) + 2
            facts = [item.kind, numbers.size(len(item.data))]
            facts += [*(["in thinking"] if item.thinking else []), *(["cut off"] if item.cut else [])]
            head.put(x, "   ".join(facts), "dim", max(0, width - x - 2))
            self._made = (width, [head, Row(), *text_rows(item.text.rstrip("\n"), width, "fg")])
        return self._made[1]
