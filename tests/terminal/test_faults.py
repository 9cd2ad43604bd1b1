"""A fault of the screens ends them in order: three plain lines, no traceback, the terminal as it was."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from tests.terminal.pty_screen import Terminal, environment, of_an_empty_home
from vllm_studio_tui.kit.sanitize import strip_ansi

#: Starts the program with a fault built in.
BROKEN = """
import sys
kind = sys.argv.pop(1)
from vllm_studio_tui.tui.app import StudioApp

def boom(*_):
    local = "a-local-value"
    raise ValueError("odd sk-abcdefgh12345678 " + local[:1])

async def boom_later():
    boom()

def after_first_paint(self, before=StudioApp._after_first_paint):
    before(self)
    if kind == "timer":
        self.set_timer(0.01, boom)
    elif kind == "worker":
        self.run_worker(boom_later())
    elif kind == "style":
        self.screen.query_one("#body").styles.width = "nonsense"

StudioApp._after_first_paint = after_first_paint
if kind == "handler":
    StudioApp.action_help = boom
if kind == "css":
    StudioApp.CSS = "nonsense {{{"
if kind == "start":
    StudioApp.register_theme = boom
from vllm_studio_tui.__main__ import main
sys.exit(main())
"""


def test_whatever_fails_the_terminal_is_given_back_and_three_lines_say_what_happened(tmp_path: Path) -> None:
    kinds = ("handler", "timer", "worker", "style", "css", "start")
    opened: dict[str, Terminal] = {}
    try:
        for kind in kinds:
            home = tmp_path / kind
            environ = environment(home, MY_API_KEY="correct-horse-battery")
            opened[kind] = Terminal([sys.executable, "-c", BROKEN, kind], environ)
        opened["handler"].until(of_an_empty_home)
        opened["handler"].send("?")
        for kind, one in opened.items():
            assert one.wait(100) == 1, kind
            one.close()
            raw = one.raw.decode("utf-8", "replace")
            if kind not in ("css", "start"):  # those never took the terminal
                assert "\x1b[?1049l" in raw, kind
            said = strip_ansi(raw[raw.rindex("The screens ended") :]).strip().splitlines()
            assert [line.split(" ")[0] for line in said[:2]] == ["The", "Report:"], (kind, said)
            assert len(said) == 3, (kind, said)
            assert "vllm-studio status" in said[2]
            assert "Traceback" not in raw, kind
            assert "a-local-value" not in raw, kind
            report = Path(said[1].removeprefix("Report: "))
            assert stat.S_IMODE(report.stat().st_mode) == 0o600
            text = report.read_text()
            for word in ("Traceback", "TERM=xterm-256color", "textual 8", "vllm-studio "):
                assert word in text, (kind, word)
            for word in ("a-local-value", "sk-abcdefgh12345678", "correct-horse-battery"):
                assert word not in text, (kind, word)
    finally:
        for one in opened.values():
            if one.process.poll() is None:
                one.close()
