"""The command line as a whole."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import typer
from typer.main import get_command

from vllm_studio_tui.cli import output
from vllm_studio_tui.cli.ending import code_of, report
from vllm_studio_tui.cli.output import note, say
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.sanitize import clean

PROGRAM = "vllm-studio"
#: By this variable a shell asks for completions.
COMPLETE = "_VLLM_STUDIO_COMPLETE"

#: One file per noun; each has `register(app)`.
NOUNS = (
    "recipes",
    "models",
    "runs",
    "status",
    "logs",
    "monitor",
    "timeline",
    "record",
    "chat",
    "chats",
    "attach",
    "compare",
    "lab",
    "gpus",
    "metrics",
    "why",
    "ray",
    "alerts",
    "bench",
    "usage",
    "requests",
    "keys",
    "library",
    "hosts",
    "demo",
    "doctor",
    "diagnose",
    "history",
    "foreign",
    "exporter",
    "serve",
    "render",
    "rank",
    "gateway",
    "mcp",
    "importing",
)
#: The heading of the options that open the screens.
SCREENS = "Screens, without a command"
#: The heading of the options that choose another machine's studio. `connecting.take` reads them before typer.
ELSEWHERE = "A studio on another machine, for most commands and for the screens"
#: Commands that are not called as their file.
FILES = {
    **dict.fromkeys(("launch", "switch", "stop", "wait-ready", "probe", "restore"), "runs"),
    "runs": "history",
    "arena": "compare",
    "import": "importing",
}


def nouns_for(argv: list[str]) -> tuple[str, ...]:
    """Return the modules that a command line needs: only its own, or all of them for help and completion."""
    first = argv[0] if argv else ""
    noun = FILES.get(first, first)
    return (noun,) if noun in NOUNS else NOUNS


def build(nouns: tuple[str, ...] = NOUNS) -> typer.Typer:
    """Return the application with the commands of these modules."""
    app = typer.Typer(
        name="vllm-studio",
        help="A terminal studio for LLM inference servers. Without a command, its screens open.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True),
        screen: str = typer.Option("", help="The screen to begin with.", rich_help_panel=SCREENS),
        recipe: str = typer.Option("", help="Begin with a chat with this recipe.", rich_help_panel=SCREENS),
        compact: bool = typer.Option(False, "--compact", help="The layout of a small window.", rich_help_panel=SCREENS),
        read_only: bool = typer.Option(False, "--read-only", help="Change nothing.", rich_help_panel=SCREENS),
        plain: bool = typer.Option(False, "--ascii", help="Draw with ASCII alone.", rich_help_panel=SCREENS),
        connect: str = typer.Option(
            "",
            "--connect",
            metavar="HOST",
            rich_help_panel=ELSEWHERE,
            help="ssh://[user@]host, https://host:port, .. or a name of `hosts` (VLLM_STUDIO_CONNECT); anywhere.",
        ),
        api_key: str = typer.Option(
            "",
            "--api-key",
            metavar="REFERENCE",
            rich_help_panel=ELSEWHERE,
            help="Its key for http(s): env:NAME or file:PATH.",
        ),
        insecure_http: bool = typer.Option(
            False, "--insecure-http", rich_help_panel=ELSEWHERE, help="Take http to another machine, as plain text."
        ),
        no_mouse: bool = typer.Option(
            False, "--no-mouse", help="Leave the mouse to the terminal, to select text.", rich_help_panel=SCREENS
        ),
    ) -> None:
        """Launch, keep, watch and chat with models on your own GPUs. Without a command, the screens open."""
        if screen or recipe or compact or read_only or plain or no_mouse:  # with no command they never come here
            raise UsageError("these options are for the screens", advice="Give them without a command.")
        if version:  # normally answered before typer is imported
            from vllm_studio_tui import __version__

            typer.echo(f"vllm-studio {__version__}")
            raise typer.Exit

    for noun in nouns:
        importlib.import_module(f"vllm_studio_tui.cli.{noun}").register(app)
    return app


def run(argv: list[str]) -> int:
    """Run one command; its exit code."""
    os.umask(0o077)
    # Looking for plug-ins of pydantic reads the metadata of every installed package; we use none.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    output.emitted = False
    try:
        code = _invoke(build(nouns_for(argv)), argv)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001, RUF100
        return code_of(error, argv)
    return code


def _invoke(app: typer.Typer, argv: list[str]) -> int:
    """Run a command as typer does, but without its own reports of errors and of broken pipes."""
    if COMPLETE in os.environ:
        app(args=argv, prog_name=PROGRAM)  # a shell asks for completions
        return 0
    command = get_command(app)
    try:
        with command.make_context(PROGRAM, list(argv)) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:
        note("Aborted.")
        return 1
    except EOFError:
        raise UsageError("an answer was needed, and there is nobody to give it") from None
    except Exception as error:
        if hasattr(error, "format_message"):
            return _usage(error, argv)
        raise
    return 0


def _usage(error: Any, argv: list[str]) -> int:
    """Say what is wrong with the arguments. They are text from outside."""
    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError":
        if error.message:  # rich has printed it already
            say(error.message)
        return int(error.exit_code)
    usage = " ".join(context.get_usage().split()) if context is not None else ""
    path = context.command_path if context is not None else PROGRAM
    wrong = UsageError(
        clean(error.format_message()).rstrip("."),
        cause=clean(usage),
        advice=clean(f"See {path} --help."),
    )
    report(wrong, argv)
    return int(error.exit_code)
