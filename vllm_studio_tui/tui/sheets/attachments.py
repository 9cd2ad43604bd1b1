"""The sheet that shows what goes with a question whole: the text of a file, or a picture."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.domain.chat import Attached
from vllm_studio_tui.services.chat.attachments import words
from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.sheets.call import text_rows
from vllm_studio_tui.tui.sheets.dialogs import Pages


class AttachmentSheet(Pages):
    """Shows attachments, one below the other."""

    def __init__(self, attached: Sequence[Attached]) -> None:
        super().__init__(self._rows, leave="back")
        self._attached = attached
        self._made: tuple[int, list[Row]] = (-1, [])

    def _rows(self, ink: Ink, width: int) -> list[Row]:
        if self._made[0] != width:
            rows: list[Row] = []
            for one in self._attached:
                head = Row()
                x = head.put(2, words.name_of(one.file), "fg bold", width - 4) + 2
                head.put(x, "   ".join(words.facts_of(one.file)), "dim", max(0, width - x - 2))
                rows += [head, Row(), *text_rows((one.file.text or "").rstrip("\n"), width, "fg"), Row()]
            self._made = (width, rows[:-1])
        return self._made[1]
