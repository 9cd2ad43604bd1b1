"""Calls of tools that wait for a person: who is told, what is answered, and for how long that holds."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.tools import (
    CallAsked,
    CallBegan,
    CallEnded,
    Decision,
    RoundBegan,
    RoundEnded,
    ToolEvent,
    ToolsAwaited,
)
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.chat.answers import RunningAnswer
from vllm_studio_tui.services.chat.calls import CallState
from vllm_studio_tui.services.tools.patterns import patterns_for
from vllm_studio_tui.tui.document.tool_card import arguments_of
from vllm_studio_tui.tui.screens.chat.call_cards import STARTLED
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.sheets.call import CallSheet
from vllm_studio_tui.tui.sheets.dialogs import Option, Question, Writing

RoundEvent = RoundEnded | CallAsked | CallBegan | CallEnded | RoundBegan
#: What stands in an empty prompt while a call waits.
WAITS = "The call above waits for your answer; esc denies it"


class Consent:
    """Shows rounds of calls as they come, and passes on what the person says to one."""

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._state = screen.state
        self._told: set[tuple[str, str]] = set()
        self._borrowed = False  # the focus came from the prompt, and goes back there

    # --- what comes -------------------------------------------------------------------------------------

    def take(self, running: RunningAnswer, event: ToolEvent) -> None:
        """Show an event of a round of calls; the answer has taken it already."""
        screen = self._screen
        if isinstance(event, ToolsAwaited):
            self._tell_missing(event, running.session_id)
            screen.update_place()
            return
        shown = self._state.shown.id == running.session_id
        if shown:
            self._show(running, event)
        if isinstance(event, CallAsked):
            self._asked(event, running.session_id, shown=shown)
        if not isinstance(event, CallBegan | CallEnded):  # those are drawn with the cards, as there may be many
            screen.update_place()
            screen.shell.update_frame()

    def _tell_missing(self, event: ToolsAwaited, session_id: str) -> None:
        """Say once for each chat that a server has no tools for it, and why."""
        for name, error in event.missing.items():
            if (session_id, name) not in self._told:
                self._told.add((session_id, name))
                self._screen.shell.tell(f"Asked without the tools of {name}: {error.title}. {error.advice}", "warning")

    def _show(self, running: RunningAnswer, event: RoundEvent) -> None:
        document = self._screen.document
        if isinstance(event, RoundEnded):
            document.show_calls(running, event.message_id)
        elif isinstance(event, RoundBegan):
            document.show_further(running, event.message_id)
            self.settle()
        elif (state := running.calls.get(event.call.id)) is not None:
            document.call_changed(state)
            if isinstance(event, CallEnded):
                self.settle()

    def _asked(self, event: CallAsked, session_id: str, *, shown: bool) -> None:
        """Let the keys be for the call, where the prompt holds no words; say elsewhere that it waits."""
        shell, prompt = self._screen.shell, self._screen.prompt
        name = clean_line(event.tool.title or event.tool.name, limit=60)
        in_front = shown and shell.place_name == "chat"
        shell.notices.asked(name)
        if not in_front:
            title = next((one.title for one in self._state.listed if one.id == session_id), "")
            where = f" in the chat {clean_line(title, limit=40)}" if title else " in a chat"
            shell.tell(f"{name} wants to run{where}: it waits for you.", "warning")
        elif shell.focused is prompt and not prompt.text.strip():
            self._borrowed = True
            self._screen.document.face_call(calling=True)
            self._screen.document.focus()

    def settle(self) -> None:
        """Where no call waits any more in the chat that is shown, the prompt has the focus again if it had it."""
        screen = self._screen
        if self.waiting is not None or not self._borrowed:
            return
        self._borrowed = False
        if screen.shell.focused is screen.document:
            screen.document.leave_cursor()  # it came with the focus: else the figures of this round would stay
            screen.prompt.focus()

    @property
    def waiting(self) -> CallState | None:
        """The call that waits in the chat that is shown, and is answered first."""
        running = self._screen.running
        return next(iter(running.calls.waiting), None) if running is not None else None

    # --- what is answered -------------------------------------------------------------------------------

    def answer(self, name: str, state: CallState) -> None:
        """Do what a key on a card asks for."""
        spawn = self._screen.shell.spawn
        if name == "allow":
            spawn(self.decide(state, Decision.ONCE))
        elif name == "deny":
            spawn(self.decide(state, Decision.DENY))
        elif name == "allow-longer":
            spawn(self._allow_longer(state))
        elif name == "edit-arguments":
            spawn(self._edit(state))
        else:
            spawn(self._screen.shell.ask(CallSheet(self._screen.document.calls, state)))

    def deny(self) -> None:
        """Deny the call that waits, unless it has just appeared."""
        state = self.waiting
        if state is not None and time.monotonic() - state.since >= STARTLED:
            self._screen.shell.spawn(self.decide(state, Decision.DENY))

    async def decide(self, state: CallState, decision: Decision, pattern: Mapping[str, str] | None = None) -> bool:
        """Decide a call; False where it does not wait any more."""
        changed: Mapping[str, Any] | None = None if state.changed is None else arguments_of(state.changed)
        service = await self._screen.service()
        if not service.decide(state.call.id, decision, changed, pattern):
            return False
        state.decide(decision)
        self._screen.document.call_changed(state)
        self.settle()
        self._screen.update_place()
        return True

    async def _allow_longer(self, state: CallState) -> None:
        """Ask for how long a call is allowed; escape allows nothing."""
        tool, shell = state.tool, self._screen.shell
        if tool is None:
            return
        title = clean_line(tool.title or tool.name, limit=60)
        patterns = patterns_for(arguments_of(state.arguments) or {})
        options = [Option("c", f"{title} in this chat, whatever its arguments")]
        options += [Option(str(at + 1), f"always {title} {words}") for at, (words, _) in enumerate(patterns)]
        options.append(Option("w", f"always {title}, whatever its arguments"))
        chosen = await shell.ask(
            Question(
                f"Allow {title} of {clean_line(tool.server, limit=40)} for longer?",
                "This call is allowed with it. `vllm-studio mcp consents` lists what you allowed, and takes it back.",
                options,
                "allow nothing",
            )
        )
        if chosen is None or state.state != "waiting":
            return
        if chosen in ("c", "w"):
            await self.decide(state, Decision.CHAT if chosen == "c" else Decision.ALWAYS)
            return
        await self.decide(state, Decision.ALWAYS, patterns[int(chosen) - 1][1])

    async def _edit(self, state: CallState) -> None:
        """Let the person write other arguments. The call still waits: what is allowed is what is seen then."""
        given = arguments_of(state.arguments)
        text = state.arguments if given is None else json.dumps(given, indent=2, ensure_ascii=False)
        title = clean_line(state.server_and_title[1], limit=60)
        note = "a JSON object; it still waits for you afterwards"
        while True:
            written = await self._screen.shell.ask(Writing(f"Arguments of {title}", text, note))
            if written is None or state.state != "waiting":
                return
            found = arguments_of(written)
            if found is not None:
                break
            text, note = written, "That is no JSON object: { to }, names and texts in double quotes."
        same = found == arguments_of(state.call.arguments)
        state.changed = None if same else json.dumps(found, ensure_ascii=False)
        self._screen.document.call_changed(state)
