"""Functions of another face that commands need: commands import no screens, so the start-up code sets these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vllm_studio_tui.studio import Studio


class Screens(Protocol):
    """Opens the screens on a studio; the exit code."""

    def __call__(self, studio: Studio, *, screen: str, recipe: str | None, label: str) -> int: ...


#: Set by `__main__`.
screens: Screens | None = None
