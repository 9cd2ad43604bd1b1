"""What a screen may ask of the app that it stands in.

Screens, flows and sheets are typed against `Shell` and never import the app: the app imports them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from textual.screen import Screen
    from textual.widget import Widget
    from textual.worker import Worker

    from vllm_studio_tui.domain.errors import StudioError
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.tui.document.drawing import Drawing
    from vllm_studio_tui.tui.flows.benches import Benches
    from vllm_studio_tui.tui.flows.downloads import Downloads
    from vllm_studio_tui.tui.flows.pulls import Pulls
    from vllm_studio_tui.tui.keys.action import Action
    from vllm_studio_tui.tui.look.appearance import Looks
    from vllm_studio_tui.tui.look.sizes import Size
    from vllm_studio_tui.tui.paint.ink import Ink
    from vllm_studio_tui.tui.terminal.graphics import TerminalPictures
    from vllm_studio_tui.tui.terminal.notices import Notices
    from vllm_studio_tui.tui.terminal.profile import Profile

T = TypeVar("T")


class Shell(Protocol):
    """The app, as a screen sees it.

    Attributes:
        read_only: Actions that write are not offered.
        theme: The name of the theme that is shown.
        profile: What the terminal can do.
    """

    theme: str
    profile: Profile

    # --- what there is to show --------------------------------------------------------------------------

    @property
    def studio(self) -> StudioApi: ...
    @property
    def snapshot(self) -> Snapshot | None:
        """The latest sample; None before the first."""

    @property
    def read_only(self) -> bool: ...

    # --- how it looks -----------------------------------------------------------------------------------

    @property
    def ink(self) -> Ink: ...
    @property
    def looks(self) -> Looks: ...
    @property
    def drawing(self) -> Drawing | None:
        """What draws pictures; None: they cannot be drawn, or shall not."""

    @property
    def pictures(self) -> TerminalPictures:
        """What the terminal itself draws."""

    def write_terminal(self, sequence: str) -> bool:
        """Write a control sequence, and return whether there is a terminal."""

    @property
    def size_class(self) -> Size: ...
    def set_theme(self, name: str) -> None:
        """Show another theme."""

    def update_frame(self) -> None:
        """Draw header and footer anew, where they have changed."""

    # --- screens and keys -------------------------------------------------------------------------------

    @property
    def place_name(self) -> str:
        """The name of the screen in front."""

    @property
    def tab_name(self) -> str:
        """The name of the screen in front, or of the one that a page stands over."""

    @property
    def label(self) -> str:
        """A word for the header, such as SIMULATED; empty for none."""

    @property
    def without_tab(self) -> Collection[str]:
        """The screens that the header names only while they are in front."""

    def show_tab(self, name: str, *, shown: bool) -> None:
        """Have the header name a screen always, or only while it is in front."""

    @property
    def can_become(self) -> bool:
        """Whether this program can become that of another host."""

    def become(self, host: str) -> None:
        """Leave, and be opened again on a host of the settings; with an empty name on this machine."""

    @property
    def focused(self) -> Widget | None: ...
    async def show_place(self, name: str) -> Widget:
        """Bring a screen to the front; made when it is first needed."""

    def open_run(self, run_id: str) -> None:
        """Open the page of a run over the screen in front; escape there goes back to where one was."""

    def open_page(self, name: str, item: str) -> None:
        """Open another page over the screen in front, likewise.

        Args:
            item: What it shows, in words of its own.
        """

    def close_page(self) -> None:
        """Go back from a page to the screen under it, with the focus where it was."""

    def recipes_changed(self) -> None:
        """Have the screen in front read again: recipes or chats were changed from outside of it."""

    def keys_of(self, action_id: str) -> str:
        """The keys of an action as they are now, with commas between them."""

    def active_actions(self) -> list[tuple[Action, str]]:
        """The actions that can be done here and now, with their keys, those of the focused widget first."""

    # --- work and questions -----------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any] | Awaitable[Any], *, group: str = "commands") -> Worker[Any]:
        """Do something that takes time. An error is shown, and ends nothing else."""

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work away from the event loop."""

    async def ask(self, sheet: Screen[Any]) -> Any:
        """Show a sheet and wait for its result; from within `spawn`."""

    def push_screen(self, screen: Screen[Any], callback: Callable[[Any], None] | None = None) -> Any:
        """Show a sheet now; its result goes to the callback."""

    @property
    def downloads(self) -> Downloads:
        """What this program downloads itself; a line above the footer shows it on every screen."""

    @property
    def pulls(self) -> Pulls:
        """What comes from the hub, each in a process of its own."""

    @property
    def benches(self) -> Benches:
        """The benchmark that is made now, in a process of its own."""

    # --- telling the person -----------------------------------------------------------------------------

    @property
    def notices(self) -> Notices:
        """What tells a person who looks elsewhere."""

    def tell(self, text: str, severity: str = "information", until: Callable[[Snapshot], bool] | None = None) -> None:
        """Show a message at the bottom right. `severity` is Textual's; an error stays until it was read.

        Args:
            until: Of a sample: whether what the message says is past; it goes away then.
        """

    def tell_error(self, error: StudioError) -> None: ...
    def copy(self, text: str) -> None:
        """Copy through the terminal, and to a file."""

    def suspend(self) -> AbstractContextManager[None]:
        """Give the terminal back, to an editor."""
