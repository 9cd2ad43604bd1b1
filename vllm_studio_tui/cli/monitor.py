"""`monitor`: the screens, beginning with the monitor."""

from __future__ import annotations

from pathlib import Path

import typer

from vllm_studio_tui.cli import hooks
from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.domain.errors import UsageError


def register(app: typer.Typer) -> None:
    @app.command("monitor")
    def monitor(
        compact: bool = typer.Option(False, "--compact", help="The layout of a small window."),
        read_only: bool = typer.Option(False, "--read-only", help="Change nothing."),
        plain: bool = typer.Option(False, "--ascii", help="Draw with ASCII alone."),
        no_mouse: bool = typer.Option(False, "--no-mouse", help="Leave the mouse to the terminal, to select text."),
        replay: Path | None = typer.Option(None, "--replay", metavar="FILE", help="Show a recording; see `record`."),
        speed: float = typer.Option(1.0, "--speed", min=0, max=3600, help="With --replay: so many times as fast."),
        at: str | None = typer.Option(
            None,
            "--at",
            metavar="TIME",
            help="With --replay: begin so long after its start (90s, 2h), or at a time (14:20).",
        ),
    ) -> None:
        """Open the monitor: engines, GPUs and processes, now and over time."""
        assert hooks.screens is not None, "started without screens"
        if replay is not None:
            raise typer.Exit(_replay(replay, speed, at, compact=compact, ascii_only=plain, no_mouse=no_mouse))
        if at is not None or speed != 1.0:
            raise UsageError("--speed and --at are for a recording", advice="Name it: --replay FILE.")
        with open_studio() as studio:
            code = hooks.screens(
                studio, screen="monitor", compact=compact, read_only=read_only, ascii_only=plain, no_mouse=no_mouse
            )
        raise typer.Exit(code)


def _replay(path: Path, speed: float, at: str | None, *, compact: bool, ascii_only: bool, no_mouse: bool) -> int:
    from vllm_studio_tui.kit.moments import FORMS, read_after
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.remote.recorded import Recorded
    from vllm_studio_tui.remote.replay import ReplayStudio

    assert hooks.screens is not None
    recorded = Recorded(path)
    begin = None if at is None else read_after(at, recorded.since, recorded.until)
    if at is not None and begin is None:
        recorded.close()
        raise UsageError(f"{at[:60]} is no moment of the recording", advice=FORMS)
    studio = ReplayStudio(recorded, Places.of(), speed=speed, at=begin)
    try:
        return hooks.screens(
            studio,
            screen="monitor",
            compact=compact,
            read_only=True,
            ascii_only=ascii_only,
            no_mouse=no_mouse,
            label=f"REPLAY {path.name[:24]}",
            farewell=False,
        )
    finally:
        studio.close()
