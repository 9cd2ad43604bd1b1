"""Parts of engines' commands: the program, the environment, the model, and a command as one line for a shell."""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import LaunchContext
from vllm_studio_tui.domain.errors import InvalidRecipe, LaunchRefused
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.kit.file_access import expanded, explain_program, program_trouble
from vllm_studio_tui.kit.masking import MASK, looks_secret, mask_argv, mask_text

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe


def environment(recipe: Recipe, **own: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the engine's variables: the backend's own, the GPUs', and over both the recipe's.

    Returns:
        Plain values, and references to secrets; a recipe's variable may be either.
    """
    env = {"PYTHONUNBUFFERED": "1", **own}
    visible = recipe.extra_args.get("cuda_visible_devices", recipe.extra_args.get("cuda-visible-devices"))
    named = ",".join(str(one) for one in recipe.gpus if one != "auto")
    gpus = named or (str(visible) if isinstance(visible, str | int) else "")
    if gpus:
        # NVML counts in the order of the bus, CUDA by speed unless this is set: without this, index 0 is two GPUs.
        env |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": gpus}
    refs: dict[str, str] = {}
    for key, value in (recipe.env_vars or {}).items():
        (refs if secrets.is_reference(value) else env)[key] = value
        if key in refs:
            env.pop(key, None)
    return env, refs


def find_program(candidates: Iterable[str | None], context: LaunchContext) -> str | None:
    """Return the first candidate that can be executed. A bare name is looked for in the PATH that the engine will have.

    A script whose interpreter is gone, as in an environment that was moved, is not one.
    """
    search = context.environ.get("PATH")
    for one in candidates:
        if not one:
            continue
        if context.container:
            return one
        found = shutil.which(expanded(one), path=search)
        if found and program_trouble(found, search) is None:
            return found
    return None


def not_found(
    title: str, looked: Iterable[str | None], advice: str, context: LaunchContext | None = None
) -> LaunchRefused:
    """Return why none of these programs can be run: one that exists and cannot be run comes before a missing one.

    Args:
        advice: What to do where none is there.
        context: Whose PATH counts for bare names; None: our own.
    """
    search = (os.environ if context is None else context.environ).get("PATH")
    places = [one for one in looked if one]
    for one in places:
        found = explain_program(expanded(one), search) if "\0" not in one else None
        if found is not None and found.reason != "missing":
            return LaunchRefused(f"{title} cannot be run", cause=f"{found.words}.", advice=found.advice or advice)
    return LaunchRefused(f"{title} cannot be found", cause=f"Looked for: {', '.join(places)}.", advice=advice)


def model_argument(recipe: Recipe) -> str:
    """Return the model as an engine gets it: no shell will expand a `~`, and no engine may take it for a flag.

    Raises:
        InvalidRecipe: The model's path or name would be a flag.
    """
    for name in ("model_path", "served_model_name", "host"):
        value = getattr(recipe, name) or ""
        if value.startswith("-") or "\0" in value:
            raise InvalidRecipe(
                "the recipe cannot be turned into a command",
                [(name, "begins with a dash and would be taken for a flag")],
                advice=f"Correct {name}.",
            )
    return expanded(recipe.model_path)


def is_local(model: str) -> bool:
    """Return whether a model is named by a path of this machine rather than by its name on a hub."""
    return model.startswith(("/", "~", "./", "../")) or Path(model).is_absolute()


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that looks most like this one; None where none does."""
    return next(iter(difflib.get_close_matches(name, list(known), 1, 0.6)), None)


def shell_text(argv: Sequence[str], env: Mapping[str, str], masked: Collection[str] = ()) -> str:
    """Return one line for a POSIX shell, `NAME=value program arguments`, with secrets as `***`.

    Args:
        masked: Names of variables whose values are secret, beyond those whose names say so.
    """
    parts = []
    for name, value in env.items():
        hidden = name in masked or looks_secret(name)
        parts.append(f"{name}={MASK if hidden or value == MASK else shlex.quote(mask_text(value))}")
    return " ".join([*parts, *(shlex.quote(one) for one in mask_argv(argv))])
