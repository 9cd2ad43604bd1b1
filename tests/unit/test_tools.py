"""Boxes of tools, the built-in ones, and what a person allowed for longer than one call."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.domain.tool_consent import matches
from vllm_studio_tui.domain.tools import MAX_RESULT, Decision, Tool, ToolBox, ToolResult
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.protocols import ToolsApi
from vllm_studio_tui.services.tools.box import Box
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tools.names import LONGEST, apart, tool_name
from vllm_studio_tui.tools.results import result_of
from vllm_studio_tui.tools.tool_thread import ToolThread

ASKS = Tool("shell__run", "shell", "run")


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with Studio.open_sync(Places.under(tmp_path)) as one:
        yield one


@pytest.fixture
def thread() -> Iterator[ToolThread]:
    one = ToolThread()
    yield one
    one.close()


class Given:
    """A source with these tools."""

    def __init__(self, name: str, titles: Sequence[str] = (), error: StudioError | None = None) -> None:
        self.name, self._titles, self._error = name, titles, error
        self.began = threading.Event()
        self.cancelled = threading.Event()

    async def tools(self) -> Sequence[Tool]:
        if self._error is not None:
            raise self._error
        return [Tool(tool_name(self.name, title), self.name, title) for title in self._titles]

    async def call(self, title: str, arguments: Mapping[str, Any]) -> ToolResult:
        if title == "forever":
            self.began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return result_of(f"{self.name} {title} {dict(arguments)}")


async def test_the_service_gives_a_box_with_the_clock_and_the_studio(studio: Studio) -> None:
    tools: ToolsApi = studio.tools
    async with tools.open() as box:
        checked: ToolBox = box
        found = {one.name: one for one in await checked.tools()}
        now = json.loads((await box.call("builtin__time", {"timezone": "Asia/Tokyo"})).text)
        status = await box.call("studio__status", {})
    assert {
        "builtin__time",
        "studio__status",
        "studio__logs",
        "studio__metrics",
        "studio__why",
        "studio__usage",
    } <= set(found)
    assert not any(found[name].asks for name in found if name.startswith("studio__"))
    assert now["local"].endswith("+09:00")
    assert now["utc"].endswith("Z")
    assert not status.is_error
    assert json.loads(status.text)["runs"] == []


async def test_names_choose_servers_tools_and_patterns(studio: Studio) -> None:
    for names, expected in (
        (["builtin__time"], {"builtin__time"}),
        (["studio__l*"], {"studio__logs"}),
        ([], set()),
    ):
        async with studio.tools.open(names) as box:
            assert {one.name for one in await box.tools()} == expected
            assert (await box.call("studio__usage", {})).is_error  # not offered, so not made


def test_a_call_without_a_box_needs_no_event_loop(studio: Studio) -> None:
    assert "utc" in studio.tools.call("builtin__time", {}).text
    assert "builtin__time" in {one.name for one in studio.tools.tools()}


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("builtin__time", {"timezone": "Nowhere/Atlantis"}, "there is no time zone"),
        ("builtin__time", {"timezone": "../../etc/passwd"}, "there is no time zone"),
        ("builtin__time", {"timezone": 7}, "must be a text"),
        ("builtin__time", {"zone": "UTC"}, "has no argument zone"),
        ("studio__logs", {"run": "none-such"}, "none-such"),
        ("studio__logs", {}, "no model server was started"),
        ("studio__logs", {"lines": "many"}, "no model server"),
        ("studio__usage", {"by": "moon"}, "by is one of"),
        ("studio__usage", {"days": [1]}, "must be a whole number"),
        ("studio__remove_everything", {}, "there is no tool"),
    ],
)
def test_what_a_model_gets_wrong_is_a_result_that_says_so(
    studio: Studio, name: str, arguments: dict[str, Any], says: str
) -> None:
    found = studio.tools.call(name, arguments)
    assert found.is_error
    assert says in found.text


@given(st.dictionaries(st.text(max_size=12), st.none() | st.integers() | st.text(max_size=20) | st.lists(st.text())))
def test_no_arguments_whatsoever_raise(arguments: dict[str, Any]) -> None:
    from vllm_studio_tui.tools.clock import clock
    from vllm_studio_tui.tools.functions import FunctionSource

    assert asyncio.run(FunctionSource("builtin", [clock()]).call("time", arguments)).text


async def test_a_source_that_has_no_tools_to_give_is_missing_and_told(thread: ToolThread) -> None:
    box = Box(thread, [Given("good", ["a"]), Given("bad", error=StudioError("it is gone"))], None)
    assert [one.name for one in await box.tools()] == ["good__a"]
    assert box.missing["bad"].title == "it is gone"


async def test_cancelling_a_call_ends_it_in_the_thread_of_tools(thread: ToolThread) -> None:
    source = Given("slow", ["forever"])
    box = Box(thread, [source], None)
    call = asyncio.create_task(box.call("slow__forever", {}))
    assert await asyncio.to_thread(source.began.wait, 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(source.cancelled.wait, 10)


async def test_a_tool_that_blocks_its_thread_does_not_block_the_face(thread: ToolThread) -> None:
    class Blocks(Given):
        async def call(self, title: str, arguments: Mapping[str, Any]) -> ToolResult:
            time.sleep(0.5)  # noqa: ASYNC251 - that is what a hostile one does
            return result_of("done")

    box = Box(thread, [Blocks("bad", ["a"])], None)
    call = asyncio.create_task(box.call("bad__a", {}))
    longest, last = 0.0, time.monotonic()
    while not call.done():
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert longest < 0.3
    assert (await call).text == "done"


@given(st.text(max_size=200), st.integers(0, 3))
def test_a_result_is_bounded_and_says_what_is_missing(text: str, times: int) -> None:
    whole = text * (10**times)
    found = result_of(whole)
    assert len(found.text.encode()) <= MAX_RESULT
    assert found.size == len(whole.encode("utf-8", "replace"))
    if found.size <= MAX_RESULT:
        assert found.text == whole.encode("utf-8", "replace").decode()
    else:
        assert found.text.endswith("this is its beginning]")


def test_a_result_beyond_the_bound_keeps_its_beginning() -> None:
    found = result_of("ä" * MAX_RESULT)
    assert found.size == 2 * MAX_RESULT
    assert found.text.startswith("ää")
    assert "128 KiB" in found.text[-80:]
    assert len(found.text.encode()) <= MAX_RESULT


@given(st.lists(st.tuples(st.text(min_size=1, max_size=80), st.text(max_size=80)), max_size=20))
def test_names_are_as_engines_take_them_and_apart(pairs: list[tuple[str, str]]) -> None:
    tools = apart(Tool(tool_name(server, title), server, title) for server, title in pairs)
    names = [one.name for one in tools]
    assert len(set(names)) == len(names)
    assert all(0 < len(name) <= LONGEST and name.replace("_", "").replace("-", "").isascii() for name in names)
    assert {(one.server, one.title) for one in tools} == set(pairs)


# --- consents ---------------------------------------------------------------------------------------------


def test_a_consent_lasts_as_long_as_a_person_said(studio: Studio) -> None:
    tools = studio.tools
    assert tools.allowed(ASKS, {}, "chat-1") is None
    assert tools.allow(ASKS, Decision.ONCE, "chat-1") is None
    assert tools.allow(ASKS, Decision.DENY, "chat-1") is None
    assert tools.allowed(ASKS, {}, "chat-1") is None
    tools.allow(ASKS, Decision.CHAT, "chat-1")
    assert tools.allowed(ASKS, {"x": 1}, "chat-1") is Decision.CHAT
    assert tools.allowed(ASKS, {}, "chat-2") is None
    assert tools.allowed(Tool("shell__rm", "shell", "rm"), {}, "chat-1") is None
    kept = tools.allow(ASKS, Decision.ALWAYS, "chat-1")
    assert tools.allowed(ASKS, {}, "chat-2") is Decision.ALWAYS
    assert tools.allowed(ASKS, {}) is Decision.ALWAYS
    assert kept is not None
    assert kept.id is not None
    tools.forget(kept.id)
    assert tools.allowed(ASKS, {}, "chat-2") is None
    with pytest.raises(NotFound):
        tools.forget(kept.id)


def test_a_tool_that_became_another_is_asked_about_anew(studio: Studio) -> None:
    studio.tools.allow(ASKS, Decision.ALWAYS)
    assert studio.tools.allowed(replace(ASKS), {}) is Decision.ALWAYS
    assert studio.tools.allowed(replace(ASKS, description="Also mails your keys."), {}) is None
    assert studio.tools.allowed(replace(ASKS, parameters={"properties": {"key": {}}}), {}) is None


def test_what_reads_the_clock_never_asks(studio: Studio) -> None:
    clock = next(one for one in studio.tools.tools() if one.name == "builtin__time")
    assert studio.tools.allowed(clock, {}) is Decision.ALWAYS


def test_the_same_consent_is_kept_once(studio: Studio) -> None:
    for _ in range(3):
        studio.tools.allow(ASKS, Decision.ALWAYS, pattern={"command": "sar *"})
    (kept,) = studio.tools.consents()
    assert kept.pattern == {"command": "sar *"}
    assert studio.tools.allowed(ASKS, {"command": "sar -d"}) is Decision.ALWAYS
    assert studio.tools.allowed(ASKS, {"command": "rm -rf /"}) is None


@pytest.mark.parametrize(
    ("pattern", "value", "covered"),
    [
        ("sar *", "sar -d -s 14:13:00", True),
        ("sar *", "sar", False),
        ("sar *", "sar -d; rm -rf ~", False),
        ("sar *", "sar -d && id", False),
        ("sar *", "sar $(id)", False),
        ("sar *", "sar -d\nid", False),
        ("~/studio/*", "~/studio/notes/a.md", True),
        ("~/studio/*", "~/studio/../.ssh/id_ed25519", False),
        ("~/studio/a*", "~/studio/a/../../.ssh/id", False),
        ("~/studio/*.md", "~/studio/a.txt", False),
        ("*-b*", "a-b-c", True),
        ("exact; as written", "exact; as written", True),
        ("no star", "no star at all", False),
    ],
)
def test_a_pattern_reaches_over_no_further_command_and_no_other_folder(pattern: str, value: str, covered: bool) -> None:
    assert matches({"command": pattern}, {"command": value}) is covered


def test_a_pattern_names_every_argument() -> None:
    assert not matches({"command": "sar *"}, {"command": "sar -d", "env": {"LD_PRELOAD": "evil.so"}})
    assert not matches({"command": "sar *"}, {})


@given(st.text(max_size=30), st.text(max_size=60))
def test_no_pattern_raises_and_one_covers_itself(pattern: str, value: str) -> None:
    matches({"a": pattern}, {"a": value})
    assert matches({"a": pattern}, {"a": pattern})
