"""The card of a tool call: what it would do while it waits for a person, what came of it afterwards.

Everything on it is text from a model or a server: it is cleaned where it is folded, and bounded in lines.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from vllm_studio_tui.domain.tools import MAX_ROUNDS
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean, clean_line
from vllm_studio_tui.services.chat.calls import CallState
from vllm_studio_tui.tui.document.blocks import BLANK, Block, Surroundings, estimated
from vllm_studio_tui.tui.document.code import code_lines
from vllm_studio_tui.tui.document.line_breaking import Line, Part, cells, fold
from vllm_studio_tui.tui.document.links import linked
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import fit

#: Lines of a result before the card is opened whole, and when it is: what is beyond is behind `i`.
RESULT_LINES, WHOLE_LINES = 8, 400
#: Lines of arguments on a card that waits, at most, and on one that is open.
WAITING_LINES, ARGUMENT_LINES = 10, 20
#: Characters of an argument, and of a result's line, that are looked at.
LONGEST = 2000
#: Arguments that hold a program, and the language that they are coloured in.
PROGRAMS = {"command": "bash", "cmd": "bash", "script": "bash", "code": "python", "sql": "sql", "query": "sql"}
#: What a person can do with a card that waits, with the action and a shorter word where there is little room.
ANSWERS = (
    ("call.allow", "allow once", "allow"),
    ("call.allow-longer", "allow for longer", "longer"),
    ("call.deny", "deny", "deny"),
    ("call.edit-arguments", "edit arguments", "edit"),
    ("call.whole", "whole call", "whole"),
)
DECIDED = {
    "once": "allowed once, by you",
    "chat": "allowed by you for this chat",
    "always": "allowed by you for always",
    "deny": "denied by you",
}


class ToolCard(Block):
    """A call of a tool.

    Attributes:
        state: What is known of the call; whoever changes it calls `changed`.
        next: It waits, and is the one that the keys are for.
    """

    def __init__(self, message: int, state: CallState) -> None:
        super().__init__(message)
        self.state = state
        self.next = False
        self.open = False
        self.whole = False
        self._age = ""

    def make(self, width: int, around: Surroundings) -> list[Line]:
        self._age = self._time()
        if self.state.state == "waiting":
            return [*self._waiting(width, around), BLANK]
        lines = [self._head(width, around.glyphs)]
        if self.open:
            lines += self._inside(width, around)
        elif self.state.state == "failed" and (words := _first_line(self.state.result)):
            lead: tuple[Part, ...] = ((f"{around.glyphs.inside} ", "track"),)
            lines.append(Line((*lead, (fit(words, max(1, width - 2)), "dim"))))
        return [*lines, BLANK]

    def estimate(self, width: int) -> int:
        if self.state.state == "waiting":
            return 8
        return estimated(self.state.result or "", width - 2) + 4 if self.open and self.whole else 12 if self.open else 2

    def aged(self) -> bool:
        """Return whether the time that it shows is another one by now; it is made anew then."""
        if self.state.state not in ("waiting", "running") or self._time() == self._age:
            return False
        self.changed()
        return True

    def toggle(self) -> bool:
        result = self.state.result
        if self.state.state == "waiting":
            return False
        if self.open and not self.whole and result is not None and result.count("\n") >= RESULT_LINES:
            self.whole = True
        else:
            self.open, self.whole = not self.open, False
        self.changed()
        return True

    def source(self) -> str:
        return f"{self.state.call.name} {self.state.arguments} {self.state.result or ''}"

    def _time(self) -> str:
        state = self.state
        if state.state in ("waiting", "running"):
            return numbers.duration(max(0.0, time.monotonic() - state.since))
        return numbers.latency(state.seconds) if state.seconds and state.state in ("done", "failed") else ""

    # --- a call that waits ------------------------------------------------------------------------------

    def _waiting(self, width: int, around: Surroundings) -> list[Line]:
        """Return the question: as many lines as there is room for, its name, arguments and keys in any case."""
        glyphs, state = around.glyphs, self.state
        lead: tuple[Part, ...] = ((f"{glyphs.block} ", "warn"),)
        small = around.height < 10
        name = [(f"{glyphs.warning} ", "warn"), *self._name(width - 4)]
        wants = "  wants to run"
        right = f"asked {self._age} ago" + (f", round {state.number} of {MAX_ROUNDS}" if state.number else "")
        used = sum(cells(text) for text, _ in (*lead, *name))
        if used + len(wants) <= width:
            name.append((wants, "fg"))
            used += len(wants)
        if (gap := width - used - cells(right) - 1) > 0:
            name += [(" " * gap, "fg"), (right, "dim")]
        lines = [Line((*lead, *name), "warnbg")]
        blank = [] if small else [Line(lead, "warnbg")]
        about = [] if around.height < 7 else self._about(width, lead)
        keys = self._keys(width, around, lead)
        # Beside the arguments there are the name, and the blank line below a card.
        room = max(1, min(WAITING_LINES, around.height - len(about) - len(keys) - 2 * len(blank) - 2))
        return [*lines, *blank, *self._asked_with(width, around, lead, room), *about, *blank, *keys]

    def _asked_with(self, width: int, around: Surroundings, lead: Sequence[Part], room: int) -> list[Line]:
        """Return the arguments; what is beyond the room is counted."""

        def ready() -> None:
            self.changed()
            if around.ready is not None:
                around.ready()

        found = arguments_of(self.state.arguments)
        inner = max(1, width - 2)
        program = _program(found)
        if found is None:
            lines = code_lines(self.state.arguments[:LONGEST], "", inner, label=False)
        elif program is not None:
            lines = code_lines(program[0][:LONGEST], program[1], inner, ready=ready)
        else:
            lines = _listed(found, inner) or [Line((("no arguments", "dim"),))]
        hidden = len(lines) - room
        made = [Line((*lead, *line.parts), "warnbg" if not line.plane else line.plane, line.right) for line in lines]
        if hidden <= 0 and len(self.state.arguments) <= LONGEST:
            return made
        more = f"{len(self.state.arguments)} characters in all" if hidden <= 0 else f"{hidden + 1} more lines"
        key = around.key("call.whole")
        if room > 1:
            words = f"{more} that are not shown here" + (f": {key}" if key else "")
            return [*made[: room - 1], Line((*lead, (fit(words, inner), "warn")), "warnbg")]
        words = fit(f"{key}: {more}" if key else more, inner)
        text = fit("".join(part for part, _ in lines[0].parts), max(0, inner - cells(words) - 2))
        gap = inner - cells(text) - cells(words)
        return [Line((*lead, (text, "fg"), (" " * gap, "fg"), (words, "warn")), "warnbg")]

    def _about(self, width: int, lead: Sequence[Part]) -> list[Line]:
        tool = self.state.tool
        parts: list[Part] = []
        if self.state.changed is not None:
            parts.append(("arguments changed by you   ", "warn"))
        if self.state.recovered:
            parts.append(("read out of the text of the answer   ", "warn"))
        if tool is not None:
            parts.append((f"server {tool.server}", "dim"))
            if tool.description:
                parts.append((f"   {clean_line(tool.description, limit=300)}", "faint"))
        return fold(parts, width, lead, lead, "warnbg")[:2] if parts else []

    def _keys(self, width: int, around: Surroundings, lead: Sequence[Part]) -> list[Line]:
        if not self.next:
            return [Line((*lead, ("waits for the one above", "faint")), "warnbg")]
        if not around.reading:
            words = "tab, and then you decide; esc denies it" if width >= 50 else "tab: decide   esc: deny"
            return [Line((*lead, (fit(words, max(1, width - 2)), "dim")), "warnbg")]
        named = [(around.key(action), long, short) for action, long, short in ANSWERS]
        named = [one for one in named if one[0]]
        gap = 3
        at = 1
        if sum(cells(one[0]) + 1 + cells(one[1]) + gap for one in named) - gap > width - 2:
            at, gap = 2, 3 if width >= 50 else 2
        parts: list[Part] = []
        used = 2
        for one in named:
            size = cells(one[0]) + 1 + cells(one[at])
            if used + size > width:
                break
            parts += [(one[0], "accent bold" if not parts else "fg bold"), (f" {one[at]}", "fg"), (" " * gap, "fg")]
            used += size + gap
        return [Line((*lead, *parts[:-1]), "warnbg")]

    # --- a call that does not wait ----------------------------------------------------------------------

    def _name(self, room: int) -> list[Part]:
        server, title = self.state.server_and_title
        title = clean_line(title, limit=60) or "(no name)"
        server = clean_line(server, limit=40)
        if server and cells(server) + 1 + cells(title) <= room:
            return [(f"{server}.", "dim"), (title, "fg bold")]
        return [(fit(title, max(1, room)), "fg bold")]

    def _head(self, width: int, glyphs: Glyphs) -> Line:
        state = self.state
        head: list[Part] = [(f"{glyphs.open if self.open else glyphs.folded} ", "dim"), _mark(state, glyphs)]
        right = "   ".join(self._right())
        name = self._name(width - 4)
        if sum(cells(text) for text, _ in (*head, *name)) + cells(right) + 1 > width:
            right = (self._right() or [""])[0]
            name = self._name(max(8, width - 5 - cells(right)))  # what became of it is more telling than its server
        head += name
        main = _main(state.arguments)
        room = width - sum(cells(text) for text, _ in head) - cells(right) - 4
        if room > 4 and main:
            head.append((f"  {fit(main, room - 2)}", "dim"))
        gap = width - sum(cells(text) for text, _ in head) - cells(right)
        if gap > 0:
            head += [(" " * gap, "fg"), (right, "faint")]
        return Line(tuple(head))

    def _right(self) -> list[str]:
        """Return what stands at the right of the first line, the most telling first."""
        state = self.state
        words = {
            "pending": "not run",
            "denied": "denied",
            "repeated": "as before",
            "unknown": "outcome unknown",
            "failed": "failed",
        }
        found = [words[state.state]] if state.state in words else []
        if state.recovered:
            found.append("from the text")
        if state.changed is not None:
            found.append("changed")
        if self._age:
            found.append(self._age)
        if state.state in ("done", "repeated") and state.result is not None:
            count = state.result.count("\n") + 1
            found.append(f"{numbers.count(count)} {'line' if count == 1 else 'lines'}")
        return found

    def _inside(self, width: int, around: Surroundings) -> list[Line]:
        state, glyphs = self.state, around.glyphs
        lead: tuple[Part, ...] = ((f"{glyphs.inside} ", "track"),)
        deep: tuple[Part, ...] = ((f"{glyphs.inside}   ", "track"),)
        lines: list[Line] = []

        def block(head: str, note: str, rows: Sequence[Line]) -> None:
            lines.append(
                Line((*lead, (head, "faint"), (fit(f"   {note}" if note else "", max(0, width - 12)), "faint")))
            )
            lines.extend(Line((*deep, *row.parts)) for row in rows)

        found = arguments_of(state.arguments)
        inner = max(1, width - 4)
        shown = _listed(found, inner) if found is not None else fold([(state.arguments[:LONGEST], "fg")], inner)
        told = ["changed by you"] if state.changed is not None else []
        if len(shown) > ARGUMENT_LINES or len(state.arguments) > LONGEST:
            told.append(f"{numbers.count(len(state.arguments))} characters, not all of them here")
        block("arguments", ", ".join(told), shown[:ARGUMENT_LINES])
        if state.result is not None:
            rows = clean(state.result).split("\n")
            most = WHOLE_LINES if self.whole else RESULT_LINES
            part = [line for row in rows[:most] for line in fold(_with_links(row), inner)[:20]]
            block("error" if state.state == "failed" else "result", self._how_much(len(rows), most), part)
        told = [DECIDED[state.decided]] if state.decided in DECIDED else []
        if state.recovered:
            told.append("read out of the text of the answer: the engine had parsed no call")
        if state.state == "repeated":
            told.append("not made again: the same call was answered before")
        for words in told:
            lines += fold([(words, "dim")], width, lead, lead)
        return lines

    def _how_much(self, count: int, most: int) -> str:
        """Return how much of a result is shown, and how much of it the model was given."""
        found = [f"first {most} of {count} lines"] if count > most else []
        given = len((self.state.result or "").encode("utf-8", "replace"))
        if self.state.size > given:
            found.append(f"the model was given {numbers.size(given)} of {numbers.size(self.state.size)}")
        return ", ".join(found)


def arguments_of(text: str) -> dict[str, object] | None:
    """Return the arguments of a call by name; None where they are no JSON object. Neither is clean."""
    try:
        found = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _program(found: dict[str, object] | None) -> tuple[str, str] | None:
    """Return the text and the language of a call that has nothing but a program as its argument."""
    if found is None or len(found) != 1:
        return None
    ((name, value),) = found.items()
    return (value, PROGRAMS[name]) if isinstance(value, str) and name in PROGRAMS else None


def _main(text: str) -> str:
    """Return the first of the arguments, on a line: what a call is about."""
    found = arguments_of(text)
    if found is None:
        return clean_line(text[:LONGEST])
    return clean_line(_text(next(iter(found.values()), ""))[:LONGEST])


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _value(value: object) -> Part:
    """Return a value as text, in the colour of its kind."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if "\n" not in value else value, "str"
    style = "kw" if value is None or isinstance(value, bool) else "num" if isinstance(value, int | float) else "fg"
    return _text(value), style


def _listed(found: dict[str, object], width: int) -> list[Line]:
    """Return arguments as lines: several short ones share a line."""
    lines: list[Line] = []
    row: list[Part] = []
    used = 0
    for name, value in found.items():
        text, style = _value(value)
        parts: list[Part] = [(f"{clean_line(name, limit=60)} ", "dim"), (text[:LONGEST], style)]
        size = sum(cells(part) for part, _ in parts)
        if "\n" in text or size > width:
            if row:
                lines.append(_row(row))
                row, used = [], 0
            folded = fold(parts, width, (), (("  ", "fg"),))
            lines += folded
            continue
        if row and used + 3 + size > width:
            lines.append(_row(row))
            row, used = [], 0
        if row:
            row.append(("   ", "fg"))
            used += 3
        row += parts
        used += size
    if row:
        lines.append(_row(row))
    return lines


def _row(parts: Sequence[Part]) -> Line:
    return Line(tuple((clean_line(text), style) for text, style in parts))


def _with_links(row: str) -> list[Part]:
    return linked(row[:LONGEST], "fg", whole=len(row) <= LONGEST)


def _first_line(text: str | None) -> str:
    return next((clean_line(line.strip()) for line in (text or "")[:LONGEST].splitlines() if line.strip()), "")


def _mark(state: CallState, glyphs: Glyphs) -> Part:
    marks = {
        "running": (glyphs.state("loading")[0], "accent"),
        "done": (glyphs.passed, "ok"),
        "repeated": (glyphs.bullet, "dim"),
        "failed": (glyphs.failed, "err"),
        "denied": (glyphs.failed, "dim"),
        "unknown": (glyphs.warning, "warn"),
    }
    mark, colour = marks.get(state.state, (glyphs.pending, "dim"))
    return f"{mark} ", colour
