"""The doctor on recipes: the engines that they name, and which of them would not start. Nothing is run or written."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from urllib.parse import quote

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend, LaunchContext
from vllm_studio_tui.domain.check import Check, ok, warn
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.models.demo.model import resolve_model
from vllm_studio_tui.services.doctor.context import Ground
from vllm_studio_tui.services.launching.preflight import problems_of

#: Seconds for all recipes together, and how many are read.
SECONDS, MOST = 10.0, 1000
#: Recipes that are named with what stands against them.
SHOWN = 6


def recipes(ground: Ground) -> Check:
    """Check every stored recipe: whether its engine can be run and its model loaded, as far as their files tell."""
    bad: list[str] = []
    engines: dict[str, str] = {}
    deadline, seen, left = time.monotonic() + SECONDS, 0, 0
    for recipe in _stored(ground):
        if time.monotonic() > deadline:
            left += 1
            continue
        seen += 1
        if isinstance(recipe, str):
            bad.append(recipe)
            continue
        reasons = list(_against(recipe, ground, engines))
        if reasons:
            bad.append(f"{recipe.id} ({'; '.join(reasons)})")
    late = f"; {left} more were not looked at in {SECONDS:g} s" if left else ""
    if bad:
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        return warn(
            f"{len(bad)} of {seen} would not start: {'; '.join(bad[:SHOWN])}{more}{late}",
            "`vllm-studio recipes check ID` says what to do about each.",
        )
    named = f"; engines they name: {', '.join(sorted(engines.values()))}" if engines else ""
    return ok(f"{seen}, nothing stands against them{named}{late}" if seen else "none yet")


def _stored(ground: Ground) -> Iterator[Recipe | str]:
    """Yield the recipes of the database, without changing it; one that cannot be read as its id and why."""
    path = ground.places.database
    if not path.exists():
        return
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1.0)
        try:
            rows = connection.execute("SELECT id, data FROM recipes ORDER BY id LIMIT ?", (MOST,)).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return  # the check of the database reports it
    for name, data in rows:
        try:
            yield parse_recipe(json.loads(data))[0]
        except StudioError as error:
            yield f"{str(name)[:80]} (cannot be read: {' '.join(error.cause.split())[:200]})"
        except (ValueError, TypeError, RecursionError):
            yield f"{str(name)[:80]} (cannot be read)"


def _against(recipe: Recipe, ground: Ground, engines: dict[str, str]) -> Iterator[str]:
    """Yield what would make a launch fail. The recipe's engine is added to `engines` with its version."""
    try:
        backend = registry.backend(recipe.backend)
        model = resolve_model(ground.places, recipe.model_path)
    except StudioError as error:
        yield error.title
        return
    if not backend.needs_launch:
        return
    settings = ground.settings()
    port = recipe.port or settings.inference_port
    context = LaunchContext(settings, recipe.host, port, environ=ground.environ)
    usable = recipe.model_copy(update={"model_path": model})
    found = [one for one in problems_of(None, usable, backend, context) if one.severity == "error"]
    yield from (f"{one.field}: {one.message.rstrip('.')}" for one in found)
    named = recipe.python_path or recipe.executable
    if named and not found and recipe.runtime == "native" and named not in engines:
        engines[named] = _described(named, usable, backend, context)


def _described(named: str, recipe: Recipe, backend: Backend, context: LaunchContext) -> str:
    try:
        version = backend.version(backend.command(recipe, context).argv[0])
    except Exception:  # noqa: BLE001, RUF100
        version = None
    return f"{backend.title}{f' {version}' if version else ''} at {named}"
