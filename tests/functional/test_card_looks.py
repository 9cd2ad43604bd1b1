"""Cards of tool calls in every state and size: kept pictures, and what must be seen in the smallest windows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.functional.test_snapshots import HERE, compare
from tests.functional.test_tool_cards import DONE, READ, RUN, SAR, ask, chatting, faces, over
from tests.unit.tool_box import calls
from vllm_studio_tui.domain.chat import Delta, StreamEvent, ToolCall
from vllm_studio_tui.domain.tools import Tool
from vllm_studio_tui.services.chat.calls import CallState
from vllm_studio_tui.services.chat.tool_round import ToolQuestion
from vllm_studio_tui.tui.document.blocks import Surroundings
from vllm_studio_tui.tui.document.tool_card import ToolCard
from vllm_studio_tui.tui.paint.glyphs import ASCII, UNICODE

#: Width of the document and lines of it that are seen, in windows of 160x45, 80x24, 60x15 and 40x6.
ROOM = ((113, 38), (76, 17), (54, 11), (36, 4))
LONG = json.dumps({"command": "for disk in a b c; do\n" + "  sar -d -s 14:13\n" * 40 + "done"})
HUGE = json.dumps({"path": "/var/log/" + "x" * 5000, "offset": 3, "follow": None, "names": ["a", {"b": 1.5}]})
RESULT = "\n".join(f"line {number} of the result" for number in range(30))
KEYS = {"call.allow": "a", "call.allow-longer": "A", "call.deny": "d", "call.edit-arguments": "e", "call.whole": "i"}


def card(
    name: str, tool: Tool | None, arguments: str, *, opened: bool = False, first: bool = True, **facts: Any
) -> ToolCard:
    state = CallState(ToolCall("c", name, arguments), tool=tool, number=2, since=time.monotonic() - 75.5, **facts)
    made = ToolCard(0, state)
    made.next, made.open = first, opened
    return made


def cards() -> dict[str, ToolCard]:
    done: dict[str, Any] = {"state": "done", "result": RESULT, "seconds": 0.25, "size": 900_000, "decided": "once"}
    failed: dict[str, Any] = {"state": "failed", "result": "no such device: /dev/sdz\nit says", "seconds": 61.0}
    return {
        "waits": card(RUN.name, RUN, SAR[2], state="waiting"),
        "waits, a long program": card(RUN.name, RUN, LONG, state="waiting"),
        "waits, huge arguments": card(READ.name, READ, HUGE, state="waiting"),
        "waits, no arguments": card(READ.name, READ, "", state="waiting"),
        "waits, no JSON": card(READ.name, READ, '{"path": ', state="waiting", recovered=True),
        "waits for another": card(RUN.name, RUN, SAR[2], state="waiting", first=False),
        "waits, changed": card(RUN.name, RUN, "{}", state="waiting", changed=SAR[2]),
        "runs": card(RUN.name, RUN, SAR[2], state="running"),
        "done": card(RUN.name, RUN, SAR[2], **done),
        "done, open": card(RUN.name, RUN, HUGE, opened=True, **done),
        "failed": card(RUN.name, RUN, SAR[2], **failed),
        "failed, open": card(RUN.name, RUN, SAR[2], opened=True, **failed),
        "denied": card(RUN.name, RUN, SAR[2], state="denied", result="not allowed", decided="deny"),
        "repeated": card(RUN.name, RUN, SAR[2], state="repeated", result=RESULT),
        "from the text": card(RUN.name, RUN, SAR[2], **{**done, "recovered": True, "changed": "{}"}),
        "not offered": card("no_such_tool", None, "{}", state="failed", result="There is no tool no_such_tool."),
        "unknown": card(RUN.name, RUN, SAR[2], state="unknown"),
        "pending": card(RUN.name, RUN, SAR[2]),
    }


@pytest.mark.parametrize("looks", ["unicode", "ascii"])
def test_a_card_looks_as_it_did(looks: str) -> None:
    glyphs = UNICODE if looks == "unicode" else ASCII
    text = ""
    for width, height in ROOM:
        around = Surroundings(glyphs, height=height, key=lambda action: KEYS[action])
        for name, one in cards().items():
            lines = one.make(width, around)
            if one.state.state == "waiting":
                assert len(lines) <= max(height, 4), "it is seen whole, with its name and its keys"
            text += f"== {name}, {width}x{height}\n"
            for line in lines:
                row = "".join(part for part, _ in line.parts)
                gap = width - len(row) - len(line.right)
                assert gap >= 0, (name, width, row)
                text += (row + (" " * gap + line.right if line.right else "")).rstrip() + "\n"
    compare(HERE / f"cards-{looks}.txt", text)


@pytest.mark.parametrize("size", [(160, 45), (80, 24), (60, 15), (40, 6)])
@pytest.mark.parametrize("arguments", [LONG, HUGE], ids=["long", "huge"])
async def test_however_much_it_holds_its_name_and_keys_are_seen_and_that_more_is_hidden(
    tmp_path: Path, size: tuple[int, int], arguments: str
) -> None:
    script = [Delta(content="I look at it, in many words. " * 20), *calls_of(arguments)]
    async with chatting(tmp_path, script, [DONE], size=size) as (stage, _, _engine):
        await ask(stage)
        await faces(stage)
        text = stage.text()
        assert "run_command" in text
        assert "a allow" in text
        assert any(words in text for words in ("more lines", "characters in all"))
        await stage.press("d")
        await over(stage)


def calls_of(*arguments: str) -> list[StreamEvent]:
    return list(calls(*((f"c{number}", RUN.name, one) for number, one in enumerate(arguments))))


async def test_in_a_small_window_the_next_call_comes_into_view_once_one_is_answered(tmp_path: Path) -> None:
    wanted = [json.dumps({"command": name}) for name in ("first", "second", "third")]
    async with chatting(tmp_path, calls_of(*wanted), [DONE], size=(40, 6)) as (stage, box, _):
        await ask(stage)
        for name, key in (("first", "a"), ("second", "d"), ("third", "a")):
            await faces(stage)
            assert name in stage.text()
            assert "a allow" in stage.text()
            await stage.press(key)
            await stage.until(lambda name=name: name not in stage.text() or not stage.app, "it is answered")  # type: ignore[misc]
        await over(stage)
        assert [arguments["command"] for _, arguments in box.made] == ["first", "third"]


async def test_in_a_small_window_a_call_that_asks_later_than_one_below_it_comes_into_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allows, go_on = ToolQuestion.allows, asyncio.Event()

    async def second_before_first(self: ToolQuestion, tool: Tool, arguments: Mapping[str, Any]) -> bool:
        if arguments["command"] == "first":
            await go_on.wait()
        return await allows(self, tool, arguments)

    monkeypatch.setattr(ToolQuestion, "allows", second_before_first)
    wanted = [json.dumps({"command": name}) for name in ("first", "second", "third")]
    async with chatting(tmp_path, calls_of(*wanted), [DONE], size=(40, 6)) as (stage, box, _):
        await ask(stage)
        await faces(stage)
        assert "second" in stage.text()
        go_on.set()
        for name in ("first", "second", "third"):
            await stage.until(lambda name=name: name in stage.text(), f"the {name} call is seen")  # type: ignore[misc]
            await faces(stage)
            assert "a allow" in stage.text()
            await stage.press("a")
            await stage.until(lambda name=name: name not in stage.text(), "it is answered")  # type: ignore[misc]
        await over(stage)
        assert [arguments["command"] for _, arguments in box.made] == ["first", "second", "third"]
