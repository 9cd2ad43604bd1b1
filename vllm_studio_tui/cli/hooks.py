"""Functions of another face that commands need: commands import no screens, so the start-up code sets these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi


class Screens(Protocol):
    """Opens the screens on a studio; the exit code. See `tui.start.open_screens`."""

    def __call__(
        self,
        studio: StudioApi,
        *,
        screen: str = ...,
        recipe: str | None = ...,
        compact: bool = ...,
        read_only: bool = ...,
        ascii_only: bool = ...,
        no_mouse: bool = ...,
        label: str = ...,
        farewell: bool = ...,
    ) -> int: ...


class Server(Protocol):
    """Serves until it is told to stop. See `http.start.serve_here`."""

    def __call__(
        self,
        *,
        host: str | None,
        port: int | None,
        path: Path | None,
        no_port: bool,
        insecure: bool,
        said: Callable[[str], None],
    ) -> None: ...


#: Set by `__main__`.
screens: Screens | None = None
serve: Server | None = None
