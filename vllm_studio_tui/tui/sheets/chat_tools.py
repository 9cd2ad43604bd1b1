"""The sheet that chooses the tools of a chat: every server with its tools, those that the model may call marked."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from vllm_studio_tui.domain.tool_server import ToolServer
from vllm_studio_tui.domain.tools import Tool
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.paint.dialog_rows import keys_row
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.sheets.dialogs import Sheet
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: Lines for why a server does not answer.
WRONG_LINES = 3


@dataclass(frozen=True, slots=True)
class ToolsFound:
    """What there is to choose from.

    Attributes:
        servers: MCP servers by name; those of this program are not among them.
        waiting: Names of servers that nobody has agreed to start yet.
        notes: Whether a tool asks before a call, by its name.
        asked: Names of servers that are being started or reached, and asked for their tools.
        wrong: Why a server has none, by its name.
    """

    tools: Sequence[Tool] = ()
    servers: Sequence[ToolServer] = ()
    waiting: frozenset[str] = frozenset()
    notes: Mapping[str, str] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    wrong: Mapping[str, str] = field(default_factory=dict)


class ToolChoices:
    """Which tools are marked. Those of a server whose tools are not known are kept as they were chosen."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names: list[str] = []
        self._keep(dict.fromkeys(names))

    def _keep(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._exact = frozenset(self._names)
        self._patterns = [one for one in self._names if set("*?[") & set(one)]

    def has(self, tool: Tool) -> bool:
        return (
            tool.server in self._exact
            or tool.name in self._exact
            or any(fnmatchcase(tool.name, one) or fnmatchcase(tool.server, one) for one in self._patterns)
        )

    def has_server(self, name: str) -> bool:
        return name in self._names

    def toggle(self, tools: Sequence[Tool], tool: Tool) -> None:
        """Mark a tool, or take its mark away."""
        alike = [one for one in tools if one.server == tool.server]
        on = [one for one in alike if self.has(one) is not (one is tool)]
        self._set(tool.server, alike, on)

    def toggle_server(self, tools: Sequence[Tool], name: str) -> None:
        """Mark all tools of a server, or take the marks away where all are marked."""
        alike = [one for one in tools if one.server == name]
        if not alike:
            self._keep([one for one in self._names if one != name] if name in self._names else [*self._names, name])
            return
        self._set(name, alike, [] if all(self.has(one) for one in alike) else alike)

    def drop_server(self, name: str) -> None:
        """Take away every mark of a server that is gone."""
        self._keep([one for one in self._names if one != name and not one.startswith(f"{name}__")])

    def _set(self, server: str, alike: Sequence[Tool], on: Sequence[Tool]) -> None:
        names = [one.name for one in alike]
        left = [
            one
            for one in self._names
            if one != server and not any(fnmatchcase(name, one) for name in names) and not fnmatchcase(server, one)
        ]
        self._keep([*left, *([server] if len(on) == len(alike) else [one.name for one in on])])

    @property
    def names(self) -> list[str]:
        return list(self._names)


class ChatToolsSheet(Sheet):
    """Returns `take`, or what is to be done with a server, as `agree:NAME`; the choices are changed in place.

    Args:
        find: Finds out what there is at once, and which servers are to be asked.
        ask: Asks a server for its tools, which may take a minute; returns what there is with them.
        at: The row to begin at.
        writes: Servers can be added, removed and agreed to.
    """

    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = ["dialogs.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", show=False, priority=True),
        Binding("space", "mark", show=False),
        Binding("n", "serve('add')", show=False),
        Binding("I", "serve('import')", show=False),
        Binding("t", "serve('test')", show=False),
        Binding("s", "serve('switch')", show=False),
        Binding("d,delete", "serve('remove')", show=False),
        Binding("q", "close", show=False),
    ]

    def __init__(
        self,
        choices: ToolChoices,
        find: Callable[[], Awaitable[ToolsFound]],
        ask: Callable[[str], Awaitable[ToolsFound]],
        at: str | None,
        *,
        writes: bool,
    ) -> None:
        super().__init__()
        self._choices = choices
        self._find = find
        self._ask = ask
        self._began = time.monotonic()
        self._at = at
        self._writes = writes
        self._found: ToolsFound | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="pages"):
            yield ListCanvas(self._paint, self.ink, header=0, plane="panel", id="pages")
            yield Canvas(self._keys, self.ink, plane="panel", id="pages-foot")

    def on_mount(self) -> None:
        self.query_one("#pages").focus()
        self.run_worker(self._read(), exit_on_error=False)

    async def _read(self) -> None:
        self._show(await self._find())
        self.query_one("#pages", ListCanvas).choose(self._at)
        if self._found is not None and self._found.asked:
            self.set_interval(1.0, self._tick)
            for name in self._found.asked:
                self.run_worker(self._ask_one(name), exit_on_error=False)

    async def _ask_one(self, name: str) -> None:
        self._show(await self._ask(name))

    def _show(self, found: ToolsFound) -> None:
        self._found = found
        self.fit()

    def _tick(self) -> None:
        if self._found is not None and self._found.asked:
            self.query_one("#pages", Canvas).repaint()

    @on(Canvas.Chosen, "#pages")
    def _moved(self) -> None:
        self.query_one("#pages-foot", Canvas).repaint()  # what can be done is another thing on each row

    def fit(self) -> None:
        most = self.app.size.width
        self.query_one("#sheet").styles.width = most if self.tiny else min(most, 100)
        pages = self.query_one("#pages", ListCanvas)
        pages.header = 0 if self.tiny else 2
        pages.styles.height = max(1, min(len(self._paint(min(most, 100), 0)), self.rows_free - 1))
        for canvas in self.query(Canvas):
            canvas.repaint()

    # --- painting ---------------------------------------------------------------------------------------

    @property
    def _groups(self) -> list[str]:
        found = self._found or ToolsFound()
        servers = [one.name for one in found.servers]
        return list(dict.fromkeys([*(tool.server for tool in found.tools if tool.server not in servers), *servers]))

    def _paint(self, width: int, height: int) -> list[Row]:
        glyphs, found, edge = self.ink().glyphs, self._found, 0 if self.tiny else 2
        rows: list[Row] = []
        if not self.tiny:
            head = Row()
            x = head.put(edge, "Tools of this chat", "fg bold") + 3
            on = sum(self._choices.has(tool) for tool in found.tools) if found is not None else 0
            said = "looking" if found is None else f"{on} of {len(found.tools)} on"
            head.put(x, said, "dim", max(0, width - x - edge))
            rows += [head, Row()]
        if found is None:
            return [*rows, Row()] if rows else [Row()]
        for name in self._groups:
            rows += self._server(name, found, glyphs, edge, width)
            rows += [self._tool(tool, found, glyphs, edge, width) for tool in found.tools if tool.server == name]
        return rows

    def _server(self, name: str, found: ToolsFound, glyphs: Glyphs, edge: int, width: int) -> list[Row]:
        row = Row(key=f"server:{name}")
        server = next((one for one in found.servers if one.name == name), None)
        has = any(tool.server == name for tool in found.tools)
        words, style = "", "faint"
        if server is None:
            words = "of this program"
        elif not server.enabled:
            words = "switched off"
        elif name in found.waiting:
            words, style = "waits until you agree to start it", "warn"
        elif name in found.asked:
            begun = "starting" if server.kind == "stdio" else "being reached"
            words, style = f"{begun}, {numbers.duration(time.monotonic() - self._began)}", "dim"
        elif name in found.wrong:
            words, style = "does not answer", "err"
        elif not has:
            words, style = "has no tools", "warn"
        x = edge + 1
        if not has:
            mark, colour = self._mark(self._choices.has_server(name), glyphs)
            x = row.run(x, [(mark, colour), (" ", "fg")])
        x = row.put(x, name, "fg bold", max(1, width - x - 2)) + 2
        end = width - 2
        room = max(0, end - x)
        if server is not None and room > cell_len(words) + 12:
            start = row.put_right(end, words, style)
            row.put(x, f"{server.kind}  {server.target}", "faint", max(0, start - x - 2))
        else:
            row.put(x, words, style, room)
        rows = [row]
        if (wrong := found.wrong.get(name)) and style == "err":
            for line in wrap(clean_line(wrong, limit=1000), max(1, end - edge - 3))[:WRONG_LINES]:
                rows.append(Row())
                rows[-1].put(edge + 3, line, "dim", max(0, end - edge - 3))
        return rows

    def _tool(self, tool: Tool, found: ToolsFound, glyphs: Glyphs, edge: int, width: int) -> Row:
        row = Row(key=f"tool:{tool.name}")
        on = self._choices.has(tool)
        mark, colour = self._mark(on, glyphs)
        x = row.run(edge + 3, [(mark, colour), (" ", "fg")])
        note = found.notes.get(tool.name, "")
        end = row.put_right(width - 2, note, "dim" if on else "faint") if note else width - 2
        name = clean_line(tool.title or tool.name, limit=40)
        x = row.put(x, name, "fg" if on else "dim", max(1, end - x - 2)) + 2
        x = max(x, min(edge + 24, end - 10))
        row.put(x, tool.description, "faint", max(0, end - x - 2))
        return row

    @staticmethod
    def _mark(on: bool, glyphs: Glyphs) -> tuple[str, str]:
        return (glyphs.passed, "ok") if on else (glyphs.pending, "faint")

    def _keys(self, width: int, height: int) -> list[Row]:
        keys = [("enter", "take it"), ("space", "on, off")]
        if self._writes:
            server = self._server_here
            if server is not None:
                keys += [("t", "test"), ("s", "switch off" if server.enabled else "switch on"), ("d", "remove")]
            keys += [("n", "add server"), ("I", "import")]
        return [keys_row(width, *keys, ("esc", "leave it"), edge=0 if self.tiny else 2)]

    # --- keys -------------------------------------------------------------------------------------------

    @property
    def _key(self) -> tuple[str, str]:
        what, _, name = (self.query_one("#pages", ListCanvas).key or "").partition(":")
        return what, name

    @property
    def _server_name(self) -> str:
        what, name = self._key
        found = self._found or ToolsFound()
        return next((tool.server for tool in found.tools if tool.name == name), "") if what == "tool" else name

    @property
    def _server_here(self) -> ToolServer | None:
        """The MCP server under the cursor, or that of its tool."""
        name = self._server_name
        return next((one for one in (self._found or ToolsFound()).servers if one.name == name), None)

    def take(self) -> None:
        self.dismiss("take")

    def action_mark(self) -> None:
        found, (what, name) = self._found, self._key
        if found is None:
            return
        tool = next((one for one in found.tools if one.name == name), None) if what == "tool" else None
        if tool is not None:
            self._choices.toggle(found.tools, tool)
        elif what == "server":
            self._choices.toggle_server(found.tools, name)
            if name in found.waiting and self._choices.has_server(name) and self._writes:
                self.dismiss(f"agree:{name}")
                return
        for canvas in self.query(Canvas):
            canvas.repaint()

    def action_serve(self, what: str) -> None:
        """Do something with the server under the cursor, or with servers as such."""
        server = self._server_here
        if not self._writes:
            return
        if what in ("add", "import"):
            self.dismiss(f"{what}:{self._server_name}")
        elif self._found is None:
            self._shell.tell("What there is, is still looked for: a moment.")
        elif server is not None:
            self.dismiss(f"{what}:{server.name}")
        else:
            self._shell.tell("This is of this program: it is always there. n adds a server.")
