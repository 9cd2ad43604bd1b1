"""Links in the transcript: what the terminal is told of them, and what a click does."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from rich.color import ColorSystem
from textual.strip import Strip

from tests.functional.acting import shows, told
from tests.functional.stage import Staged, staged
from tests.functional.test_chat import DONE, ask, place
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.tui.terminal.slim_output import written

LONG = f"https://example.com/{'a/' * 60}end"
ANSWER = (
    f"A long one: {LONG}. [your bank](https://bank.example/x) [bank.com](https://evil.example)\n\n"
    "[js](javascript:alert(1)) `https://in.code` [later][1]\n\nfar below\n\n[1]: https://ref.example\n"
)
_LINK = re.compile(r"\x1b\]8;([^;]*);([^\x1b]*)\x1b\\([^\x1b]*)\x1b\]8;;\x1b\\")


def links(stage: Staged) -> list[tuple[str, str, str]]:
    """Return the links that a terminal is told when the whole transcript is drawn: id, address, text."""
    document = place(stage).document
    strips = [document.render_line(y) for y in range(document.size.height)]
    whole = written([(0, y, strip) for y, strip in enumerate(strips)], ColorSystem.TRUECOLOR)
    singly = "".join(Strip(strip._segments).render(stage.app.console) for strip in strips)
    assert len(_LINK.findall(whole)) == len(re.findall(r"\x1b\]8;[^;]+;", singly)), "drawn by us as by Textual"
    return [(name, address, text) for name, address, text in _LINK.findall(whole)]


async def test_a_link_that_is_wrapped_is_one_link_and_what_leads_nowhere_is_none(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", size=(60, 40), script=(Delta(content=ANSWER), DONE)) as stage:
        await ask(stage, "what is at https://asked.example/?")
        found = links(stage)
        wrapped = [one for one in found if one[1] == LONG]
        assert len(wrapped) > 2
        assert len({name for name, _, _ in wrapped}) == 1
        assert "".join(text for _, _, text in wrapped) == LONG
        by_address: dict[str, list[str]] = {}
        for _, address, text in found:
            by_address.setdefault(address, []).append(text)
        assert by_address["https://bank.example/x"][0] == "your bank"
        assert "(leads" in "".join(by_address["https://evil.example"])
        assert by_address["https://ref.example"][0] == "later", "its definition came in another piece of the stream"
        assert by_address["https://asked.example/"] == ["https://asked.example/"]
        assert set(by_address) == {
            LONG,
            "https://bank.example/x",
            "https://evil.example",
            "https://ref.example",
            "https://asked.example/",
        }
        ids = {(name, address) for name, address, _ in found}
        await stage.pilot.resize_terminal(100, 40)
        await stage.settle()
        assert {(name, address) for name, address, _ in links(stage)} == ids, "another width, the same links"
        place(stage).document.find("https")
        assert {(name, address) for name, address, _ in links(stage)} == ids, (
            "words that are looked for leave them whole"
        )


@pytest.mark.parametrize("environ", [{"TERM": "linux"}, {"TERM": "screen"}, {"FORCE_HYPERLINK": "0"}])
async def test_a_terminal_that_would_show_them_is_told_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    for name in ("TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    async with staged(tmp_path, place="chat", size=(60, 40), script=(Delta(content=ANSWER), DONE)) as stage:
        await ask(stage, "and?")
        assert links(stage) == []
        await shows(stage, "bank.com (leads to")


async def test_a_click_on_a_link_asks_and_opens_it_only_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "a-browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {opened}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    monkeypatch.setenv("DISPLAY", ":7")
    async with staged(tmp_path, place="chat", size=(100, 40), script=(Delta(content=ANSWER), DONE)) as stage:
        await ask(stage, "and?")
        document = place(stage).document
        y = next(y for y in range(document.size.height) if "bank.com" in document.render_line(y).text)
        x = document.render_line(y).text.index("bank.com")
        await stage.pilot.click("#transcript", offset=(x + 1, y))
        await shows(stage, "Careful: it leads to evil.example")
        await stage.press("escape")
        await stage.settle()
        assert not opened.exists()
        await stage.pilot.click("#transcript", offset=(x + 1, y))
        await shows(stage, "with a-browser")
        await stage.press("b")
        await told(stage, "a-browser has evil.example")
        assert opened.read_text() == "https://evil.example"
        browser.write_text("#!/bin/sh\nexit 3\n")
        await stage.pilot.click("#transcript", offset=(x + 1, y))
        await shows(stage, "with a-browser")
        await stage.press("b")
        await told(stage, "a-browser ended with 3")


async def test_links_of_an_answer_that_still_comes_are_listed(tmp_path: Path) -> None:
    hold = asyncio.Event()
    script = (
        Delta(content="first https://early.example/x, then"),
        hold.wait,
        Delta(content=" https://late.example"),
        DONE,
    )
    async with staged(tmp_path, place="chat", size=(80, 24), script=script) as stage:
        await stage.type("go")
        await stage.press("enter")
        await shows(stage, "early.example")
        await stage.press("ctrl+l")
        await shows(stage, "1  https://early.example/x")
        await shows(stage, "^g to its message")  # the list is as wide as its keys
        assert "late" not in stage.text()
        await stage.press("escape")
        hold.set()
        await shows(stage, "late.example")
        await stage.press("ctrl+l")
        await shows(stage, "2  https://late.example")


async def test_over_ssh_a_link_is_copied_and_no_browser_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "VSCODE_IPC_HOOK_CLI", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
    async with staged(tmp_path, place="chat", size=(80, 24), script=(Delta(content=ANSWER), DONE)) as stage:
        await ask(stage, "and?")
        await stage.press("ctrl+l")
        await shows(stage, "a link, or words in it")
        await stage.type("evil")
        await stage.press("enter")
        await shows(stage, "No browser can be opened from here")
        assert "open it here" not in stage.text()
        await stage.press("enter")  # the gentle answer
        await stage.until(lambda: stage.clip == "https://evil.example", "it is copied")
