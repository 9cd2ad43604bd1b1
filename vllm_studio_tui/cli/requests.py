"""`requests`: who asked which model for what, what is under way, and ending one of those."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.requests import LiveRequest, RequestQuery, find_live, request_document
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.moments import FORMS, read_moment

if TYPE_CHECKING:
    from vllm_studio_tui.domain.requests import LiveRequests
    from vllm_studio_tui.domain.usage import CompletedRequest

DASH = "–"
MOST = 100_000


def register(app: typer.Typer) -> None:
    nouns = typer.Typer()
    app.add_typer(nouns, name="requests")

    @nouns.callback(invoke_without_command=True)
    def requests(
        context: typer.Context,
        live: bool = typer.Option(False, "--live", help="Those under way: of serve, and of chats of this home."),
        limit: int = typer.Option(50, "--limit", "-n", min=1, max=MOST, help="At most so many."),
        key: str | None = typer.Option(None, "--key", metavar="NAME", help="Of this key; or chat, bench. A glob."),
        model: str | None = typer.Option(None, "--model", metavar="NAME", help="For this model or recipe. A glob."),
        run: str | None = typer.Option(None, "--run", metavar="RUN", help="That this run answered."),
        since: str | None = typer.Option(
            None, "--since", metavar="TIME", help="Under way after: 30m, 2h, 3d ago, 14:20, or an ISO time."
        ),
        until: str | None = typer.Option(None, "--until", metavar="TIME", help="Under way before, as --since."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Requests, the latest first; with --live those under way, the oldest first."""
        if context.invoked_subcommand is not None:
            return
        first, last = between(since, until)
        with open_studio() as studio:
            run_id = None if run is None else studio.runs.find(run).run_id
            query = RequestQuery(limit, key, model, None, run_id, first, last)
            if live:
                now = studio.requests.live()
                chosen = [one for one in now.requests if _wanted(one, query)][:limit]
            else:
                ended = studio.requests.ended(query)
        if live:
            if now.error is not None:
                note(f"warning: {now.error.title}")
            if as_json:
                emit({**now.to_json(), "requests": [one.to_json() for one in chosen]})
            else:
                _show_live(now, chosen)
        elif as_json:
            emit({"requests": [request_document(one) for one in ended]})
        elif not ended:
            asked = query != RequestQuery(limit)
            say("No request." if asked else "No request yet. Let programs ask: vllm-studio serve")
        else:
            _show_ended(ended)

    @nouns.command("cancel")
    def cancel(
        request_id: str = typer.Argument(metavar="ID", help="As --live shows it; how it begins is enough."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """End a request that is under way: the engine's slot is free at once. Its client is told who ended it."""
        with open_studio() as studio:
            one = find_live(studio.requests.live(), request_id)
            studio.requests.cancel(one.id)
        if as_json:
            emit({"cancelled": one.to_json()})
        else:
            say(f"cancelled {one.id}, the request of {one.key or one.source} for {one.asked_for or DASH}")


def between(since: str | None, until: str | None) -> tuple[float | None, float | None]:
    """Return the moments of `--since` and `--until`; None for one that is not given.

    Raises:
        UsageError: One is no moment, or they do not go forward.
    """
    now = time.time()
    found = [None if text is None else read_moment(text, now) for text in (since, until)]
    for text, at in zip((since, until), found, strict=True):
        if text is not None and at is None:
            raise UsageError(f"{text[:60]} is no moment", advice=FORMS)
    first, last = found
    if first is not None and last is not None and not first < last:
        raise UsageError("--since is not before --until", advice=FORMS)
    return first, last


def _wanted(one: LiveRequest, query: RequestQuery) -> bool:
    from fnmatch import fnmatchcase

    if query.key is not None and not fnmatchcase(one.key or one.source, query.key):
        return False
    if query.until is not None and one.at > query.until:
        return False  # it came later; where it only had to be under way after a moment, it still is
    if query.run_id is not None and one.run_id != query.run_id:
        return False
    names = [name for name in (one.model, one.recipe) if name]
    return query.model is None or any(fnmatchcase(name, query.model) for name in names)


def _show_live(now: LiveRequests, chosen: list[LiveRequest]) -> None:
    if not now.serving:
        note("Nothing serves from this home: vllm-studio serve")
    if not chosen:
        say("Nothing is under way.")
        return
    table(
        ("ID", "KEY", "MODEL", "PHASE", "AGE", "PROMPT", "OUT", "TOK/S", "TTFT", "ENDPOINT"),
        [
            [
                one.id,
                one.key or one.source,
                one.asked_for or DASH,
                _phase(one),
                numbers.duration(one.age),
                numbers.rounded_count(one.prompt_tokens),
                numbers.rounded_count(one.completion_tokens),
                numbers.fixed(one.tokens_per_second, 1),
                numbers.seconds(one.ttft),
                one.endpoint or DASH,
            ]
            for one in chosen
        ],
        right=range(4, 9),
    )


def _phase(one: LiveRequest) -> str:
    parts = [one.phase]
    if one.stage:
        parts.append(one.stage)
    if one.progress is not None:
        parts.append(numbers.percent(one.progress))
    if one.position:
        parts.append(f"{one.position} before it")
    return ", ".join(parts)


def _show_ended(ended: list[CompletedRequest]) -> None:
    table(
        ("ENDED", "KEY", "MODEL", "PROMPT", "OUT", "TOK/S", "TTFT", "TOTAL", "QUEUE", "LOAD", "END"),
        [
            [
                (iso_time(one.at) or DASH)[:19].replace("T", " "),
                one.key_name or one.source,
                one.asked_for or DASH,
                numbers.rounded_count(one.prompt_tokens),
                ("~" if one.estimated and one.completion_tokens is not None else "")
                + numbers.rounded_count(one.completion_tokens),
                numbers.fixed(one.tokens_per_second, 1),
                numbers.seconds(one.ttft),
                numbers.seconds(one.total_seconds),
                numbers.seconds(one.queued_seconds),
                numbers.seconds(one.load_seconds),
                _end(one),
            ]
            for one in ended
        ],
        right=range(3, 10),
    )


def _end(one: CompletedRequest) -> str:
    status = f"{one.status} " if one.status is not None and one.status >= 400 else ""
    return f"{status}{one.finish}" + (f": {one.error.splitlines()[0][:80]}" if one.error and one.error.strip() else "")
