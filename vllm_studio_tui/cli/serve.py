"""`serve`: one address for every model."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from vllm_studio_tui.cli import hooks
from vllm_studio_tui.cli.output import say
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.paths import Places


def register(app: typer.Typer) -> None:
    @app.command("serve")
    def serve(
        host: str = typer.Option("", help="Where to listen; anything but loopback needs a key."),
        port: int | None = typer.Option(
            None, min=0, max=65535, help="The port; 0: a free one. Without it the setting `port` (8080)."
        ),
        socket: Path | None = typer.Option(None, "--socket", help="Listen on a unix socket too."),
        no_port: bool = typer.Option(False, "--no-port", help="Listen on sockets alone."),
        insecure: bool = typer.Option(False, "--insecure", help="Let other machines ask models without a key."),
        if_needed: bool = typer.Option(
            False,
            "--if-needed",
            help="Have one serve in the background, on its socket alone, unless one does; print it.",
        ),
        hold: bool = typer.Option(
            False, "--hold", help="With --if-needed: go on until the standard input ends, as a connection does."
        ),
    ) -> None:
        """Serve every model at one address, for agents, editors and scripts. Engines outlive it."""
        if hold and not if_needed:
            raise UsageError("--hold is for --if-needed")
        if if_needed:
            if host or port is not None or socket is not None or insecure:
                raise UsageError("--if-needed serves on the private socket alone", advice="Give no address with it.")
            _have_served(hold=hold)
            return
        if hooks.serve is None:
            raise UsageError("this program has no server")
        hooks.serve(
            host=host or None,
            port=port,
            path=socket,
            no_port=no_port,
            insecure=insecure,
            said=say,
        )


def _have_served(*, hold: bool) -> None:
    """Print the socket of this home's server, which is started where there is none."""
    from vllm_studio_tui.services.serving.here import SOCKET_LINE, ensure_server

    path = ensure_server(Places.of())
    say(f"{SOCKET_LINE}{path}" if hold else str(path))
    sys.stdout.flush()
    while hold and sys.stdin.buffer.read(4096):
        pass
