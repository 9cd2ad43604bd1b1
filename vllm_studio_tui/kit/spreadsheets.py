"""Text for spreadsheets."""

from __future__ import annotations


def plain_cell(text: str) -> str:
    """Return text that a spreadsheet takes for text: one that begins with one of these is a formula to it."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
