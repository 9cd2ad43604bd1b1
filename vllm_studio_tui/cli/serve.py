"""`serve`: one address for every model."""

from __future__ import annotations

from pathlib import Path

import typer

from vllm_studio_tui.cli import hooks
from vllm_studio_tui.cli.output import say
from vllm_studio_tui.domain.errors import UsageError


def register(app: typer.Typer) -> None:
    @app.command("serve")
    def serve(
        host: str = typer.Option("", help="Where to listen; anything but loopback needs a key."),
        port: int = typer.Option(-1, min=-1, max=65535, help="The port; 0: a free one."),
        socket: Path | None = typer.Option(None, "--socket", help="Listen on a unix socket too."),
        no_port: bool = typer.Option(False, "--no-port", help="Listen on sockets alone."),
        insecure: bool = typer.Option(False, "--insecure", help="Listen for other machines without a key."),
    ) -> None:
        """Serve every model at one address, for agents, editors and scripts. Engines outlive it."""
        if hooks.serve is None:
            raise UsageError("this program has no server")
        hooks.serve(
            host=host or None,
            port=None if port < 0 else port,
            path=socket,
            no_port=no_port,
            insecure=insecure,
            said=say,
        )
