"""A program that asks a real model again and again, and is killed again and again: see `test_killed_chats`.

    python -m tests.process.killed_chats HOME PORT COUNT SEED

It forks a child for each question, and kills it at a random moment. The child streams, or is in rounds of tool calls:
the model is held to a JSON schema that is a call, in the form in which Llama writes calls as text. A tool writes a line
when it is called; the child writes down what it was given of the answer. After each kill the home is opened again and
looked through for damage; it ends with a document of what was seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.chat import Delta, Message, Sampling, Target
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tools import CallAsked, Decision, RoundBegan, Tool, ToolResult
from vllm_studio_tui.inference.client import load
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.chat.going_on import WayOn, way_on
from vllm_studio_tui.services.chat.request import request_messages
from vllm_studio_tui.studio import Studio

#: Seconds of text that may be missing: checkpoints are one apart, and have to be written, on a machine that is busy.
MOST_MISSING = 3.0
#: Seconds that a child is waited for until so much has happened as it is to be killed after.
PATIENCE = 20.0
_PARAMETERS = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99999}},
    "required": ["n"],
    "additionalProperties": False,
}
_CALL = {
    "type": "object",
    "properties": {"name": {"const": "note"}, "parameters": _PARAMETERS},
    "required": ["name", "parameters"],
    "additionalProperties": False,
}
FORCED = {"response_format": {"type": "json_schema", "json_schema": {"name": "call", "schema": _CALL}}}


class Notes:
    """A tool that writes down each number it is called with, at once and for good."""

    awaited: Sequence[str] = ()
    missing: Mapping[str, StudioError] = {}

    def __init__(self, home: Path, session: str, dice: random.Random) -> None:
        self._file, self._session, self._dice = home / "made.jsonl", session, dice

    async def tools(self) -> Sequence[Tool]:
        return [Tool("note", "test", "note", "Write a number down.", _PARAMETERS, asks=self._dice.random() < 0.7)]

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        write(self._file, {"session": self._session, "arguments": dict(arguments)})
        await asyncio.sleep(self._dice.random() * 0.4)
        return ToolResult(f"{arguments} is written down.")


def write(file: Path, document: Mapping[str, Any]) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, json.dumps(document).encode() + b"\n")
    os.close(fd)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


# --- the child that is killed -------------------------------------------------------------------------------


async def ask(home: Path, target: Target, dice: random.Random, told: int) -> None:
    """Ask something; write a byte to `told` when it is asked, and for each event."""
    with Studio.open_sync(Places.under(home)) as studio:
        chat = studio.chat
        chat.settle_interrupted()
        earlier = chat.sessions.list(limit=1)
        how = dice.choice(["plain", "tools", "tools", "again", "go on", "go on"])
        leaf = chat.messages.leaf(earlier[0].id) if earlier else None
        story = Sampling(temperature=1.0, max_tokens=600, seed=dice.randrange(10**6))
        forced = replace(story, max_tokens=60, extra=FORCED)
        branch = chat.messages.branch(earlier[0].id) if earlier else []
        way = way_on(branch, writes_on=True) if how == "go on" else None
        if way is not None:
            box = Notes(home, earlier[0].id, dice)
            shape = story if way is WayOn.TEXT else forced
            if way is WayOn.TEXT:  # what stands there comes before what comes
                first = {"at": time.time(), "round": 0, "text": branch[-1].content}
                write(home / f"came-{os.getpid()}.jsonl", first)
            events = chat.go_on(earlier[0].id, None, target, sampling=shape, tools=None if way is WayOn.TEXT else box)
        elif how == "again" and earlier and leaf:
            box = Notes(home, earlier[0].id, dice)
            events = chat.regenerate(earlier[0].id, leaf, target, sampling=forced, tools=box)
        else:
            session = chat.new_session("x")
            box = Notes(home, session, dice)
            if how == "plain":
                events = chat.send(session, "Tell a long story of the sea.", target, sampling=story)
            else:
                events = chat.send(session, "Write a number down.", target, sampling=forced, tools=box)
        number = 0
        os.write(told, b".")
        async for event in events:
            os.write(told, b".")
            if isinstance(event, RoundBegan):
                number += 1
            elif isinstance(event, Delta):
                write(home / f"came-{os.getpid()}.jsonl", {"at": time.time(), "round": number, "text": event.content})
            elif isinstance(event, CallAsked):
                decision = dice.choice([Decision.ONCE, Decision.ONCE, Decision.CHAT, Decision.DENY])
                threading.Timer(dice.random() * 0.4, chat.decide, (event.call.id, decision)).start()


# --- looking for damage -------------------------------------------------------------------------------------


def look(home: Path, child: int, killed_at: float) -> Counter[str]:
    """Open the home as the next program does; return what was found, and fail where anything is damaged."""
    seen: Counter[str] = Counter()
    with Studio.open_sync(Places.under(home)) as studio:
        chat = studio.chat
        chat.settle_interrupted()
        made = Counter((one["session"], one["arguments"]["n"]) for one in lines(home / "made.jsonl"))
        begun: Counter[tuple[str, int]] = Counter()
        done: Counter[tuple[str, int]] = Counter()
        for row in studio.db.rows("SELECT * FROM tool_calls"):
            assert row["state"] in ("done", "failed", "denied", "unknown"), dict(row)
            assert row["owner"] is None, dict(row)
            seen[f"call {row['state']}"] += 1
            key = (row["session_id"], json.loads(row["arguments"])["n"]) if row["began_at"] else None
            if key is not None:
                begun[key] += 1
                done[key] += row["state"] == "done"
        assert not made - begun, f"made without being on record, or twice: {made - begun}"
        assert not done - made, f"on record as done, and not made: {done - made}"
        assert not studio.db.rows("SELECT 1 FROM requests WHERE finish = 'streaming'")
        for session in chat.sessions.list():
            tree = chat.tree(session.id)
            whole(tree, session.leaf_id)
            seen.update(f"{one.role} {one.finish}" for one in tree)
        kept = [one for session in chat.sessions.list(limit=1) for one in chat.messages.branch(session.id)]
        came = lines(home / f"came-{child}.jsonl")
        last = max((one["round"] for one in came), default=0)
        text = ""
        for one in (each for each in came if each["round"] == last):
            text += one["text"]
            if text.strip() and not any(other.content.startswith(text.rstrip()) for other in kept):
                missing = killed_at - one["at"]
                assert missing < MOST_MISSING, (missing, text, kept)
                seen["ms missing"] = round(missing * 1000)
                break
            seen["letters kept"] = len(text)
    return seen


def whole(tree: Sequence[Message], leaf: str | None) -> None:
    """Fail where a tree is broken, or has an empty message."""
    ids = {one.id for one in tree}
    assert leaf in ids or not tree, leaf  # the chat began, and its question was not asked yet
    for at, one in enumerate(tree):
        assert one.finish != "streaming", one
        assert one.parent_id is None or one.parent_id in {before.id for before in tree[:at]}, one
        assert one.content.strip() or one.reasoning or one.tool_calls or one.error, one
        results = [other.tool_call_id for other in tree if other.role == "tool"]
        for call in one.tool_calls:
            assert results.count(call.id) == 1, (call, tree)
    branch = list(tree)
    sent = request_messages(branch)
    called = {call["id"] for one in sent for call in one.get("tool_calls", ())}
    assert {one["tool_call_id"] for one in sent if one["role"] == "tool"} == called


def wait_for(told: int, count: int) -> None:
    """Wait until so many bytes have come, their writer is gone, or it takes too long."""
    until = time.monotonic() + PATIENCE
    while count > 0 and select.select([told], [], [], max(0.0, until - time.monotonic()))[0]:
        got = len(os.read(told, count))
        if got == 0:
            return
        count -= got


# --- the whole ----------------------------------------------------------------------------------------------


def main() -> int:
    home, port, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    home.mkdir(parents=True, exist_ok=True)
    target = Target(f"http://127.0.0.1:{port}/v1", "m", backend="llamacpp")
    load()
    dice = random.Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(count):
        child_dice = random.Random(dice.random())
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            status = 1
            try:
                asyncio.run(ask(home, target, child_dice, writing))
                status = 0
            finally:
                if status:
                    traceback.print_exc()
                os._exit(status)
        os.close(writing)
        wait_for(reading, dice.choice([0, 1, 2, 3, 4, 5, 6, 8, 12, 16, 24]))
        time.sleep(dice.random() * 0.6)
        killed_at = time.time()
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(reading)
        assert os.WIFSIGNALED(status) or status == 0, "it failed by itself"
        found = look(home, child, killed_at)
        seen["killed"] += os.WIFSIGNALED(status)
        seen["letters kept"] += found.pop("letters kept", 0)
        seen["most ms missing"] = max(seen["most ms missing"], found.pop("ms missing", 0))
    seen.update(found)
    print(json.dumps(dict(sorted(seen.items()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
