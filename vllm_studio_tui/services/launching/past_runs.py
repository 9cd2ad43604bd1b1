"""Every launch there was: with which recipe and engine, how long it took, what it reached, how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.domain.recipe_secrets import mask_recipe
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.masking import mask_data
from vllm_studio_tui.kit.numbers import day_and_time
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.memory_reports import MemoryReportRows
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.runs import RunRows

if TYPE_CHECKING:
    from vllm_studio_tui.domain.memory_report import MemoryReport
    from vllm_studio_tui.domain.usage import CompletedRequest
    from vllm_studio_tui.services.launching.upkeep import Upkeep

#: Fields of a recipe that are for people: they launch nothing else.
_FOR_PEOPLE = frozenset({"id", "name", "description", "tags"})


@dataclass(frozen=True, slots=True)
class Launch:
    """One run, as the database keeps it after its directory is gone.

    Attributes:
        recipe: The recipe as it was launched; empty for runs of earlier versions of the studio.
        revision_number: Which form of the recipe that was, see `Recipes.revisions`; None where that is not known.
        ready_after: Seconds; None when it never got ready.
        stages: Seconds after the start at which each stage was first reached.
    """

    run_id: str
    recipe_id: str | None
    backend: str | None
    state: str | None
    recipe_revision: str | None = None
    engine_version: str | None = None
    created_at: float | None = None
    ready_after: float | None = None
    ended_at: float | None = None
    restarts: int | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    reason: str | None = None
    title: str | None = None
    gpus: tuple[str, ...] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    revision_number: int | None = None

    @property
    def worked(self) -> bool:
        return self.ready_after is not None

    def to_json(self) -> dict[str, Any]:
        """Return what `runs list --json` prints of it; without the recipe, which may hold what is for few eyes."""
        return {
            "run_id": self.run_id,
            "recipe_id": self.recipe_id,
            "recipe_revision": self.recipe_revision,
            "revision_number": self.revision_number,
            "backend": self.backend,
            "engine_version": self.engine_version,
            "state": self.state,
            "created_at": iso_time(self.created_at),
            "ready_after": None if self.ready_after is None else round(self.ready_after, 2),
            "stages": dict(self.stages),
            "stage_seconds": {name: round(took, 2) for name, took in self.stage_seconds.items()},
            "ended_at": iso_time(self.ended_at),
            "restarts": self.restarts,
            "exit": {"code": self.exit_code, "signal": self.exit_signal},
            "reason": self.reason,
            "title": self.title,
            "gpus": list(self.gpus),
        }

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Return the seconds of each stage, in the order reached; of the last stage only where the run got ready."""
        reached = sorted(self.stages.items(), key=lambda one: one[1])
        ends = [*(at for _, at in reached[1:]), self.ready_after]
        return {name: max(0.0, end - at) for (name, at), end in zip(reached, ends, strict=False) if end is not None}


@dataclass(frozen=True, slots=True)
class Change:
    """Something that differs between two runs. `kind`: recipe, engine, outcome or time."""

    kind: str
    name: str
    before: Any
    after: Any

    def to_json(self) -> dict[str, Any]:
        """Return what `runs diff --json` prints of it, secrets masked."""
        before, after = mask_data(self.before, self.name), mask_data(self.after, self.name)
        return {"kind": self.kind, "name": self.name, "before": before, "after": after}


class RunHistory:
    """The launches that the database keeps.

    Attributes:
        missing: What kept the last answer from being up to date; None where it is.

    Args:
        upkeep: Brings in what keepers have written, before each answer; None: that was done.
    """

    def __init__(self, db: Database, upkeep: Upkeep | None = None) -> None:
        self._db = db
        self._rows = RunRows(db)
        self._requests = RequestRows(db)
        self._upkeep = upkeep
        self.missing: StudioError | None = None

    def launches(self, recipe_id: str | None = None, limit: int = 100) -> list[Launch]:
        """Return the latest launches, of one recipe or of all, the latest first."""
        self._bring_in()
        return self._launches(recipe_id, limit)

    def get(self, name: str) -> Launch:
        """Return a run by its id, or the latest of a recipe.

        Raises:
            NotFound: There is none.
        """
        self._bring_in()
        row = self._rows.get(name)
        if row is not None:
            return _launch(row)
        found = self._launches(name, 1)
        if not found:
            raise NotFound(f"no run called {name} is known", advice="See `vllm-studio runs list`.")
        return found[0]

    def alike(self, one: Launch, limit: int) -> list[Launch]:
        """Return the latest launches of a run's recipe, the latest first, as known when the run was asked for."""
        return self._launches(one.recipe_id, limit)

    def worked_before(self, one: Launch) -> Launch | None:
        """Return the latest earlier run of the same recipe that got ready."""
        for other in self._launches(one.recipe_id, 1000):
            if other.run_id != one.run_id and other.worked and (other.created_at or 0) < (one.created_at or 0):
                return other
        return None

    def peak_speed(self, run_id: str) -> float | None:
        """Return the tokens per second that a run's engine reached at most, as far as is known."""
        return self._rows.peak_generation(run_id)

    def mean_speed(self, run_id: str) -> float | None:
        """Return the tokens per second that a run's engine wrote on average while it wrote any, as far as is known."""
        return self._rows.mean_generation(run_id)

    def requests(self, run_id: str, limit: int = 50) -> list[CompletedRequest]:
        """Return the last completions that the studio asked of a run, the latest first."""
        return self._requests.of_run(run_id, limit)

    def memory(self, run_id: str) -> MemoryReport | None:
        """Return what the engine of a run said of its memory when it started; None where it said nothing."""
        return MemoryReportRows(self._db).of_run(run_id)

    def explain_since(self, run_id: str) -> str:
        """Return in a sentence what changed since a failed run's recipe last worked; empty where nothing is known."""
        try:
            one = self.get(run_id)
            found = None if one.worked else self.since_it_worked(one)
        except StudioError:
            return ""
        return in_words(*found) if found is not None else ""

    def since_it_worked(self, one: Launch) -> tuple[Launch, Sequence[Change]] | None:
        """Return the last run that got ready, and what has changed in recipe and engine since; None without one."""
        before = self.worked_before(one)
        if before is None:
            return None
        return before, [change for change in changes(before, one) if change.kind in ("recipe", "engine")]

    def _bring_in(self) -> None:
        self.missing = self._upkeep.fold() if self._upkeep is not None else None

    def _launches(self, recipe_id: str | None, limit: int) -> list[Launch]:
        return [_launch(row) for row in self._rows.list(recipe_id=recipe_id, limit=limit)]


def launch_document(one: Launch, peak: float | None, since: tuple[Launch, Sequence[Change]] | None) -> dict[str, Any]:
    """Return a run as `runs show --json` prints it, secrets masked.

    Args:
        peak: The most tokens per second that its engine reached.
        since: The last run that worked and what changed since then, see `RunHistory.since_it_worked`.
    """
    worked = None
    if since is not None:
        worked = {"run_id": since[0].run_id, "changes": [change.to_json() for change in since[1]]}
    run = {**one.to_json(), "recipe": mask_recipe(one.recipe), "peak_tokens_per_second": peak}
    return {"run": run, "worked_last": worked}


def changes_document(before: Launch, after: Launch) -> dict[str, Any]:
    """Return two runs and what differs between them as `runs diff --json` prints it, secrets masked."""
    found = [change.to_json() for change in changes(before, after)]
    return {"before": before.to_json(), "after": after.to_json(), "changes": found}


def changes(before: Launch, after: Launch) -> list[Change]:
    """Return what differs between two runs: the recipe's fields, the engine, the outcome, the times."""
    found = [
        Change("recipe", name, before.recipe.get(name), after.recipe.get(name))
        for name in sorted({*before.recipe, *after.recipe} - _FOR_PEOPLE)
        if before.recipe and after.recipe and before.recipe.get(name) != after.recipe.get(name)
    ]
    if before.engine_version != after.engine_version:
        found.append(Change("engine", "version", before.engine_version, after.engine_version))
    found += [
        Change("outcome", name, getattr(before, name), getattr(after, name))
        for name in ("state", "reason")
        if getattr(before, name) != getattr(after, name)
    ]
    found.append(Change("time", "ready_after", before.ready_after, after.ready_after))
    was, now = before.stage_seconds, after.stage_seconds
    stages = [*was, *(name for name in now if name not in was)]
    return found + [Change("time", stage, was.get(stage), now.get(stage)) for stage in stages]


def in_words(before: Launch, found: Sequence[Change]) -> str:
    """Return in a sentence when a recipe last worked, and what has changed since."""
    when = day_and_time(before.created_at or 0.0)
    engine = f" with {before.engine_version}" if before.engine_version else ""
    if not found:
        return f"It worked last on {when}{engine}; recipe and engine are the same."
    parts = [f"{one.name} {_short(one.before, one.name)} is now {_short(one.after, one.name)}" for one in found[:4]]
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return f"It worked last on {when}{engine}; since then {', '.join(parts)}{more}."


def _short(value: Any, name: str) -> str:
    return "none" if value is None or value == {} or value == [] else str(mask_data(value, name))[:40]


def _launch(row: Mapping[str, Any]) -> Launch:
    from vllm_studio_tui.store.conversion import from_json

    started, ready = row["started_at"], row["ready_at"]
    gpus = row["gpus"] if isinstance(row["gpus"], list) else from_json(row["gpus"], list)
    return Launch(
        row["run_id"],
        row["recipe_id"],
        row["backend"],
        row["state"],
        row["recipe_revision"],
        row["engine_version"],
        row["created_at"],
        ready - started if ready and started and ready >= started else None,
        row["ended_at"],
        row["restarts"],
        row["exit_code"],
        row["exit_signal"],
        row["reason"],
        row["title"],
        tuple(str(one) for one in gpus or ()),
        from_json(row["marks"], dict) or {},
        from_json(row["recipe"], dict) or {},
        row["revision_number"],
    )
