"""What the monitor asks on the way: the note of a pin, and what a new alert is for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.alerts.subjects import SUBJECTS
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Prompt

if TYPE_CHECKING:
    from vllm_studio_tui.domain.timeline import Pin
    from vllm_studio_tui.tui.shell import Shell

#: A limit as people write it: `> 95% for 30 s`, `below 20 GiB`, `2 s`.
_LIMIT = re.compile(
    r"(>|<|over|above|below|under)?\s*([^<>]+?)(?:\s+for\s+(\d+(?:\.\d+)?)\s*(s|min|m|h)?)?", re.IGNORECASE
)
_TIMES = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BELOW = frozenset({"<", "below", "under"})
#: What is offered of each unit before somebody types.
_OFFERED = {
    "share": "> 95% for 30 s", "seconds": "> 2 s for 30 s", "requests": "> 8 for 30 s", "tok/s": "< 10 for 60 s",
    "bytes": "< 20 GiB for 30 s", "C": "> 85 for 60 s", "W": "> 650 for 60 s", "percent": "> 95 for 60 s",
}  # fmt: skip


async def pin(shell: Shell, at: float, here: Pin | None) -> bool:
    """Pin a moment with a note, or take the pin away that is there; return whether something changed."""
    timeline = shell.studio.timeline
    if here is not None:
        await shell.in_thread(lambda: timeline.unpin(here.id))
        shell.tell(f"The pin at {numbers.moment(here.at)} is gone.")
        return True
    note = await shell.ask(Prompt(f"Pin {numbers.moment(at)}", note="a note, or nothing"))
    if note is None:
        return False
    words = str(note).strip()
    await shell.in_thread(lambda: timeline.pin(at, words))
    shell.tell(f"{numbers.moment(at)} is pinned{': ' + words if words else ''}.")
    return True


def limit_of(text: str) -> dict[str, Any] | None:
    """Return the fields of an alert that a limit means; None where it cannot be read."""
    found = _LIMIT.fullmatch(text.strip())
    if found is None:
        return None
    way, limit, number, unit = found.groups()
    fields: dict[str, Any] = {"below" if (way or "").lower() in _BELOW else "above": limit.strip()}
    if number:
        fields["for"] = float(number) * _TIMES[(unit or "s").lower()]
    return fields


async def new_alert(shell: Shell) -> bool:
    """Ask what an alert is for and keep it; return whether there is a new one."""
    choices = [
        Choice(name, subject.title, "happens" if subject.happens else subject.unit)
        for name, subject in SUBJECTS.items()
    ]
    what = await shell.ask(Chooser(choices, title="new alert: what to look at"))
    if what is None:
        return False
    subject = SUBJECTS[str(what)]
    text, wrong = _OFFERED.get(subject.unit, "> 0"), ""
    while True:
        fields: dict[str, Any] = {}
        if not subject.happens:
            given = await shell.ask(
                Prompt(f"Tell when {subject.title} is", text, note="> or <, a limit, for how long", wrong=wrong)
            )
            if given is None:
                return False
            text = str(given)
            limit = limit_of(text)
            if limit is None:
                wrong = "write it as > 95% for 30 s"
                continue
            fields = dict(limit)
        name = re.sub(r"[^a-z0-9]+", "-", f"{what} {'' if subject.happens else text}".lower()).strip("-")[:40]
        try:
            rule = await shell.in_thread(
                lambda name=name, fields=fields: shell.studio.alerts.add(name, {"what": what, **fields})  # type: ignore[misc]
            )
        except StudioError as error:
            if subject.happens:
                shell.tell_error(error)
                return False
            wrong = error.cause or error.title
            continue
        shell.tell(f"Alert {rule.name}: {rule.words or subject.title}. It counts from the next start of the studio.")
        return True
