"""The command of a launch for people: secrets masked, and shown even where its program is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_studio_tui.backends.base import Backend, EngineSettings, LaunchContext
from vllm_studio_tui.backends.common.commands import shell_text
from vllm_studio_tui.domain.errors import InvalidRecipe, StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.masking import MASK, mask_argv, mask_data
from vllm_studio_tui.runs.make_spec import command_of
from vllm_studio_tui.services.launching.preflight import guarded


@dataclass(frozen=True, slots=True)
class Preview:
    """The exact command of a launch, secrets masked.

    Attributes:
        shell: The command with its environment, quoted for a shell.
        notes: What to know about it, a sentence or more each.
        env_refs: The variables of `env` that are secrets, with what each refers to.
        stop_argv: What ends it where a signal does not.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    shell: str
    notes: tuple[str, ...] = ()
    env_refs: Mapping[str, str] = field(default_factory=dict)
    stop_argv: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `recipes command --json` prints of it."""
        return {"argv": list(self.argv), "env": dict(self.env), "shell": self.shell, "notes": list(self.notes)}


class BareNames:
    """Settings in which an interpreter that is not configured is the first one of PATH."""

    def __init__(self, settings: EngineSettings) -> None:
        self.sglang_python = settings.sglang_python or "python"
        self.vllm_executable = settings.vllm_executable
        self.llama_server = settings.llama_server
        self.transformers_executable = settings.transformers_executable
        self.tabby_dir = settings.tabby_dir
        self.embedded_threads = settings.embedded_threads


def preview(
    recipe: Recipe, backend: Backend, context: LaunchContext, *, missing_ok: bool = False, run_id: str = "preview"
) -> Preview:
    """Return the command that a launch in this context would start.

    Args:
        recipe: With the model's path as the engine gets it.
        missing_ok: Return the command also where its program is not installed here, by the program's bare name, with
            a note.
        run_id: What a container is named by.

    Raises:
        InvalidRecipe: The recipe cannot be turned into a command.
        StudioError: The program is not installed here.
    """
    missing: tuple[str, ...] = ()
    try:
        command = guarded(backend, lambda: command_of(recipe, backend, context, run_id))
    except InvalidRecipe:
        raise
    except StudioError as error:
        if not missing_ok:
            raise
        # As in a container, whose programs are not looked for on this machine either.
        bare = replace(context, container=True, settings=BareNames(context.settings))
        command = guarded(backend, lambda: command_of(recipe, backend, bare, run_id))
        sentences = (f"{error.title} here", *error.cause.splitlines(), *error.advice.splitlines())
        missing = (" ".join(f"{sentence.rstrip('.')}." for sentence in sentences),)
    env = {**mask_data(command.env), **dict.fromkeys(command.env_refs, MASK)}
    return Preview(
        tuple(mask_argv(command.argv)),
        env,
        shell_text(command.argv, env),
        (*missing, *command.notes),
        command.env_refs,
        tuple(command.stop_argv),
    )
