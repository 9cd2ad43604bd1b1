"""What the bench screen reads: results, a comparison, limits. All of it blocks and is called in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.tui.screens.bench.facts import Known
from vllm_studio_tui.tui.screens.bench.words import limits_of, name_of

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchResult
    from vllm_studio_tui.domain.bench_compare import BenchLimit
    from vllm_studio_tui.services.protocols import StudioApi

#: Limits are asked for of so many results of the list.
LIMITS = 40
#: An earlier result is not looked for: there shall be none beside the shown one.
NONE = "-"

Limits = tuple[float | None, float | None]


def read(studio: StudioApi, shown: str | None, against: str | None, limits: Limits | None) -> Known:
    """Read all that the page of a result needs.

    Args:
        shown: The id of the result to show; None, or one that is gone: the latest.
        against: The id of the one beside it; None: the one before it that fits; NONE: none.
        limits: What counts as good, where a person said it; None: what the plan says.
    """
    try:
        results = tuple(studio.bench.list())
        one = next((result for result in results if result.id == shown), results[0] if results else None)
        if one is None:
            return Known(results)
        other = partner(results, one, against)
        comparison = studio.bench.compare(other.id, one.id) if other is not None else None
        own = studio.host is None  # elsewhere each would be a question over the line
        judged = {result.id: result for result in (*(results[:LIMITS] if own else ()), one, other) if result}
        found: dict[str, BenchLimit] = {}
        for result in judged.values():
            # Both that stand beside each other are judged by the limits of the shown one.
            ttft, speed = limits or limits_of(one.plan if result in (one, other) else result.plan)
            if ttft is not None or speed is not None:
                found[result.id] = studio.bench.limit(result.id, ttft, speed)
        return Known(results, one, other, comparison, found, _changed(studio, one, other))
    except StudioError as error:
        return Known(error=error)


def partner(results: Sequence[BenchResult], shown: BenchResult, wanted: str | None) -> BenchResult | None:
    """Return the result that stands beside the shown one."""
    if wanted == NONE:
        return None
    chosen = next((one for one in results if one.id == wanted and one.id != shown.id), None)
    if chosen is not None:
        return chosen
    return next((one for one in candidates(results, shown) if one.at < shown.at), None)


def candidates(results: Sequence[BenchResult], shown: BenchResult) -> list[BenchResult]:
    """Return the results that say something beside the shown one: of the same recipe, asked the same way."""
    same = [one for one in results if one.id != shown.id and one.steps and name_of(one) == name_of(shown)]
    return [one for one in same if (one.plan.arrivals == "closed") == (shown.plan.arrivals == "closed")]


def _changed(studio: StudioApi, shown: BenchResult, against: BenchResult | None) -> tuple[str, ...]:
    """Return what is another in the recipe between two revisions, a field each."""
    if against is None or shown.recipe_id is None or shown.recipe_id != against.recipe_id:
        return ()
    if shown.revision is None or against.revision is None or shown.revision == against.revision:
        return ()
    from vllm_studio_tui.services.recipes.changes import compare_data

    try:
        old, new = (studio.recipes.revision(shown.recipe_id, one.revision or 0) for one in (against, shown))
    except StudioError:
        return ()  # one of them is not kept any more
    if old.data is None or new.data is None:
        return ()
    return tuple(one.words() for one in compare_data(shown.recipe_id, old.data, new.data).fields)
