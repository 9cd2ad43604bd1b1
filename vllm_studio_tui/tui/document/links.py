"""Links in styled text: a style has where its text leads, so that a link that is wrapped stays one."""

from __future__ import annotations

import zlib

from vllm_studio_tui.kit.web_addresses import find_addresses, host_of, leads_elsewhere, safe_address
from vllm_studio_tui.tui.document.line_breaking import Line, Part, cells
from vllm_studio_tui.tui.paint.ink import LINK


def link_style(style: str, address: str, number: int = 0) -> str:
    """Return a style that leads to a safe address.

    Args:
        number: Tells links of one address apart: a terminal marks all cells of one link together.
    """
    return f"{style} {LINK}{zlib.crc32(address.encode()):x}-{number}|{address}"


def linked(text: str, style: str, *, whole: bool = True) -> list[Part]:
    """Return plain text with the addresses in it as links.

    Args:
        whole: It ends here; else an address at its end may be but the beginning of one, and leads nowhere.
    """
    parts: list[Part] = []
    at = 0
    for number, found in enumerate(find_addresses(text)):
        if not whole and found.end >= len(text):
            break
        if found.start > at:
            parts.append((text[at : found.start], style))
        shown = text[found.start : found.end]
        parts.append((shown, link_style(f"{style} underline", found.address, number)))
        parts += target(shown, found.address, number)
        at = found.end
    if at < len(text) or not parts:
        parts.append((text[at:], style))
    return parts


def target(shown: str, address: str, number: int = 0) -> list[Part]:
    """Return what stands behind a link: where it leads, unless its text says just that. A text that lies is told."""
    if leads_elsewhere(shown, address):
        where = host_of(address) if shown == address else address
        return [(" ", "warn"), (f"(leads to {where})", link_style("warn", address, number))]
    if shown == address.removeprefix("mailto:"):
        return []
    if safe_address(shown) == address:
        # Of an address in other letters, the host is what can be mistaken for another.
        mistaken = host_of(address).lower() not in shown.lower()
        return _behind(host_of(address), address, number) if mistaken else []
    return _behind(address, address, number)


def _behind(words: str, address: str, number: int) -> list[Part]:
    return [(" ", "faint"), (f"({words})", link_style("faint", address, number))]


def address_at(line: Line, cell: int) -> str:
    """Return where the cell of a line leads; empty where it leads nowhere."""
    after = 0
    for text, style in line.parts:
        after += cells(text)
        if cell < after:
            return address_of(style)
    return ""


def address_of(style: str) -> str:
    """Return where a style leads; empty for most."""
    word = next((word for word in style.split() if word.startswith(LINK)), "")
    return word.partition("|")[2]
