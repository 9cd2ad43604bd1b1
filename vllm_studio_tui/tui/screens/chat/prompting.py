"""What the prompt takes besides questions: commands, completion, pasted texts, lines for the shell, the stash."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from textual.worker import Worker

from vllm_studio_tui.domain.draft import Draft
from vllm_studio_tui.kit.sanitize import clean, clean_line
from vllm_studio_tui.kit.shell_line import SECONDS, run_line
from vllm_studio_tui.services.chat.attachments import reading
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.keys.actions import key_text
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.screens.chat import slash
from vllm_studio_tui.tui.screens.chat.chips import ChipRow, Chips, ChipScreen
from vllm_studio_tui.tui.screens.chat.completion import Completion, quoted
from vllm_studio_tui.tui.screens.chat.completion_list import CompletionList
from vllm_studio_tui.tui.screens.chat.library import LibraryFlows
from vllm_studio_tui.tui.screens.chat.opening import ChatOpening
from vllm_studio_tui.tui.screens.chat.prompt import PromptArea
from vllm_studio_tui.tui.screens.chat.shaping import Shaping
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Question
from vllm_studio_tui.tui.widgets.canvas import Canvas

#: A pasted text of more lines or letters goes with the question, as a file does.
LINES, LETTERS = 40, 4000


class ChatPrompting(ChatOpening):
    """The prompt of the chat screen."""

    _line: Worker[Any] | None = None

    @property
    def _screen(self) -> slash.PromptScreen:
        return cast("slash.PromptScreen", self)

    @property
    def widget(self) -> ChatPrompting:
        return self

    @cached_property
    def shaping(self) -> Shaping:
        return Shaping(self._screen)

    @cached_property
    def library(self) -> LibraryFlows:
        return LibraryFlows(self._screen)

    # --- the list over the prompt -----------------------------------------------------------------------

    def make_completion(self) -> CompletionList:
        """Make the list; it is shown while something is begun."""
        completion = Completion(
            lambda: slash.offered(read_only=self.shell.read_only),
            lambda: self.studio.library.list(),
        )
        return CompletionList(completion, self.get_ink, id="chat-complete")

    @property
    def completions(self) -> CompletionList:
        return self.query_one("#chat-complete", CompletionList)

    def on_prompt_area_started(self, event: PromptArea.Started) -> None:
        event.stop()
        begun = event.begun
        if begun is not None and begun.kind in "/!=" and self._screen.state.editing is not None:
            begun = None  # an edited question is sent as it is
        self.completions.look(begun)

    def on_completion_list_turned(self, event: CompletionList.Turned) -> None:
        event.stop()
        self.shell.update_frame()
        self.call_after_refresh(self._screen.document.redraw)

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        if event.action.startswith("offer:"):
            event.stop()
            self.completions.take_at(int(event.action.removeprefix("offer:")))
        elif event.action.startswith("chip:"):
            event.stop()
            self.chip_row.stand_on(int(event.action.removeprefix("chip:")))
            self.chip_row.focus()
        else:
            super().on_canvas_clicked(event)

    def part_word(self, step: int) -> str:
        listed = self.one("#chat-complete")
        return "" if listed is not None and listed.is_open else super().part_word(step)  # tab takes it

    def on_completion_list_taken(self, event: CompletionList.Taken) -> None:
        event.stop()
        begun, offer, prompt = event.begun, event.offer, self._screen.prompt
        if begun.kind == "@":
            prompt.take_word(begun, f"@{quoted(offer.value)}{'' if offer.goes_on else ' '}")
        elif begun.kind == "#":
            kind, _, name = offer.value.partition(":")
            prompt.take_word(begun, "")
            self.shell.spawn(self.library.use(kind, name))
        elif event.run and not offer.goes_on:
            prompt.set_text("")
            self._command(f"/{begun.command} {offer.value}" if begun.kind == "=" else f"/{offer.value}")
        elif begun.kind == "=":
            prompt.take_word(begun, offer.value if offer.value.endswith("/") else f"{offer.value} ")
        else:
            prompt.take_word(begun, f"/{offer.value} ")

    # --- what goes with it ------------------------------------------------------------------------------

    @cached_property
    def chips(self) -> Chips:
        return Chips(cast("ChipScreen", self))

    @property
    def chip_row(self) -> ChipRow:
        return self.query_one("#chat-chips", ChipRow)

    def on_prompt_area_backed(self, event: PromptArea.Backed) -> None:
        event.stop()
        if self.chip_row.display:
            self.chip_row.stand_on(-1)
            self.chip_row.focus()

    # --- what is sent -----------------------------------------------------------------------------------

    def on_prompt_area_paged(self, event: PromptArea.Paged) -> None:
        event.stop()
        self._screen.document.page(event.step)

    def on_prompt_area_sent(self, event: PromptArea.Sent) -> None:
        event.stop()
        screen, state, prompt = self._screen, self._screen.state, self._screen.prompt
        text = event.text.strip("\n")
        if not text.strip() and not state.attached:
            return
        if state.editing is None and slash.given(text) is not None:
            if self._command(text):
                prompt.set_text(prompt.text.removeprefix(event.text))
                state.left_off.remember(text)
                prompt.earlier = state.left_off.history
            return
        if self.shell.read_only:
            self.shell.tell("read-only: nothing is sent", "warning")
            return
        if state.editing is None and text.startswith("!") and text[1:].strip():
            self._line = self.shell.spawn(self._shell_line(text[1:].strip(), event.text), group="shell-line")
            return
        question = state.sent(text)
        prompt.earlier = state.left_off.history
        prompt.set_text(prompt.text.removeprefix(event.text))  # what was typed after it stays
        screen.chips.look()
        edited = state.end_editing()
        if edited is not None:
            self.shell.spawn(self.asking.ask_again(state.shown, edited, question))
        else:
            self.asking.ask(screen.state.shown, question)

    def _command(self, text: str) -> bool:
        """Do what a slash command says; False where there is no such command."""
        found = slash.given(text)
        if found is None:
            return False
        command, name, argument = found
        if command is None:
            self.shell.tell(f"There is no /{name}. A blank before it sends it as a question.", "warning")
            return False
        if command.writes and self.shell.read_only:
            self.shell.tell("read-only: nothing is changed", "warning")
        else:
            self.shell.spawn(command.run(self._screen, argument))
        return True

    # --- lines for the shell ----------------------------------------------------------------------------

    @property
    def line_runs(self) -> bool:
        """Whether a line runs in the shell."""
        return self._line is not None and self._line.is_running

    def stop_line(self) -> None:
        """End the line that runs in the shell."""
        if self._line is not None:
            self._line.cancel()
            self.shell.tell("The command was ended.")

    async def _shell_line(self, line: str, typed: str) -> None:
        """Ask, run a line on this host, and put what it prints into the prompt."""
        chat, prompt, folder = self._screen.state.shown, self._screen.prompt, str(Path.cwd())
        where = "this machine, not the host that the studio is on" if self.studio.host is not None else "this host"
        question = Question(
            f"Run {clean_line(line, limit=200)}?",
            f"It runs on {where}, as you, in {clean_line(folder, limit=80)}, for at most {SECONDS:.0f} s. "
            "What it prints goes into the prompt, to be sent to the model or not.",
            [Option("a", "run it once")],
            "do not run it",
        )
        if await self.shell.ask(question) is None:
            return
        prompt.set_text(prompt.text.removeprefix(typed))
        running = asyncio.ensure_future(run_line(line, folder=folder))
        try:
            await asyncio.wait([running], timeout=1.0)
            if not running.done():
                self.shell.tell(f"{clean_line(line, limit=60)} runs; esc ends it.")
            done = await running
        except (OSError, ValueError) as error:
            self.shell.tell(f"{clean_line(line, limit=60)} did not start: {error}", "error")
            return
        finally:
            running.cancel()
        output = clean(done.output).strip("\n") or "(it printed nothing)"
        words = f"  ({done.words})" if done.words else ""
        text = f"$ {line}{words}\n{_fenced(output)}\n"
        long = _is_long(text)
        if long:
            text = f"$ {line}{words}\n{output}\n"
        name = self._screen.state.next_name(f"output of {clean_line(line, limit=30)}")
        if self._screen.state.shown is not chat:
            draft = Draft(attached=(reading.pasted(text, name),)) if long else Draft(text)
            self._screen.state.add_to_draft(chat, [draft])
        elif long:
            self._attach_text(text, name)
        else:
            prompt.insert_at_end(text)
        prompt.focus()

    # --- pasted texts -----------------------------------------------------------------------------------

    def on_prompt_area_pasted(self, event: PromptArea.Pasted) -> None:
        event.stop()
        text, prompt = event.text, self._screen.prompt
        one = text.strip()
        if _is_long(text):
            self._attach_text(text, self._screen.state.next_name("pasted text"))
            return
        prompt.insert(text)
        if "\n" not in one and 1 < len(one) < 4096 and _path_of(one) is not None:
            self.shell.spawn(self._as_file(text, _path_of(one) or ""))

    def _attach_text(self, text: str, name: str) -> None:
        """Have a long text go with what is typed."""
        self._screen.state.attach(reading.pasted(text, name))
        self._screen.chips.look()

    async def _as_file(self, pasted: str, path: str) -> None:
        """Where a pasted text is the path of a file, name that file instead."""

        def there() -> bool:
            try:
                return Path(path).expanduser().is_file()
            except (OSError, ValueError, RuntimeError):
                return False

        if await self.shell.in_thread(there):
            self._screen.prompt.put_instead(pasted, f"@{quoted(path)} ")

    # --- the stash --------------------------------------------------------------------------------------

    def action_stash(self) -> None:
        """Put the draft aside; in an empty prompt bring one back."""
        state, prompt = self._screen.state, self._screen.prompt
        key = key_text(self.shell.keys_of("chat.stash").split(",")[0])
        if prompt.text.strip() or state.attached:
            state.left_off.put_aside(Draft(prompt.text, state.attached))
            prompt.set_text(state.take_draft(Draft()))
            self._screen.chips.look()
            many = len(state.left_off.stash)
            self.shell.tell(f"The draft is put aside, {many} in all; {key} in an empty prompt brings it back.")
        elif len(state.left_off.stash) > 1:
            self.shell.spawn(self._choose_stashed())
        elif state.left_off.stash:
            prompt.set_text(state.take_draft(state.left_off.take_up(0)))
            self._screen.chips.look()
        else:
            self.shell.tell(f"No draft is put aside; {key} does it with what is typed.")

    async def _choose_stashed(self) -> None:
        state = self._screen.state
        stash = list(enumerate(state.left_off.stash))
        choices = [
            Choice(str(at), clean_line(one.title.strip().partition("\n")[0], limit=80), _size_of(one))
            for at, one in reversed(stash)
        ]
        chosen = await self.shell.ask(Chooser(choices, title="drafts that were put aside"))
        if chosen is not None:
            draft, prompt = state.left_off.take_up(int(chosen)), self._screen.prompt
            both = Draft(f"{prompt.text}{draft.text}", (*state.attached, *draft.attached))
            prompt.set_text(state.take_draft(both))
            self._screen.chips.look()

    # --- keys -------------------------------------------------------------------------------------------

    def action_settings(self) -> None:
        self.shell.spawn(self.shaping.change_settings())

    def action_preset(self) -> None:
        self.shell.spawn(self.shaping.choose_preset())

    def action_library(self) -> None:
        self.shell.spawn(self.library.open())

    def labelled(self, action: Action) -> Action:
        if action.id == "prompt.send" and self.one("#chat-complete") is not None and self.completions.is_open:
            return replace(action, label="take it")
        if action.id == "prompt.send" and self.shell.read_only:
            return replace(action, label="")
        transcript = self.one("#transcript")  # None while the app ends
        if action.id == "transcript.fold" and transcript is not None and self._as_screen.document.carries_files:
            return replace(action, label="look at it")
        return super().labelled(action)

    @property
    def hint(self) -> str:
        """What the first letter of a prompt can be, where there is room to say it."""
        return (
            "" if self.size_class < Size.BASE else "@ file   / command   ! shell, asks first   # prompt of the library"
        )


def _is_long(text: str) -> bool:
    return text.count("\n") + 1 > LINES or len(text) > LETTERS


def _size_of(draft: Draft) -> str:
    """Return how long a draft is, in words."""
    more = f", {len(draft.attached)} attached" if draft.attached else ""
    return f"{draft.text.count(chr(10)) + 1} lines{more}"


def _fenced(text: str) -> str:
    """Return a text in a fence that it does not end itself."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def _path_of(text: str) -> str | None:
    """Return the path that a text of one line may be; None where it is none."""
    text = text.removeprefix("file://") if text.startswith("file:///") else text
    if text[:1] in "'\"" and text[-1:] == text[:1]:
        text = text[1:-1]
    return text.replace("\\ ", " ") if text.startswith(("/", "~/", "./", "../")) else None
