"""The answer to why a run was slow: asked in a thread for the moment that is looked at, and what is done with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.moments import write_range

if TYPE_CHECKING:
    from vllm_studio_tui.domain.why import Why
    from vllm_studio_tui.services.recipes.changes import Proposal
    from vllm_studio_tui.tui.shell import Shell

#: Seconds by which the moment may move until it is asked about again, while the box follows the present.
AGAIN = 10.0


class WhyBox:
    """What the box shows.

    Args:
        changed: Called when there is an answer.

    Attributes:
        run_id: The run that is asked about; empty: the box is closed.
        why: The answer; None: there is none yet.
    """

    def __init__(self, shell: Shell, changed: Callable[[], None]) -> None:
        self._shell = shell
        self._changed = changed
        self.run_id = ""
        self.name = ""
        self.at = 0.0
        self._present = False
        self.why: Why | None = None
        self._asked: tuple[str, float] | None = None

    @property
    def open(self) -> bool:
        return bool(self.run_id)

    def close(self) -> None:
        self.run_id, self.why, self._asked = "", None, None

    def ask(self, run_id: str, name: str, at: float | None, now: float) -> None:
        """Have the box show why a run was slow.

        Args:
            at: The moment; None: the present.
        """
        moment = now if at is None else at
        if run_id != self.run_id:
            self.why = None
        self.run_id, self.name, self._present = run_id, name, at is None
        last = self._asked
        near = AGAIN if at is None else 0.5
        if last is not None and last[0] == run_id and abs(last[1] - moment) < near:
            return
        self._asked, self.at = (run_id, moment), moment
        self._shell.spawn(self._look(run_id, at, moment), group="why")

    async def _look(self, run_id: str, at: float | None, moment: float) -> None:
        found = await self._shell.in_thread(lambda: self._shell.studio.why.slow(run_id, at))
        if self._asked != (run_id, moment):
            return  # another moment is asked about by now
        self.why = found
        if found is None:
            self.close()
            self._shell.tell("Nothing is known of this run any more.", "warning")
        self._changed()

    @property
    def before(self) -> tuple[float, float] | None:
        """Return the time that the answer compares with."""
        return self.why.against if self.why is not None and self.open else None

    def keys(self, key_of: Callable[[str], str]) -> list[tuple[str, str, str]]:
        """Return what can be done from the box: key, words, and words that may be left out.

        Args:
            key_of: Returns the key of an action of the monitor as it is drawn; empty: it has none.
        """
        why = self.why
        if why is None:
            return []
        offered = []
        if why.changes:
            words = why.change_words or ", ".join(why.changes)
            offered.append((key_of("fix"), words, "(shows the change)"))
        if self.has_requests:
            offered.append((key_of("open"), f"the {some_requests(why.requests)}" if why.requests else "requests", ""))
        if why.key:
            offered.append((key_of("limit"), f"limit {why.key} to {why.key_limit} at once", "(shows the change)"))
        offered.append((key_of("pin"), "pin this moment", ""))
        return [one for one in offered if one[0]]

    @property
    def has_requests(self) -> bool:
        """Whether there are requests of that time: on record, or perhaps under way."""
        why = self.why
        return why is not None and self.open and (why.requests > 0 or (why.slow and self._present))

    def requests(self, now: float) -> str:
        """Return the filter of the requests screen for the run and the time that are explained."""
        why = self.why
        return f"{write_range(why.since, why.until, now)} {why.run_id}" if why is not None else ""


def some_requests(number: int) -> str:
    return f"{number} request" if number == 1 else f"{number} requests"


async def show_requests(shell: Shell, filter_: str) -> None:
    """Open the requests screen on those that a filter leaves. From within `spawn`."""
    place: Any = await shell.show_place("requests")
    place.show_asked(filter_)


async def show_change(shell: Shell, why: Why, recipe_id: str) -> None:
    """Show the change that would have helped as a diff; save it where that is agreed to. From within `spawn`."""
    from vllm_studio_tui.tui.flows.changes import propose

    try:
        proposal = await shell.in_thread(lambda: _proposal(shell, why, recipe_id))
    except StudioError as error:
        shell.tell_error(error)
        return
    if proposal is None:
        shell.tell("The recipe has this change by now, or does not take it.")
        return
    await propose(shell, [proposal])


def _proposal(shell: Shell, why: Why, recipe_id: str) -> Proposal | None:
    from pydantic import ValidationError

    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.services.recipes.changes import Proposal

    stored = shell.studio.recipes.get(recipe_id)
    try:
        after = Recipe.model_validate({**stored.model_dump(), **why.changes})
    except ValidationError:
        return None
    title = why.change_words or "a change against slowness"
    return None if after == stored else Proposal(stored, after, title, (why.title,), f"slow: {why.rule}")
