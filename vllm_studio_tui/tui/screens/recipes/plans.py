"""What a recipe would launch: its command, problems that a check finds, its runs, what changed since it worked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import InvalidRecipe, StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.tui.terminal.faults import one_line

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Problem
    from vllm_studio_tui.domain.fit import Fit
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.launching.past_runs import Launch
    from vllm_studio_tui.services.launching.preview import Preview
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.recipes.revisions import Revision
    from vllm_studio_tui.services.watching.snapshot import Snapshot

#: Seconds after which a look that failed is tried again.
AGAIN = 5.0
#: Runs that the details of a recipe list.
RUNS = 6


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run of a recipe, live or over.

    Attributes:
        at: When it started, seconds since the epoch.
        took: Seconds that it ran, or until it failed; None where that is not known.
        title: How it ended, in words.
        address: Where it answers, while it lives.
    """

    run_id: str
    at: float | None
    state: str
    live: bool
    took: float | None
    title: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Since:
    """What changed since a recipe last worked.

    Attributes:
        at: When the run that worked started.
        changes: Name, old and new value of each.
    """

    at: float | None
    changes: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe would launch.

    Attributes:
        recipe: None where it cannot be read; `error` has the reason.
        preview: The command; None where there is none.
        problems: What a check found.
        error: Why there is no command, in words.
        past: Its runs, the latest first.
        revision: The number of its latest revision; None where that is not known.
        since: What changed since it worked; None where nothing did, or where it never worked.
        fit: The memory that it would take; None where that is not known.
        failed: Nothing could be found out, which `error` says; the next look may.
    """

    recipe_id: str
    recipe: Recipe | None
    preview: Preview | None = None
    problems: tuple[Problem, ...] = ()
    error: str = ""
    past: tuple[PastRun, ...] = ()
    revision: int | None = None
    since: Since | None = None
    fit: Fit | None = None
    failed: bool = False


def plan_of_stored(studio: StudioApi, snapshot: Snapshot | None, recipe_id: str) -> Plan:
    """Return the plan of a stored recipe, with its latest runs; a fault is said in it. Blocking, never raises."""
    try:
        return _plan_of_stored(studio, snapshot, recipe_id)
    except StudioError as error:
        return Plan(recipe_id, None, error=f"{error.title}. {error.cause} {error.advice}".strip(), failed=True)
    except Exception as error:  # noqa: BLE001, RUF100  # without words the screen would say for ever that it looks
        logging.getLogger(__name__).exception("a recipe could not be looked at")
        return Plan(recipe_id, None, error=f"It could not be looked at: {one_line(error)}", failed=True)


def _plan_of_stored(studio: StudioApi, snapshot: Snapshot | None, recipe_id: str) -> Plan:
    try:
        launches = studio.run_history.launches(recipe_id, 40)
    except StudioError:
        launches = []
    past = _past(snapshot, launches, recipe_id)
    try:
        recipe = studio.recipes.get(recipe_id)
    except StudioError as error:
        return Plan(recipe_id, None, error=f"{error.title}. {error.cause} {error.advice}", past=past)
    return plan_of(studio, snapshot, recipe, past, studio.recipes.number(recipe), _since(recipe, launches))


def plan_of(
    studio: StudioApi,
    snapshot: Snapshot | None,
    recipe: Recipe,
    past: tuple[PastRun, ...] = (),
    revision: int | None = None,
    since: Since | None = None,
) -> Plan:
    """Return the plan of a recipe that need not be stored. Blocking."""
    if recipe.backend == "external":
        return Plan(recipe.id, recipe, past=past, revision=revision)
    launcher = studio.launcher
    try:
        # The sampler's worker has just read the GPUs: this process does not load the driver.
        problems = tuple(
            launcher.check(recipe, snapshot.tick.gpus, snapshot.runs) if snapshot else launcher.check(recipe)
        )
        runs = snapshot.runs if snapshot else studio.runs.live()
        port = launcher.port_of(recipe, runs)
        if not any(run.live and run.recipe_id == recipe.id for run in runs):  # it is the port that it has already
            problems = tuple(sorted((*problems, *_other_port(recipe, port, studio.settings.inference_port)),
                                    key=lambda problem: problem.severity != "error"))  # fmt: skip
        preview = launcher.preview(recipe, port=port, missing_ok=True)
        fit = studio.fit.of_recipe(recipe, gpus=snapshot.tick.gpus if snapshot else None)
        return Plan(recipe.id, recipe, preview, problems, past=past, revision=revision, since=since, fit=fit)
    except InvalidRecipe as error:  # said at its fields
        from vllm_studio_tui.backends.base import Problem

        problems = tuple(
            Problem(field, "error", f"{error.title}: {words}", error.advice) for field, words in error.problems
        )
        return Plan(recipe.id, recipe, problems=problems, past=past, revision=revision, since=since)
    except StudioError as error:
        said = f"{error.title}. {error.cause}"
        return Plan(recipe.id, recipe, error=said, past=past, revision=revision, since=since)


def _other_port(recipe: Recipe, port: int, first: int) -> list[Problem]:
    """Say that a recipe without a port of its own starts on another than the first, where it does."""
    if recipe.port is not None or port == first:
        return []
    from vllm_studio_tui.backends.base import Problem

    return [Problem("port", "warning", f"{first} is taken: it will start on {port}")]


def _past(snapshot: Snapshot | None, launches: Sequence[Launch], recipe_id: str) -> tuple[PastRun, ...]:
    """Return the latest runs: those that are known by their directories, and older ones that the database keeps."""
    every = [run for run in (snapshot.every if snapshot is not None else ()) if run.recipe_id == recipe_id]
    runs = [_of_view(run) for run in every]
    known = {run.run_id for run in runs}
    runs += [_of_launch(one) for one in launches if one.run_id not in known]
    return tuple(sorted(runs, key=lambda run: -(run.at or 0.0))[:RUNS])


def _of_view(run: RunView) -> PastRun:
    status = run.status
    took = status.ended_at - status.started_at if status.ended_at and status.started_at else None
    address = run.base_url or "" if run.live else ""
    return PastRun(run.run_id, status.started_at, run.state, run.live, took, status.title or "", address)


def _of_launch(one: Launch) -> PastRun:
    took = one.ended_at - one.created_at if one.ended_at and one.created_at else None
    return PastRun(one.run_id, one.created_at, one.state or State.EXITED, False, took, one.title or "")


def _since(recipe: Recipe, launches: Sequence[Launch]) -> Since | None:
    """Return what differs between the recipe as it last got ready and as it is."""
    worked = next((one for one in launches if one.worked and one.recipe), None)
    if worked is None:
        return None
    from vllm_studio_tui.domain.recipe_reading import parse_recipe
    from vllm_studio_tui.services.recipes.changes import compare

    try:
        before = parse_recipe({**worked.recipe, "id": recipe.id})[0]
    except StudioError:
        return None  # it was written by another version of the studio
    changes = []
    for one in compare(before, recipe).launched:
        old, new = one.texts()
        changes.append((one.field, " ".join(old) or "nothing", " ".join(new) or "nothing"))
    latest = launches[0]
    if latest.engine_version and worked.engine_version and latest.engine_version != worked.engine_version:
        changes.append(("engine", worked.engine_version, latest.engine_version))
    return Since(worked.created_at, tuple(changes)) if changes else None


def revisions_of(studio: StudioApi, recipe_id: str) -> list[Revision]:
    """Return a recipe's revisions, the latest first; none where they cannot be read. Blocking."""
    try:
        found = studio.recipes.revisions(recipe_id)
    except StudioError:
        return []
    return sorted(found, key=lambda one: -one.number)
