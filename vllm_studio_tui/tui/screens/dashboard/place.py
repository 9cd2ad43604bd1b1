"""The dashboard: what runs, is it healthy, how fast, how full; and what could run next."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from vllm_studio_tui.domain.metrics import RunSeries, TotalSeries
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.flows.run_facts import Facts, by_trouble
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts, gpus, run_words, runs
from vllm_studio_tui.tui.paint import events as happened
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: Seconds of the tokens chart.
SPAN = 1800.0


class Dashboard(Place):
    """Runs as a ledger, GPUs, recipes, events, tokens."""

    SCOPE = "dashboard"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("dashboard")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._recipes: list[tuple[str, dict[str, Any]]] | None = None
        self._models: int | None = None

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.shell, self.update_place)

    def compose(self) -> ComposeResult:
        yield ListCanvas(self._paint, self.get_ink, id="ledger")

    def shown(self) -> None:
        super().shown()
        self.shell.spawn(self._load_recipes(), group="recipes")

    async def _load_recipes(self) -> None:
        self._recipes = await self.shell.in_thread(self._read_recipes)
        self.update_place()
        if self._models is None and self.snapshot is not None and not self.snapshot.runs:
            self._models = await self.shell.in_thread(self._find_models)
            self.update_place()

    def _read_recipes(self) -> list[tuple[str, dict[str, Any]]]:
        """Read the recipes. The files of their engines, which tell their titles, are imported here too. Blocking."""
        found = self.studio.recipe_list()
        for backend in {str(data.get("backend")) for _, data in found}:
            run_words.backend_word(backend)
        return found

    def _find_models(self) -> int:
        """How many models are on this machine: an empty dashboard says so. Blocking."""
        return len(self.studio.find_models())

    # --- painting ---------------------------------------------------------------------------------------

    def _paint(self, width: int, height: int) -> list[Row]:
        size = self.size_class
        if self.snapshot is None:
            return [self._said("reading runs and GPUs", "faint")] if size > Size.STRIP else []
        if size == Size.LINE:
            from vllm_studio_tui.tui.paint.strip import line

            return [line(self.snapshot, self.ink.glyphs, width)]
        if size == Size.STRIP:
            return self._strip(width, height)
        rows = self._runs(width, height, size)
        rows += self._gpus(width, size)
        if size >= Size.BASE:
            rows += self._below(width, height - len(rows), size)
        elif size == Size.COMPACT:
            rows += self._sparks(width, height - len(rows))
        return rows

    def _said(self, text: str, style: str = "dim") -> Row:
        row = Row()
        row.put(margin(self.size_class), text, style)
        return row

    def _runs(self, width: int, height: int, size: Size) -> list[Row]:
        facts = self._facts.all(sparks=40)
        now = time.time()
        if size == Size.COMPACT:
            if not facts:
                return self._nothing(width, size)
            return [
                row for one in by_trouble(facts)[: max(1, height - 8)] for row in self._run(one, width, size, now)
            ] + [Row()]
        rows: list[Row] = [Row()] if size >= Size.BASE else []
        title = Row()
        x = title.put(margin(size), "RUNS", "dim bold") + 2
        states: dict[State, int] = {}
        for one in facts:
            states[one.run.state] = states.get(one.run.state, 0) + 1
        for state, count in states.items():
            x = title.put(x, f"{count} {state}", "dim") + 3
        rows.append(title)
        if not facts:
            return rows + self._nothing(width, size)
        tight = len(facts) > 3
        if size >= Size.WIDE:
            rows.append(Row())
        for index, one in enumerate(facts):
            if index and not tight:
                rows.append(Row())
            rows += self._run(one, width, size, now, tight=tight)
        rows.append(Row())
        return rows

    def _run(self, facts: runs.RunFacts, width: int, size: Size, now: float, *, tight: bool = False) -> list[Row]:
        return runs.rows(facts, self.ink.glyphs, width, size, now, tight=tight)

    def _nothing(self, width: int, size: Size) -> list[Row]:
        """No run: what there is, and the key that goes on."""
        x = margin(size)
        first = Row()
        first.put(x, "Nothing runs yet.", "fg bold")
        rows = [Row(), first]
        report = self.snapshot.tick.gpus if self.snapshot is not None else None
        if report is not None and report.gpus:
            free = sum((gpu.memory_total or 0) - (gpu.memory_used or 0) for gpu in report.gpus)
            rows.append(self._said(f"{len(report.gpus)} GPUs are here, {numbers.size(free)} are free in all."))
        if self._recipes:
            count = len(self._recipes)
            words = "1 recipe is" if count == 1 else f"{count} recipes are"
            rows.append(self._said(f"{words} ready to launch."))
        if self._models:
            words = "1 model was" if self._models == 1 else f"{self._models} models were"
            rows.append(self._said(f"{words} found on this machine: a new recipe offers them with f4."))
        rows.append(Row())
        keys = Row()
        wanted = [("n", "new recipe", "dashboard.new"), ("d", "demo: a small model on the CPU", "dashboard.demo")]
        if self._recipes:
            wanted.insert(0, ("l", "launch a recipe", "dashboard.launch"))
        for index, (key, word, action) in enumerate(wanted):
            end = keys.run(x, [(key, "accent bold" if index == 0 else "fg bold"), (f" {word}", "dim")])
            keys.link(x, end, action)
            x = end + 3
            if x > width - 12:
                break
        return [*rows, keys, Row()] if not self.shell.read_only else [*rows, Row()]

    def _gpus(self, width: int, size: Size) -> list[Row]:
        assert self.snapshot is not None
        report, glyphs = self.snapshot.tick.gpus, self.ink.glyphs
        if not report.gpus:
            if size == Size.COMPACT:
                return []
            return [*([Row()] if size == Size.FULL else []), gpus.none_row(report, margin(size), width), Row()]
        rows: list[Row] = []
        if size == Size.FULL:
            rows.append(Row())
        if size >= Size.BASE:
            rows.append(gpus.head(report, glyphs, margin(size), width, size))
        if size >= Size.WIDE and len(report.gpus) <= 8:
            rows.append(gpus.heads(size))
        return [*rows, *gpus.table(report, self.snapshot.runs, glyphs, width, size), Row()]

    def _below(self, width: int, room: int, size: Size) -> list[Row]:
        """Recipes beside events, then the tokens; each only where it fits."""
        assert self.snapshot is not None
        now = time.time()
        found = happened.events(self.snapshot.every)
        rows: list[Row] = []
        if size == Size.BASE:
            if room < 3 or not found:
                return []
            rows.append(self._said("EVENTS", "dim bold"))
            return rows + happened.rows(found[: room - 1], self.ink.glyphs, 1, width, now)
        left = self._recipe_rows(now)
        right = happened.rows(found[:8], self.ink.glyphs, 0, width - 82 if size == Size.FULL else width - 62, now)
        chart = 8 if size == Size.FULL and room >= 20 else 0
        lines = min(max(len(left), len(right), 1), 8, room - chart - 5)
        if lines >= 1:
            middle = 81 if size == Size.FULL else 61
            title = Row()
            title.run(3, [("RECIPES", "dim bold"), (f"  {len(self._recipes or [])}", "faint")])
            title.run(middle + 1, [("EVENTS", "dim bold")])
            rows += [*([Row()] if size == Size.FULL else []), title, Row()]
            for index in range(lines):
                row = Row()
                if index < len(left):
                    row.pieces += left[index].pieces
                if index < len(right):
                    row.pieces = [piece for piece in row.pieces if piece[0] < middle - 1]
                    row.pieces += [(column + middle, text, style) for column, text, style in right[index].pieces]
                rows.append(row)
            keys = Row()
            keys.run(3, [("l", "fg bold"), (" launch a recipe      ", "dim"), ("n", "fg bold"), (" new      ", "dim"),
                         ("2", "fg bold"), (" all", "dim")])  # fmt: skip
            rows += [Row(), keys, Row()]
        if chart and room - len(rows) >= 7:
            rows += self._chart(width)
        return rows

    def _recipe_rows(self, now: float) -> list[Row]:
        assert self.snapshot is not None
        last: dict[str, RunView] = {run.recipe_id: run for run in self.snapshot.every}
        rows = []

        def recent(one: tuple[str, dict[str, Any]]) -> tuple[float, str]:
            run = last.get(one[0])
            return (-(run.status.started_at or 0) if run is not None else 0.0, one[0])

        for recipe_id, data in sorted(self._recipes or [], key=recent)[:8]:
            row = Row()
            row.put(3, str(data.get("name") or recipe_id), "fg", 22)
            row.put(26, run_words.backend_word(str(data.get("backend"))), "dim", 12)
            gpus_used = data.get("gpus") or []
            count = len(gpus_used) or int(data.get("tensor_parallel_size") or 1)
            counted = gpus_used or run_words.takes_first_gpus(str(data.get("backend")))
            row.put(39, f"{count} GPU" if counted else "", "dim", 7)
            run = last.get(recipe_id)
            if run is not None:
                mark, colour = self.ink.glyphs.state(run.state)
                row.put(46, mark, colour)
                full = self.size_class == Size.FULL
                ran = "ran " if full else ""
                words = f"failed {numbers.moment(run.status.ended_at, now)}" if run.state is State.FAILED else (
                    str(run.state) if run.live else f"{ran}{numbers.ago(run.status.started_at, now)}")  # fmt: skip
                row.put(48, words, "faint", 22 if full else 13)
            else:
                row.put(48, "never run", "faint")
            rows.append(row)
        return rows

    def _chart(self, width: int) -> list[Row]:
        assert self.snapshot is not None
        history, now = self.studio.sampler.history, self.snapshot.tick.at
        if TotalSeries.OUTPUT not in history:
            return []
        columns = width - 36
        values = history.over(TotalSeries.OUTPUT, columns, SPAN, now)
        known = [value for value in values if value is not None]
        title = Row()
        title.run(3, [("TOKENS", "dim bold"), ("  generated per second, all runs, last 30 min", "faint")])
        rows = [Row(), title]
        peak = max(known, default=0.0)
        now_value = values[-1]
        mean = sum(known) / len(known) if known else None
        side = [(numbers.rate(now_value), "tok/s now"), (numbers.rate(mean), "mean"), (numbers.rate(peak), "peak")]
        for index, line in enumerate(charts.columns(self.ink.glyphs, values, 4)):
            row = Row()
            if index == 0:
                row.put_right(10, numbers.count(peak), "faint")
            elif index == 3:
                row.put_right(10, "0", "faint")
            row.run(12, line)
            if index < len(side):
                row.put_right(width - 16, side[index][0], "fg bold")
                row.put(width - 15, side[index][1], "dim")
            rows.append(row)
        axis = Row()
        axis.put(12, numbers.moment(now - SPAN, now), "faint")
        axis.put_right(12 + columns, numbers.moment(now, now), "faint")
        return [*rows, axis]

    def _sparks(self, width: int, room: int) -> list[Row]:
        """Compact: the two lanes that say most."""
        assert self.snapshot is not None
        history, now = self.studio.sampler.history, self.snapshot.tick.at
        rows = []
        wanted: list[tuple[str, str, Callable[[float | None], str]]] = [
            ("output tok/s", TotalSeries.OUTPUT, numbers.rate)
        ]
        ready = [run for run in self.snapshot.runs if run.state is State.READY]
        if ready:
            wanted.append(("TTFT p95", RunSeries.TTFT.of(ready[0].run_id), numbers.latency))
        for label, name, form in wanted[: max(0, room)]:
            if name not in history:
                continue
            values = history.over(name, max(1, width - 30), 900.0, now)
            row = Row()
            row.put(1, label, "dim")
            row.run(20, charts.spark(self.ink.glyphs, values))
            row.put_right(width - 2, form(values[-1]), "fg bold")
            rows.append(row)
        return rows

    def _strip(self, width: int, height: int) -> list[Row]:
        assert self.snapshot is not None
        report = self.snapshot.tick.gpus
        gpu_rows = gpus.table(report, self.snapshot.runs, self.ink.glyphs, width, Size.STRIP)
        room = max(1, height - 1 - min(len(gpu_rows), max(0, height - 3)))
        rows = [
            row for one in by_trouble(self._facts.all(sparks=8))[:room] for row in self._run(one, width, Size.STRIP, 0)
        ]
        if not rows:
            rows = [self._said("Nothing runs yet.")]
        rows += gpu_rows[: max(0, height - 1 - len(rows))]
        total = Row()
        drawn = [gpu.power_draw for gpu in report.gpus if gpu.power_draw is not None]
        hottest = max((gpu.temperature for gpu in report.gpus if gpu.temperature is not None), default=None)
        text = numbers.power(sum(drawn)) if drawn else ""
        if hottest is not None:
            text += f"   {hottest}{self.ink.glyphs.degree}  max"
        total.put(0, text, "dim")
        end = total.put_right(width, "q quit", "dim")
        total.put_right(end - 2, "? help", "dim")
        return [*rows[: max(0, height - 1)], total]

    # --- actions ----------------------------------------------------------------------------------------

    def chosen_run(self) -> RunView | None:
        canvas = self.query_one("#ledger", ListCanvas)
        return self.commands.run_of(canvas.key) if canvas.key is not None else None

    def possible(self, name: str) -> bool:
        run = self.chosen_run()
        if name in ("launch",):
            return bool(self._recipes)
        if name in ("new", "demo", "foreign"):
            return True
        if run is None:
            return False
        if name == "chat":
            return run.live
        if name == "stop":
            return run.live
        if name == "probe":
            return run.state is State.READY
        if name in ("fix", "dismiss"):
            return run.state is State.FAILED
        return True

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        self.shell.update_frame()

    def action_open(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.open_run(run.run_id))

    action_log = action_open

    def action_launch(self) -> None:
        self.commands.quick_launch()

    def action_stop(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.stop(run))

    def action_chat(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.chat_with(run.run_id))

    def action_fix(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.fix(run))

    def action_edit(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.edit_recipe(run.recipe_id))

    def action_dismiss(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.dismiss(run))

    def action_new(self) -> None:
        self.shell.spawn(self.commands.new_recipe())

    def action_probe(self) -> None:
        if (run := self.chosen_run()) is not None:
            self.shell.spawn(self.commands.probe(run))

    def action_foreign(self) -> None:
        from vllm_studio_tui.tui.screens.dashboard.flows import (
            foreign_engines,  # it needs dialogs, the first picture none
        )

        self.shell.spawn(foreign_engines(self.shell))

    def action_demo(self) -> None:
        self.shell.spawn(self.commands.demo())
