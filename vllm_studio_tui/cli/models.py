"""`models`: what lies on this machine, whole or not, who uses it, and what deleting it would free."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli import models_fit, models_pull
from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.model import Source
from vllm_studio_tui.kit import numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vllm_studio_tui.domain.model import Deletion, Model, ModelDetail, ModelScan

JSON = typer.Option(False, "--json", help="One JSON document.")
NAME = typer.Argument(help="Its name, the last part of it, or its path.")
SOURCES = ", ".join(Source)


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(help="Models: what lies here, what fits, what uses it.", no_args_is_help=True)
    app.add_typer(nouns, name="models")
    _register_looking(nouns)
    models_pull.register(nouns)
    _register_deleting(nouns)
    models_fit.register(nouns)


def _register_looking(nouns: typer.Typer) -> None:
    @nouns.command("list")
    def list_(
        source: str = typer.Option("", "--source", help=f"Only those of one store: {SOURCES}."), as_json: bool = JSON
    ) -> None:
        """All models on this machine, in every store that is known."""
        if source and source not in list(Source):
            raise UsageError(f"{source[:40]!r} is no store of models", advice=f"One of {SOURCES}.")
        with open_studio() as studio:
            found = [one for one in studio.models.list(fresh=True) if not source or one.source == source]
        if as_json:
            emit({"models": [one.to_json() for one in found]})
        elif found:
            _table(found)
        else:
            note("no model here; vllm-studio models scan says where was looked")

    @nouns.command("scan")
    def scan(
        folder: str | None = typer.Argument(None, help="Only below this folder; without: everywhere."),
        as_json: bool = JSON,
    ) -> None:
        """Look anew: what each place held, and what could not be read and why."""
        with open_studio() as studio:
            found = studio.models.scan(folder)
        if as_json:
            emit(found.to_json())
        else:
            _show_scan(found, below=folder is not None)

    @nouns.command("show")
    def show(name: str = NAME, as_json: bool = JSON) -> None:
        """All that is known of one: what it is, its files, who uses it, what its family needs."""
        with open_studio() as studio:
            found = studio.models.show(name)
        if as_json:
            emit(found.to_json())
        else:
            _show_detail(found)


def _register_deleting(nouns: typer.Typer) -> None:
    @nouns.command("delete")
    def delete(
        name: str = typer.Argument(help="Its name or path; NAME@REVISION for one revision in the hub's cache."),
        yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
        dry_run: bool = typer.Option(False, "--dry-run", help="Say what it would do, and do nothing."),
        of_others: bool = typer.Option(
            False, "--of-others", help="Also from a store that belongs to Ollama or LM Studio."
        ),
        as_json: bool = JSON,
    ) -> None:
        """Delete a model: says what it frees and who uses it. There is no way back."""
        with open_studio() as studio:
            plan = studio.models.deletion(name)
            if dry_run:
                if as_json:
                    emit(plan.to_json())
                else:
                    _show_deletion(plan)
                return
            if not yes and not plan.refused and (of_others or not plan.owner):
                if not sys.stdin.isatty():
                    raise UsageError(f"{plan.model.name} is not deleted", advice="Say --yes where nobody can be asked.")
                _show_deletion(plan, to=note)
                if not typer.confirm(f"Delete {plan.model.name}? There is no way back", default=False, err=True):
                    raise SystemExit(1)
            done = studio.models.delete(plan.model.path + _revision_of(name), of_others=of_others)
        if as_json:
            emit(done.to_json())
        else:
            say(f"deleted {done.model.name}, {numbers.size(done.frees)} are free")


def _revision_of(name: str) -> str:
    _, at, revision = name.rpartition("@")
    return f"@{revision}" if at and "/" not in revision else ""


# --- words ----------------------------------------------------------------------------------------------


def _table(found: Sequence[Model]) -> None:
    now = time.time()
    table(
        ("NAME", "SIZE", "NUMBERS", "CONTEXT", "DISK", "SOURCE", "RECIPES", "LAST RUN", ""),
        [
            (
                one.name,
                numbers.parameters(one.parameters, unknown=""),
                one.numbers or one.kind,
                numbers.context_length(one.context, unknown=""),
                numbers.size(one.bytes),
                one.source,
                ", ".join(one.recipes[:3]) + (", .." if len(one.recipes) > 3 else ""),
                numbers.ago(one.last_run, now),
                f"not whole: {one.missing}" if one.missing else "",
            )
            for one in found
        ],
        right=(1, 3, 4),
    )
    total = sum(one.bytes for one in found)
    count = "1 model" if len(found) == 1 else f"{len(found)} models"
    note(f"{count}, {numbers.size(total)}")


def _show_scan(found: ModelScan, *, below: bool) -> None:
    absent = [one for one in found.places if not one.there]
    for one in found.places:
        if one.there:
            held = "no model" if not one.models else "1 model" if one.models == 1 else f"{one.models} models"
            say(f"{one.path}: {held}" + (f", {numbers.size(one.bytes)}" if one.models else "") + f" ({one.why})")
        for trouble in one.troubles:
            note(f"  {trouble}")
    if absent and not below:
        say(f"not there: {', '.join(one.path for one in absent)}")
    broken = [one for one in found.models if one.missing]
    for model in broken:
        say(f"{model.name} is not whole: {model.missing} ({model.path})")
    if below:
        for model in found.models:
            say(f"{model.path}  {model.numbers or model.kind}  {numbers.size(model.bytes)}")
    note(f"looked for {numbers.latency(found.seconds)}")


def _show_detail(found: ModelDetail) -> None:
    one = found.model
    facts = [
        ("path", one.path),
        ("store", f"{one.source}, {one.origin}"),
        ("kind", one.kind),
        ("architecture", one.architecture or ""),
        ("parameters", numbers.parameters(one.parameters, unknown="")),
        ("numbers", one.numbers + (f", {one.bits:.2f} bits" if one.bits else "")),
        ("context", str(one.context or "")),
        ("on disk", numbers.size(one.bytes)),
        ("whole", {True: "yes", False: f"no: {one.missing}", None: "nobody can tell"}[one.complete]),
        ("revision", one.revision),
        ("projector", one.projector),
        ("recipes", ", ".join(one.recipes)),
        ("last run", numbers.ago(one.last_run, time.time())),
        *((key.replace("_", " "), value.partition("\n")[0][:200]) for key, value in found.about.items()),
    ]
    say(one.name)
    for title, value in facts:
        if value:
            say(f"  {title:<13} {value}")
    for words in found.notes:
        say(f"  {'note':<13} {words}")
    for field, value, why in found.suggestions:
        say(f"  {'suggested':<13} {field}: {value}, {why}")
    if found.files:
        folder = os.path.commonpath([os.path.dirname(file.path) for file in found.files])  # noqa: PTH120, RUF100
        say(f"\nin {folder}")
        table(
            ("FILE", "BYTES", "ROLE"),
            [
                (
                    os.path.relpath(file.path, folder),
                    numbers.size(file.bytes),
                    f"{file.role}, shared" if file.shared else file.role,
                )
                for file in found.files
            ],
            right=(1,),
        )
    if found.runs:
        say()
        table(
            ("RUN", "RECIPE", "STATE", "STARTED"),
            [
                (run.run_id, run.recipe_id or "", run.state or "", numbers.day_and_time(run.started))
                for run in found.runs
            ],
        )


def _show_deletion(plan: Deletion, *, to: Callable[[str], None] = say) -> None:
    kept = f", {numbers.size(plan.keeps)} stay: others use them" if plan.keeps else ""
    to(f"{plan.model.name}: {numbers.size(plan.frees)} come free{kept}")
    for path in plan.files[:20]:
        to(f"  {path}")
    if len(plan.files) > 20:
        to(f"  and {len(plan.files) - 20} more")
    if plan.recipes:
        verb = "uses" if len(plan.recipes) == 1 else "use"
        to(f"recipe{'s' if len(plan.recipes) > 1 else ''} {', '.join(plan.recipes)} {verb} it")
    if plan.owner:
        to(f"it lies in a store of {plan.owner}: only with --of-others")
    if plan.refused:
        to(f"it cannot be deleted: {plan.refused}")
    if plan.advice:
        to(plan.advice)
