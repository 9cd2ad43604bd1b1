"""The command `vllm-studio`. What must be quick is answered before anything large is imported."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm_studio_tui.studio import Studio

#: Options that belong to the screens; everything else is a command.
SCREEN_OPTIONS = ("--screen", "--recipe", "--compact", "--read-only", "--ascii")


def screens(argv: list[str]) -> int | None:
    """Open the screens; None when the arguments are not for them alone."""
    import argparse

    parser = argparse.ArgumentParser("vllm-studio", add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--screen", default=None)
    parser.add_argument("--recipe")
    for flag in ("--compact", "--read-only", "--ascii"):
        parser.add_argument(flag, action="store_true")
    try:
        given, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError:
        return None
    if rest:
        return None
    os.umask(0o077)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from vllm_studio_tui.cli.output import explain
    from vllm_studio_tui.domain.errors import StudioError
    from vllm_studio_tui.studio import Studio

    with Studio.open_sync() as studio:
        try:
            from vllm_studio_tui.tui.start import open_screens

            return open_screens(
                studio,
                screen=given.screen or ("chat" if given.recipe else "dashboard"),
                recipe=given.recipe,
                compact=given.compact,
                read_only=given.read_only,
                ascii_only=given.ascii,
            )
        except StudioError as error:
            explain(error)
            return error.exit_code
        except KeyboardInterrupt:
            return 130


def main() -> int:
    """Run the command line; the exit code."""
    argv = sys.argv[1:]
    try:
        code = _answer(argv)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - what is a fault of the program is raised again there
        from vllm_studio_tui.cli.ending import code_of

        return code_of(error, argv)
    return code


def _answer(argv: list[str]) -> int:
    if argv == ["--version"]:
        from vllm_studio_tui import __version__

        sys.stdout.write(f"vllm-studio {__version__}\n")
        return 0
    if argv[:1] == ["status"]:
        from vllm_studio_tui.cli import status

        code = status.quick(argv)
        if code is not None:
            return code
    if argv[:1] == ["gpus"]:
        from vllm_studio_tui.cli import gpus

        code = gpus.quick(argv)
        if code is not None:
            return code
    completing = "_VLLM_STUDIO_COMPLETE" in os.environ  # a shell asks, with no arguments: the line is in variables
    if not completing and (not argv or argv[0] in SCREEN_OPTIONS):
        code = screens(argv)
        if code is not None:
            return code
    if argv[:1] == ["monitor"]:
        code = screens(["--screen", "monitor", *argv[1:]])
        if code is not None:
            return code
    from vllm_studio_tui.cli import hooks
    from vllm_studio_tui.cli.app import run

    hooks.screens = _open
    return run(argv)


def _open(studio: Studio, *, screen: str, recipe: str | None, label: str) -> int:
    from vllm_studio_tui.tui.start import open_screens

    return open_screens(studio, screen=screen, recipe=recipe, label=label, farewell=False)


if __name__ == "__main__":
    sys.exit(main())
