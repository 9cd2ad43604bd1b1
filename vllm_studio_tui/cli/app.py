"""The command line as a whole."""

from __future__ import annotations

import importlib
import os
import sys

import typer

from vllm_studio_tui.cli.output import explain
from vllm_studio_tui.domain.errors import StudioError

#: One file per noun; each has `register(app)`.
NOUNS = ("recipes", "runs", "status", "logs", "chat", "chats", "gpus", "metrics", "usage", "demo", "doctor")


def build() -> typer.Typer:
    """The application with every command."""
    app = typer.Typer(
        name="vllm-studio",
        help="A terminal studio for LLM inference servers.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True),
    ) -> None:
        """Launch, keep, watch and chat with models on your own GPUs."""
        if version:  # normally answered before typer is imported
            from vllm_studio_tui import __version__

            typer.echo(f"vllm-studio {__version__}")
            raise typer.Exit

    for noun in NOUNS:
        importlib.import_module(f"vllm_studio_tui.cli.{noun}").register(app)
    return app


def run(argv: list[str]) -> int:
    """Run one command; its exit code."""
    os.umask(0o077)
    try:
        build()(args=argv, prog_name="vllm-studio", standalone_mode=True)
    except StudioError as error:
        explain(error)
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
