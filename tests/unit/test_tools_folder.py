"""The tools that read one folder: nothing leads out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tools import folder as folder_file
from vllm_studio_tui.tools.results import ToolFault

SECRET = "the secret outside"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside.txt").write_text(SECRET)
    inside = tmp_path / "inside"
    (inside / "src/deep").mkdir(parents=True)
    (inside / "src/main.py").write_text("first\nsecond needle\nthird\n")
    (inside / "src/deep/other.txt").write_text("a needle here\n")
    (inside / ".hidden").write_text("needle")
    (inside / "picture.png").write_bytes(b"\x89PNG\0\0needle")
    (inside / "empty").touch()
    (inside / "link").symlink_to(tmp_path / "outside.txt")
    (inside / "up").symlink_to(tmp_path)
    (inside / "src/back").symlink_to("../src")
    os.mkfifo(inside / "pipe")
    return inside


@pytest.fixture
def studio(tmp_path: Path, folder: Path) -> Iterator[Studio]:
    with Studio.open_sync(Places.under(tmp_path / "home"), {"tools_folder": folder}) as one:
        yield one


def call(studio: Studio, title: str, **arguments: Any) -> str:
    found = studio.tools.call(f"builtin__{title}", arguments)
    assert SECRET not in found.text
    return ("error: " if found.is_error else "") + found.text


def test_there_are_no_such_tools_without_a_folder(tmp_path: Path) -> None:
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        assert not [one for one in studio.tools.tools() if one.title in ("read_file", "list_files", "search_files")]


def test_a_person_is_asked_before_a_file_is_read(studio: Studio) -> None:
    tools = {one.title: one for one in studio.tools.tools(["builtin"])}
    assert all(tools[title].asks for title in ("read_file", "list_files", "search_files"))


def test_a_file_is_read_whole_and_in_parts(studio: Studio) -> None:
    assert call(studio, "read_file", path="src/main.py") == (
        "src/main.py, lines 1 to 3 of 3\nfirst\nsecond needle\nthird"
    )
    assert call(studio, "read_file", path="./src//main.py", first_line=2, lines=1).endswith(
        "2 to 2 of 3\nsecond needle"
    )
    assert "has 3 lines" in call(studio, "read_file", path="src/main.py", first_line=9)
    assert call(studio, "read_file", path="empty").startswith("empty, lines 1 to 0 of 0")


def test_a_listing_says_what_is_what(studio: Studio) -> None:
    found = call(studio, "list_files")
    for line in ("src/", "link  a link", "picture.png  12 B", ".hidden  6 B"):
        assert line in found.split("\n")
    assert "other.txt" in call(studio, "list_files", path="src/deep")


def test_a_search_finds_lines_in_texts_that_are_not_hidden(studio: Studio) -> None:
    found = call(studio, "search_files", text="needle")
    assert found.split("\n")[1:] == ["src/main.py:2: second needle", "src/deep/other.txt:1: a needle here"]
    assert "main.py" not in call(studio, "search_files", text="needle", names="*.txt")
    assert "0 lines" in call(studio, "search_files", text=SECRET)
    assert call(studio, "search_files", text="needle", path="src/deep").startswith("1 lines")


@pytest.mark.parametrize(
    "path",
    ["../outside.txt", "src/../../outside.txt", "/etc/passwd", "~/x", "link", "up/outside.txt", "src/back/main.py",
     "pipe", "picture.png", "src", "none", "src/main.py/x", "a\0b", "x" * 300, "/".join("a" * 200), "..", "...", ".",
     ""],
)  # fmt: skip
def test_no_path_leads_out_or_to_what_is_no_text(studio: Studio, path: str) -> None:
    assert call(studio, "read_file", path=path).startswith("error: ")


@pytest.mark.parametrize("path", ["..", "/", "up", "up/inside", "src/back", "src/main.py", "none"])
def test_no_listing_and_no_search_leads_out(studio: Studio, path: str) -> None:
    assert call(studio, "list_files", path=path).startswith("error: ")
    assert call(studio, "search_files", text="x", path=path).startswith("error: ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(st.sampled_from(["..", ".", "src", "link", "up", "inside", "outside.txt", "", "~", "deep", "back"])))
def test_no_mixture_of_steps_leads_out(folder: Path, steps: list[str]) -> None:
    try:
        with folder_file.opened(folder, "/".join(steps)) as fd:
            real = Path(os.readlink(f"/proc/self/fd/{fd}"))
    except ToolFault:
        return
    assert real.is_relative_to(folder.resolve())


def test_no_descriptor_is_left_open(studio: Studio) -> None:
    call(studio, "list_files")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        call(studio, "search_files", text="needle")
        call(studio, "read_file", path="link")
        call(studio, "read_file", path="pipe")
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_large_file_and_many_hits_are_bounded(studio: Studio, folder: Path) -> None:
    (folder / "large.txt").write_text("needle\n" * 1_000_000)
    found = call(studio, "read_file", path="large.txt", lines=5000)
    assert "lines 1 to 5000 of more than" in found
    hits = call(studio, "search_files", text="needle")
    assert hits.count("\n") <= folder_file.MOST_HITS + 1
