"""The mouse, which the terminal either reports to us or uses itself to select text."""

from __future__ import annotations

from typing import Any

from textual.app import App


def switch(app: App[Any]) -> str:
    """Give the mouse to the terminal, or take it again; return what to tell."""
    driver: Any = app._driver
    off = getattr(driver, "_disable_mouse_support", None)
    on = getattr(driver, "_enable_mouse_support", None)
    if off is None or on is None:
        return "There is no mouse here."
    if driver._mouse:
        off()
        driver._mouse = False  # it stays off when the terminal was given back meanwhile
        return "The mouse selects text now; f10 takes it again."
    driver._mouse = True
    on()
    return "The mouse works again."
