"""The report of an import as rows: the result of each entry and each field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.tui.paint.diff import diff_rows
from vllm_studio_tui.tui.paint.ink import Ink, Row, wrap

if TYPE_CHECKING:
    from vllm_studio_tui.services.recipes.changes import FieldChange
    from vllm_studio_tui.services.recipes.importing import ImportReport


def running_rows(recipe_id: str, changes: Sequence[FieldChange], ink: Ink, width: int) -> list[Row]:
    """Draw what an engine that runs does otherwise than a recipe."""
    rows = [Row(), Row(), Row(), Row()]
    rows[1].run(2, [("- ", "err"), (recipe_id, "fg bold"), (", as it is kept", "dim")])
    rows[2].run(2, [("+ ", "ok"), ("what runs", "fg bold")])
    if not changes:
        rows[3].put(2, "It runs as the recipe says.", "dim")
    return [*rows, *diff_rows(changes, 2, width - 4)]


def report_rows(report: ImportReport, ink: Ink, width: int) -> list[Row]:
    """Draw the result of each entry and each field."""
    title = Row()
    title.put(3, "Import: what would come of it", "fg bold")
    rows = [title, Row()]
    for recipe_id in report.imported:
        row = Row()
        row.run(3, [(f"{ink.glyphs.passed} ", "ok"), (recipe_id, "fg bold")])
        rows.append(row)
        for field in report.fields:
            if field["recipe"] == recipe_id and (field["action"] != "taken" or field["why"]):
                # The user should look at a field that was taken with a remark, as at one that was dropped.
                style = "dim" if field["action"] == "changed" else "warn"
                for index, text in enumerate(wrap(field["why"], max(8, width - 44))[:3] or [""]):
                    line = Row()
                    if index == 0:
                        line.put(5, field["field"], "fg", 26)
                        line.put(32, field["action"], style, 9)
                    line.put(42, text, "dim", max(0, width - 44))
                    rows.append(line)
        for offer in report.suggestions:
            if offer["recipe"] == recipe_id:
                line = Row()
                line.put(5, offer["field"], "fg", 26)
                line.put(32, "not set", "dim", 9)
                line.put(42, f"{offer['value']} is suggested, {offer['why']}", "dim", max(0, width - 44))
                rows.append(line)
    for recipe_id in report.existing:
        row = Row()
        row.run(3, [(f"{ink.glyphs.passed} ", "dim"), (recipe_id, "fg"), ("  is there already, the very same", "dim")])
        rows.append(row)
    for failure in report.failed:
        row = Row()
        name = failure["id"] or f"entry {failure['index'] + 1}"
        row.run(3, [(f"{ink.glyphs.failed} ", "err"), (str(name), "fg bold"), ("  cannot be imported", "dim")])
        rows.append(row)
        for error in failure["errors"]:
            for index, text in enumerate(wrap(f"{error['field']}: {error['message']}", width - 8)[:3]):
                line = Row()
                line.put(5 if index == 0 else 7, text, "fg")
                rows.append(line)
    if not report.imported and not report.failed and not report.existing:
        row = Row()
        row.put(3, "There is no recipe in it.", "dim")
        rows.append(row)
    return rows
