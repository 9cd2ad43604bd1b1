"""Find the run that a name means: a run's id, a recipe's id, or a model's name."""

from __future__ import annotations

from collections.abc import Iterable

from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.read import RunView, all_runs


def pick_run(runs: Iterable[RunView], name: str) -> RunView | None:
    """Return the run that a name means: the one of this id, else the latest live one of this recipe or model, else the
    latest one of it; None where there is none.

    Args:
        runs: Oldest first.
    """
    runs = list(runs)
    found = [one for one in runs if one.run_id == name] or [one for one in runs if name in (one.recipe_id, one.model)]
    return next(reversed([one for one in found if one.live] or found), None)


def find_run(places: Places, name: str) -> RunView:
    """Return the run on this disk that a name means, see `pick_run`.

    Raises:
        NotFound: There is none.
    """
    runs = all_runs(places)
    found = pick_run(runs, name)
    if found is None:
        known = ", ".join(one.run_id for one in runs if one.live) or "none"
        raise NotFound(f"no run called {name}", cause=f"Live runs: {known}.", advice="See `vllm-studio status --all`.")
    return found
