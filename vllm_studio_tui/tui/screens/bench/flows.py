"""What is done with benchmarks and their results, with the questions that go with it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.bench import BenchStep
from vllm_studio_tui.domain.errors import InvalidRecipe, StudioError, UsageError
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.tui.screens.bench.words import name_of, title_of
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Prompt, Question

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchResult
    from vllm_studio_tui.tui.shell import Shell

#: The largest file of another program that is read.
LARGEST = 256 * 1024**2


async def again(shell: Shell, result: BenchResult) -> None:
    """Measure the same once more."""
    from vllm_studio_tui.tui.flows.benching import begin, start

    if result.recipe_id is None:
        address = {"base_url": result.base_url, "model": result.model}
        await begin(shell, partial(shell.studio.bench.start, result.plan, **address))
    else:
        await start(shell, result.recipe_id, result.plan)


async def ask_limits(shell: Shell, now: tuple[float | None, float | None]) -> tuple[float | None, float | None] | None:
    """Ask for the limits that the results are judged by; None: they stay."""
    ttft, speed = now
    text = f"{'' if ttft is None else f'{ttft * 1000:g} ms'} {'' if speed is None else f'{speed:g} tok/s'}".strip()
    said = await shell.ask(
        Prompt(
            "How many users does it carry, if good is",
            text,
            note="TTFT p95 and speed of a user: 500 ms 25 tok/s; one of them will do",
            check=lambda typed: _wrong(typed),
            select=True,
        )
    )
    return None if said is None else read_limits(said)


def _wrong(text: str) -> str | None:
    try:
        read_limits(text)
    except ValueError as error:
        return str(error)
    return None


def read_limits(text: str) -> tuple[float | None, float | None]:
    """Return the limits that somebody typed: `500 ms 25 tok/s`, `0.5 s`, `25`.

    Raises:
        ValueError: They cannot be read.
    """
    import re

    ttft: float | None = None
    speed: float | None = None
    rest = text.strip().lower()
    pattern = r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|tok/s|t/s)?(?:[\s,;]+|$)"
    while rest:
        match = re.match(pattern, rest, re.ASCII)
        if match is None:
            raise ValueError("such as 500 ms 25 tok/s")
        value = float(match[1])
        if value <= 0:
            raise ValueError("a limit is more than nothing")
        if match[2] in ("ms", "s"):
            ttft = value / (1000 if match[2] == "ms" else 1)
        else:
            speed = value
        rest = rest[match.end() :]
    return ttft, speed


async def take_revision(shell: Shell, result: BenchResult) -> None:
    """Show what bringing back the recipe as it was measured would change."""
    from vllm_studio_tui.services.recipes.changes import Proposal
    from vllm_studio_tui.tui.flows.changes import propose

    recipe_id, number = result.recipe_id, result.revision
    if recipe_id is None or number is None:
        return
    revision = await shell.in_thread(partial(shell.studio.recipes.revision, recipe_id, number))
    before = await shell.in_thread(partial(shell.studio.recipes.get, recipe_id))
    try:
        after = revision.recipe()
    except (InvalidRecipe, UsageError) as error:
        shell.tell(f"Revision {number} cannot be taken: {error.cause or error.title}", "warning")
        return
    title = f"Take revision {number}, as it was measured"
    if await propose(shell, [Proposal(before, after, title, reason=f"revision {number} after a benchmark")]):
        shell.recipes_changed()


async def delete(shell: Shell, results: Sequence[BenchResult]) -> bool:
    """Ask, and delete results; return whether they were."""
    if not results:
        return False
    one = results[0]
    what = f"the result of {title_of(one)}" if len(results) == 1 else f"{len(results)} results"
    steps = sum(len(result.steps) for result in results)
    text = f"{steps} measured {'step' if steps == 1 else 'steps'} cannot be brought back. Export them first: x."
    if await shell.ask(Question(f"Delete {what}?", text, [Option("d", "delete")], "keep")) != "d":
        return False
    for result in results:
        await shell.in_thread(partial(shell.studio.bench.delete, result.id))
    shell.tell(f"{what[:1].upper()}{what[1:]} {'is' if len(results) == 1 else 'are'} deleted.")
    return True


# --- files ---------------------------------------------------------------------------------------------------------


async def export_results(shell: Shell, results: Sequence[BenchResult]) -> None:
    """Ask for the form and the place, and write results to a file."""
    from vllm_studio_tui.tui.flows.export import export

    choices = [
        Choice("csv", "CSV", "a row a step: for tables and plots"),
        Choice("json", "JSON", "all that is kept, as bench show --json prints it"),
    ]
    form = await shell.ask(Chooser(choices, title="export as"))
    if form is None:
        return
    name = f"bench-{name_of(results[0])}" if len(results) == 1 else "benchmarks"
    make = partial(as_csv if form == "csv" else as_json, results)
    await export(shell, name, f".{form}", make, "the benchmark" if len(results) == 1 else "the benchmarks")


def as_json(results: Sequence[BenchResult]) -> str:
    """Return results as JSON: one as itself, several as a list."""
    documents = [one.to_json() for one in results]
    return json.dumps(documents[0] if len(documents) == 1 else documents, indent=2, ensure_ascii=False) + "\n"


#: The columns of a CSV file: seconds, tokens, joules; a percentile each.
COLUMNS = (
    "result", "recipe", "revision", "engine", "engine_version", "at", "state", "concurrency", "rate", "requests",
    "errors", "duration", "input_tokens_per_second", "output_tokens_per_second", "requests_per_second", "goodput",
    "good", "user_speed", *(f"{kind}_{part}" for kind in ("ttft", "first_answer", "itl", "tpot", "e2e")
                            for part in ("mean", "p50", "p95", "p99")),
    "energy_j", "power", "joules_per_1k", "kv",
)  # fmt: skip


def as_csv(results: Sequence[BenchResult]) -> str:
    """Return results as CSV, a row a step; what is not known is empty."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for result in results:
        first = (result.id, result.recipe_id or result.model, result.revision, result.engine, result.engine_version,
                 iso_time(result.at), result.state)  # fmt: skip
        for step in result.steps:
            writer.writerow(["" if value is None else _plain(value) for value in (*first, *_values(step))])
    return out.getvalue()


def _values(step: BenchStep) -> list[Any]:
    values: list[Any] = []
    for name in COLUMNS[7:]:
        kind, _, part = name.rpartition("_")
        found = getattr(step, kind, None) if part in ("mean", "p50", "p95", "p99") else None
        values.append(getattr(found, part) if found is not None else getattr(step, name))
    return values


def _plain(value: Any) -> Any:
    """Return a value that no table program takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


async def import_results(shell: Shell) -> str | None:
    """Ask for a file of vllm bench serve or guidellm, and take in what is in it; return the id of the first."""
    said = await shell.ask(
        Prompt("Read results of", "", note="a JSON file of vllm bench serve, guidellm, or our own export")
    )
    if said is None or not said.strip():
        return None
    name, raw = await shell.in_thread(partial(_read_file, said.strip()))
    found: list[BenchResult] = await shell.in_thread(partial(shell.studio.bench.import_, raw, name))
    if not found:
        shell.tell(f"{name} has no results.", "warning")
        return None
    shell.tell(f"{len(found)} {'result is' if len(found) == 1 else 'results are'} taken in from {name}.")
    return found[0].id


def _read_file(text: str) -> tuple[str, bytes]:
    """Return the name and the content of a file that somebody typed the path of. Blocking."""
    path = Path(text).expanduser()
    try:
        if not path.is_file():
            raise StudioError(f"{path} is no file", advice="Give the path of the JSON file that was saved.")
        if path.stat().st_size > LARGEST:
            raise StudioError(f"{path.name} is too large", cause="More than 256 MiB is no result of a benchmark.")
        return path.name, path.read_bytes()
    except OSError as error:
        raise StudioError(f"{path} cannot be read", cause=error.strerror or str(error)) from None
