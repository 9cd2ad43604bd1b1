"""Finding who answers a chat: a server by its address, a recipe's run, the run of a model, or the only ready run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.kit.masking import split_login
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import read
from vllm_studio_tui.runs.find import find_run
from vllm_studio_tui.services.recipes.recipes import Recipes

if TYPE_CHECKING:  # a launch needs none of these: where they are needed they are loaded
    from vllm_studio_tui.domain.chat import Session, Target
    from vllm_studio_tui.domain.recipe import Recipe


class Targets:
    """Runs and external recipes as a chat sees them."""

    def __init__(self, places: Places, recipes: Callable[[], Recipes]) -> None:
        self._places = places
        self._recipes = recipes

    def target(self, *, recipe: str | None = None, model: str | None = None, base_url: str | None = None) -> Target:
        """Return who answers: a server by its address, a recipe's run, the run of a model, or the only ready run.

        Raises:
            StudioError: Nothing fits, or too much does.
        """
        from vllm_studio_tui.domain.chat import Target
        from vllm_studio_tui.inference.request import list_models

        if base_url is not None:
            url, user, key = _login_of(_with_v1(base_url), os.environ.get("VLLM_STUDIO_CHAT_API_KEY"))
            if model is None:
                listed = list_models(url, key) if user is None else list_models(url, key, user=user)
                if len(listed) != 1:
                    names = ", ".join(listed[:20]) or "none"
                    raise UsageError(f"which model of {url}?", cause=f"It lists: {names}.", advice="Name the --model.")
                model = listed[0]
            return Target(url, model, key, user=user)
        if recipe is not None:
            run = self._ready_run(recipe)
            return target_of_run(run) if run else self._external(recipe)
        ready = [one for one in read.live_runs(self._places) if one.state in ANSWERING]
        if model is not None:
            ready = [one for one in ready if model in (one.model, one.recipe_id, one.run_id)]
        if len(ready) == 1:
            refuse_stranger(ready[0])
            return target_of_run(ready[0])
        if not ready and model is not None:
            elsewhere = [one for one in self._recipes().all() if model in self._names(one)]
            if len(elsewhere) == 1:
                return self._external(elsewhere[0].id)
            ids = ", ".join(one.id for one in elsewhere)
            if ids:
                advice = "Name one with --recipe."
                raise UsageError(f"several servers have {model}", cause=f"They are: {ids}.", advice=advice)
        if not ready:
            raise NotFound(
                f"no ready run serves {model}" if model else "no run is ready",
                advice="Launch one: vllm-studio launch ID --wait. See `vllm-studio status`.",
            )
        names = ", ".join(one.recipe_id for one in ready)
        raise UsageError("several runs are ready", cause=f"They are: {names}.", advice="Name one with --recipe.")

    def target_of_chat(self, session: Session) -> Target:
        """Return who answered a chat so far: its recipe, else its model. No other engine ever takes their place.

        Raises:
            StudioError: Nobody answers there now; it says who could be named instead.
        """
        recipe = session.settings.get("recipe")
        try:
            if isinstance(recipe, str) and recipe and self._known(recipe):
                return self.target(recipe=recipe)
            return self.target(model=session.model)
        except StudioError as error:
            who = recipe if isinstance(recipe, str) and recipe else session.model
            if not who:
                raise
            ready = sorted({one.recipe_id for one in read.live_runs(self._places) if one.state in ANSWERING})
            others = f"Ready are: {', '.join(ready)}." if ready else ""
            raise NotFound(
                f"this chat was held with {who}: {error.title}",
                cause=" ".join(filter(None, (error.cause, others))),
                advice=f"{error.advice}\nTo go on with another, name it: --recipe ID, --model NAME or --base-url URL.",
            ) from None

    def _known(self, recipe: str) -> bool:
        try:
            find_run(self._places, recipe)
        except NotFound:
            return any(one.id == recipe for one in self._recipes().all())
        return True

    def _names(self, recipe: Recipe) -> tuple[str, ...]:
        """Return the names of an external engine in requests."""
        backend = registry.backend(recipe.backend)
        if backend.needs_launch or not recipe.base_url:
            return ()
        return (recipe.id, backend.model_name(recipe))

    def _ready_run(self, name: str) -> read.RunView | None:
        try:
            run = find_run(self._places, name)
        except NotFound:
            return None
        if run.state in ANSWERING:
            refuse_stranger(run)
            return run
        if run.live:
            raise StudioError(
                f"{name} is {run.state}",
                cause=f"stage: {run.status.stage}" if run.status.stage else "",
                advice=f"Wait for it: vllm-studio wait-ready {name}",
            )
        return None

    def _external(self, name: str) -> Target:
        return target_of_external(self._recipes().get(name))


def refuse_stranger(run: read.RunView) -> None:
    """Refuse a run whose port another server has: that server must get neither chats nor the key.

    Raises:
        StudioError: Another server has its port.
    """
    if run.status.stranger:
        raise StudioError(
            f"{run.recipe_id} cannot be asked",
            cause=f"{run.status.heard or 'another server has its port'}.",
            advice=f"Stop that server, or launch on another port: vllm-studio stop {run.run_id}",
        )


def target_of_external(recipe: Recipe) -> Target:
    """Return how a server is asked that the studio does not start.

    Raises:
        StudioError: The recipe names none, or its key cannot be read.
    """
    from vllm_studio_tui.domain.chat import Target

    backend = registry.backend(recipe.backend)
    if backend.needs_launch or not recipe.base_url:
        raise NotFound(f"{recipe.id} is not running", advice=f"Launch it: vllm-studio launch {recipe.id} --wait")
    url, user, key = _login_of(_with_v1(recipe.base_url), _secret(recipe.api_key))
    return Target(
        url,
        backend.model_name(recipe),
        key,
        backend="external",
        recipe_id=recipe.id,
        vision=recipe.vision,
        user=user,
    )


def target_of_run(run: read.RunView) -> Target:
    """Return how a run is asked.

    Raises:
        StudioError: Its spec is damaged, or its key cannot be read.
    """
    from vllm_studio_tui.domain.chat import Target

    if run.spec is None:
        advice = f"Stop it and launch it again: vllm-studio stop {run.run_id}"
        raise StudioError(f"{run.run_id} cannot be asked", cause="Its spec.json is damaged.", advice=advice)
    return Target(
        run.spec.base_url,
        run.spec.model,
        _secret(run.spec.api_key_ref),
        backend=run.spec.backend,
        run_id=run.run_id,
        attempt=run.status.attempt,
        recipe_id=run.recipe_id,
        vision=_vision(run.spec.recipe.get("vision")),
    )


def _vision(given: object) -> bool | None:
    return given if isinstance(given, bool) else None


def _login_of(url: str, key: str | None) -> tuple[str, str | None, str | None]:
    """Return an address without its login, the user, and the password: that of the address, else the key."""
    try:
        bare, login = split_login(url)
        _ = urlsplit(bare).port
    except ValueError:  # its words would repeat the address, and a password in it
        raise UsageError("this is no address of a server", advice="Write it as http://host:8000/v1.") from None
    if login is None:
        return url, None, key
    user, password = login
    return bare, user, password or key


def _secret(reference: str | None) -> str | None:
    if reference is None:
        return None
    try:
        return secrets.resolve(reference, os.environ)
    except ValueError as error:
        raise StudioError("the API key cannot be read", cause=str(error), advice="Set the variable or file.") from None


def _with_v1(url: str) -> str:
    url = url.rstrip("/")
    return url if url.endswith("/v1") else f"{url}/v1"
