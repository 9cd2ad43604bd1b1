"""`recipes new`: a recipe from a model, and why it is as it is; the same as the page of the screens makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say
from vllm_studio_tui.kit import numbers

if TYPE_CHECKING:
    from vllm_studio_tui.domain.creation import Creation


def register(nouns: typer.Typer) -> None:
    @nouns.command("new")
    def new(
        model: str = typer.Argument(..., help="A folder, a GGUF file, or a name on the hub."),
        engine: str | None = typer.Option(None, "--engine", help="Which engine; otherwise one that is here and fits."),
        gpus: int | None = typer.Option(None, "--gpus", min=0, max=64, help="How many GPUs; otherwise the fewest."),
        context: int | None = typer.Option(None, "--context", min=1, help="Tokens of the longest talk."),
        users: int | None = typer.Option(None, "--users", min=1, help="How many at once; more wait in line."),
        name: str | None = typer.Option(None, "--name", help="What clients ask for; also the recipe's id."),
        refuse: list[str] = typer.Option([], "--without", help="A field whose suggested value is not taken."),
        dry_run: bool = typer.Option(False, "--dry-run", help="Show it, and keep nothing."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """A recipe for a model on this machine, and why: engine, GPUs, how long for how many, whether it fits."""
        from vllm_studio_tui.backends import registry
        from vllm_studio_tui.domain.creation import Wishes
        from vllm_studio_tui.domain.recipe import recipe_to_data

        if engine is not None:
            registry.backend(engine)
        wishes = Wishes(model, engine, gpus, context, users, name, tuple(refuse))
        with open_studio() as studio:
            made = studio.creating.plan(wishes)
            if not dry_run:
                studio.recipes.create(made.recipe, reason="command line")
        if as_json:
            emit({"recipe": recipe_to_data(made.recipe), "saved": not dry_run, **made.to_json()})
            return
        _show(made)
        say(f"would add {made.recipe.id}" if dry_run else f"added {made.recipe.id}")
        if not dry_run:
            note(f"run it: vllm-studio launch {made.recipe.id} --wait")


def _show(made: Creation) -> None:
    import yaml

    from vllm_studio_tui.domain.recipe import recipe_to_data

    data = {key: value for key, value in recipe_to_data(made.recipe).items() if value not in (None, {}, [], ())}
    say(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), end="")
    for what, why in made.reasons.items():
        if why:
            note(f"{what}: {why}")
    for one in made.suggested:
        note(f"{one.field}: {one.value} {'is taken' if one.taken else 'is left out'}, {one.why}")
    note(_fit_words(made))
    if made.fetch:
        note(f"fetch it first: vllm-studio models pull {made.fetch}")
    for check in made.checks:
        if check.state in ("error", "warning"):
            note(f"{check.state}: {check.words}")


def _fit_words(made: Creation) -> str:
    fit = made.fit
    if fit is None:
        return f"whether it fits is not known: {made.fit_unknown}"
    total = fit.per_gpu
    where = "on each GPU" if made.gpus else "of memory"
    size = f"{numbers.gib(total.likely)} GiB {where}, between {numbers.gib(total.low)} and {numbers.gib(total.high)}"
    limit = f"{numbers.gib(fit.limit)} of {numbers.gib(fit.memory)} GiB may be taken"
    if not fit.fits:
        return f"it does not fit: {size}; {limit}"
    return f"it fits: {size}; {limit}; room for {fit.max_users} talks of {fit.context} tokens"
