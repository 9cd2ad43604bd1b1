"""The choices that the recipe form offers for a field: models on this machine, GPUs, parsers, fixed values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.common.parsers import family_of, suggest_parsers, suggested_names
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.recipes.form_fields import TITLES, engine_of, flag_of
from vllm_studio_tui.services.recipes.starting import default_engine
from vllm_studio_tui.tui.paint.gpu_owners import owners
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser

if TYPE_CHECKING:
    from vllm_studio_tui.domain.model import Model
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.recipes.starting import EngineHere
    from vllm_studio_tui.tui.screens.recipes.form import RecipeForm
    from vllm_studio_tui.tui.shell import Shell


async def choose_value(shell: Shell, form: RecipeForm, name: str) -> None:
    """Offer the values of a field, and put the chosen one into the form."""
    field = next(field for field in form.fields if field.name == name)
    choices: list[Choice] = []
    empty = "Nothing to choose from: type a value."
    if name == "model_path":
        choices = await shell.in_thread(lambda: _models(shell.studio))
        empty = "No models were found. Set models_dirs in config.yaml, or type a name on the hub."
    elif name == "gpus":
        await _choose_gpus(shell, form)
        return
    elif name in ("tool_call_parser", "reasoning_parser"):
        choices = _parsers(form, name)
    elif name == "backend":
        choices = _engines(shell, form)
    elif field.choices:
        choices = [Choice(value, value or "blank", "") for value in field.choices]
    elif field.kind == "switch":
        choices = [Choice("yes", "yes"), Choice("no", "no")]
    chosen = await shell.ask(Chooser(choices, title=field.label, empty=empty, free=field.kind != "choice"))
    if chosen is not None:
        form.set_text(name, chosen)


def first_texts(engines: Sequence[EngineHere]) -> dict[str, str]:
    """Return what the form of a new recipe begins with: an engine that is installed here, where one is."""
    engine = default_engine(engines)
    return {"backend": engine} if engine != Recipe.model_fields["backend"].default else {}


def _engines(shell: Shell, form: RecipeForm) -> list[Choice]:
    """Return the engines, those that are installed here first."""
    glyphs = shell.ink.glyphs
    choices = []
    for one in sorted(form.engines, key=lambda one: {True: 0, None: 1, False: 2}[one.usable]):
        if one.usable is None:
            note, mark = "", (glyphs.unknown, "faint")
        elif one.usable:
            note, mark = f"{one.version} installed".strip(), (glyphs.passed, "ok")
        else:
            note, mark = one.found or "not installed here", (glyphs.pending, "faint")
        choices.append(Choice(one.name, one.title, note, words=one.name, mark=mark))
    return choices


async def find_field(shell: Shell, form: RecipeForm) -> None:
    """Find a field by its words, its name or its flag, or a flag of the engine that is no field."""
    choices = []
    for field in form.fields:
        flag = flag_of(field, form.texts)
        title = TITLES.get(field.section, (field.section, ""))[0]
        value = field.shown(form.texts.get(field.name, "").strip()) or form.blank_of(field)
        words = f"{field.name} {field.help} {flag}"
        choices.append(Choice(f"field:{field.name}", field.label, value, group=title, words=words))
    engine = registry.find(engine_of(form.texts))
    known = engine.known() if engine is not None else None
    if known is not None and engine is not None:
        taken = {flag_of(field, form.texts).lstrip("-") for field in form.fields}
        group = f"Flags of {engine.title} {known.version}"
        choices += [Choice(f"flag:{flag}", f"--{flag}", group=group) for flag in sorted(known.flags - taken)]
    said = await shell.ask(Chooser(choices, title="a field, by its name, its flag or what it does"))
    if said is None:
        return
    kind, _, name = said.partition(":")
    if kind == "flag":
        text = form.texts.get("extra_args", "").strip()
        form.set_text("extra_args", f"{text} --{name} ".lstrip())
        name = "extra_args"
    await form.find(name)


def _models(studio: StudioApi) -> list[Choice]:
    """Return the models on this machine. Blocking."""
    return [
        Choice(model.path, model.name, _about(model), words=model.path, group=model.origin)
        for model in studio.models.list()
        if model.runnable
    ]


def _about(model: Model) -> str:
    """Return what a model is, in a few words."""
    parts = [model.quantization or model.kind, numbers.size(model.bytes)]
    if model.missing:
        parts.append("not whole")
    return ", ".join(parts)


def _parsers(form: RecipeForm, name: str) -> list[Choice]:
    """Return the parsers of the form's engine, the one suggested for its model first."""
    recipe = form.reading.recipe
    index = 0 if name == "tool_call_parser" else 1
    suggested = suggest_parsers(recipe)[index] if recipe is not None else None
    family = family_of(recipe) if recipe is not None else None
    why = f"suggested: this is how {family.name} models write" if family is not None else ""
    known = suggested_names(form.texts.get("backend") or Recipe.model_fields["backend"].default, index)
    return [
        Choice(parser, parser, why if parser == suggested else "")
        for parser in sorted(known, key=lambda parser: (parser != suggested, parser))
    ]


async def _choose_gpus(shell: Shell, form: RecipeForm) -> None:
    """Offer the GPUs of this machine, and add or remove the chosen one until the user is done."""
    snapshot = shell.snapshot
    gpus = snapshot.tick.gpus.gpus if snapshot is not None else ()
    if not gpus:
        shell.tell("No GPU is seen here; type indices, such as 0 1.")
        return
    owned = owners(snapshot.tick.gpus, snapshot.runs) if snapshot is not None else {}
    claimed = {index: [one.run.name for one in whose if one.run is not None] for index, whose in owned.items()}
    while True:
        chosen = form.texts.get("gpus", "").replace(",", " ").split()
        glyphs = shell.ink.glyphs
        choices = [
            Choice(
                str(gpu.index),
                f"GPU {gpu.index}  {clean_line(gpu.name)}",
                ", ".join(claimed.get(gpu.index, ()))
                or f"{numbers.size((gpu.memory_total or 0) - (gpu.memory_used or 0))} free",
                mark=(glyphs.passed, "ok") if str(gpu.index) in chosen else (glyphs.pending, "faint"),
            )
            for gpu in gpus
        ]
        choices.append(Choice("done", "done", f"{len(chosen)} chosen"))
        answer = await shell.ask(Chooser(choices, title="GPUs: enter turns one on or off, esc is done"))
        if answer is None or answer == "done":
            return
        chosen = [gpu for gpu in chosen if gpu != answer] if answer in chosen else sorted([*chosen, answer])
        form.set_text("gpus", " ".join(chosen))
