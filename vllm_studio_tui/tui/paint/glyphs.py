"""The characters to draw with, in Unicode and in plain ASCII. All are one cell wide."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_studio_tui.runs.state_marks import TROUBLE, state_mark

__all__ = ["ASCII", "TROUBLE", "UNICODE", "Glyphs"]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """A set of characters."""

    ascii: bool = False
    bar: str = "━"
    half: str = "╸"
    track: str = "─"
    unknown_bar: str = "╌"
    spark: str = "▁▂▃▄▅▆▇"
    chart: str = "▁▂▃▄▅▆▇█"
    no_sample: str = "·"
    folded: str = "▸"
    open: str = "▾"
    choice: str = "▾"
    join_first: str = "┐"
    join_middle: str = "┤"
    join_last: str = "┘"
    inside: str = "│"
    hairline: str = "─"
    tree_middle: str = "├"
    tree_last: str = "└"
    cursor: str = "▌"
    block: str = "▎"
    changed: str = "∙"
    ellipsis: str = "…"
    unknown: str = "–"
    degree: str = "°C"
    passed: str = "✓"
    failed: str = "✕"
    pending: str = "○"
    warning: str = "▲"
    left: str = "‹"
    right: str = "›"
    up_down: str = "↑↓"
    down: str = "↓"
    left_right: str = "←→"
    bullet: str = "•"
    full: str = "█"
    shade: str = "▒"
    pinned: str = "◆"
    heat: str = "░▒▓█"

    def state(self, state: str) -> tuple[str, str]:
        """Return the character and the colour of a state."""
        return state_mark(state, plain=self.ascii)

    def plain(self, words: str) -> str:
        """Return words of ours as this terminal can show them: degrees without their sign."""
        return words.replace("°", "") if self.ascii else words


UNICODE = Glyphs()
ASCII = Glyphs(
    ascii=True,
    bar="=",
    half="-",
    track=".",
    unknown_bar="?",
    spark="_.:-=+*",
    chart="_.:-=+*#",
    no_sample=" ",
    folded="+",
    open="-",
    choice="v",
    join_first="\\",
    join_middle="|",
    join_last="/",
    inside="|",
    hairline="-",
    tree_middle="|",
    tree_last="`",
    cursor=">",
    block="|",
    changed="*",
    ellipsis="..",
    unknown="-",
    degree=" C",
    passed="+",
    failed="x",
    pending="o",
    warning="!",
    left="<",
    right=">",
    up_down="up/down",
    down="v",
    left_right="left/right",
    bullet="*",
    full="#",
    shade="o",
    pinned="+",
    heat=".:o#",
)
