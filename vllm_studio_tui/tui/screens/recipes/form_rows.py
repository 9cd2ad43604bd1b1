"""The recipe form as rows: its head, its sections, the checks, what changes, the help of a field, the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.recipes.form_fields import TITLES, FormField
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row, fit_change, wrap
from vllm_studio_tui.tui.paint.memory import memory_line, memory_parts
from vllm_studio_tui.tui.screens.recipes.plans import Plan
from vllm_studio_tui.tui.screens.recipes.rows import command_rows

if TYPE_CHECKING:
    from vllm_studio_tui.services.recipes.revisions import Revision
    from vllm_studio_tui.tui.paint.glyphs import Glyphs

#: What is checked, with the fields that belong to it; what belongs to none is a flag.
CHECKED: Mapping[str, tuple[str, ...]] = {
    "model": ("model_path", "revision", "tokenizer", "trust_remote_code", "lora_modules", "quantization", "dtype"),
    "engine": ("backend", "executable", "python_path", "command", "runtime", "docker", "metrics_style"),
    "flags": (),
    "parallel": ("gpus", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "expert_parallel"),
    "memory": (
        "max_model_len",
        "gpu_memory_utilization",
        "kv_cache_dtype",
        "max_num_seqs",
        "max_num_batched_tokens",
    ),
    "port": ("host", "port", "api_key", "base_url"),
    "tools": ("tool_call_parser", "reasoning_parser", "enable_auto_tool_choice", "chat_template_kwargs"),
    "environment": ("env_vars", "cwd"),
}


@dataclass(frozen=True, slots=True)
class FormFacts:
    """What the rows of a form are drawn from.

    Attributes:
        changes: Field, old and new text of what differs from what was saved.
        errors: What keeps the texts from being a recipe, by field.
        plan: What the recipe would launch; None while that is not known, or there is no recipe.
        revisions: Those of the recipe, the latest first.
    """

    title: str
    new: bool
    fields: Sequence[FormField]
    section: str
    sections: Sequence[str]
    focused: FormField | None
    flag: str
    changes: Sequence[tuple[str, str, str]]
    errors: Mapping[str, str]
    plan: Plan | None
    revisions: Sequence[Revision]
    glyphs: Glyphs

    def label(self, name: str) -> str:
        return next((one.label for one in self.fields if one.name == name), name)


def check_marks(facts: FormFacts) -> list[tuple[str, str, str]]:
    """Return what was checked: its name, `error`, `warning`, `ok` or `unknown`, and the first words on it."""
    kind = {name: check for check, names in CHECKED.items() for name in names}
    found: dict[str, tuple[str, str]] = {}
    troubles = [(name, "error", f"{facts.label(name)}: {words}") for name, words in facts.errors.items()]
    if facts.plan is not None:
        troubles += [(one.field, one.severity, one.message) for one in facts.plan.problems]
        if facts.plan.error:
            troubles.append(("backend", "error", facts.plan.error))
    for name, severity, words in troubles:
        check = kind.get(name.partition(".")[0], "flags")
        if check not in found or (severity == "error" and found[check][0] != "error"):
            found[check] = (severity, words)
    rest = "ok" if facts.plan is not None and not facts.errors else "unknown"
    return [(check, *found.get(check, (rest, ""))) for check in CHECKED]


def _mark(severity: str, glyphs: Glyphs) -> tuple[str, str]:
    return {
        "error": (glyphs.failed, "err"),
        "warning": (glyphs.warning, "warn"),
        "ok": (glyphs.passed, "ok"),
    }.get(severity, (glyphs.pending, "faint"))


def head_rows(facts: FormFacts, size: Size, width: int) -> list[Row]:
    """Draw the recipe's name, its revision and how much is changed; at small sizes the sections in a line."""
    wide = size >= Size.WIDE
    row = Row()
    x = row.put(3 if wide else margin(size), facts.title or "new recipe", "fg bold", 40) + 3
    if facts.new:
        x = row.put(x, "new recipe, nothing saved yet" if facts.title else "nothing saved yet", "dim") + 3
    elif facts.revisions:
        x = row.put(x, f"revision {facts.revisions[0].number}", "dim") + 3
    count = len(facts.changes)
    if count and not facts.new:
        x = row.put(x, f"{count} unsaved {'change' if count == 1 else 'changes'}", "warn") + 3
    if size >= Size.BASE and x < width - 19:
        start = width - 17
        row.run(start, [("^f", "fg bold"), (" find a flag", "dim")])
        row.link(start, width - 2, "form.find")
    if wide:
        line = Row()
        line.put(3, facts.glyphs.hairline * (width - 5), "track")
        return [row, line]
    if size <= Size.STRIP:
        return [row]
    return [row, _section_line(facts, width, 2 if size >= Size.BASE else 1)]


def _trouble(facts: FormFacts, section: str) -> str:
    inside = {one.name for one in facts.fields if one.section == section}
    problems = facts.plan.problems if facts.plan is not None else ()
    found = [one.severity for one in problems if one.field in inside]
    found += ["error" for name in facts.errors if name in inside]
    return "error" if "error" in found else "warning" if found else ""


def _changes_in(facts: FormFacts, section: str) -> int:
    inside = {one.name for one in facts.fields if one.section == section}
    return sum(name in inside for name, _, _ in facts.changes)


def _section_line(facts: FormFacts, width: int, x: int) -> Row:
    """Draw the sections in a line, so that the one that is open is among those that fit."""
    words = []
    for name in facts.sections:
        trouble, count = _trouble(facts, name), 0 if facts.new else _changes_in(facts, name)
        mark = _mark(trouble, facts.glyphs)[0] if trouble else ""
        words.append(" ".join(part for part in (name, str(count) if count else "", mark) if part))
    here = facts.sections.index(facts.section) if facts.section in facts.sections else 0

    def taken(first: int, last: int) -> int:
        """Return the cells of some sections, with what stands for those before and after them."""
        shown = sum(len(word) + 2 for word in words[first : last + 1]) - 2
        return shown + len(_hidden(facts, 0, first)) + len(_hidden(facts, last + 1, len(words)))

    first, last, end = 0, len(words) - 1, width - 1
    while last > here and x + taken(first, last) > end:
        last -= 1
    while first < here and x + taken(first, last) > end:
        first += 1
    row = Row()
    x = row.put(x, _hidden(facts, 0, first), "faint")
    for name, word in list(zip(facts.sections, words, strict=True))[first : last + 1]:
        after = row.put(x, word, "accent bold" if name == facts.section else "dim")
        row.link(x, after, f"section:{name}")
        x = after + 2
    row.put(x - 2, _hidden(facts, last + 1, len(words)), "faint")
    return row


def _hidden(facts: FormFacts, first: int, last: int) -> str:
    """Return what stands for sections that have no room: the worst trouble in them is seen; empty for none."""
    if first >= last:
        return ""
    kinds = {_trouble(facts, name) for name in facts.sections[first:last]}
    worst = next((kind for kind in ("error", "warning") if kind in kinds), "")
    mark = f" {_mark(worst, facts.glyphs)[0]}" if worst else ""
    return f"{facts.glyphs.ellipsis}{mark}  " if first == 0 else f"  {facts.glyphs.ellipsis}{mark}"


def section_rows(facts: FormFacts, width: int) -> list[Row]:
    """Draw the sections, each with its trouble or the number of its changes."""
    rows = []
    for name in facts.sections:
        here = name == facts.section
        row = Row(plane="sel" if here else "")
        if here:
            row.put(1, facts.glyphs.cursor, "accent bold")
        row.put(3, TITLES.get(name, (name, ""))[0], "fg bold" if here else "dim", width - 8)
        trouble, count = _trouble(facts, name), 0 if facts.new else _changes_in(facts, name)
        end = width - 2
        if count:
            end = row.put_right(end, f"{facts.glyphs.changed}{count}", "accent") - 1
        if trouble:
            row.put_right(end, *_mark(trouble, facts.glyphs))
        row.link(0, width, f"section:{name}")
        rows.append(row)
    return rows


def title_row(facts: FormFacts) -> Row:
    """Draw what the section is called."""
    title, words = TITLES.get(facts.section, (facts.section, ""))
    row = Row()
    row.put(row.put(2, title, "fg bold") + 4, words, "dim")
    return row


def check_line(facts: FormFacts, width: int, x: int) -> Row:
    """Draw the checks in a line, trouble first, and the key that shows all of them."""
    order = {"error": 0, "warning": 1, "unknown": 2, "ok": 3}
    row = Row()
    at = row.put(x, "CHECK", "dim bold") + 2
    end = width - len("f3 all") - 2
    for check, severity, _ in sorted(check_marks(facts), key=lambda one: order[one[1]]):
        if at + len(check) + 2 > end:
            break
        mark, style = _mark(severity, facts.glyphs)
        at = row.run(at, [(f"{mark} ", style), (check, "fg" if severity in ("error", "warning") else "dim")]) + 2
    row.run(end + 1, [("f3", "fg bold"), (" all", "dim")])
    row.link(end + 1, width - 1, "form.info")
    return row


def check_rows(facts: FormFacts, x: int, width: int) -> list[Row]:
    """Draw every check with the words on it, then all problems with what mends them."""
    marks = check_marks(facts)
    head = Row()
    at = head.put(x, "CHECK", "dim bold") + 3
    for severity in ("error", "warning", "ok"):
        count = sum(one[1] == severity for one in marks)
        if count:
            mark, style = _mark(severity, facts.glyphs)
            at = head.run(at, [(f"{mark} ", style), (str(count), "fg")]) + 3
    rows = [head]
    words_of = {"ok": "nothing against it", "unknown": "not looked at yet"}
    for check, severity, words in marks:
        mark, style = _mark(severity, facts.glyphs)
        lines = wrap(words or words_of.get(severity, ""), max(8, width - x - 17))[:3]
        for index, line in enumerate(lines):
            row = Row()
            if index == 0:
                row.put(x, mark, style)
                row.put(x + 2, check, "fg")
            row.put(x + 15, line, "fg" if severity == "error" else "dim")
            rows.append(row)
    if facts.plan is not None and facts.plan.fit is not None:
        rows += [Row(), *memory_parts(facts.plan.fit, facts.glyphs, x, width - 2)]
    advice = [one for one in (facts.plan.problems if facts.plan is not None else ()) if one.advice]
    if advice:
        rows.append(Row())
    for one in advice[:6]:
        for index, line in enumerate(wrap(f"{facts.label(one.field)}: {one.advice}", max(8, width - x - 4))[:3]):
            row = Row()
            row.put(x + (0 if index == 0 else 2), line, "faint")
            rows.append(row)
    return rows


def revision_rows(facts: FormFacts, x: int, width: int, now: float) -> list[Row]:
    """Draw the last revisions of the recipe with what made them."""
    if not facts.revisions:
        return []
    head = Row()
    head.put(x, "REVISIONS", "dim bold")
    rows = [head]
    for one in facts.revisions[:5]:
        row = Row()
        row.put_right(x + 3, str(one.number), "fg")
        row.put(x + 5, numbers.moment(one.at, now), "dim")
        row.put(x + 13, one.reason, "dim", max(0, width - x - 14))
        rows.append(row)
    return rows


def help_rows(facts: FormFacts, x: int, width: int, most: int) -> list[Row]:
    """Draw the help of the field that has the focus, and the flag that it becomes."""
    one = facts.focused
    if one is None:
        return []
    chosen = "" if one.kind not in ("switch", "choice") else f" Space or {facts.glyphs.left_right} changes it."
    lines = wrap(
        f"{(one.help or one.label).rstrip('.')}.{chosen}" if chosen else one.help or one.label, max(8, width - x - 8)
    )[: max(1, most - 1)]
    rows = []
    for index, line in enumerate(lines):
        row = Row()
        if index == 0:
            row.put(x, "HELP", "dim bold")
        row.put(x + 6, line, "dim", max(0, width - x - 7))
        rows.append(row)
    names = Row()
    names.put(x + 6, f"{one.name}   {facts.flag}".rstrip(), "faint", max(0, width - x - 7))
    return [*rows, names]


def change_line(facts: FormFacts, width: int, x: int) -> Row:
    """Draw what differs from what was saved, in a line."""
    row = Row()
    at = row.put(x, "CHANGES", "dim bold") + 2
    for index, (name, *values) in enumerate(facts.changes):
        old, new = fit_change(values[0], values[1], width - at - len(name) - 14)
        words = len(name) + len(old) + len(new) + 5
        if at + words > width - 8 and index:
            row.put(at, f"{len(facts.changes) - index} more", "faint")
            break
        at = row.run(at, [(f"{name} ", "fg"), (old, "err"), (" -> ", "dim")])
        at = row.put(at, new, "ok", max(0, width - at - 1)) + 3
    return row


def change_rows(facts: FormFacts, x: int, width: int, most: int) -> list[Row]:
    """Draw what differs from what was saved, a field in each row."""
    head = Row()
    at = head.put(x, "CHANGES", "dim bold") + 4
    number = f"revision {facts.revisions[0].number}" if facts.revisions else "what is saved"
    head.put(at, f"against {number}, written when you save", "faint", max(0, width - at))
    rows = [head]
    for name, *values in facts.changes[:most]:
        row = Row()
        old, new = fit_change(values[0], values[1], width - x - 36)
        row.put(x + 2, name, "fg", 28)
        end = row.put(x + 31, old, "err", max(8, (width - x - 36) // 2))
        end = row.put(end, " -> ", "dim")
        row.put(end, new, "ok", max(0, width - end - 1))
        rows.append(row)
    if len(facts.changes) > most:
        more = Row()
        more.put(x + 2, f"{len(facts.changes) - most} more", "faint")
        rows.append(more)
    return rows


def foot_rows(facts: FormFacts, size: Size, width: int, height: int) -> list[Row]:
    """Draw below the fields what the size has room for: checks, changes, help, command."""
    if size < Size.WIDE:
        x = 2 if size >= Size.BASE else 1
        if size <= Size.COMPACT:
            return [check_line(facts, width, x)]
        lines = [check_line(facts, width, x), *_memory(facts, x, width)]
        lines += [change_line(facts, width, x)] if facts.changes and not facts.new else []
        return [*lines, *help_rows(facts, x, width, height - len(lines))]
    x = 2
    rows = [Row(), *help_rows(facts, x, width, 4)]
    if size < Size.FULL:
        rows = [Row(), check_line(facts, width, x), *_memory(facts, x, width), *rows]
    if facts.changes and not facts.new:
        rows += [Row(), *change_rows(facts, x, width, 6)]
    if facts.plan is not None and facts.plan.preview is not None:
        head = Row()
        head.put(x, "COMMAND", "dim bold")
        command = command_rows(facts.plan.preview.argv, facts.plan.preview.env, x, width)
        room = height - len(rows) - 2
        rows += [Row(), head, *command[: max(1, room)]] if room > 1 else []
        if room - len(command) > len(facts.plan.preview.notes):
            for note in facts.plan.preview.notes:
                for line in wrap(note, max(8, width - x - 4))[:2]:
                    row = Row()
                    row.put(x, line, "faint")
                    rows.append(row)
    return rows


def _memory(facts: FormFacts, x: int, width: int) -> list[Row]:
    """Draw in a line what memory it would take, where that is known."""
    fit = facts.plan.fit if facts.plan is not None else None
    return [] if fit is None else [memory_line(fit, facts.glyphs, x, width - 2)]


def side_rows(facts: FormFacts, width: int, height: int, now: float) -> list[Row]:
    """Draw the right column: checks and revisions."""
    rows = check_rows(facts, 3, width)
    revisions = revision_rows(facts, 3, width, now)
    if revisions and len(rows) + len(revisions) + 2 <= height:
        rows += [Row(), Row(), *revisions]
    rows += [Row() for _ in range(max(0, height - len(rows)))]
    for row in rows:
        row.put(0, facts.glyphs.inside, "track")
    return rows


def info_rows(facts: FormFacts, width: int, now: float) -> list[Row]:
    """Draw everything there is to know of the form: checks, changes, revisions and the command."""
    rows = [*check_rows(facts, 3, width)]
    if facts.changes and not facts.new:
        rows += [Row(), *change_rows(facts, 3, width, 40)]
    if facts.plan is not None and facts.plan.preview is not None:
        head = Row()
        head.put(3, "COMMAND", "dim bold")
        rows += [Row(), head, *command_rows(facts.plan.preview.argv, facts.plan.preview.env, 3, width)]
    revisions = revision_rows(facts, 3, width, now)
    return [*rows, Row(), *revisions] if revisions else rows
