"""What is begun in the prompt, what it may go on to, and how files and lines of a shell are found and run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.library import LibraryText
from vllm_studio_tui.kit import file_walk
from vllm_studio_tui.kit.file_walk import walk
from vllm_studio_tui.kit.fuzzy import score
from vllm_studio_tui.kit.process import stat
from vllm_studio_tui.kit.shell_line import HEAD, TAIL, run_line
from vllm_studio_tui.tui.screens.chat import slash
from vllm_studio_tui.tui.screens.chat.completion import Begun, Completion, begun, quoted

# --- what is begun --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "found"),
    [
        ("/", Begun("/", "", 0)),
        ("/mod", Begun("/", "mod", 0)),
        ("/etc/passwd", None),
        ("/model x", Begun("=", "x", 7, "model")),
        ("/set top_k 5", None),
        (" /model", None),
        ("see @", Begun("@", "", 4)),
        ("@src/a.py", Begun("@", "src/a.py", 0)),
        ('@"my fi', Begun("@", "my fi", 0)),
        ("me@host", None),
        ("@a b", None),
        ("#bug", Begun("#", "bug", 0)),
        ("# heading", None),
        ("!ls -l", Begun("!", "ls -l", 0)),
        ("really!", None),
        ("", None),
    ],
)
def test_what_is_begun(before: str, found: Begun | None) -> None:
    assert begun(before, first_line=True) == found


def test_commands_and_lines_for_the_shell_begin_a_prompt_of_one_line() -> None:
    assert begun("/mod", first_line=False) is None
    assert begun("!ls", first_line=False) is None
    assert begun("@a", first_line=False) == Begun("@", "a", 0)


@given(st.text(max_size=60), st.booleans())
def test_no_text_raises(text: str, first: bool) -> None:
    begun(text, first_line=first)
    slash.given(text)
    score(text, text[::-1])


# --- commands -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "argument"),
    [("/new", "new", ""), ("/preset  exact ", "preset", "exact"), ("/system be\nshort", "system", "be\nshort")],
)
def test_a_command_and_what_stands_behind_it(text: str, name: str, argument: str) -> None:
    found = slash.given(text)
    assert found is not None and found[0] is not None
    assert (found[0].name, found[1:]) == (name, (name, argument))


@pytest.mark.parametrize("text", ["new", " /new", "/etc/passwd is what?", "/ x", "//", "/New"])
def test_what_is_no_command(text: str) -> None:
    assert slash.given(text) is None


def test_every_command_has_a_name_of_its_own_and_says_what_it_does() -> None:
    names = [one.name for one in slash.every()]
    assert len(set(names)) == len(names)
    assert all(one.help and slash.given(f"/{one.name}") is not None for one in slash.every())
    assert {"model", "new", "chats", "fork", "export", "stash", "preset", "library", "help"} <= set(names)
    assert {one.name for one in slash.offered(read_only=True)} == {one.name for one in slash.every() if not one.writes}


def completion(*texts: LibraryText) -> Completion:
    return Completion(slash.every, lambda: texts)


def test_commands_are_found_by_their_beginning_first() -> None:
    names = [one.value for one in completion().find(Begun("/", "mod", 0)).offers]
    assert names[0] == "model"
    assert completion().find(Begun("/", "zzz", 0)).offers == ()


def test_what_stands_behind_a_command_is_offered() -> None:
    presets = (LibraryText("preset", "exact", {"temperature": 0.2}), LibraryText("preset", "free", {"seed": 1}))

    def offered(command: str, word: str) -> list[str]:
        return [one.value for one in completion(*presets).find(Begun("=", word, 5, command)).offers]

    assert offered("preset", "") == ["exact", "free"]
    assert offered("preset", "ex") == ["exact"]
    assert offered("preset", "exact") == []  # nothing is left to be completed
    assert offered("set", "tempe")[0] == "temperature"
    assert offered("set", "min-p") == []
    assert offered("think", "") == ["on", "off", "auto"]
    assert offered("system", "x") == offered("nothing", "x") == []


def test_texts_of_the_library_are_found_by_name() -> None:
    texts = (
        LibraryText("prompt", "bug report", {"text": "Write a\nbug report"}),
        LibraryText("system", "short", {"text": "Be\x1b[31m short"}),
        LibraryText("preset", "bugs", {"temperature": 1}),
    )
    offers = completion(*texts).find(Begun("#", "bug", 0)).offers
    assert [(one.value, one.note) for one in offers] == [("prompt:bug report", "Write a")]
    (short,) = completion(*texts).find(Begun("#", "sho", 0)).offers
    assert short.note.startswith("system prompt") and "\x1b" not in short.note


# --- files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("src/app/main.py", "src/app/manifest.txt", "docs/my notes.md", "node_modules/x/main.js", "main.log",
                 ".env", ".git/main", "out/main.o", "src/keep.log"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * 2048)
    (tmp_path / ".gitignore").write_text("*.log\n!keep.log\n/out/\n# remark\n**/x\n")
    (tmp_path / "loop").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_walk_leaves_out_what_programs_made(tree: Path) -> None:
    found = walk(tree)
    assert found.whole
    assert set(found.paths) == {
        "docs/", "src/", "docs/my notes.md", "src/app/", "src/keep.log", "src/app/main.py", "src/app/manifest.txt",
    }  # fmt: skip
    assert ".env" in walk(tree, hidden=True).paths


def test_files_are_found_by_some_of_their_letters(tree: Path) -> None:
    offers = completion().find(Begun("@", "mainpy", 0)).offers
    assert [(one.value, one.note, one.goes_on) for one in offers] == [("src/app/main.py", "2 KiB", False)]
    assert completion().find(Begun("@", "app/ma", 0)).offers[0].value == "src/app/main.py"
    assert [one.value for one in completion().find(Begun("@", "", 0)).offers][:2] == ["docs/", "src/"]
    assert completion().find(Begun("@", "src/app/main.py", 0)).offers == ()


def test_paths_from_elsewhere_are_completed_as_they_are_written(
    tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert completion().find(Begun("@", f"{tree}/src/man", 0)).offers[0].value == f"{tree}/src/app/manifest.txt"
    monkeypatch.setenv("HOME", str(tree))
    assert completion().find(Begun("@", "~/notes", 0)).offers[0].value == "~/docs/my notes.md"
    monkeypatch.chdir(tree / "docs")
    assert completion().find(Begun("@", "../src/", 0)).offers[0].value == "../src/keep.log"
    assert completion().find(Begun("@", "/no/such/folder/x", 0)).offers == ()


def test_a_path_with_blanks_stands_in_quotes() -> None:
    assert quoted("a/b") == "a/b"
    assert quoted("a b") == '"a b"'


def test_a_walk_ends_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (tmp_path / f"f{number}").mkdir()
    assert not walk(tmp_path, seconds=-1).whole
    monkeypatch.setattr(file_walk, "MOST", 10)
    few = walk(tmp_path)
    assert (len(few.paths), few.whole) == (10, False)
    assert walk(tmp_path / "nothing").paths == ()


def test_better_matches_come_first() -> None:
    paths = ["docs/chat/readme.md", "src/chat.py", "chat/x/y/z/other.py", "c/h/a/t.txt"]
    ranked = sorted(
        (path for path in paths if score("chat", path) is not None), key=lambda one: -(score("chat", one) or 0)
    )
    assert ranked[0] == "src/chat.py"
    assert ranked[-1] == "c/h/a/t.txt"
    assert score("xyz", "src/chat.py") is None


# --- lines for the shell --------------------------------------------------------------------------------------


def until(holds: Callable[[], bool]) -> bool:
    """Wait until something holds, ten seconds at most."""
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def number_in(path: Path) -> int | None:
    return int(text) if path.exists() and (text := path.read_text().strip()) else None


def gone(path: Path) -> bool:
    """Whether the process whose number a file holds has ended, soon."""
    number = number_in(path)
    assert number is not None
    return until(lambda: (one := stat(number)) is None or one.state == "Z")


async def test_a_line_tells_what_it_printed_and_how_it_ended(tmp_path: Path) -> None:
    done = await run_line("pwd; echo wrong >&2; cat; exit 3", folder=str(tmp_path))
    assert done.output == f"{tmp_path}\nwrong\n"
    assert (done.code, done.left_out, done.words) == (3, 0, "exit 3")


async def test_of_a_long_output_the_middle_is_left_out() -> None:
    done = await run_line("head -c 200000 /dev/zero | tr '\\0' a; echo END")
    assert done.left_out == 200_004 - HEAD - TAIL
    assert done.output.startswith("aaa") and done.output.endswith("END\n")
    assert len(done.output) < HEAD + TAIL + 100


async def test_a_line_that_goes_on_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    done = await run_line(f"sleep 60 & echo $! > {tmp_path}/pid; echo begun; wait", seconds=1.0)
    assert time.monotonic() - began < 20
    assert (done.output, done.code) == ("begun\n", None)
    assert done.words.startswith("ended after")
    assert gone(tmp_path / "pid")


async def test_a_line_that_is_given_up_is_ended(tmp_path: Path) -> None:
    task = asyncio.create_task(run_line(f"echo $$ > {tmp_path}/pid; exec sleep 60"))
    await asyncio.to_thread(until, lambda: number_in(tmp_path / "pid") is not None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(tmp_path / "pid")
