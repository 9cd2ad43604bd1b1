"""The dashboard as rows: runs, GPUs, recipes beside events, and the tokens of the last half hour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.series import RunSeries, TotalSeries
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts, gpus, run_words, runs
from vllm_studio_tui.tui.paint import events as happened
from vllm_studio_tui.tui.paint.beside import beside
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_parts import RunFacts

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.history import History
    from vllm_studio_tui.services.watching.snapshot import Snapshot

#: Seconds of the tokens chart.
SPAN = 1800.0
#: The key of the row that counts the runs which have no room.
MORE = "more"
#: The beginning of the keys of recipes.
RECIPE = "recipe:"
#: Which of the two lists beside each other the cursor can be in.
RECIPES, EVENTS = "recipes", "events"


@dataclass(frozen=True, slots=True)
class Picture:
    """All data that the dashboard shows.

    Attributes:
        facts: The runs that are shown, trouble first.
        recipes: The recipes as they are stored, by id.
        models: The number of models on this machine; None while they are not counted.
        history: Returns the history. Called only where there is room for a chart, because it imports large modules.
        now: Seconds since the epoch.
        unfolded: All runs are shown, also where that leaves no room for the rest.
        side: RECIPES or EVENTS: which list beside the other the cursor can be in.
        filtered: The words that runs and recipes must have to be shown; empty for all.
    """

    snapshot: Snapshot
    facts: Sequence[RunFacts]
    recipes: Sequence[tuple[str, dict[str, Any]]]
    models: int | None
    history: Callable[[], History]
    glyphs: Glyphs
    size: Size
    now: float
    read_only: bool = False
    unfolded: bool = False
    filtered: str = ""
    side: str = RECIPES

    def rows(self, width: int, height: int) -> list[Row]:
        """Draw the dashboard; at small sizes in at most `height` rows."""
        size = self.size
        if size <= Size.STRIP:
            from vllm_studio_tui.tui.paint.strip import lines, strip

            if size == Size.LINE:
                return lines(self.snapshot, self.facts, self.glyphs, width, height, self.now)
            return strip(self.snapshot, self.facts, self.glyphs, width, height, self.now)
        rows = self._runs(width, height, size)
        rows += self._gpus(width, size)
        if size >= Size.BASE:
            rows += self._below(width, height - len(rows), size)
        elif size == Size.COMPACT:
            rows += self._sparks(width, height - len(rows))
        return rows

    def _text_row(self, text: str, style: str = "dim") -> Row:
        row = Row()
        row.put(margin(self.size), text, style)
        return row

    def _runs(self, width: int, height: int, size: Size) -> list[Row]:
        facts, now = self.facts, self.now
        rows: list[Row] = [Row()] if size >= Size.BASE else []
        title = Row()
        x = title.put(margin(size), "RUNS", "dim bold") + 2
        if self.filtered:
            x = title.run(x, [("/ ", "fg bold"), (self.filtered, "accent")]) + 3
        states: dict[State, int] = {}
        for run_facts in facts:
            states[run_facts.run.state] = states.get(run_facts.run.state, 0) + 1
        for state, count in states.items():
            x = title.put(x, f"{count} {state}", "dim") + 3
        if size >= Size.BASE:
            rows.append(title)
        if not facts:
            if self.filtered:
                return [*rows, *self._no_match(), Row()]
            return rows + self._nothing(width, size)
        tight = size == Size.COMPACT or len(facts) > 3
        if size >= Size.WIDE:
            rows.append(Row())
        room = max(1, height - len(rows) - self._needed_below(size)) if tight and not self.unfolded else len(facts)
        shown = facts if len(facts) <= room else facts[: max(1, room - 1)]
        for index, run_facts in enumerate(shown):
            if index and not tight:
                rows.append(Row())
            rows += self._run(run_facts, width, size, now, tight=tight)
        if len(shown) < len(facts):
            rows.append(self._more(facts[len(shown) :]))
        rows.append(Row())
        return rows

    def _needed_below(self, size: Size) -> int:
        """Return the rows that the GPUs take, and a few of events, where runs must leave room for them."""
        count = len(self.snapshot.tick.gpus.gpus)
        lines = count if count <= 8 else (count + 1) // 2
        return min(lines, 8) + (2 if size == Size.COMPACT else 5)

    def _more(self, rest: Sequence[RunFacts]) -> Row:
        """Count the runs that have no room; enter shows them."""
        row = Row(key=MORE)
        x = row.run(margin(self.size), [(f"{self.glyphs.ellipsis} {len(rest)} more", "fg"), ("   ", "")])
        states: dict[State, int] = {}
        for one in rest:
            states[one.run.state] = states.get(one.run.state, 0) + 1
        for state, count in states.items():
            mark, colour = self.glyphs.state(state)
            x = row.run(x, [(mark, colour), (f" {count}", "dim")]) + 2
        x = row.run(x + 1, [("enter", "fg bold"), (" all of them", "dim")])
        row.link(0, x, "dashboard.open")
        return row

    def _no_match(self) -> list[Row]:
        row = Row()
        row.run(margin(self.size), [("No run matches.   ", "dim"), ("esc", "fg bold"), (" lifts the filter", "dim")])
        return [row]

    def _run(self, facts: RunFacts, width: int, size: Size, now: float, *, tight: bool = False) -> list[Row]:
        return runs.rows(facts, self.glyphs, width, size, now, tight=tight)

    def _nothing(self, width: int, size: Size) -> list[Row]:
        """Draw the dashboard without runs: GPUs, recipes and models, and the keys that begin."""
        x = margin(size)
        first = Row()
        first.put(x, "Nothing runs yet.", "fg bold")
        rows = [Row(), first]
        report = self.snapshot.tick.gpus
        if report.gpus:
            free = sum((gpu.memory_total or 0) - (gpu.memory_used or 0) for gpu in report.gpus)
            rows.append(self._text_row(f"{len(report.gpus)} GPUs are here, {numbers.size(free)} are free in all."))
        known = []
        if self.recipes:
            count = len(self.recipes)
            known.append(f"{'1 recipe is' if count == 1 else f'{count} recipes are'} ready to launch.")
        if self.models:
            words = "1 model is" if self.models == 1 else f"{self.models} models are"
            known.append(f"{words} on this machine: n offers them.")
        # Models are counted later: the row is there before, so that none below moves.
        rows.append(self._text_row(" ".join(known)))
        rows.append(Row())
        keys = Row()
        wanted = [("n", "what else could run here", "dashboard.new")]
        if self.recipes:
            wanted.insert(0, ("r", "run a recipe", "dashboard.run"))
        for index, (key, word, action) in enumerate(wanted):
            end = keys.run(x, [(key, "accent bold" if index == 0 else "fg bold"), (f" {word}", "dim")])
            keys.link(x, end, action)
            x = end + 3
            if x > width - 12:
                break
        return [*rows, keys, Row()] if not self.read_only else [*rows, Row()]

    def _gpus(self, width: int, size: Size) -> list[Row]:
        report, glyphs = self.snapshot.tick.gpus, self.glyphs
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
        """Draw recipes beside events, then the tokens; each only where it fits."""
        now = self.now
        found = happened.events(self.snapshot.every)
        rows: list[Row] = []
        if size == Size.BASE:
            if room < 3 or not found:
                return []
            rows.append(self._text_row("EVENTS", "dim bold"))
            return rows + happened.rows(found[: room - 1], self.glyphs, 1, width, now, keyed=True)
        events_side = self.side == EVENTS
        left = self._recipe_rows(now, keyed=not events_side)
        room_right = width - 82 if size == Size.FULL else width - 62
        right = happened.rows(found[:8], self.glyphs, 0, room_right, now, keyed=events_side)
        chart = 8 if size == Size.FULL and room >= 20 else 0
        lines = min(max(len(left), len(right), 1), 8, room - chart - 5)
        if lines >= 1:
            middle = 81 if size == Size.FULL else 61
            title = Row()
            title.run(3, [("RECIPES", "dim bold"), (f"  {len(self.recipes)}", "faint")])
            title.run(middle + 1, [("EVENTS", "dim bold")])
            rows += [*([Row()] if size == Size.FULL else []), title, Row()]
            rows += beside(left[:lines], right[:lines], middle) or [Row()]
            keys = Row()
            keys.run(3, [("r", "fg bold"), (" run one      ", "dim"), ("n", "fg bold"), (" new      ", "dim"),
                         ("2", "fg bold"), (" all", "dim")])  # fmt: skip
            rows += [Row(), *([] if self.read_only else [keys]), Row()]
        if chart and room - len(rows) >= 7:
            rows += self._chart(width)
        return rows

    def _recipe_rows(self, now: float, *, keyed: bool) -> list[Row]:
        last: dict[str, RunView] = {run.recipe_id: run for run in self.snapshot.every}
        rows = []

        def recent(stored: tuple[str, dict[str, Any]]) -> tuple[float, str]:
            run = last.get(stored[0])
            return (-(run.status.started_at or 0) if run is not None else 0.0, stored[0])

        for recipe_id, data in sorted(self.recipes, key=recent)[:8]:
            row = Row(key=f"{RECIPE}{recipe_id}" if keyed else None)
            row.put(3, str(data.get("name") or recipe_id), "fg", 22)
            row.put(26, run_words.backend_word(str(data.get("backend"))), "dim", 12)
            gpus_used = data.get("gpus") or []
            count = len(gpus_used) or int(data.get("tensor_parallel_size") or 1)
            counted = gpus_used or run_words.takes_first_gpus(str(data.get("backend")))
            row.put(39, f"{count} GPU" if counted else "", "dim", 7)
            run = last.get(recipe_id)
            if run is not None:
                mark, colour = self.glyphs.state(run.state)
                row.put(46, mark, colour)
                full = self.size == Size.FULL
                ended = run.status.ended_at or run.status.started_at
                if run.state is State.FAILED:
                    words = f"failed {numbers.moment(run.status.ended_at, now)}"
                else:
                    words = str(run.state) if run.live else f"{'ran ' if full else ''}{numbers.ago(ended, now)}"
                row.put(48, words, "faint", 22 if full else 13)
            else:
                row.put(48, "never run", "faint")
            rows.append(row)
        return rows

    def _chart(self, width: int) -> list[Row]:
        history, now = self.history(), self.snapshot.tick.at
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
        for index, line in enumerate(charts.columns(self.glyphs, values, 4)):
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
        """Draw the two most useful charts, for the compact size."""
        history, now = self.history(), self.snapshot.tick.at
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
            row.run(20, charts.spark(self.glyphs, values))
            row.put_right(width - 2, form(values[-1]), "fg bold")
            rows.append(row)
        return rows
