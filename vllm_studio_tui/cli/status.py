"""`status`: what runs. Light: the standard library alone, because scripts and status bars ask it often."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

    from vllm_studio_tui.domain.gpus import Gpu
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.runs.read import RunView

#: The columns of `--line` where `--width` is not given.
WIDTH = 100
#: Seconds that the driver of the GPUs has for an answer that stands on the line.
GPU_SECONDS = 1.5


def quick(argv: list[str]) -> int | None:
    """Answer `status --json [--all]` and `status --line [--hosts] [--width N] [--ascii]` without typer and a studio.

    Returns:
        None when the command line is another.
    """
    if argv[:1] != ["status"]:
        return None
    if "--line" in argv and "--hosts" in argv:
        given = _line_options([word for word in argv[1:] if word != "--hosts"])
        if given is None or argv.count("--hosts") > 1:
            return None
        from vllm_studio_tui.kit.paths import Places
        from vllm_studio_tui.runs.read import shown_now

        places = Places.of()
        sys.stdout.write(_line_of_hosts(places, shown_now(places), *given) + "\n")
        return 0
    if "--line" in argv:
        given = _line_options(argv[1:])
        if given is None:
            return None
        from vllm_studio_tui.kit import process, safe_json  # noqa: F401  # what both processes need, once
        from vllm_studio_tui.kit.paths import Places

        gpus = _GpuWords(*given)  # before all else: the driver is asked while the runs are read
        from vllm_studio_tui.runs.alert_line import read_worst
        from vllm_studio_tui.runs.read import shown_now

        places = Places.of()
        runs, alert = shown_now(places), read_worst(places)
        sys.stdout.write(line_of(runs, *gpus.take(), *given, alert=alert) + "\n")
        return 0
    if "--json" not in argv or not set(argv[1:]) <= {"--json", "--all"}:
        return None
    import json

    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.kit.sanitize import json_safe
    from vllm_studio_tui.runs.json_documents import status_document
    from vllm_studio_tui.runs.read import all_runs

    document = status_document(all_runs(Places.of()), every="--all" in argv)
    sys.stdout.write(json_safe(json.dumps(document, ensure_ascii=False), terminal=sys.stdout.isatty()) + "\n")
    return 0


def _line_options(words: list[str]) -> tuple[int, bool] | None:
    """Return the width and whether ASCII alone is wanted; None where the words are not for the line alone."""
    words.remove("--line")
    width, plain = WIDTH, "--ascii" in words
    if plain:
        words.remove("--ascii")
    if (
        len(words) == 2
        and words[0] == "--width"
        and words[1].isascii()
        and words[1].isdigit()
        and 0 < len(words[1]) < 6
    ):
        width, words = int(words[1]), []
    return None if words or not width else (width, plain)


class _GpuWords:
    """What the line says of the GPUs, found out by a process of its own.

    The library of the driver takes as long to import and to ask as all the rest, and both at once take half.
    """

    def __init__(self, width: int, plain: bool) -> None:
        import os

        self._end, begin = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(begin)
            return
        try:
            from vllm_studio_tui.probes.gpu.provider import read_once

            lost, *words = words_of(read_once(GPU_SECONDS, line=True).gpus, width, plain)
            os.write(begin, "\n".join([lost, *words]).encode())
        finally:
            os._exit(0)

    def take(self) -> tuple[str, list[str]]:
        """Return which GPUs are lost, and the words for all; nothing where there is no answer in time."""
        import os
        import select

        got = b""
        deadline = time.monotonic() + 2 * GPU_SECONDS
        while select.select([self._end], [], [], max(0.0, deadline - time.monotonic()))[0]:
            piece = os.read(self._end, 4096)
            if not piece:
                os.waitpid(self._pid, 0)
                break
            got += piece
        lost, *words = got.decode(errors="replace").split("\n")
        return lost, words


def words_of(gpus: Sequence[Gpu], width: int, plain: bool) -> list[str]:
    """Return which GPUs are lost, then what the line says of all."""
    from vllm_studio_tui.runs.gpu_words import ROOMY, gpu_words, lost_words

    return [lost_words(gpus), *gpu_words(gpus, " C" if plain else "°C", tight=width < ROOMY)]


def line_of(
    runs: Sequence[RunView],
    lost: str,
    gpus: Sequence[str],
    width: int,
    plain: bool,
    *,
    alert: tuple[str, str] = ("", ""),
) -> str:
    """Return runs, GPUs and the worst alert on one line, trouble first.

    A status bar of tmux acts on what follows `#`, and names come from outside: they are written without it.
    """
    from vllm_studio_tui.kit.sanitize import clean_line
    from vllm_studio_tui.runs.one_line import ledger_speed, one_line
    from vllm_studio_tui.runs.state_marks import TROUBLE, state_mark

    if not runs and not gpus and not lost and not alert[0]:
        return "nothing runs"[:width]
    parts = one_line(
        runs,
        gpus,
        width,
        TROUBLE,
        lambda state: state_mark(state, plain=plain),
        speed=ledger_speed(runs),
        lost=lost,
        alert=alert,
        ellipsis=".." if plain else "…",
    )
    line = clean_line("".join(text for text, _ in parts)).replace("#", "_")
    return line.encode("ascii", "replace").decode() if plain else line


def _line_of_hosts(places: Places, runs: Sequence[RunView], width: int, plain: bool) -> str:
    import os

    from vllm_studio_tui.config.startup import read_startup_settings
    from vllm_studio_tui.runs.host_line import line_of_hosts

    others = read_startup_settings(places.settings_file, os.environ).hosts
    return line_of_hosts(places, runs, width, plain=plain, others=others)


def show(document: dict[str, Any]) -> None:
    """Print the runs as a table, and what is wrong with those that failed."""
    from vllm_studio_tui.cli.output import say, table

    if not document["runs"]:
        say("No run. Launch one: vllm-studio launch ID --wait (see `vllm-studio recipes list`).")
        return
    from vllm_studio_tui.runs.elsewhere import in_trouble, part_words, sorted_parts
    from vllm_studio_tui.runs.state_marks import state_mark

    elsewhere = any(run["handle"] or run["parts"] for run in document["runs"])
    rows = []
    for run in document["runs"]:
        progress = "" if run["progress"] is None else f" {round(run['progress'] * 100)}%"
        stage = f"{run['stage'] or ''}{progress}"
        rows.append(
            [
                f"{state_mark(run['state'])[0]} {run['state']}",
                run["recipe_id"],
                stage or "–",
                run["backend"] or "–",
                str(run["port"] or "–"),
                str(run["pid"] or "–"),
                *([run["where"] or "–"] if elsewhere else []),
                run["run_id"],
            ]
        )
    heads = ["STATE", "RECIPE", "STAGE", "BACKEND", "PORT", "PID", *(["WHERE"] if elsewhere else []), "RUN"]
    table(heads, rows, right=[4, 5])
    if any(run["simulated"] for run in document["runs"]):
        say("SIMULATED: no model, no GPU; everything shown is made up")
    for run in document["runs"]:
        for fault in run["faults"]:
            say(f"{run['recipe_id']}: fault of its keeper, {fault}. See keeper.log beside its log.")
    for run in document["runs"]:
        if words := run["waiting_for"] or run["trouble"]:
            say()
            say(f"{run['recipe_id']}: {words}")
            for part in sorted_parts(run["parts"]):
                if in_trouble(part):
                    say(f"  | {part_words(part)}")
        if run["title"] and run["state"] in ("failed", "unhealthy", "backoff"):
            say()
            say(f"{run['recipe_id']}: {run['title']}")
            if run["advice"]:
                say(f"  {run['advice']}")
            for line in run["evidence"]:
                say(f"  | {line}")


def show_foreign(engines: list[dict[str, Any]]) -> None:
    """Print engines that the studio did not start, as a table."""
    from vllm_studio_tui.cli.output import say, table

    say()
    if not engines:
        say("No engine runs here that the studio did not start.")
        return
    rows = [
        [one["backend"], one["model"] or "–", str(one["port"] or "–"), str(one["pid"]), one["user"]] for one in engines
    ]
    table(["NOT OURS", "MODEL", "PORT", "PID", "USER"], rows, right=[2, 3])


def register(app: typer.Typer) -> None:
    import typer

    @app.command("status")
    def status(
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
        every: bool = typer.Option(False, "--all", help="Earlier runs too."),
        foreign: bool = typer.Option(False, "--foreign", help="Engines that the studio did not start, too."),
        watch: bool = typer.Option(False, "--watch", help="Show it again every second until interrupted."),
        line: bool = typer.Option(False, "--line", help="One line, trouble first, for tmux's status-right."),
        width: int = typer.Option(WIDTH, "--width", min=1, help="Columns of --line."),
        plain: bool = typer.Option(False, "--ascii", help="With --line: ASCII alone."),
        hosts: bool = typer.Option(False, "--hosts", help="Those of the hosts of the settings, too; see `hosts`."),
        timeout: float = typer.Option(
            10.0, "--timeout", metavar="SECONDS", min=0.5, max=300, help="With --hosts: how long each host may take."
        ),
    ) -> None:
        """What runs, in which state, and why a run failed.

        With --hosts it exits with 1 where a host does not answer. `--line --hosts` waits for none of them: it shows
        what a watcher in the background heard last, which it starts, and which ends when nobody asks for two minutes.
        """
        from vllm_studio_tui.cli.opening import open_studio
        from vllm_studio_tui.cli.output import emit, say
        from vllm_studio_tui.domain.errors import UsageError
        from vllm_studio_tui.runs.alert_line import read_worst
        from vllm_studio_tui.runs.json_documents import status_document
        from vllm_studio_tui.runs.read import shown_runs

        if line and (as_json or every or foreign):
            raise UsageError("--line is alone: --json, --all and --foreign are other forms")
        if hosts and (every or foreign):
            raise UsageError("--hosts tells of what runs: --all and --foreign are for one machine alone")
        with open_studio() as studio:
            while line and hosts:
                say(_line_of_hosts(studio.places, shown_runs(studio.runs.all()), width, plain))
                if not watch:
                    return
                time.sleep(1.0)
            while hosts:
                from vllm_studio_tui.cli.status_hosts import show_status_of_hosts

                all_there = show_status_of_hosts(studio, timeout, as_json=as_json)
                if not watch:
                    raise typer.Exit(0 if all_there else 1)
                time.sleep(1.0)
                say() if not as_json else None
            while line:
                lost, *words = words_of(studio.gpu_report(processes=False).gpus, width, plain)
                alert = read_worst(studio.places)
                say(line_of(shown_runs(studio.runs.all()), lost, words, width, plain, alert=alert))
                if not watch:
                    return
                time.sleep(1.0)
            while True:
                document = status_document(studio.runs.all(), every=every)
                if foreign:
                    document["foreign"] = [one.to_json() for one in studio.runs.foreign()]
                if as_json:
                    emit(document)
                else:
                    if watch and sys.stdout.isatty():
                        sys.stdout.write("\x1b[H\x1b[2J")
                    show(document)
                    if foreign:
                        show_foreign(document["foreign"])
                if not watch:
                    return
                time.sleep(1.0)
                say() if not as_json and not sys.stdout.isatty() else None
