"""The header, with screens and runs, and the footer, with the keys that work where the focus is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vllm_studio_tui.tui.paint import footer, header
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell

HOST = os.uname().nodename.partition(".")[0]


def host_name() -> str:
    """Return the name of this machine."""
    return HOST


class Header(Canvas):
    """The header of the page, one row."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(self._rows, lambda: shell.ink, id="header")
        self._shell = shell

    def _rows(self, width: int, height: int) -> list[Row]:
        shell = self._shell
        return header.header(
            shell.ink,
            width,
            shell.size_class,
            shell.tab_name,
            shell.snapshot,
            host=shell.studio.host or HOST,
            without_tab=shell.without_tab,
            read_only=shell.read_only,
            label=shell.label,
            bench="" if shell.tab_name == "bench" else shell.benches.chip,
            pulls=() if shell.tab_name == "models" else shell.pulls.going,
        )


class Footer(Canvas):
    """The footer of the page, one row. A sheet in front names its keys itself: then there is nothing here."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(self._rows, lambda: shell.ink, id="footer")
        self._shell = shell

    def _rows(self, width: int, height: int) -> list[Row]:
        active = self._shell.active_actions()
        return footer.footer(width, footer.hints(active, self._shell.ink.glyphs), footer.always(active, width))
