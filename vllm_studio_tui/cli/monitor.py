"""`monitor`: the screens, beginning with the monitor."""

from __future__ import annotations

import typer

from vllm_studio_tui.cli import hooks
from vllm_studio_tui.cli.opening import open_studio


def register(app: typer.Typer) -> None:
    @app.command("monitor")
    def monitor(
        compact: bool = typer.Option(False, "--compact", help="The layout of a small window."),
        read_only: bool = typer.Option(False, "--read-only", help="Change nothing."),
        plain: bool = typer.Option(False, "--ascii", help="Draw with ASCII alone."),
        no_mouse: bool = typer.Option(False, "--no-mouse", help="Leave the mouse to the terminal, to select text."),
    ) -> None:
        """Open the monitor: engines, GPUs and processes, now and over time."""
        assert hooks.screens is not None, "started without screens"
        with open_studio() as studio:
            code = hooks.screens(
                studio, screen="monitor", compact=compact, read_only=read_only, ascii_only=plain, no_mouse=no_mouse
            )
        raise typer.Exit(code)
