"""The request lab: the request of an answer, to be changed and sent again; its prompt by tokens; what then differs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.request_lab import read_request, request_text, with_pictures
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.kit.text_diff import diff_texts
from vllm_studio_tui.services.chat.answer import Answer
from vllm_studio_tui.tui.paint.dialog_rows import keys_row
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.paint.text_diff import text_diff_rows
from vllm_studio_tui.tui.sheets.dialogs import Sheet
from vllm_studio_tui.tui.terminal.deferred import still_there
from vllm_studio_tui.tui.terminal.editor import edit_text
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from vllm_studio_tui.domain.request_lab import LabRequest, PromptToken, RenderedPrompt
    from vllm_studio_tui.services.compare_protocols import RequestLabApi

VIEWS = ("request", "prompt", "answers")
#: Lines of a request, and tokens of a prompt, that are drawn; all of them are copied and sent.
MOST_LINES, MOST_TOKENS = 4000, 20_000


class RequestLabSheet(Sheet):
    """Shows the request of an answer, and what comes of it when it is sent again.

    Args:
        lab: Sends it, and asks for its prompt.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e,f9", "edit", show=False),
        Binding("r,ctrl+r", "replay", show=False),
        Binding("v", "view", show=False),
        Binding("s", "stop", show=False),
        Binding("y", "copy", show=False),
    ]

    def __init__(self, request: LabRequest, lab: RequestLabApi) -> None:
        super().__init__()
        self._request = request
        self._lab = lab
        self._body: Mapping[str, Any] = request.body
        self._pictures: dict[str, str] = {}
        self._written = request_text(
            request.body, self._pictures
        )  # as it was left in the editor, if it is no request too
        self._view = 0
        self._prompt: RenderedPrompt | None = None
        self._answer: Answer | None = None
        self._going: Any = None
        self._wrong = ""

    # --- layout -----------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="pages"):
            yield Canvas(self._head, self.ink, plane="panel", id="lab-head")
            yield ListCanvas(self._paint, self.ink, plane="panel", id="pages")
            yield Canvas(self._foot, self.ink, plane="panel", id="pages-foot")

    def on_mount(self) -> None:
        self.query_one("#pages").focus()

    def fit(self) -> None:
        self.query_one("#lab-head").styles.height = 1
        self.query_one("#pages", ListCanvas).styles.height = max(1, self.rows_free - 2)
        self._repaint()

    def _repaint(self) -> None:
        for canvas in self.query(Canvas):
            canvas.repaint()

    # --- painting ---------------------------------------------------------------------------------------

    def _head(self, width: int, height: int) -> list[Row]:
        row = Row()
        x = row.put(2, "Request lab", "fg bold") + 3
        for at, name in enumerate(VIEWS):
            x = row.put(x, name, "accent bold" if at == self._view else "dim") + 2
        changed = "changed" if self._body != self._request.body else ""
        if changed and x + len(changed) + 2 < width:
            row.put_right(width - 2, changed, "warn")
        return [row]

    def _foot(self, width: int, height: int) -> list[Row]:
        if self._going is not None:
            return [keys_row(width, ("s", "stop"), ("v", VIEWS[(self._view + 1) % 3]), ("esc", "close"))]
        keys = [("r", "send it"), ("e", "change it"), ("v", VIEWS[(self._view + 1) % 3]), ("y", "copy")]
        if self._shell.read_only or self._request.target is None:
            keys = keys[2:]
        return [keys_row(width, *keys, ("esc", "close"))]

    def _paint(self, width: int, height: int) -> list[Row]:
        inner = max(8, width - 4)
        rows = []
        for words in filter(None, (self._wrong, *self._request.notes)):
            for line in wrap(words, inner)[:3]:
                row = Row()
                row.put(2, line, "warn" if words == self._wrong else "dim")
                rows.append(row)
        name = VIEWS[self._view]
        shown = {"request": self._request_rows, "prompt": self._prompt_rows, "answers": self._answer_rows}[name](inner)
        return [*rows, *shown]

    def _request_rows(self, width: int) -> list[Row]:
        rows = []
        for text in self._written.split("\n")[:MOST_LINES]:
            indent = min(len(text) - len(text.lstrip(" ")), width // 2)
            for line in wrap(text.lstrip(" "), width - indent)[:40] or [""]:
                row = Row()
                row.put(2 + indent, line, "fg")
                rows.append(row)
        return rows

    def _prompt_rows(self, width: int) -> list[Row]:
        found, row = self._prompt, Row()
        if found is None:
            row.put(2, "" if self._wrong else "asking the engine", "dim")
            return [row]
        row.put(2, f"{len(found.tokens)} tokens; every other one is underlined", "dim")
        return [row, *token_rows(found.tokens[:MOST_TOKENS], width)]

    def _answer_rows(self, width: int) -> list[Row]:
        now, rows = self._answer, []
        if now is None:
            for line in wrap(self._request.answer, width) or [""]:
                row = Row()
                row.put(2, line, "fg")
                rows.append(row)
            return rows
        head = Row()
        head.put(2, _figures(now), "faint")
        if now.ended is None:
            for line in wrap(now.text()[0], width):
                row = Row()
                row.put(2, line, "fg")
                rows.append(row)
            return [head, *rows]
        pieces = diff_texts(self._request.answer, now.text()[0])
        if pieces and all(sign == " " for sign, _ in pieces):
            same = Row()
            same.put(2, "It says the same.", "ok")
            rows = [same]
        return [head, *rows, *text_diff_rows(pieces, 2, width)]

    # --- keys -------------------------------------------------------------------------------------------

    @property
    def _may_send(self) -> bool:
        return self._going is None and self._request.target is not None and not self._shell.read_only

    def action_edit(self) -> None:
        if not self._may_send:
            return
        text = edit_text(self._shell, self._written, ".json")
        if text is None or text == self._written:
            return
        self._written, self._wrong = text, ""
        try:
            self._body = read_request(with_pictures(text, self._pictures))
        except StudioError as error:
            self._wrong = " ".join(filter(None, (f"{error.title}.", error.cause, error.advice)))
        self._prompt = None
        self._show(0)

    def action_replay(self) -> None:
        if self._may_send and not self._wrong:
            self._answer = Answer()
            self._going = self.run_worker(self._send(self._answer), group="lab", exit_on_error=False)
            self._show(2)

    async def _send(self, answer: Answer) -> None:
        target = self._request.target
        assert target is not None
        try:
            async with aclosing(self._lab.replay(target, self._body)) as events:
                async for event in events:
                    answer.add(event)
                    if still_there(self):
                        self.query_one("#pages", ListCanvas).repaint()
        except StudioError as error:
            answer.ended = answer.cut("failed", error.title, error.advice)
        finally:
            answer.ended = answer.ended or answer.cut("stopped")
            self._going = None
            if still_there(self):
                self._repaint()

    def action_stop(self) -> None:
        if self._going is not None:
            self._going.cancel()

    def action_view(self) -> None:
        self._show((self._view + 1) % len(VIEWS))

    def _show(self, view: int) -> None:
        self._view = view
        self.query_one("#pages", ListCanvas).top = 0
        if VIEWS[view] == "prompt" and self._prompt is None and self._request.target is not None:
            self.run_worker(self._ask_for_prompt(), group="lab-prompt", exclusive=True, exit_on_error=False)
        self._repaint()

    async def _ask_for_prompt(self) -> None:
        target, body = self._request.target, self._body
        assert target is not None
        try:
            self._prompt = await self._shell.in_thread(lambda: self._lab.render(target, body))
        except StudioError as error:
            self._wrong = " ".join(filter(None, (f"{error.title}.", error.cause)))
        if still_there(self):
            self._repaint()
            self._wrong = ""

    def action_copy(self) -> None:
        name = VIEWS[self._view]
        if name == "request":
            self._shell.copy(with_pictures(self._written, self._pictures))
        elif name == "prompt" and self._prompt is not None:
            self._shell.copy(self._prompt.text or "".join(one.text or "" for one in self._prompt.tokens))
        elif name == "answers":
            self._shell.copy(self._answer.text()[0] if self._answer is not None else self._request.answer)


def token_rows(tokens: tuple[PromptToken, ...], width: int) -> list[Row]:
    """Return a prompt with its tokens told apart: every other one is underlined, a new line is written as `\\n`."""
    rows, x = [Row()], 2
    for at, token in enumerate(tokens):
        style = "fg underline" if at % 2 else "fg"
        text = f"[{token.id}]" if token.text is None else token.text
        lines = text.split("\n")
        for number, line in enumerate(lines):
            last = number == len(lines) - 1
            written = clean_line(line) if last else f"{clean_line(line)}\\n"
            for piece in (written[start : start + width] for start in range(0, len(written), width)):
                if x - 2 + cell_len(piece) > width:
                    rows.append(Row())
                    x = 2
                x = rows[-1].put(x, piece, style)
            if not last:
                rows.append(Row())
                x = 2
    return rows


def _figures(answer: Answer) -> str:
    ended = answer.ended
    if ended is None:
        return f"~{answer.tokens} tok so far" if answer.tokens else "waiting for the first token"
    timings, tokens = ended.timings, ended.usage.completion_tokens
    parts = [f"{tokens} tok" if tokens is not None else "", numbers.latency(timings.ttft, "")]
    parts[1] = f"TTFT {parts[1]}" if parts[1] else ""
    parts.append(f"{numbers.rate(timings.tokens_per_second)} tok/s" if timings.tokens_per_second else "")
    words = "" if ended.finish == "stop" else ended.finish
    return "   ".join(filter(None, (*parts, words, ended.error or "")))
