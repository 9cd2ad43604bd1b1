"""Check a recipe before it is launched: the checks that are the same for every engine, and the engine's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import ENGINE_FIELDS, Backend, LaunchContext, Problem
from vllm_studio_tui.backends.common.commands import nearest
from vllm_studio_tui.backends.common.docker import ImageSettings, container_command
from vllm_studio_tui.backends.common.field_effects import without_effect
from vllm_studio_tui.backends.common.flags import INTERNAL, given, is_remark
from vllm_studio_tui.backends.common.known_names import Known
from vllm_studio_tui.backends.common.model_files import model_problems
from vllm_studio_tui.backends.common.parsers import same_elsewhere, suggested_names
from vllm_studio_tui.backends.common.side_files import python_problems, side_problems
from vllm_studio_tui.domain.errors import InvalidRecipe, StudioError
from vllm_studio_tui.domain.recipe_imports import is_loopback
from vllm_studio_tui.kit.file_access import expanded, read_trouble

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

#: Variables by which any program can be made to run other code.
LOADERS = frozenset(
    {"LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "BASH_ENV"}
)

#: Fields that say when `serve` starts and stops a run.
STARTED_BY_SERVE = ("on_demand", "ttl", "persistent", "preload", "priority")


def check(backend: Backend, recipe: Recipe, context: LaunchContext) -> list[Problem]:
    """Return the problems of a recipe, the errors first. Blocking: reads files."""
    if not backend.needs_launch:
        own = list(backend.problems(recipe, context))
        return own if any(one.severity == "error" for one in own) else [*unused(backend, recipe), *own]
    if recipe.elsewhere:
        return _elsewhere(backend, recipe, context)
    flags = _flags_of(backend, recipe, context)
    problems = [
        *_command(backend, recipe, context),
        *unused(backend, recipe),
        *model_problems(backend, recipe, flags),
        *backend.problems(recipe, context),
        *side_problems(backend, recipe, flags),
        *python_problems(backend, recipe),
        *_gpus(recipe),
        *_security(recipe, context),
        *_names(backend, recipe, context),
    ]
    named = {one.field for one in problems}
    problems += [one for one in without_effect(backend, recipe, context) if one.field not in named - {"extra_args"}]
    return sorted(problems, key=lambda one: one.severity != "error")


def _elsewhere(backend: Backend, recipe: Recipe, context: LaunchContext) -> list[Problem]:
    """Return the problems of a recipe that runs on other machines: programs, files and GPUs are theirs."""
    there = dataclasses.replace(context, settings=ImageSettings(), container=True, installed=None)
    problems = [
        *_command(backend, recipe.model_copy(update={"cwd": None, "runtime": "native"}), there),
        *unused(backend, recipe),
        *_gpus(recipe),
        *_security(recipe, context),
        *_names(backend, recipe, there),
    ]
    if not any(one.severity == "error" for one in problems):
        try:
            backend.ranks(recipe)
        except InvalidRecipe as error:
            problems += [Problem(name, "error", message, error.advice) for name, message in error.problems]
    return sorted(problems, key=lambda one: one.severity != "error")


def _command(backend: Backend, recipe: Recipe, context: LaunchContext) -> Iterator[Problem]:
    try:
        if recipe.runtime == "docker":
            container_command(recipe, backend, context, "check", ())
        else:
            backend.command(recipe, context)
    except InvalidRecipe as error:
        for name, message in error.problems:
            yield Problem(name, "error", message, error.advice)
    except StudioError as error:
        named = "python_path" if recipe.python_path else "executable"
        named = "command" if "command" in backend.program_fields else named
        name = "runtime" if recipe.runtime == "docker" else named
        yield Problem(name, "error", f"{error.title}. {error.cause}".strip(), error.advice)
    except Exception as error:  # noqa: BLE001, RUF100
        message = f"{backend.title} makes no command of it: {type(error).__name__}: {error}"
        yield Problem("backend", "error", message[:500], "This is a fault of the backend: report it with the recipe.")
    wrong = read_trouble(expanded(recipe.cwd), folder=True) if recipe.cwd else None
    if wrong is not None and wrong.reason != "unreadable":  # a folder may be entered and yet not be listed
        yield Problem("cwd", "error", wrong.words, wrong.advice or "Correct it or leave it empty.")


def _flags_of(backend: Backend, recipe: Recipe, context: LaunchContext) -> dict[str, list[str]]:
    """Return the flags of the command; none where the recipe makes no command, which `_command` reports."""
    try:
        # As for a container: also where its program is not here yet.
        named = dataclasses.replace(context, settings=ImageSettings(), container=True)
        command = backend.command(recipe, named)
    except Exception:  # noqa: BLE001, RUF100
        return {}
    return given(command.argv, backend.flag_style)


def unused(backend: Backend, recipe: Recipe) -> Iterator[Problem]:
    """Yield a warning for each field of the recipe that this engine does not use."""
    for name in sorted(ENGINE_FIELDS - backend.uses):
        default = type(recipe).model_fields[name].get_default(call_default_factory=True)
        if getattr(recipe, name) == default:
            continue
        advice = "Leave it empty, or say it in extra_args." if backend.needs_launch else "Leave it empty."
        if name == "served_model_name" and backend.needs_launch:
            advice = f"Requests say {backend.model_name(recipe)}: leave it empty."
        yield Problem(name, "warning", f"is not used by {backend.title}", advice)
    whose = (
        ("command", "command" in backend.program_fields, "Set backend custom to launch it, or leave it empty."),
        ("metrics_style", "command" in backend.program_fields, "Leave it empty: it is for custom commands."),
        ("base_url", not backend.needs_launch, "Leave it empty: it is where an external server is."),
        ("executable", "executable" in backend.program_fields, "Leave it empty."),
        ("python_path", "python_path" in backend.program_fields, "Leave it empty."),
    )
    for name, used, advice in whose:
        if getattr(recipe, name) and not used:
            yield Problem(name, "warning", f"is not used by {backend.title}", advice)
    if not backend.needs_launch:
        for name in ("port", "cwd", "gpus", "env_vars", "extra_args", "ready_timeout", *STARTED_BY_SERVE):
            if getattr(recipe, name):
                yield Problem(name, "warning", f"is not used by {backend.title}", "Leave it empty.")
        for name in ("host", "restart"):
            if getattr(recipe, name) != type(recipe).model_fields[name].default:
                yield Problem(name, "warning", f"is not used by {backend.title}", "Leave it as it is.")
    if recipe.cwd and recipe.runtime == "docker":
        yield Problem("cwd", "warning", "is not used in a container", "Say --workdir in docker.args.")
    if getattr(recipe, "vision", None) is not None:
        yield Problem("vision", "warning", f"is not used by {backend.title}", "Leave it empty.")
    if recipe.docker.image and recipe.runtime != "docker":
        yield Problem("docker", "warning", "is not used: runtime is native", "Set runtime: docker.")


def _gpus(recipe: Recipe) -> Iterator[Problem]:
    wanted = -(-recipe.gpu_count // recipe.node_count)
    if recipe.gpus and recipe.gpus != ("auto",) and len(recipe.gpus) < wanted:
        message = f"names {len(recipe.gpus)}, and {wanted} are needed (tensor times pipeline times data parallel size)"
        yield Problem("gpus", "error", message, "Name more GPUs or lower tensor_parallel_size.")
    if len(set(recipe.gpus)) < len(recipe.gpus):
        yield Problem("gpus", "error", "names a GPU twice", "Name each GPU once.")


def _security(recipe: Recipe, context: LaunchContext) -> Iterator[Problem]:
    if not is_loopback(context.host) and not recipe.api_key:
        yield Problem(
            "host",
            "warning",
            f"{context.host} can be reached from other hosts, and there is no api_key",
            "Use 127.0.0.1, or set api_key and a firewall: /metrics and /health stay open even with a key.",
        )
    if recipe.trust_remote_code:
        yield Problem(
            "trust_remote_code",
            "warning",
            "runs code that comes with the model, as you",
            "Only with code that you have read; pin it with `revision`.",
        )
    for name in sorted(LOADERS & set(recipe.env_vars or {})):
        yield Problem("env_vars", "warning", f"{name} can make the engine run other code", "Keep it if you mean it.")


def _names(backend: Backend, recipe: Recipe, context: LaunchContext) -> Iterator[Problem]:
    table = backend.known()
    if table is None:
        if context.installed is not None:
            yield from _installed_flags(backend, recipe, context.installed, {})
        return
    parsers = (("tool_call_parser", table.tool_parsers), ("reasoning_parser", table.reasoning_parsers))
    for index, (name, choices) in enumerate(parsers):
        value = getattr(recipe, name)
        if value and value not in choices and value not in suggested_names(backend.name, index):
            near = same_elsewhere(value, backend.name, index) or nearest(value, choices)
            yield Problem(
                name,
                "warning",
                f"{backend.title} {table.version} has no parser {value}",
                f"Did you mean {near}?" if near else f"It has: {', '.join(choices)}.",
            )
    if context.installed is not None:
        yield from _installed_flags(backend, recipe, context.installed, table.gone)
        yield from _switched_off(backend, recipe, table)
    else:
        yield from _flags(backend, recipe, table)


def _installed_flags(
    backend: Backend, recipe: Recipe, flags: Collection[str], gone: Mapping[str, str]
) -> Iterator[Problem]:
    """Yield an error for each flag that the installed engine does not know: it would exit at once."""
    style = backend.flag_style
    for key in recipe.extra_args:
        name = style.canonical(key).split(".", 1)[0]
        if is_remark(key) or name in flags or name.removeprefix("no-") in flags:
            continue
        bare = key.lstrip("-").replace("_", "-")
        if bare in flags:
            continue
        renamed = gone.get(name)
        near = renamed if renamed in flags else nearest(name, flags)
        advice = f"Did you mean {near.replace('-', '_')}?" if near else "Remove it: the engine would end at once."
        yield Problem("extra_args", "error", f"{key} is not known to the {backend.title} installed here", advice)


def _switched_off(backend: Backend, recipe: Recipe, table: Known) -> Iterator[Problem]:
    style = backend.flag_style
    for key, value in recipe.extra_args.items():
        name = style.canonical(key).split(".", 1)[0]
        if value is False and name in table.on_by_default and not is_remark(key):
            advice = f"To switch it off write no_{name.replace('-', '_')}: true."
            yield Problem("extra_args", "warning", f"{key}: false leaves out a flag that is on by default", advice)


def _flags(backend: Backend, recipe: Recipe, table: Known) -> Iterator[Problem]:
    style = backend.flag_style
    for key, value in recipe.extra_args.items():
        if key in INTERNAL or key.replace("-", "_") in INTERNAL:
            continue
        if is_remark(key):
            yield Problem("extra_args", "warning", f"{key} is a remark, no flag", "Move it to description.")
            continue
        name = style.canonical(key).split(".", 1)[0]
        if value is False and name in table.on_by_default:
            continue
        if name in table.gone:
            then = table.gone[name]
            advice = f"Use {then.replace('-', '_')}." if then else "Remove it."
            message = f"{key} is no longer a flag in {backend.title} {table.version}"
            yield Problem("extra_args", "warning", message, advice)
        elif name not in table.flags and name.removeprefix("no-") not in table.flags:
            near = nearest(name, table.flags)
            message = f"{key} is not known to {backend.title} {table.version}, whose flags this program has a list of"
            advice = f"Did you mean {near.replace('-', '_')}?" if near else "A flag it does not know ends it at once."
            yield Problem("extra_args", "warning", message, advice)
    yield from _switched_off(backend, recipe, table)
