"""Any command: a wrapper, a container, `srun`, `ssh`, an engine that the studio does not know.

The template is split into arguments once, as a shell would split words but without any of its other powers; only
then the placeholders are filled in, inside single arguments. So a path with spaces or quotes stays one argument.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import Backend, Command, LaunchContext, Problem
from vllm_studio_tui.backends.common.commands import environment, find_program, model_argument, nearest, not_found
from vllm_studio_tui.backends.common.flags import is_remark
from vllm_studio_tui.backends.common.pasted import Pasted, runs_module, runs_program
from vllm_studio_tui.backends.common.ranks import network_variables, numbered, refused
from vllm_studio_tui.backends.common.stages import DOWNLOADING, SHARDS
from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.ranks import MEET
from vllm_studio_tui.domain.spec import CounterNames, ReadyProbe, Stage
from vllm_studio_tui.kit.file_access import expanded

if TYPE_CHECKING:
    from vllm_studio_tui.domain.memory_report import MemoryLine
    from vllm_studio_tui.domain.ranks import RankPart
    from vllm_studio_tui.domain.recipe import Recipe

PLACEHOLDERS = ("model", "host", "port", "name", "python", "rank", "nodes", "head", "address", "master_port")
#: By these the commands of several machines differ, or find each other.
_OF_RANKS = ("{rank}", "{head}", "{address}")
#: Where ranks of a command that runs alone would meet.
_ALONE_PORT = 29501
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

STAGES = (
    DOWNLOADING,
    *SHARDS,
    Stage(r"Application startup complete|Uvicorn running on|[Ll]istening on (?:http|port|\d)", "serving"),
)


class Custom(Backend):
    """A command of the user's own.

    Args:
        engines: Gives all backends by name: a recipe's `metrics_style` names the one that the command wraps.
    """

    name = "custom"
    title = "custom command"
    label = "custom"
    stages = STAGES
    uses = frozenset({"served_model_name"})
    program_fields = frozenset({"command", "python_path"})
    pasted_flags = {  # noqa: RUF012, RUF100 - of the one server that is known by its command alone
        "--model": "model_path", "--host": "host", "--port": "port", "--trust-remote-code": "trust_remote_code",
    }  # fmt: skip

    def __init__(self, engines: Callable[[], Mapping[str, Backend]] = dict) -> None:
        self._engines = engines

    def _styles(self) -> dict[str, Backend]:
        """Return the engines whose log and metrics are known."""
        return {name: one for name, one in self._engines().items() if one.metrics}

    def _wrapped(self, recipe: Recipe) -> Backend | None:
        """Return the engine that the command wraps, as far as the recipe says it."""
        return self._styles().get(recipe.metrics_style) if recipe.metrics_style else None

    def names_model(self, recipe: Recipe) -> bool:
        return "{model}" in (recipe.command or "")

    def model_name(self, recipe: Recipe) -> str:
        return recipe.served_model_name or recipe.model_path or recipe.id

    def command(self, recipe: Recipe, context: LaunchContext) -> Command:
        values = {
            "model": model_argument(recipe),
            "host": context.host,
            "port": str(context.port),
            "name": self.model_name(recipe),
            "python": recipe.python_path or context.python,
            **_place(context),
        }
        argv = [fill(part, values) for part in split(recipe.command)]
        if any("\0" in part for part in argv):
            raise _invalid("an argument has a NUL character")
        argv[0] = self._program(argv[0], recipe, context)
        env, refs = environment(recipe)
        if context.rank is not None:
            env |= network_variables(recipe, context.rank)
        wrapped = self._wrapped(recipe)
        variable = wrapped.key_variable if wrapped is not None else None
        if recipe.api_key and variable:
            refs[variable] = recipe.api_key
        notes = []
        if recipe.api_key and not variable:
            notes.append("The command must take its key from env_vars; requests send the one of api_key.")
        return Command(tuple(argv), env, refs, tuple(notes))

    def ranks(self, recipe: Recipe) -> tuple[RankPart, ...]:
        nodes = recipe.node_count
        if nodes > 1 and recipe.strategy == "pd":
            words = "pd has a router and engines of two kinds, and a custom command is one"
            raise refused(self.title, [("strategy", words)], "Use vllm or sglang, or strategy tp.")
        if nodes > 1 and not any(one in (recipe.command or "") for one in _OF_RANKS):
            words = f"would be the same on all {nodes} machines: it names none of {', '.join(_OF_RANKS)}"
            raise refused(self.title, [("command", words)], "Say in the command which rank it is, and where they meet.")
        return numbered(nodes)

    def _program(self, name: str, recipe: Recipe, context: LaunchContext) -> str:
        if "/" in name and not name.startswith(("/", "~")):
            # The engine's working directory counts, not ours.
            name = str(Path(expanded(recipe.cwd or ".")).absolute() / name)
        found = find_program([name], context)
        if found is None:
            raise not_found(f"{name}", [name], "Correct the first word of `command` in the recipe.", context)
        return found if "/" in name else name

    def ready(self, recipe: Recipe) -> ReadyProbe:
        # What it calls its model is not known, so its list of models cannot be held against it.
        return ReadyProbe(recipe.health_path or "/health")

    def stages_for(self, recipe: Recipe) -> tuple[Stage, ...]:
        wrapped = self._wrapped(recipe)
        return self.stages if wrapped is None else wrapped.stages

    def memory_lines_for(self, recipe: Recipe) -> tuple[MemoryLine, ...]:
        wrapped = self._wrapped(recipe)
        return self.memory_lines if wrapped is None else wrapped.memory_lines

    def counters_for(self, recipe: Recipe) -> CounterNames | None:
        wrapped = self._wrapped(recipe)
        return None if wrapped is None else wrapped.counters

    def problems(self, recipe: Recipe, context: LaunchContext) -> Iterator[Problem]:
        command = recipe.command or ""
        if recipe.python_path and "{python}" not in command:
            yield Problem("python_path", "warning", "is not used: the command has no {python}", "Leave it empty.")
        if "{port}" not in command:
            yield Problem("command", "warning", "does not use {port}", "The studio will look for it at that port.")
        if recipe.metrics_style is not None and self._wrapped(recipe) is None:
            advice = f"There are: {', '.join(sorted(self._styles()))}."
            yield Problem("metrics_style", "warning", f"{recipe.metrics_style} is not known", advice)
        if any(not is_remark(key) for key in recipe.extra_args):
            yield Problem("extra_args", "warning", "is not used by a custom command", "Write it into the command.")

    def pasted(self, words: Sequence[str]) -> Pasted | None:
        """The server of MLX's language models, which becomes a command here (`domain/recipe_engines.py`)."""
        found = runs_program(words, "mlx_lm.server") or runs_program(words, "mlx_lm", "server")
        found = found or runs_module(words, "mlx_lm.server") or runs_module(words, "mlx_lm", "server")
        return None if found is None else Pasted(found.arguments, {**found.fields, "backend": "mlx"})


def _place(context: LaunchContext) -> dict[str, str]:
    """Return what the command is told of its place among ranks; one that runs alone is rank 0 of 1."""
    place = context.rank
    if place is None:
        return {
            "rank": "0", "nodes": "1", "head": context.host, "address": context.host, "master_port": str(_ALONE_PORT),
        }  # fmt: skip
    return {
        "rank": place.word, "nodes": str(place.nodes), "head": place.head, "address": place.address,
        "master_port": str(place.port(MEET)),
    }  # fmt: skip


def split(template: str | None) -> list[str]:
    """Return the template as arguments, placeholders still in them.

    Raises:
        InvalidRecipe: There is none, or a quote is not closed.
    """
    try:
        parts = shlex.split(template or "")
    except ValueError as error:
        raise _invalid(f"cannot be split into arguments: {error}") from None
    if not parts:
        raise _invalid("is empty")
    return parts


def fill(part: str, values: Mapping[str, str]) -> str:
    """Return one argument with its placeholders filled in; `{{` and `}}` are braces.

    Raises:
        InvalidRecipe: A placeholder is unknown, or a brace stands alone.
    """

    def one(match: re.Match[str]) -> str:
        text = match[0]
        if text in ("{{", "}}"):
            return text[0]
        name = match[1]
        if name is None:
            raise _invalid(f"has a single {text} in {part!r}; a brace is written twice: {text}{text}")
        if name not in values:
            near = nearest(name, values)
            hint = f"; did you mean {{{near}}}?" if near else "; a brace is written twice: {{ and }}"
            raise _invalid(f"has an unknown placeholder {text!r}{hint}")
        return values[name]

    return _PART.sub(one, part)


def _invalid(message: str) -> InvalidRecipe:
    return InvalidRecipe(
        "the command of the recipe cannot be used",
        [("command", message)],
        advice="Known placeholders: " + ", ".join(f"{{{one}}}" for one in PLACEHOLDERS) + ".",
    )
