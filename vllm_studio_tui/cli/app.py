"""The command line as a whole."""

from __future__ import annotations

import importlib
import os
import sys

import typer

from vllm_studio_tui.cli.output import explain, note
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.studio import Studio

#: One file per noun; each has `register(app)`.
NOUNS = (
    "recipes",
    "runs",
    "status",
    "logs",
    "chat",
    "chats",
    "gpus",
    "metrics",
    "usage",
    "demo",
    "doctor",
    "diagnose",
    "history",
    "foreign",
)
#: Commands that are not called as their file.
FILES = {**dict.fromkeys(("launch", "switch", "stop", "wait-ready", "probe", "restore"), "runs"), "runs": "history"}


def nouns_for(argv: list[str]) -> tuple[str, ...]:
    """The files that a command line needs: its own alone, or all of them for help and completion."""
    first = argv[0] if argv else ""
    noun = FILES.get(first, first)
    return (noun,) if noun in NOUNS else NOUNS


def build(nouns: tuple[str, ...] = NOUNS) -> typer.Typer:
    """The application with the commands of these files."""
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

    for noun in nouns:
        importlib.import_module(f"vllm_studio_tui.cli.{noun}").register(app)
    return app


def _tell(words: str) -> None:
    note(f"note: {words}")


def run(argv: list[str]) -> int:
    """Run one command; its exit code."""
    os.umask(0o077)
    # Looking for plug-ins of pydantic reads the metadata of every installed package; we use none.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    Studio.tell = _tell
    try:
        build(nouns_for(argv))(args=argv, prog_name="vllm-studio", standalone_mode=True)
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
