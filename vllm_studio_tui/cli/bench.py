"""`bench RUN`: measure how an engine answers a load; `bench list`, `show`, `compare`, ..: what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from vllm_studio_tui.cli.bench_printing import follow, say_comparison, say_limit, say_result
from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.bench import BenchPlan, BenchResult
from vllm_studio_tui.domain.bench_plan import goodput_limits
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line

JSON = typer.Option(False, "--json", help="One JSON document.")
PLAIN = BenchPlan()


class _Group(TyperGroup):
    """`bench RUN` is `bench run RUN`, wherever RUN is not a word of this command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["run", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(
        help="Measure how an engine answers a load: `bench RUN`; and compare what was measured.", cls=_Group
    )
    app.add_typer(nouns, name="bench")
    _register_run(nouns)

    @nouns.command("list")
    def listing(
        recipe: str | None = typer.Argument(None, metavar="[ID]", help="Of this recipe, run or model."),
        count: int = typer.Option(30, "-n", min=1, max=10_000, help="So many at most, the latest first."),
        as_json: bool = JSON,
    ) -> None:
        """Benchmarks that were made or taken in, the latest first."""
        with open_studio() as studio:
            found = studio.bench.list(recipe, count)
        if as_json:
            emit({"benchmarks": [one.to_json() for one in found]})
            return
        if not found:
            say("No benchmark was made." if recipe is None else f"No benchmark of {clean_line(recipe)} was made.")
            return
        head = ("ID", "WHAT", "ENGINE", "MADE", "STEPS", "BEST tok/s", "STATE")
        table(head, [_row(one) for one in found], right=(4, 5))

    @nouns.command("show")
    def show(
        bench_id: str = typer.Argument(..., metavar="ID", help="Or how it begins, or last."), as_json: bool = JSON
    ) -> None:
        """One benchmark: its plan, and what each step showed."""
        with open_studio() as studio:
            found = studio.bench.get(bench_id)
        if as_json:
            emit(found.to_json())
            return
        say_result(found)

    @nouns.command("compare")
    def compare(
        before: str = typer.Argument(..., help="A benchmark's id, or how it begins."),
        after: str = typer.Argument("last", help="Another one."),
        as_json: bool = JSON,
    ) -> None:
        """What changed from one benchmark to another, step by step, and what of it is noise."""
        with open_studio() as studio:
            found = studio.bench.compare(before, after)
        if as_json:
            emit(found.to_json())
            return
        say_comparison(found)

    @nouns.command("limit")
    def limit(
        bench_id: str = typer.Argument("last", metavar="ID"),
        goodput: str = typer.Option("", "--goodput", metavar="ttft=S,speed=N", help="Otherwise those of its plan."),
        as_json: bool = JSON,
    ) -> None:
        """How many users a benchmark's engine carries at a given speed and time to the first token."""
        ttft, tpot = goodput_limits(goodput)
        with open_studio() as studio:
            found = studio.bench.limit(bench_id, ttft, 1 / tpot if tpot else None)
        if as_json:
            emit(found.to_json())
            return
        say_limit(found)

    @nouns.command("stop")
    def stop(bench_id: str = typer.Argument(..., metavar="ID")) -> None:
        """End a benchmark that is being made; what was measured is kept."""
        with open_studio() as studio:
            studio.bench.stop(bench_id)
            say_result(studio.bench.get(bench_id))

    @nouns.command("delete")
    def delete(bench_ids: list[str] = typer.Argument(..., metavar="ID..")) -> None:
        """Delete benchmarks."""
        with open_studio() as studio:
            for one in bench_ids:
                studio.bench.delete(one)

    @nouns.command("import")
    def import_(
        files: list[Path] = typer.Argument(..., metavar="FILE.."),
        as_json: bool = JSON,
    ) -> None:
        """Take in results of `vllm bench serve --save-result` and of guidellm, to compare with."""
        found: list[BenchResult] = []
        with open_studio() as studio:
            for path in files:
                try:
                    raw = path.read_bytes()
                except OSError as error:
                    raise UsageError(f"{path} cannot be read", cause=clean_line(str(error))) from None
                found += studio.bench.import_(raw, path.name)
        if as_json:
            emit({"benchmarks": [one.to_json() for one in found]})
            return
        for one in found:
            say(f"{one.id}  {one.source}  {one.title}, {len(one.steps)} steps")


def _register_run(nouns: typer.Typer) -> None:
    @nouns.command("run")
    def run(
        name: str | None = typer.Argument(None, metavar="[RUN or ID]", help="What is ready; the only one."),
        concurrency: list[int] = typer.Option(
            [], "--concurrency", "-c", metavar="N", help="Users; again for a step more. [1]"
        ),
        requests: int | None = typer.Option(
            None, "--requests", "-n", metavar="N", help="So many a step, in the place of --duration."
        ),
        duration: float | None = typer.Option(None, "--duration", metavar="S", help="Seconds of a step. [30]"),
        prompt_tokens: int = typer.Option(
            PLAIN.prompt_tokens, "--prompt-tokens", metavar="N", help="Of each prompt, exactly."
        ),
        output_tokens: int = typer.Option(PLAIN.output_tokens, "--output-tokens", metavar="N", help="Of each answer."),
        spread: float = typer.Option(0.0, "--spread", metavar="SHARE", help="By which both lengths vary around that."),
        rate: list[float] = typer.Option(
            [], "--rate", metavar="R", help="Requests a second that come by themselves; again for a step more."
        ),
        poisson: bool = typer.Option(False, "--poisson", help="They come as people do, not evenly."),
        warmup: float = typer.Option(PLAIN.warmup, "--warmup", metavar="S", help="Seconds that are not counted."),
        prompts: Path | None = typer.Option(
            None, "--prompts", metavar="FILE", help="Prompts, a line or a JSON object each."
        ),
        shared_prefix: int = typer.Option(
            0, "--shared-prefix", metavar="N", help="Tokens with which all prompts begin alike."
        ),
        seed: int = typer.Option(PLAIN.seed, "--seed", help="The same one asks the same."),
        goodput: str = typer.Option(
            "", "--goodput", metavar="ttft=S,tpot=S,speed=N", help="What a good request is: 500ms is 0.5."
        ),
        repeats: int = typer.Option(1, "--repeats", metavar="N", help="Measure each step so often, for its spread."),
        power_cap: list[int] = typer.Option(
            [], "--power-cap", metavar="W", help="Measure under these watts a GPU, set back after it; needs root."
        ),
        limit: bool = typer.Option(False, "--limit", help="Find the most users within --goodput."),
        compare: str = typer.Option("", "--compare", metavar="ID", help="Compare with an earlier one afterwards."),
        endpoint: str = typer.Option(PLAIN.endpoint, "--endpoint", help="chat or completions."),
        base_url: str | None = typer.Option(None, "--base-url", help="A server that is not ours."),
        model: str | None = typer.Option(None, "--model", help="Its model, or that of a run."),
        as_json: bool = JSON,
    ) -> None:
        """Measure an engine under a load. ctrl+c ends it, and keeps what was measured."""
        ttft, tpot = goodput_limits(goodput)
        plan = BenchPlan(
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            spread=spread,
            concurrency=tuple(concurrency) or PLAIN.concurrency,
            rate=tuple(rate),
            arrivals="poisson" if poisson else "constant" if rate else "closed",
            requests=requests,
            duration=PLAIN.duration if duration is None and requests is None else duration,
            warmup=warmup,
            seed=seed,
            prompts_file=None if prompts is None else str(prompts),
            shared_prefix=shared_prefix,
            ttft_limit=ttft,
            tpot_limit=tpot,
            repeats=repeats,
            search=limit,
            power_caps=tuple(power_cap),
            endpoint=endpoint,
        )
        if requests is not None and duration is not None:
            raise UsageError("--requests and --duration exclude each other")
        with open_studio() as studio:
            earlier = studio.bench.get(compare).id if compare else None
            if prompts is not None:
                plan = _with_prompts(plan, prompts)
            begun = studio.bench.start(plan, name, base_url=base_url, model=model)
            stopped = follow(studio.bench, begun, quiet=as_json)
            result = studio.bench.get(begun.id)
            comparison = None if earlier is None else studio.bench.compare(earlier, result.id)
            upgrade = studio.bench.since_upgrade(result.id)
            found = studio.bench.limit(result.id) if limit else None
        if as_json:
            document = result.to_json() | {"regression": upgrade.regression if upgrade else None}
            document |= {"comparison": comparison.to_json()} if comparison else {}
            emit(document | ({"limit": found.to_json()} if found else {}))
        else:
            say_result(result)
            if found is not None:
                say()
                say_limit(found)
            if comparison is not None:
                say()
                say_comparison(comparison)
        if upgrade is not None and upgrade.regression is not None:
            note(f"slower since an upgrade: {upgrade.regression}; see: vllm-studio bench compare {upgrade.before}")
        if stopped:
            raise typer.Exit(130)
        if result.state != "done":
            raise StudioError(f"the benchmark {result.state}", cause=result.error or "")


def _with_prompts(plan: BenchPlan, path: Path) -> BenchPlan:
    """Read the file here, where the person is: the studio may be elsewhere."""
    from dataclasses import replace

    from vllm_studio_tui.services.bench.prompts import read_prompts

    return replace(plan, prompts=read_prompts(path))


def _row(one: BenchResult) -> list[str]:
    best = max((step.output_tokens_per_second or 0.0 for step in one.steps), default=None)
    engine = " ".join(filter(None, (one.engine or one.source, one.engine_version)))
    steps = str(len(one.steps))
    return [one.id, one.title, engine, numbers.day_and_time(one.at), steps, numbers.fixed(best, 1), one.state]
