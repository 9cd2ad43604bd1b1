"""Checks before a launch: what a backend can tell of a recipe from what is on this machine, in a bounded time.

A backend's check may come from another package, and it looks at files that may lie on a server that does not answer:
neither may take a command down, or hold it for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from vllm_studio_tui.backends.base import Backend, LaunchContext, Problem
from vllm_studio_tui.backends.checks import check
from vllm_studio_tui.domain.errors import HopelessLaunch, LaunchRefused, StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.runs import installed_flags

T = TypeVar("T")
#: Seconds that all the looking for one recipe may take.
PATIENCE = 10.0


def check_document(recipe: Recipe, problems: Sequence[Problem]) -> dict[str, Any]:
    """Return a recipe's problems and suggestions as `recipes check --json` prints them.

    `ok` is false when a launch would fail: one of the problems has the severity `error`.
    """
    from vllm_studio_tui.backends.common.suggestions import suggestions  # a launch does without it

    return {
        "ok": not any(problem.severity == "error" for problem in problems),
        "problems": [problem.to_json() for problem in problems],
        "suggestions": [suggestion.to_json() for suggestion in suggestions(recipe)],
    }


def problems_of(cache: Path | None, recipe: Recipe, backend: Backend, context: LaunchContext) -> list[Problem]:
    """Return what its backend holds against a launch; a check that fails or takes too long is a problem itself.

    Args:
        cache: Where the flags of installed engines are kept; None: they are not looked at.
    """
    message = "the files of the recipe could not be looked at"
    return within(lambda: _checked(cache, recipe, backend, context), message)


def within(look: Callable[[], list[Problem]], failed: str) -> list[Problem]:
    """Return what a look found; where it takes too long or fails a problem that says so, which is a warning."""
    found: list[list[Problem]] = []

    def run() -> None:
        try:
            found.append(look())
        except Exception as error:  # noqa: BLE001, RUF100
            found.append([Problem("model_path", "warning", f"{failed}: {fault(error)}", "This is a fault; report it.")])

    # A thread that nobody waits for: a look at a dead file server cannot be ended, and ends with the process.
    looking = threading.Thread(target=run, name="preflight", daemon=True)
    looking.start()
    looking.join(PATIENCE)
    if found:
        return found[0]
    message = f"{failed} within {PATIENCE:g} s"
    return [Problem("model_path", "warning", message, "Is it on a file server that does not answer?")]


def _checked(cache: Path | None, recipe: Recipe, backend: Backend, context: LaunchContext) -> list[Problem]:
    try:
        where = context if cache is None else with_installed(cache, recipe, backend, context)
        return check(backend, recipe, where)
    except StudioError as error:
        return [Problem("backend", "error", f"{error.title}. {error.cause}".strip(), error.advice)]
    except Exception as error:  # noqa: BLE001, RUF100
        message = f"the check of {backend.title} failed: {fault(error)}"
        return [Problem("backend", "warning", message, whose(backend))]


def with_installed(cache: Path, recipe: Recipe, backend: Backend, context: LaunchContext) -> LaunchContext:
    """Return the context with the flags of the installed engine; where they are not known yet, they are asked for."""
    if recipe.runtime != "native":
        return context
    try:
        command = backend.help_command(recipe, context)
    except StudioError:
        return context
    if not command:
        return context
    version = backend.version(command[0])
    found = installed_flags.known_flags(cache, command, version)
    if found is None:
        installed_flags.read_later(cache, command, version)
        return context
    return replace(context, installed=found.flags)


def guarded(backend: Backend, make: Callable[[], T]) -> T:
    """Return what a backend makes of a recipe.

    Raises:
        StudioError: As the backend raises it, or with any other fault of it in its cause.
    """
    try:
        return make()
    except StudioError:
        raise
    except Exception as error:
        raise LaunchRefused(
            f"{backend.title} could not make a command of the recipe", cause=fault(error), advice=whose(backend)
        ) from error


def fault(error: Exception) -> str:
    """Return an exception in one line."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def whose(backend: Backend) -> str:
    """Return who can mend what a backend does wrong."""
    package = type(backend).__module__.partition(".")[0]
    return f"This is a fault of {package}; report it with the recipe." if package else ""


def refuse(recipe: Recipe, problems: Iterable[Problem]) -> None:
    """Raise what of these is certain to fail, if anything is."""
    found = [one for one in problems if one.severity == "error"]
    if found:
        raise HopelessLaunch(
            f"{recipe.id} would not start",
            cause="\n".join(f"{one.field}: {one.message.rstrip('.')}" for one in found),
            advice=" ".join(dict.fromkeys(one.advice for one in found if one.advice)),
        )
