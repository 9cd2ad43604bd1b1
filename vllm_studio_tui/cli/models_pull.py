"""`models pull` and `models downloads`: models from a hub, in processes that outlive the command."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.download import Download, DownloadState
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from vllm_studio_tui.domain.download import DownloadPlan
    from vllm_studio_tui.services.protocols import DownloadsApi

JSON = typer.Option(False, "--json", help="One JSON document.")
ID = typer.Argument(metavar="ID", help="The id of a download, or its model.")
#: Seconds between looks at a download, and between lines about it where no terminal is.
LOOK, LINE = 0.5, 10.0


def register(models: typer.Typer) -> None:
    """Add the commands to the noun `models`."""
    _register_pull(models)
    downloads = typer.Typer(help="Downloads: how far they are; pause, resume, cancel.", invoke_without_command=True)
    models.add_typer(downloads, name="downloads")
    _register_downloads(downloads)


def _register_pull(models: typer.Typer) -> None:
    @models.command("pull")
    def pull(
        repo: str = typer.Argument(
            metavar="REPO[:QUANT]",
            help="OWNER/NAME on the hub, an address of its page; of GGUF also OWNER/NAME:Q4_K_M.",
        ),
        revision: str | None = typer.Option(None, "--revision", help="A branch, tag or commit; else main."),
        include: list[str] = typer.Option([], "--include", help="Only files of this pattern; repeatable."),
        exclude: list[str] = typer.Option([], "--exclude", help="No files of this pattern; repeatable."),
        dry_run: bool = typer.Option(False, "--dry-run", help="Say what would come, and download nothing."),
        wait: bool = typer.Option(True, "--wait/--no-wait", help="Show it until it ends; ctrl+c leaves it running."),
        as_json: bool = JSON,
    ) -> None:
        """Download a model from the hub into its cache; it goes on when this command ends. Exit 0 when it is whole."""
        with open_studio() as studio:
            downloads = studio.downloads
            plan = downloads.plan(repo, revision=revision, include=include, exclude=exclude)
            if dry_run:
                emit(plan.to_json()) if as_json else _show_plan(plan, say)
                return
            if not as_json:
                _show_plan(plan, note)
            one = downloads.start(repo, revision=revision, include=include, exclude=exclude)
            if wait:
                one = _follow(downloads, one)
        if as_json:
            emit(one.to_json())
        elif one.state is DownloadState.DONE:
            say(one.path)
        elif not wait:
            note(f"{one.id} is {one.state}; vllm-studio models downloads says how far it is")
        if wait and one.state is not DownloadState.DONE:
            _explain(one)
            raise typer.Exit(1)


def _register_downloads(downloads: typer.Typer) -> None:
    @downloads.callback()
    def without(context: typer.Context, as_json: bool = JSON) -> None:
        """Downloads of models: how far they are; pause, resume, cancel."""
        if context.invoked_subcommand is None:
            _list(as_json=as_json)
        elif as_json:
            raise UsageError("--json is for the command behind it", advice="Give it at the end of the line.")

    @downloads.command("list")
    def list_(as_json: bool = JSON) -> None:
        """All downloads, the latest first; those that are done until they are forgotten."""
        _list(as_json=as_json)

    @downloads.command("pause")
    def pause(download: str = ID, as_json: bool = JSON) -> None:
        """End its process for now; what has come is kept."""
        with open_studio() as studio:
            one = studio.downloads.pause(download)
        _told(one, as_json=as_json)

    @downloads.command("resume")
    def resume(download: str = ID, as_json: bool = JSON) -> None:
        """Go on where it was, after a pause, a failure, a kill or a restart of the machine."""
        with open_studio() as studio:
            one = studio.downloads.resume(download)
        _told(one, as_json=as_json)

    @downloads.command("cancel")
    def cancel(
        download: str = ID, yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."), as_json: bool = JSON
    ) -> None:
        """End it for good and delete what it brought. A model that is whole stays; see `models delete`."""
        with open_studio() as studio:
            one = studio.downloads.get(download)
            if not yes and one.state is not DownloadState.DONE:
                if not sys.stdin.isatty():
                    raise UsageError(f"what came of {one.name} would be deleted", advice="Say so with --yes.")
                came = numbers.size(one.bytes_done)
                typer.confirm(f"Delete {came} that came of {clean_line(one.name)}?", abort=True, err=True)
            ended = studio.downloads.cancel(one.id)
        if as_json:
            emit({"download": ended.download.to_json(), "freed": ended.freed})
        else:
            say(f"{ended.download.id} is cancelled; {numbers.size(ended.freed)} came free")

    @downloads.command("forget")
    def forget(download: str = ID) -> None:
        """Take one that is over from the list; its files stay."""
        with open_studio() as studio:
            one = studio.downloads.get(download)
            studio.downloads.forget(one.id)
        say(f"{one.id} is forgotten")


def _list(*, as_json: bool) -> None:
    with open_studio() as studio:
        found = studio.downloads.list()
    if as_json:
        emit({"downloads": [one.to_json() for one in found]})
    elif not found:
        note("no downloads; vllm-studio models pull OWNER/NAME begins one")
    else:
        rows = [
            (one.id, one.name, one.state.value, numbers.percent(one.share), numbers.size(one.bytes_total), _pace(one))
            for one in found
        ]
        table(("id", "model", "state", "here", "size", ""), rows, right=(3, 4))


def _told(one: Download, *, as_json: bool) -> None:
    if as_json:
        emit(one.to_json())
    else:
        say(f"{one.id} is {one.state}{f': {one.error}' if one.error else ''}")


def _pace(one: Download) -> str:
    """Return how fast it comes and how long it takes; else why it does not."""
    if one.state is DownloadState.RUNNING and one.speed is not None:
        left = f", about {numbers.about(one.seconds_left)} left" if one.seconds_left is not None else ""
        return f"{numbers.size(one.speed)}/s{left}"
    return one.error or (one.path if one.state is DownloadState.DONE else "")


def _explain(one: Download) -> None:
    raise_ = StudioError(f"{one.name} is {one.state}", cause=one.error, advice=one.advice)
    note(f"error: {raise_.title}")
    for line in (raise_.cause, raise_.advice, f"vllm-studio models downloads resume {one.id}"):
        if line:
            note(f"  {line}")


def _show_plan(plan: DownloadPlan, print_: Callable[[str], None]) -> None:
    licence = f", {plan.licence}" if plan.licence else ""
    gated = ", gated (access granted)" if plan.gated else ""
    print_(f"{plan.repo} at {plan.revision} ({plan.commit[:8]}){licence}{gated}")
    here = f", {numbers.size(plan.here)} of them here" if plan.here else ""
    room = f"; {numbers.size(plan.room)} free at {plan.folder}" if plan.room is not None else ""
    print_(f"  {len(plan.files)} files, {numbers.size(plan.bytes)}{here}{room}")
    if len(plan.choices) > 1:
        others = ", ".join(f"{name} {numbers.size(size)}" for name, size in plan.choices if name != plan.quantization)
        print_(f"  {plan.quantization}; there are also {others}")
    for one in plan.skipped:
        if len(plan.choices) > 1 and all(name.endswith(".gguf") for name in one.names):
            continue  # they are those other quantizations
        names = one.names[0] if len(one.names) == 1 else f"{one.names[0]} and {len(one.names) - 1} more"
        print_(f"  left out: {names} ({numbers.size(one.bytes)}): {one.why}")
    for warning in plan.warnings:
        print_(f"  warning: {warning}")
    if plan.fits is False:
        print_(f"  there is no room: {numbers.size(plan.missing)} have to come")


def _follow(downloads: DownloadsApi, one: Download) -> Download:
    """Show a download until it ends. Ctrl+c leaves it running.

    Raises:
        KeyboardInterrupt: After it was said that the download goes on.
    """
    terminal = sys.stderr.isatty()
    shown, at = "", 0.0
    try:
        while one.state.live:
            line = _line(one)
            if terminal and line != shown:
                sys.stderr.write(f"\r\x1b[K{line}")
                sys.stderr.flush()
            elif not terminal and time.monotonic() - at >= LINE:
                note(line)
                at = time.monotonic()
            shown = line
            time.sleep(LOOK)
            one = downloads.get(one.id)
    except KeyboardInterrupt:
        if terminal:
            sys.stderr.write("\n")
        note(f"{one.name} goes on. How far it is: vllm-studio models downloads")
        note(f"To hold it: vllm-studio models downloads pause {one.id}")
        raise
    if terminal:
        sys.stderr.write("\r\x1b[K")
    return one


def _line(one: Download) -> str:
    """Return how far it is, short enough for a line."""
    if one.state is DownloadState.QUEUED:
        return "waits until another download is done"
    what = (
        f"{numbers.percent(one.share)} of {numbers.size(one.bytes_total)}, {one.files_done} of {one.files_total} files"
    )
    why = _pace(one)
    return clean_line(f"{what}{f', {why}' if why else ''}")[:150]
