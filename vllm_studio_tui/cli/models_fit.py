"""`models fit`: whether a model fits, for how long texts and how many at once, and what else would go."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.kit import numbers

if TYPE_CHECKING:
    from vllm_studio_tui.domain.architecture import ModelFacts
    from vllm_studio_tui.domain.fit import Fit, FitCell, FitChange, FitGrid, FitQuestion
    from vllm_studio_tui.services.protocols import StudioApi

TITLES = {
    "weights": "weights", "kv": "KV cache", "activations": "activations", "graphs": "graphs",
    "overhead": "engine and driver",
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*(?:([kmgt])(i?)b?|b)?\s*\Z", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def register(nouns: typer.Typer) -> None:
    @nouns.command("fit")
    def fit(
        model: str = typer.Argument(help="A folder, a GGUF file, a name on the hub, or a model of `models list`."),
        backend: str | None = typer.Option(None, "--backend", help="The engine; without: one that reads the model."),
        gpus: int | None = typer.Option(None, "--gpus", min=0, max=1024, help="How many share it; 0: the processor."),
        gpu_memory: str = typer.Option("", "--gpu-memory", help="Of each, as 24GiB; without: as they are here."),
        context: str = typer.Option("", "--context", help="Tokens of the longest text, as 32k; without: the model's."),
        concurrency: int = typer.Option(1, "--concurrency", min=1, max=100_000, help="Texts at once."),
        tensor: int | None = typer.Option(None, "--tensor-parallel", min=1, max=1024, help="GPUs that share a layer."),
        pipeline: int = typer.Option(1, "--pipeline-parallel", min=1, max=1024, help="Groups of layers."),
        kv_dtype: str = typer.Option("auto", "--kv-cache-dtype", help="Type of the cache, as fp8 or q8_0."),
        share: float | None = typer.Option(None, "--share", min=0.01, max=1.0, help="Of each GPU; without: usual."),
        with_grid: bool = typer.Option(False, "--grid", help="How long, for how many: a table."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Whether a model fits: memory of each GPU part by part, the longest context, what else would go.

        Nothing is downloaded: of a name on the hub only what its files say of themselves is read.
        """
        with open_studio() as studio:
            named = _path_of(studio, model)
            facts = studio.fit.facts(named)
            question = _question(studio, gpus, tensor, pipeline, gpu_memory)
            question = replace(question, context=_tokens(context), users=concurrency, kv_dtype=kv_dtype, share=share)
            found = studio.fit.of_model(named, question, backend)
            others = studio.fit.changes(named, question, backend)
            table_ = studio.fit.grid(named, question, backend) if with_grid or not as_json else None
        if as_json:
            emit(_document(model, facts, found, others, table_ if with_grid else None))
        else:
            _show(model, facts, found, others, table_ if with_grid else None)


def _path_of(studio: StudioApi, model: str) -> str:
    """Return the path of a model of the inventory; what is in none is left as it is."""
    if "/" in model and Path(model).expanduser().exists():
        return str(Path(model).expanduser().absolute())
    try:
        return studio.models.show(model).model.path
    except NotFound:
        return model


def _question(studio: StudioApi, gpus: int | None, tensor: int | None, pipeline: int, gpu_memory: str) -> FitQuestion:
    ranks = tensor * pipeline if tensor is not None else gpus
    if tensor is not None and gpus is not None and gpus not in (0, ranks):
        raise UsageError(
            f"{tensor} x {pipeline} ranks take {ranks} GPUs, and --gpus says {gpus}", advice="Leave --gpus out."
        )
    here = studio.fit.question(gpus=ranks or 1)
    memory = read_size(gpu_memory)
    count = 0 if gpus == 0 else ranks or (here.gpus if memory is None else 1)
    if count and not here.gpus and memory is None:
        raise UsageError("no GPU of this machine can be read", advice="Say how large one is: --gpu-memory 24GiB.")
    if count % pipeline:
        raise UsageError(f"{count} GPUs are no {pipeline} groups", advice="Name --tensor-parallel instead of --gpus.")
    asked = replace(here, gpus=count, tensor_parallel=tensor or max(1, count // pipeline), pipeline_parallel=pipeline)
    return asked if memory is None else replace(asked, memory=memory, held=0)


def read_size(text: str) -> int | None:
    """Return bytes of a text such as `24GiB`, `80GB` or `25769803776`; None where it is empty.

    Raises:
        UsageError: It is no size.
    """
    if not text:
        return None
    found = _SIZE.match(text)
    if found is None or not float(found[1]):
        raise UsageError(f"{text[:40]!r} is no size", advice="Write bytes, or 24GiB, or 80GB.")
    unit = (found[2] or "").lower()
    # What makers call 24 GB is 24 GiB: only a unit that is spelled as one of 1000 is one.
    base = 1000 if unit and not found[3] and text.strip().lower().endswith("b") and unit in "kt" else 1024
    return int(float(found[1]) * base ** _POWERS[unit])


def _tokens(text: str) -> int | None:
    from vllm_studio_tui.domain.recipe_numbers import read_count

    if not text:
        return None
    found = read_count(text)
    if not isinstance(found, int) and not (isinstance(found, str) and found.isdecimal()):
        raise UsageError(f"{text[:40]!r} is no number of tokens", advice="Write 32768 or 32k.")
    length = int(found)
    if not 0 < length <= 1 << 30:
        raise UsageError(f"{text[:40]!r} is no number of tokens", advice="Write 32768 or 32k.")
    return length


def _document(
    model: str, facts: ModelFacts, fit: Fit, changes: list[FitChange], grid: FitGrid | None
) -> dict[str, Any]:
    made = {
        "model": model,
        "architecture": facts.architecture.name,
        "parameters": facts.parameters,
        "quantization": facts.quantization or None,
        **fit.to_json(),
        "changes": [
            {
                "title": one.title,
                "fields": dict(one.fields),
                "fits": one.fit.fits if one.fit else None,
                "max_context": one.fit.max_context if one.fit else None,
                "max_concurrency": one.fit.max_users if one.fit else None,
                "tokens_per_second_at_most": round(one.speed, 1) if one.speed else None,
                "note": one.note or None,
            }
            for one in changes
        ],
    }
    if grid is not None:
        made["grid"] = [
            [
                {"context": cell.context, "concurrency": cell.users, "used": _share(cell.used), "runs": cell.runs}
                for cell in row
            ]
            for row in grid.rows
        ]
    return made


def _share(used: float) -> float | None:
    return round(used, 4) if math.isfinite(used) else None


def _show(model: str, facts: ModelFacts, fit: Fit, changes: list[FitChange], grid: FitGrid | None) -> None:
    shape = facts.architecture
    about = [shape.name, f"{numbers.count(facts.parameters)} parameters" if facts.parameters else "",
             facts.quantization or facts.dtype or "", numbers.size(fit.weights_bytes)]  # fmt: skip
    say(f"{model}   {', '.join(one for one in about if one)}")
    where = f"{fit.gpus} x {numbers.size(fit.memory)}" if fit.gpus else f"the processor, {numbers.size(fit.memory)}"
    say(f"{_verdict(fit)}: {fit.context} tokens for {fit.users} at once on {where}")
    say()
    each = "each GPU" if fit.gpus > 1 else "the GPU" if fit.gpus else "memory"
    rows = [
        [TITLES.get(name, name), *(_gib(one) for one in (part.low, part.likely, part.high))]
        for name, part in fit.parts.items()
        if part.high
    ]
    total = fit.per_gpu
    rows.append(["sum", *(_gib(one) for one in (total.low, total.likely, total.high))])
    rows.append(["may take", "", _gib(fit.limit), ""])
    table([each, "LOW", "LIKELY", "HIGH GiB"], rows, right=(1, 2, 3))
    say()
    say(f"longest    {fit.max_context} tokens for {fit.users}" + _of_model(fit))
    say(f"at once    {fit.max_users} texts of {fit.context} tokens")
    say(f"cache      {numbers.size(fit.kv_bytes_per_token)} a token, room for {numbers.count(fit.cache_tokens)} tokens")
    if fit.learned is not None:
        say(fit.learned.words.replace("corrected ", "corrected  ", 1))
    if grid is not None:
        _show_grid(grid)
    if changes:
        say()
        table(
            ["WHAT ELSE WOULD GO", "LONGEST", "AT ONCE", "TOK/S AT MOST", ""],
            [
                [one.title, str(one.fit.max_context) if one.fit else "", str(one.fit.max_users) if one.fit else "",
                 numbers.count(one.speed, ""), one.note]
                for one in changes
            ],
            right=(1, 2, 3),
        )  # fmt: skip
    for one in fit.notes:
        note(one)
    if not fit.exact:
        note("the weights are reckoned from the sizes of files, not from their tensors")


def _verdict(fit: Fit) -> str:
    if fit.fits:
        return "fits" if fit.certain else "likely fits"
    return "does not fit" if fit.certain else "likely does not fit"


def _of_model(fit: Fit) -> str:
    return f", of {fit.model_context} that the model takes" if fit.model_context else ""


def _gib(value: int) -> str:
    return f"{value / numbers.GIB:.2f}"


def _cell(cell: FitCell) -> str:
    if cell.used <= 1:
        return numbers.percent(cell.used)
    return f"{cell.runs} run" if cell.runs else "–"


def _show_grid(grid: FitGrid) -> None:
    say()
    rows = [
        [
            f"{row[0].context}",
            *(
                numbers.percent(cell.used) if cell.used <= 1 else f"{cell.runs} run" if cell.runs else "–"
                for cell in row
            ),
        ]
        for row in grid.rows
    ]
    table(["CONTEXT", *(f"x {many}" for many in grid.users)], rows, right=tuple(range(1, len(grid.users) + 1)))
