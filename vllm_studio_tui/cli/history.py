"""`runs`: all past launches, and what differs between two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.memory_report import memory_words
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.masking import mask_data
from vllm_studio_tui.runs.elsewhere import in_trouble, part_words, sorted_parts
from vllm_studio_tui.runs.json_documents import run_document

if TYPE_CHECKING:
    from vllm_studio_tui.services.launching.past_runs import Change
    from vllm_studio_tui.services.protocols import StudioApi

#: What there is to say of a run that runs elsewhere.
OF_ELSEWHERE = ("where", "handle", "job_state", "trouble", "parts")
JSON = typer.Option(False, "--json", help="One JSON document.")


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(help="Every launch there was.", no_args_is_help=True)
    app.add_typer(nouns, name="runs")

    @nouns.command("list")
    def listing(
        recipe: str | None = typer.Argument(None, metavar="[ID]", help="Of this recipe."),
        count: int = typer.Option(30, "-n", min=1, max=10_000, help="So many at most, the latest first."),
        as_json: bool = JSON,
    ) -> None:
        """Runs with their recipe's revision, engine, time to ready and end."""
        with open_studio() as studio:
            found = studio.run_history.launches(recipe, count)
            _tell_missing(studio)
        if as_json:
            emit({"runs": [one.to_json() for one in found]})
            return
        if not found:
            say("No run is known." if recipe is None else f"No run of {recipe} is known.")
            return
        rows = [
            [
                one.run_id,
                str(one.revision_number or one.recipe_revision or "–"),
                f"{one.backend or '–'} {one.engine_version or ''}".strip(),
                numbers.day_and_time(one.created_at),
                numbers.fixed(one.ready_after, 1, " s"),
                one.state or "–",
                (one.title or "")[:60],
            ]
            for one in found
        ]
        table(("RUN", "REVISION", "ENGINE", "STARTED", "READY IN", "STATE", "END"), rows, right=(4,))

    @nouns.command("show")
    def show(name: str = typer.Argument(..., metavar="RUN or ID"), as_json: bool = JSON) -> None:
        """One run whole: its recipe, its stages, its peak, its end; and what changed since it last worked."""
        from vllm_studio_tui.services.launching.past_runs import launch_document

        with open_studio() as studio:
            history = studio.run_history
            one = history.get(name)
            _tell_missing(studio)
            peak = history.peak_speed(one.run_id)
            since = None if one.worked else history.since_it_worked(one)
            memory = history.memory(one.run_id)
            far = _elsewhere(studio, one.run_id)
            if as_json:
                emit(launch_document(one, peak, since) | far | {"story": studio.run_story(one.run_id).to_json()})
                return
        say(f"{one.run_id}  {one.state or ''}  {one.title or ''}".rstrip())
        say(f"  engine     {one.backend or '–'} {one.engine_version or 'of unknown version'}")
        say(f"  recipe     {one.recipe_id or '–'}, revision {one.revision_number or one.recipe_revision or 'unknown'}")
        say(f"  started    {numbers.day_and_time(one.created_at)}")
        say(f"  ready in   {numbers.fixed(one.ready_after, 1, ' s')}")
        took = one.stage_seconds
        for stage, at in sorted(one.stages.items(), key=lambda reached: reached[1]):
            lasted, begun = numbers.fixed(took.get(stage), 1, " s"), numbers.fixed(at, 1, " s")
            say(f"    {stage:<12} {lasted:>10}, begun after {begun}")
        if far["where"]:
            say("  where      " + ", ".join(part for part in (far["where"], far["job_state"]) if part))
            for part in sorted_parts(far["parts"]):
                say(f"    {'! ' if in_trouble(part) else '  '}{part_words(part)}")
        if far["trouble"]:
            say(f"  trouble    {far['trouble']}")
        if one.restarts:
            say(f"  restarts   {one.restarts}")
        if one.ended_at is not None:
            say(f"  ended      {numbers.day_and_time(one.ended_at)}")
        say(f"  peak       {numbers.fixed(peak, 1, ' tok/s')}")
        if memory is not None:
            say(f"  memory     {memory_words(memory)}")
        if since is not None:
            say(f"  worked last {numbers.day_and_time(since[0].created_at)} as {since[0].run_id}; since then:")
            _say_changes(list(since[1]))

    @nouns.command("diff")
    def diff(
        after: str = typer.Argument(..., metavar="RUN or ID"),
        before: str | None = typer.Argument(None, metavar="[RUN]", help="Otherwise the last one that worked."),
        as_json: bool = JSON,
    ) -> None:
        """What differs between two runs: recipe, engine, how it went, how long each stage took."""
        from vllm_studio_tui.services.launching.past_runs import changes, changes_document

        with open_studio() as studio:
            history = studio.run_history
            second = history.get(after)
            first = history.get(before) if before is not None else history.worked_before(second)
            _tell_missing(studio)
        if first is None:
            raise NotFound(f"{second.recipe_id} has never been ready before", advice="Name two runs to compare.")
        if as_json:
            emit(changes_document(first, second))
            return
        say("  ->  ".join(f"{run.run_id} ({numbers.day_and_time(run.created_at)})" for run in (first, second)))
        _say_changes(changes(first, second))


def _elsewhere(studio: StudioApi, run_id: str) -> dict[str, Any]:
    """Return where a run runs that runs elsewhere, as `status --json` has it; without values where that is not kept."""
    run = next((one for one in studio.runs.all() if one.run_id == run_id), None)
    whole = run_document(run) if run is not None else {}
    return {name: whole.get(name) or ([] if name == "parts" else None) for name in OF_ELSEWHERE}


def _tell_missing(studio: StudioApi) -> None:
    missing = studio.run_history.missing
    if missing is not None:
        note(f"warning: the latest runs are missing: {missing.title}. {missing.cause}".rstrip())


def _say_changes(found: list[Change]) -> None:
    if not found:
        say("  nothing in recipe or engine")
    for one in found:
        say(f"  {one.kind:<8} {one.name:<24} {_shown(one.before, one.name)}  ->  {_shown(one.after, one.name)}")


def _shown(value: Any, name: str) -> str:
    if value is None:
        return "–"
    return numbers.fixed(value, 1, " s") if isinstance(value, float) else str(mask_data(value, name))[:80]
