"""Start the server from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.studio import Studio


def serve_here(
    *,
    host: str | None,
    port: int | None,
    path: Path | None,
    no_port: bool,
    insecure: bool,
    said: Callable[[str], None],
) -> None:
    """Serve the studio of this machine until SIGTERM or SIGINT.

    Args:
        host, port, path: Instead of what the settings say.

    Raises:
        StudioError: It cannot listen there, or the libraries of the extra `serve` are not installed.
    """
    try:
        from vllm_studio_tui.http.server import Options, log_to_stderr, serve
    except ImportError as error:
        title = "the libraries of the server are not installed"
        advice = "Install them: pip install 'vllm-studio-tui[serve]'"
        raise StudioError(title, cause=f"{error}.", advice=advice) from None
    log_to_stderr()
    with Studio.open_sync() as studio:
        settings = studio.settings
        options = Options(
            host if host is not None else settings.host,
            port if port is not None else settings.port,
            path.absolute() if path is not None else settings.socket,
            insecure,
            no_port,
        )
        serve(studio, options, said)
