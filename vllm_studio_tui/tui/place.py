"""What every screen has: its canvas, its keys, and that it does nothing while it is hidden."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.containers import Container
from textual.css.query import NoMatches
from textual.screen import Screen

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from textual.widget import Widget

    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.tui.flows.commands import Commands
    from vllm_studio_tui.tui.keys.action import Action
    from vllm_studio_tui.tui.look.sizes import Size
    from vllm_studio_tui.tui.paint.ink import Ink
    from vllm_studio_tui.tui.shell import Shell


#: Actions that the footer names only where the run answers; they work before.
ANSWERED = frozenset({"dashboard.chat", "recipes.chat", "run.chat", "run.copy-url", "run.copy-as"})


class Ground(Screen[None], inherit_bindings=False):
    """What the page stands on. It has no keys of its own: those are declared with all others."""


class Place(Container):
    """The widget of a screen: one area of the page, made when the screen is first shown and hidden by `display`.

    Textual's own `Screen` is something else: it covers the whole terminal. `update_place` is called when the screen is
    shown and after every sample while it is; a hidden one gets no calls, so it does nothing.

    Attributes:
        SCOPE: The scope of its actions, see `keys.action`.
    """

    SCOPE: ClassVar[str] = ""
    DEFAULT_CSS = "Place { height: 1fr; width: 1fr; }"

    @property
    def shell(self) -> Shell:
        """The app, as far as a screen may use it."""
        return cast("Shell", self.app)

    @cached_property
    def commands(self) -> Commands:
        """What is done with runs and recipes, with questions on the way."""
        from vllm_studio_tui.tui.flows.commands import Commands  # it needs dialogs, the first picture none

        return Commands(self.shell)

    @property
    def studio(self) -> StudioApi:
        return self.shell.studio

    @property
    def snapshot(self) -> Snapshot | None:
        return self.shell.snapshot

    @property
    def ink(self) -> Ink:
        return self.shell.ink

    def get_ink(self) -> Ink:
        return self.shell.ink

    @property
    def size_class(self) -> Size:
        return self.shell.size_class

    def update_place(self) -> None:
        """Draw what may have changed."""
        for canvas in self.query(Canvas):
            canvas.repaint()

    def shown(self) -> None:
        """The screen is in front now."""
        self.focus_first()
        self.update_place()

    def hidden(self) -> None:
        """Another screen is in front now."""

    async def leaving(self) -> None:
        """The app is about to end: keep what a person would miss."""

    def focus_first(self) -> None:
        for widget in self.query("*"):
            if widget.focusable:
                widget.focus()
                return

    @property
    def foot(self) -> int:
        """Rows at the bottom that a message must not cover."""
        return 0

    def read_again(self) -> None:
        """Read again what is shown: other programs may have changed it."""
        self.update_place()

    def parts(self) -> list[Widget]:
        """The parts that take keys, in the order of tab."""
        return [widget for widget in self.screen.focus_chain if self in widget.ancestors]

    def next_part(self, step: int) -> None:
        """Go to another part of this screen."""
        parts = self.parts()
        if len(parts) < 2:
            self.shell.tell("This screen is one part.")
            return
        at = next((index for index, part in enumerate(parts) if part.has_focus), -step)
        parts[(at + step) % len(parts)].focus()

    def escape_word(self) -> str:
        """What `escape` would do now, in a word or two for the footer; empty where that is not worth a word."""
        return ""

    def part_word(self, step: int) -> str:
        """Where `next_part` would lead, in a word for the footer; empty where there is no other part."""
        return ""

    def chosen_run(self) -> RunView | None:
        """Return the run that keys are for now; None for none."""
        return None

    def chosen_recipe(self) -> str | None:
        """Return the recipe that keys are for now: that of the run; None for none."""
        run = self.chosen_run()
        return run.recipe_id if run is not None else None

    def action_bench(self) -> None:
        """Open the set-up of a benchmark, on the screens that have this key."""
        if (recipe_id := self.chosen_recipe()) is not None:
            from vllm_studio_tui.tui.flows.benching import set_up

            set_up(self.shell, recipe_id)

    def kept(self, action_id: str) -> bool:
        """Whether the footer keeps the key of a way out of here at every width."""
        return True

    def labelled(self, action: Action) -> Action:
        """Return an action with the word for the footer that is true now."""
        run = self.chosen_run() if action.id in ANSWERED else None
        if run is not None and run.state is not State.READY:
            return replace(action, label="")  # a question would wait, a program be refused
        if action.id == "app.back":
            word = self.escape_word()
        elif action.id in ("app.next-part", "app.previous-part"):
            word = self.part_word(1 if action.id == "app.next-part" else -1)
        else:
            return action
        return replace(action, label=word, kept=bool(word) and self.kept(action.id))

    def escape(self) -> bool:
        """Close or clear something of this screen; False when there is nothing to."""
        return False

    def possible(self, name: str) -> bool:
        """Whether an action of this screen can be done now."""
        return True

    def why_not(self, name: str) -> bool:
        """Say why an action of this screen cannot be done now; False where its key says all that there is to say."""
        return False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        known = actions.BY_ID.get(f"{self.SCOPE}.{action.replace('_', '-')}")
        if known is None:
            return super().check_action(action, parameters)
        if known.writes and self.shell.read_only:
            return False
        return self.possible(known.name)

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()
        from vllm_studio_tui.tui.flows.palette import click

        click(self.shell, event.action, self)

    def one(self, selector: str) -> Any:
        """A widget of this screen, or None."""
        try:
            return self.query_one(selector)
        except NoMatches:
            return None


class Page(Place):
    """A place that opens over a screen to show one item, and goes back to it."""

    @abstractmethod
    def open_item(self, item: str) -> None:
        """Show this item; called before the page is brought to the front."""


@dataclass(frozen=True, slots=True)
class Underneath:
    """Where a page was opened: the screen, and what had the focus there."""

    place_name: str
    focused: Widget | None
