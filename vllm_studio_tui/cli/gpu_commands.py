"""`gpus` itself: what the GPUs do, once or again and again. What needs nothing large is in `gpus`."""

from __future__ import annotations

from collections.abc import Callable

import typer

from vllm_studio_tui.cli import connecting
from vllm_studio_tui.cli.output import emit_line, say
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.probes.gpu.provider import read_once


def group(
    show: Callable[[GpuReport], None],
    gpus_line: Callable[[GpuReport, int | None], str],
    watch: Callable[[Callable[[], GpuReport], Callable[[GpuReport], None], float], None],
) -> typer.Typer:
    """Return the command, to which others are added.

    Args:
        show: Prints a report for a person.
        gpus_line: Returns it on one line of so many columns.
        watch: Shows one every so many seconds.
    """
    nouns = typer.Typer()

    @nouns.callback(invoke_without_command=True)
    def gpus(
        context: typer.Context,
        once: bool = typer.Option(False, "--once", help="Read once (the default)."),
        watching: bool = typer.Option(False, "--watch", "-w", help="Read again until interrupted."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON; with --watch one object a line."),
        line: bool = typer.Option(False, "--line", help="Print one line, for tmux's status-right."),
        width: int | None = typer.Option(None, "--width", min=1, help="Columns of --line."),
        interval: float = typer.Option(1.0, "--interval", min=0.2, help="Seconds between two readings."),
    ) -> None:
        """Show the GPUs: use, memory, power, temperature, and who uses them."""
        if context.invoked_subcommand is not None:
            return
        if once and watching:
            raise UsageError("--once and --watch exclude each other")
        if line and as_json:
            raise UsageError("--line and --json exclude each other")

        def show_one(report: GpuReport) -> None:
            if as_json:
                emit_line(report.to_json())
            elif line:
                say(gpus_line(report, width))
            else:
                show(report)

        if connecting.chosen is not None:
            from vllm_studio_tui.cli.opening import open_studio

            with open_studio() as studio:
                if watching:
                    watch(lambda: studio.gpu_report(processes=not line), show_one, interval)
                show_one(studio.gpu_report(processes=not line))
            return
        if not watching:
            show_one(read_once(processes=not line, thorough=not line))
            return
        from vllm_studio_tui.probes.gpu.client import GpuWorker

        worker = GpuWorker()
        try:
            watch(lambda: worker.read_now(not line), show_one, interval)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        finally:
            worker.close()

    return nouns
