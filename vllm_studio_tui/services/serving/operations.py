"""What the dispatcher has done in threads: launch a model in the place of others, stop one. Blocking."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vllm_studio_tui.domain.errors import LaunchRefused, StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.runs import read
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.protocols import LauncherApi
from vllm_studio_tui.services.serving import refusals
from vllm_studio_tui.services.serving.engine_use import busy, probe_of, read_use

log = logging.getLogger(__name__)


def stop_unused(launcher: LauncherApi, run: RunView) -> bool:
    """Stop a run, unless somebody asks it something just now; return whether it is gone."""
    now = read.view(run.folder)
    if now.status.final:
        return True
    if now.state in ANSWERING and not now.status.stranger and now.spec is not None:
        found = read_use(probe_of(now), now)
        if found.error is None and busy(found):
            return False
    return launcher.stop(now).status.final


def launch_in_place(
    launcher: LauncherApi, recipe: Recipe, evict: Sequence[RunView], started_by: str
) -> RunView | Refusal | None:
    """Stop runs, then launch a recipe. For one that cannot start, as far as that can be told, nothing is stopped.

    Returns:
        The run; why it would fail each time; or None: somebody else was quicker, or asks what was to be stopped.
    """
    try:
        if evict:
            launcher.refuse_impossible(recipe)
        for one in evict:
            if not stop_unused(launcher, one):
                return None
        return launcher.launch(recipe, started_by=started_by)
    except LaunchRefused as error:
        if error.in_the_way or error.passing:
            return None
        return _refusal(recipe, error)
    except StudioError as error:
        return _refusal(recipe, error)
    except Exception:
        log.exception("the launch of %s", recipe.id)
        return refusals.failed(recipe.id, "fault", "a fault of the studio; its log has more")


def _refusal(recipe: Recipe, error: StudioError) -> Refusal:
    # What names the model already says it once.
    named = error.title.startswith(f"{recipe.id} ")
    title = error.title if named else f"{recipe.id} did not start: {error.title}"
    return Refusal(503, "model_failed", title, cause=error.cause, advice=error.advice, param="model")
