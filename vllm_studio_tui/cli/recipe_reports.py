"""What an import of recipes came to, in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_studio_tui.cli.output import note, say
from vllm_studio_tui.cli.recipe_history import show_change

if TYPE_CHECKING:
    from vllm_studio_tui.services.recipes.importing import ImportReport


def show_report(report: ImportReport, *, dry_run: bool) -> None:
    """Print the outcome for every recipe and every field that is not simply taken."""
    for one in report.existing:
        say(f"{one} is there already, the very same: nothing to do")
    for one in report.imported:
        verb = "would replace" if one in report.replaced else "would import"
        done = "replaced" if one in report.replaced else "imported"
        say(f"{verb if dry_run else done} {one}")
        if one in report.changes:
            show_change(report.changes[one])
        for changed in report.fields:
            if changed["recipe"] == one and (changed["action"] != "taken" or changed["why"]):
                why = f", {changed['why']}" if changed["why"] else ""
                say(f"  {changed['field']}: {changed['action']}{why}")
        for offer in report.suggestions:
            if offer["recipe"] == one:
                say(f"  {offer['field']}: {value_words(offer['value'])} is suggested, {offer['why']}")
    if report.suggestions:
        say("take what is suggested: import again with --suggested, or vllm-studio recipes edit ID --suggested")
    if report.kept_both:
        say("to replace instead of keeping both: import again with --replace")
    if report.alike is not None:
        say(f"{report.alike} is for the same model: --against {report.alike} says what differs")
    for failed in report.failed:
        note(f"{failed['source']}, entry {failed['index']} ({failed['id'] or 'no id'}) is not a valid recipe:")
        for wrong in failed["errors"]:
            note(f"  {wrong['field']}: {wrong['message']}")


def value_words(value: Any) -> str:
    """Return a value as YAML writes it."""
    return "true" if value is True else str(value)
