"""Real MCP servers as children and over HTTP, and hostile ones: these harm nothing, and what they did is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

import tests.mcp_servers
from tests.mcp_servers.hostile_http import hostile_site
from tests.ports import free_port
from tests.process.house import until
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tools import MAX_RESULT, Decision
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tools import mcp_connection, process_transport

FOLDER = Path(tests.mcp_servers.__file__).parent
WELL = str(FOLDER / "well.py")


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with Studio.open_sync(Places.under(tmp_path)) as one:
        yield one
        studio_ends = time.monotonic()
    assert time.monotonic() - studio_ends < 15
    assert [one for one in psutil.Process().children(recursive=True) if "mcp_servers" in " ".join(_line(one))] == []


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def add(studio: Studio, name: str, *arguments: str, **entry: Any) -> None:
    studio.tools.add_server(name, {"command": sys.executable, "args": list(arguments), **entry}, trust=True)


def hostile(studio: Studio, what: str, **entry: Any) -> None:
    add(studio, "bad", str(FOLDER / "hostile.py"), what, **entry)


@contextlib.contextmanager
def well_over(kind: str) -> Iterator[str]:
    port = free_port()
    child = subprocess.Popen([sys.executable, WELL, kind, str(port)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        import socket

        while True:
            assert child.poll() is None
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/{'mcp' if kind == 'http' else 'sse'}"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


# --- as it should be --------------------------------------------------------------------------------------


def check_a_well_made_server(studio: Studio, name: str) -> None:
    report = studio.tools.test_server(name)
    assert (report.title, report.version, report.instructions) == ("well", "1.2", "Adds numbers.")
    assert {"add", "fail", "picture"} <= {one.title for one in report.tools}
    tool = next(one for one in report.tools if one.title == "add")
    assert (tool.name, tool.asks, tool.description) == (f"{name}__add", True, "Add two numbers.")
    assert set(tool.parameters["properties"]) == {"a", "b"}
    assert studio.tools.call(f"{name}__add", {"a": 2, "b": 40}).text == "42"
    failed = studio.tools.call(f"{name}__fail", {"why": "no reason"})
    assert failed.is_error
    assert "no reason" in failed.text
    assert studio.tools.call(f"{name}__add", {"a": "no number"}).is_error
    long = studio.tools.call(f"{name}__long", {"letters": 300_000})
    assert long.size == 300_000
    assert len(long.text.encode()) <= MAX_RESULT
    picture = studio.tools.call(f"{name}__picture", {})
    assert picture.images[0].startswith("data:image/png;base64,iVBOR")
    assert "1 image" in picture.text


def test_a_server_over_its_standard_streams(studio: Studio) -> None:
    add(studio, "well", WELL)
    check_a_well_made_server(studio, "well")


def test_a_server_over_http(studio: Studio) -> None:
    with well_over("http") as url:
        studio.tools.add_server("far", {"url": url}, trust=True)
        check_a_well_made_server(studio, "far")


def test_a_server_over_http_as_before_2026(studio: Studio) -> None:
    with well_over("http") as url:
        studio.tools.add_server("far", {"url": url, "legacy": True}, trust=True)
        check_a_well_made_server(studio, "far")


def test_a_server_over_the_older_sse(studio: Studio) -> None:
    with well_over("sse") as url:
        studio.tools.add_server("far", {"url": url}, trust=True)
        assert studio.tools.server("far").kind == "sse"
        check_a_well_made_server(studio, "far")


def test_nothing_is_started_once_the_studio_is_closed(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    with Studio.open_sync(Places.under(tmp_path)) as closing:
        add(closing, "late", "-c", f"open({str(mark)!r}, 'w')")
        closing.tools.close()
        with pytest.raises(StudioError, match="closed"):
            closing.tools.tools()
    assert not mark.exists()


def test_nothing_is_started_before_a_person_agrees(studio: Studio, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    args = ["-c", f"open({str(mark)!r}, 'w')"]
    studio.tools.add_server("new", {"command": sys.executable, "args": args})
    assert [one.name for one in studio.tools.untrusted()] == ["new"]
    assert not [one for one in studio.tools.tools() if one.server == "new"]
    found = studio.tools.call("new__go", {})
    assert found.is_error
    with pytest.raises(StudioError, match="until you agree"):
        studio.tools.test_server("new")
    assert not mark.exists()
    studio.tools.trust_server("new")
    assert studio.tools.untrusted() == []
    with pytest.raises(StudioError):  # it is no MCP server, but now it was started
        studio.tools.test_server("new")
    assert mark.exists()


def test_a_server_that_was_changed_is_asked_about_anew_with_its_tools(studio: Studio) -> None:
    add(studio, "well", WELL)
    tool = next(one for one in studio.tools.tools(["well__add"]))
    studio.tools.allow(tool, Decision.ALWAYS)
    assert studio.tools.allowed(tool, {}) is Decision.ALWAYS
    entry = {"command": sys.executable, "args": [WELL], "env": {"NEW": "1"}}
    studio.tools.add_server("well", entry, replace=True)
    assert studio.tools.allowed(tool, {}) is None
    assert [one.name for one in studio.tools.untrusted()] == ["well"]
    assert studio.tools.tools(["well"]) == []


def test_a_server_gets_the_variables_it_is_given_and_no_others(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "a-secret-of-mine")
    monkeypatch.setenv("OTHER", "other")
    env = {"GIVEN": "plain", "FROM": "${OTHER}", "DEFAULT": "${NOT_THERE:-fallback}", "REF": "env:OTHER"}
    add(studio, "well", WELL, env=env)
    values = {name: studio.tools.call("well__variable", {"name": name}).text for name in (*env, "MY_TOKEN", "PATH")}
    assert values == {
        "GIVEN": "plain", "FROM": "other", "DEFAULT": "fallback", "REF": "other", "MY_TOKEN": "not set",
        "PATH": os.environ["PATH"],
    }  # fmt: skip


def test_a_variable_that_is_not_set_is_named(studio: Studio) -> None:
    add(studio, "well", WELL, env={"KEY": "${SURELY_NOT_SET_ANYWHERE}"})
    with pytest.raises(StudioError, match="needs the variable SURELY_NOT_SET_ANYWHERE"):
        studio.tools.test_server("well")


def test_a_server_is_started_once_for_many_calls_and_again_after_it_ended(studio: Studio) -> None:
    add(studio, "well", WELL)

    async def calls() -> list[str]:
        async with studio.tools.open(["well"]) as box:
            found = await asyncio.gather(*(box.call("well__add", {"a": one, "b": 1}) for one in range(20)))
        return [one.text for one in found]

    assert asyncio.run(calls()) == [str(one + 1) for one in range(20)]
    (first,) = [one for one in psutil.Process().children() if WELL in _line(one)]
    ended = studio.tools.call("well__end", {"code": 7})
    assert ended.is_error
    assert "It ended with 7" in ended.text
    assert "I was told to end" in ended.text
    assert studio.tools.call("well__add", {"a": 1, "b": 1}).text == "2"
    (second,) = [one for one in psutil.Process().children() if WELL in _line(one)]
    assert first.pid != second.pid


async def test_a_call_that_is_cancelled_ends_and_its_server_goes_on(studio: Studio, tmp_path: Path) -> None:
    add(studio, "well", WELL)
    mark = tmp_path / "began"
    async with studio.tools.open(["well"]) as box:
        call = asyncio.create_task(box.call("well__wait", {"seconds": 600, "mark": str(mark)}))
        while not mark.exists():
            assert not call.done()
            await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await box.call("well__add", {"a": 1, "b": 1})).text == "2"


def test_a_server_that_is_turned_off_is_ended_and_not_started(studio: Studio) -> None:
    add(studio, "well", WELL)
    assert studio.tools.call("well__add", {"a": 1, "b": 1}).text == "2"
    studio.tools.enable_server("well", False)
    assert not [one for one in psutil.Process().children() if WELL in _line(one)]
    assert studio.tools.tools(["well"]) == []
    studio.tools.enable_server("well", True)
    assert studio.tools.call("well__add", {"a": 1, "b": 1}).text == "2"
    studio.tools.remove_server("well")
    assert not [one for one in psutil.Process().children() if WELL in _line(one)]
    assert studio.tools.servers() == []


def test_only_the_chosen_tools_of_a_server_are_offered(studio: Studio) -> None:
    add(studio, "well", WELL, tools=["add", "well__f*"])
    assert {one.title for one in studio.tools.tools(["well"])} == {"add", "fail"}
    assert studio.tools.call("well__end", {"code": 0}).is_error
    assert studio.tools.call("well__add", {"a": 1, "b": 1}).text == "2"


def test_tools_that_a_server_has_later_are_learned_of(studio: Studio) -> None:
    add(studio, "well", WELL, legacy=True)
    assert "grown" not in {one.title for one in studio.tools.tools(["well"])}
    assert studio.tools.call("well__grow", {}).text == "grown"
    deadline = time.monotonic() + 20
    while "grown" not in {one.title for one in studio.tools.tools(["well"])}:
        assert time.monotonic() < deadline
    assert studio.tools.call("well__grown", {}).text == "new"


def test_a_server_elsewhere_that_is_not_there_is_told(studio: Studio) -> None:
    studio.tools.add_server("far", {"url": f"http://127.0.0.1:{free_port()}/mcp"}, trust=True)
    with pytest.raises(StudioError, match="no use as an MCP server"):
        studio.tools.test_server("far")


def test_a_program_that_is_not_there_is_told(studio: Studio) -> None:
    studio.tools.add_server("gone", {"command": "no-such-program-anywhere"}, trust=True)
    with pytest.raises(StudioError, match="cannot be started") as raised:
        studio.tools.test_server("gone")
    assert "no-such-program-anywhere" in raised.value.cause


# --- hostile ones -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("exits", "It ended with 3"),
        ("prints", "it is no MCP server"),
        ("endless-line", "a message of more than 8"),
        ("hangs", "did not tell its tools within"),
        ("wrong-tools", "not what the protocol says"),
        ("old", "1999-01-01"),
    ],
)
def test_one_that_cannot_be_used_is_told_why(
    studio: Studio, what: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_connection, "START", 20.0 if what != "hangs" else 3.0)
    hostile(studio, what)
    with pytest.raises(StudioError) as raised:
        studio.tools.test_server("bad")
    assert says in str(raised.value)
    began = time.monotonic()
    assert studio.tools.tools(["bad"]) == []  # told again at once, not tried again
    assert time.monotonic() - began < 2
    assert {one.server for one in studio.tools.tools()} == {"builtin", "studio"}


@pytest.mark.parametrize("how", ["off", "removed", "tested again"])
def test_one_that_hangs_at_its_start_is_let_go_at_once(studio: Studio, how: str) -> None:
    hostile(studio, "hangs")

    def started() -> set[int]:
        return {one.pid for one in psutil.Process().children() if "hostile.py" in " ".join(_line(one))}

    with ThreadPoolExecutor() as threads:
        first = threads.submit(studio.tools.test_server, "bad")
        until(lambda: bool(started()), "it is started")
        before = started()
        began = time.monotonic()
        if how == "off":
            studio.tools.enable_server("bad", False)
        elif how == "removed":
            studio.tools.remove_server("bad")
        else:
            second = threads.submit(studio.tools.test_server, "bad")
        with pytest.raises(StudioError, match="let go"):
            first.result(30)
        assert time.monotonic() - began < 10  # not as long as it may take to tell its tools
        if how == "tested again":
            until(lambda: bool(started() - before), "it is started anew")
            studio.tools.remove_server("bad")
            with pytest.raises(StudioError):
                second.result(30)
    assert not started()


@pytest.mark.parametrize(
    ("what", "says", "is_error"),
    [
        ("slow", "did not answer within", True),
        ("dies", "It was ended by signal 9", True),
        ("huge", "[cut: the whole result has 3 MiB", False),
        ("too-huge", "a message of more than 8", True),
        ("floods", "it flooded", True),
        ("asks-flood", "it flooded", True),
        ("wrong-result", "not what the protocol says", True),
        ("wrong-id", "did not answer within", True),
        ("bad-image", "cannot be read", False),
        ("error", "bad says: no", True),
        ("schema", "aaaa", False),
        ("escapes", "evil", False),
    ],
)
def test_a_call_of_one_harms_nothing_and_says_what_happened(
    studio: Studio, what: str, says: str, is_error: bool
) -> None:
    hostile(studio, what, timeout=4 if "did not answer" in says else 60)
    before = psutil.Process().memory_info().rss

    async def ask() -> tuple[Any, float]:
        """Make the call; return its result and for how long this loop, a face's, stood still."""
        async with studio.tools.open(["bad"]) as box:
            await box.tools()
            call = asyncio.create_task(box.call("bad__go", {}))
            longest, last = 0.0, time.monotonic()
            while not call.done():
                await asyncio.sleep(0.005)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            return await call, longest

    found, longest = asyncio.run(ask())
    assert says in found.text
    assert found.is_error is is_error
    assert len(found.text.encode()) <= MAX_RESULT
    assert longest < 3.0
    assert len(found.images) <= 8
    assert psutil.Process().memory_info().rss - before < 200 * 1024 * 1024
    assert "utc" in studio.tools.call("builtin__time", {}).text  # the others go on


def test_tools_of_odd_names_and_sizes_are_dropped_or_named_so_that_engines_take_them(studio: Studio) -> None:
    hostile(studio, "odd-tools")
    report = studio.tools.test_server("bad")
    assert report.dropped == 2
    names = [one.name for one in studio.tools.tools(["bad"])]
    assert len(names) == len(set(names)) == 2
    assert all(len(name) <= 64 and name.isascii() and name.isprintable() for name in names)
    assert "\x1b" not in report.title


@pytest.mark.parametrize("what", ["many-tools", "endless-pages"])
def test_so_many_tools_are_offered_and_no_more(studio: Studio, what: str) -> None:
    hostile(studio, what)
    assert len(studio.tools.tools(["bad"])) <= 256


def test_what_it_writes_without_an_end_is_kept_up_to_a_bound(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_transport, "MAX_LOG", 100_000)
    monkeypatch.setattr(mcp_connection, "START", 3.0)
    hostile(studio, "errors-flood")
    with pytest.raises(StudioError, match="did not tell its tools") as raised:
        studio.tools.test_server("bad")
    log = studio.places.state / "mcp" / "bad.log"
    assert str(log) in raised.value.advice
    assert 100_000 <= log.stat().st_size < 100_200
    assert log.stat().st_mode & 0o777 == 0o600
    assert "no more than 98 KiB is kept" in log.read_text()[-80:]


def test_one_that_will_not_end_is_killed_with_what_it_started(studio: Studio) -> None:
    hostile(studio, "stays")
    studio.tools.test_server("bad")
    child = int((studio.places.state / "mcp" / "bad.log").read_text().split()[1])
    assert psutil.pid_exists(child)
    began = time.monotonic()
    studio.tools.remove_server("bad")
    assert time.monotonic() - began < 8
    deadline = time.monotonic() + 5
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_nothing_of_the_library_is_written_to_the_terminal(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio
with Studio.open_sync(Places.under(Path({str(tmp_path)!r}))) as studio:
    studio.tools.add_server("far", {{"url": "http://127.0.0.1:{free_port()}/mcp"}}, trust=True)
    studio.tools.call("far__go", {{}})
    for what in ("wrong-result", "dies", "floods", "prints"):
        entry = {{"command": sys.executable, "args": [{str(FOLDER / "hostile.py")!r}, what]}}
        studio.tools.add_server(what, entry, trust=True)
        studio.tools.call(f"{{what}}__go", {{}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=110, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


# --- hostile ones over HTTP -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with hostile_site() as url:
        yield url


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("hangs", "did not tell its tools within"),
        ("html", "no use as an MCP server"),
        ("refuses", "401"),
        ("broken", "no use as an MCP server"),
        ("sends-on", "Redirect to http://127.0.0.1:9/elsewhere not followed"),
    ],
)
def test_one_elsewhere_that_cannot_be_used_is_told_why(
    studio: Studio, site: str, what: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_connection, "START", 20.0 if what != "hangs" else 2.0)
    studio.tools.add_server("bad", {"url": f"{site}/{what}"}, trust=True)
    with pytest.raises(StudioError) as raised:
        studio.tools.test_server("bad")
    assert says in str(raised.value)
    assert "\x1b" not in str(raised.value)
    assert "utc" in studio.tools.call("builtin__time", {}).text


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("slow", "did not answer within"),
        ("drips", "did not answer within"),
        ("huge", "it answered with more than 8 MiB"),
        ("packed", "it packed its answer"),
        ("endless-event", ""),
        ("floods", "it flooded"),
        ("breaks-off", ""),
    ],
)
def test_a_call_of_one_elsewhere_harms_nothing_and_says_what_happened(
    studio: Studio, site: str, what: str, says: str
) -> None:
    timeout = 5 if "did not answer" in says else 60
    studio.tools.add_server("bad", {"url": f"{site}/{what}", "timeout": timeout}, trust=True)
    assert [one.title for one in studio.tools.tools(["bad"])] == ["go"]
    before = psutil.Process().memory_info().rss
    found = studio.tools.call("bad__go", {})
    assert found.is_error
    assert says in found.text
    assert psutil.Process().memory_info().rss - before < 200 * 1024 * 1024
    assert "utc" in studio.tools.call("builtin__time", {}).text
