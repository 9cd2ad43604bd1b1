"""An app that does work in the background, asks on the way, and tells what became of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from textual.app import App
from textual.css.query import NoMatches
from textual.notifications import Notify
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets._toast import ToastRack
from textual.worker import Worker, WorkerFailed, WorkerState
from textual.worker_manager import WorkerManager

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.sanitize import clean
from vllm_studio_tui.tui.paint.ink import in_ascii
from vllm_studio_tui.tui.terminal.deferred import still_there
from vllm_studio_tui.tui.terminal.faults import Faults

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Snapshot

T = TypeVar("T")
#: Seconds for which a message is part of what leads to another screen, and is shown there.
JUST_NOW = 0.5
#: Seconds that an error stands at least, and the letters that are read in a second more.
READ, LETTERS = 4.0, 20


class Workers(WorkerManager):
    """Tells of work that failed, whoever began it: Textual tells the widget alone that did."""

    _app: BackgroundApp

    def _remove_worker(self, worker: Worker[Any]) -> None:
        super()._remove_worker(worker)
        if worker.state is WorkerState.ERROR and worker.error is not None and not worker.exit_on_error:
            node = worker.node
            gone = not still_there(node) if isinstance(node, Widget) else self._app._exit
            if not (gone and isinstance(worker.error, NoMatches)):  # what it was for has lost its parts by then
                self._app.tell_failed(worker.error)


class BackgroundApp(App[int], inherit_bindings=False):
    """What a screen may ask of any app: work, questions, messages; and how it ends by a fault. See `Shell`.

    Attributes:
        faults: The faults of this session, each with its report.
        painted: There was a picture.
        refusal: Why there was none, where that is no fault of ours: the studio that is shown does not answer.
    """

    SUSPENDED_SCREEN_CLASS = "-suspended"
    faults: Faults
    painted = False
    refusal: StudioError | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._workers = Workers(self)
        self._told_at: dict[str, float] = {}
        #: Messages that may be overtaken, each with what tells that of a sample.
        self._told_until: dict[str, Callable[[Snapshot], bool]] = {}

    def spawn(self, work: Coroutine[Any, Any, Any] | Awaitable[Any], *, group: str = "commands") -> Worker[Any]:
        """Do something that takes time. An error is shown, and ends nothing else.

        Args:
            group: `commands` is what a person asked for. Whatever else fails while a studio elsewhere does not answer
                is not told: the header says so, and each further try would say it again.
        """

        async def guarded() -> Any:
            try:
                return await work
            except StudioError as error:
                if group == "commands" or not self.unheard:
                    self.tell_error(error)
                return None

        worker = self.run_worker(guarded, group=group, exit_on_error=False)
        if isinstance(work, Coroutine) and worker._task is not None:
            # As the app closes it ends what has not begun: the work was never awaited, which Python would report.
            worker._task.add_done_callback(lambda _: work.close())
        return worker

    @property
    def unheard(self) -> bool:
        """Whether the studio is elsewhere and does not answer, which the header says."""
        return False

    def tell_failed(self, error: BaseException) -> None:
        """Say that work in the background failed: an error of the studio in its words, any other as a fault of ours."""
        if isinstance(error, StudioError):
            if not self.unheard or len(self.screen_stack) > 1:  # who opened a dialog waits for what it is to show
                self.tell_error(error)
        elif self.is_running:
            logging.getLogger(__name__).error("a command failed", exc_info=error)
            self.tell_fault("This failed inside the studio", error)

    # --- faults -----------------------------------------------------------------------------------------

    def fault_facts(self) -> dict[str, object]:
        """Return what a report of a fault says about the app."""
        dialogs = [type(screen).__name__ for screen in self.screen_stack[1:]] if self._screen_stacks else []
        return {"size": f"{self.size.width}x{self.size.height}", "theme": self.theme, "dialogs": dialogs}

    def report_fault(self, error: BaseException) -> str:
        """Write a report of an error, once for each place of the code; return where it lies."""
        return self.faults.report(error, self.fault_facts())

    def tell_fault(self, what: str, error: BaseException) -> None:
        """Say that something failed for a reason that is ours, and where the report lies."""
        self.tell(f"{what}: {self.faults.words(error)}\nReport: {self.report_fault(error)}", "error")

    def _handle_exception(self, error: Exception) -> None:
        """End the app after an error that nothing caught: Textual would print its traceback with all variables."""
        cause = error.error if isinstance(error, WorkerFailed) else error
        if self._exit and isinstance(cause, NoMatches):
            return  # once the app is to end Textual makes no parts: a widget that was being made misses its own
        self._return_code = 1
        if isinstance(cause, StudioError) and not self.painted:
            self.refusal = self.refusal or cause
        else:
            self.faults.end(cause, self.fault_facts())
        if self._exception is None:  # for tests, which see the error itself
            self._exception = error
            self._exception_event.set()
        self._close_messages_no_wait()

    def panic(self, *renderables: object) -> None:
        """End the app; Textual calls this where it has a picture of an error instead of the error."""
        self._handle_exception(RuntimeError("Textual met an error of its own"))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work away from the event loop."""
        return await asyncio.to_thread(work)

    async def ask(self, sheet: Screen[Any]) -> Any:
        """Show a sheet and wait for its result; from within `spawn`."""
        return await self.push_screen_wait(sheet)

    def tell(self, text: str, severity: str = "information", until: Callable[[Snapshot], bool] | None = None) -> None:
        """Show a message at the bottom right; an error until it was read, others for a moment, or until past."""
        kind: Any = severity
        words = in_ascii(clean(text, limit=600))
        self.notify(words, severity=kind, timeout=3600 if severity == "error" else 4, markup=False)
        if until is not None:
            self._told_until[words] = until

    def drop_past(self, snapshot: Snapshot) -> None:
        """Take away what was told and is no longer so."""
        shown = {told.message for told in self._notifications}
        past = {words for words, until in self._told_until.items() if words in shown and until(snapshot)}
        if not past:
            return
        for words in past:
            del self._told_until[words]
        for told in [told for told in self._notifications if told.message in past]:
            self._unnotify(told, refresh=False)
        self._refresh_notifications()

    def on_notify(self, event: Notify) -> None:
        """Before a message is shown: said again, it stands once."""
        self._told_at[event.notification.identity] = time.monotonic()
        for told in [told for told in self._notifications if told.message == event.notification.message]:
            self._unnotify(told, refresh=False)
        self.lift_told()

    def tell_error(self, error: StudioError) -> None:
        """Show an error; one that is shown already is not shown twice."""
        words = "\n".join(part for part in (error.title, error.cause, error.advice) if part)
        if in_ascii(clean(words, limit=600)) not in {told.message for told in self._notifications}:
            self.tell(words, "error")

    def drop_read(self) -> None:
        """Take away the errors that stood for as long as it takes to read them: the person does something else now."""
        now = time.monotonic()
        read = [
            told
            for told in self._notifications
            if told.severity == "error"
            and now - self._told_at.get(told.identity, now) >= READ + len(told.message) / LETTERS
        ]
        for told in read:
            self._unnotify(told, refresh=False)
        if read:
            self._refresh_notifications()

    def drop_told(self) -> None:
        """Take away what was told on the screen that is left; errors stay, and so does what was said just now."""
        now = time.monotonic()
        for told in list(self._notifications):
            if told.severity != "error" and now - self._told_at.get(told.identity, 0.0) >= JUST_NOW:
                self._unnotify(told, refresh=False)
        shown = {told.identity for told in self._notifications}
        self._told_at = {identity: at for identity, at in self._told_at.items() if identity in shown}
        words = {told.message for told in self._notifications}
        self._told_until = {one: until for one, until in self._told_until.items() if one in words}
        self._refresh_notifications()

    @property
    def foot_rows(self) -> int:
        """Rows above the footer that a message must not cover."""
        return 0

    def lift_told(self) -> None:
        """Show messages above the footer, and above the foot of the screen."""
        if not self.screen_stack:
            return  # something was said on its way out
        for rack in self.screen_stack[0].query(ToastRack):
            rack.styles.margin = (0, 0, 1 + self.foot_rows, 0)
