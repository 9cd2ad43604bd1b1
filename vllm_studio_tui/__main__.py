"""The command `vllm-studio`. What must be quick is answered before anything large is imported."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from vllm_studio_tui.cli import CONNECT

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi

#: Where the screens came from when they became those of another host: options as a JSON list, none for this machine;
#: and, back from one that does not answer, what to say there.
CAME_FROM, SAID = "_VLLM_STUDIO_CAME_FROM", "_VLLM_STUDIO_SAID"
#: Options that belong to the screens; everything else is a command.
SCREEN_OPTIONS = ("--screen", "--recipe", "--compact", "--read-only", "--ascii", "--no-mouse")


def screens(argv: list[str], *, monitor: bool = False) -> int | None:
    """Open the screens; None when the arguments are not for them alone.

    Args:
        monitor: Begin with the monitor, whatever the arguments say; they cannot name another screen then.
    """
    from vllm_studio_tui.cli import connecting
    from vllm_studio_tui.probes.gpu import early

    if connecting.chosen is None:
        early.begin(draw=monitor or "monitor" in argv)
    try:
        return _screens(argv, monitor=monitor)
    finally:
        early.end()


def _screens(argv: list[str], *, monitor: bool) -> int | None:
    import argparse

    from vllm_studio_tui.probes.gpu import early

    parser = argparse.ArgumentParser("vllm-studio", add_help=False, exit_on_error=False, allow_abbrev=False)
    for option in () if monitor else ("--screen", "--recipe"):
        parser.add_argument(option)
    for flag in ("--compact", "--read-only", "--ascii", "--no-mouse"):
        parser.add_argument(flag, action="store_true")
    try:
        given, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError:
        return None
    if rest:
        return None
    os.umask(0o077)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    early.wait()
    from vllm_studio_tui.cli.opening import open_studio
    from vllm_studio_tui.cli.output import explain
    from vllm_studio_tui.domain.errors import StudioError

    wanted: list[str] = []
    came_from, said = os.environ.pop(CAME_FROM, None), os.environ.pop(SAID, "")  # no engine inherits them
    flags = ("compact", "read_only", "ascii", "no_mouse")
    options = [f"--{name.replace('_', '-')}" for name in flags if getattr(given, name)]
    try:
        with open_studio() as studio:
            from vllm_studio_tui.tui.start import open_screens

            recipe = None if monitor else given.recipe
            code = open_screens(
                studio,
                screen="monitor" if monitor else given.screen or ("chat" if recipe else "dashboard"),
                recipe=recipe,
                compact=given.compact,
                read_only=given.read_only,
                ascii_only=given.ascii,
                no_mouse=given.no_mouse,
                become=wanted.append,
                said=said,
            )
            came_from = None  # what fails from now on is not why there was no picture
        if wanted:
            import json

            from vllm_studio_tui.cli import connecting

            there = connecting.Connection(wanted[0]) if wanted[0] else None
            came_from = json.dumps(connecting.words_of(connecting.chosen))
            _become([*connecting.words_of(there), *options], {CAME_FROM: came_from})
        return code
    except StudioError as error:
        if came_from is not None:  # back to where the person was
            from vllm_studio_tui.kit.sanitize import clean

            _become([*_options_in(came_from), "--screen", "hosts", *options], {SAID: clean(str(error), limit=600)})
        explain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _options_in(text: str) -> list[str]:
    """Return the options that were noted; none where it is no such note."""
    import json

    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else []


def _become(argv: list[str], said: dict[str, str]) -> NoReturn:
    """Go on as the same program on another host, or on this machine: in a process that begins anew.

    Args:
        said: What it is told in its environment.
    """
    from vllm_studio_tui.cli.connecting import VARIABLE

    environ = {name: value for name, value in os.environ.items() if name != VARIABLE} | said
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", "vllm_studio_tui", *argv], environ)  # noqa: S606


def command() -> int:
    """Run as a program: what was answered quickly also ends so, without the interpreter's tidying up of its memory."""
    code = main()
    if _Quick.answered:
        os._exit(code)
    return code


class _Quick:
    """Whether a command line was answered by what is light."""

    answered = False


def _quick(argv: list[str]) -> int | None:
    """Answer what scripts and status bars ask every few seconds; None where it is something else."""
    import gc

    from vllm_studio_tui.kit import later

    gc.disable()  # it is over before there is anything to collect
    later.stand_in("inspect")
    try:
        if argv[0] == "status":
            from vllm_studio_tui.cli import status

            return status.quick(argv)
        from vllm_studio_tui.cli import gpus

        return gpus.quick(argv)
    finally:
        gc.enable()


def main() -> int:
    """Run the command line; the exit code."""
    argv = sys.argv[1:]
    try:
        code = _answer(argv)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001, RUF100
        from vllm_studio_tui.cli.ending import code_of

        return code_of(error, argv)
    return code


def _answer(argv: list[str]) -> int:
    if argv == ["--version"]:
        from vllm_studio_tui import __version__

        sys.stdout.write(f"vllm-studio {__version__}\n")
        return 0
    # An option that names a studio elsewhere is none that the quick answers know; the variable names one unseen.
    if argv[:1] in (["status"], ["gpus"]) and not os.environ.get(CONNECT):
        code = _quick(argv)
        if code is not None:
            _Quick.answered = True
            return code
    from vllm_studio_tui.cli import connecting

    argv, connecting.chosen = connecting.take(argv)
    connecting.refuse_local(argv, connecting.chosen)
    completing = "_VLLM_STUDIO_COMPLETE" in os.environ  # a shell asks, with no arguments: the line is in variables
    if not completing and (not argv or argv[0] in SCREEN_OPTIONS):
        code = screens(argv)
        if code is not None:
            return code
    if argv[:1] == ["monitor"]:
        code = screens(argv[1:], monitor=True)
        if code is not None:
            return code
    from vllm_studio_tui.cli import hooks
    from vllm_studio_tui.cli.app import run

    hooks.screens, hooks.serve = _open, _serve
    return run(argv)


def _open(studio: StudioApi, **options: Any) -> int:
    from vllm_studio_tui.tui.start import open_screens

    return open_screens(studio, **options)


def _serve(**options: Any) -> None:
    from vllm_studio_tui.http.start import serve_here

    serve_here(**options)


if __name__ == "__main__":
    sys.exit(command())
