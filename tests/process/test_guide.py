"""The guide, followed: its blocks marked `<!-- run -->` are typed into one shell, page by page, on a fresh home.

What a page shows below a block (a `text` block) must come, in that order; `...` stands for anything. A block that a
test cannot run says why: `<!-- by hand: REASON -->`; that its commands exist is checked in tests/unit/test_docs.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vllm_studio_tui.cli.app import build
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.services import demo

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
BLOCK = re.compile(r"(?:^<!-- (run|by hand: [^\n]+) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "@@ block"


@dataclass
class Block:
    """A block of shell on a page, and what the page shows that it prints."""

    page: str
    mark: str
    text: str
    shown: list[str] = field(default_factory=list)


def pages() -> list[Path]:
    """The pages of the guide in the order of its index."""
    return [
        GUIDE / one for one in re.findall(r"^\d+\. \[[^\]]+\]\((\S+\.md)\)", (GUIDE / "README.md").read_text(), re.M)
    ]


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    for mark, language, text in BLOCK.findall(page.read_text("utf-8")):
        if language == "sh":
            found.append(Block(page.name, mark, text))
        elif language == "text" and found and found[-1].mark == "run":
            found[-1].shown += text.splitlines()
    return found


def missing(shown: list[str], printed: str) -> list[str]:
    """Lines that a page shows and that did not come after those before them."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    absent = []
    for one in shown:
        if one.strip() == "...":
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in " ".join(one.split()).split("...")))
        at = next((number for number, line in enumerate(lines) if pattern.fullmatch(line)), None)
        if at is None:
            absent.append(one)
        else:
            lines = lines[at + 1 :]
    return absent


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for run in read.live_runs(Places.under(tmp_path / "vllm-studio-guide")):
        control.stop(run, force=True)


def environment(home: Path) -> dict[str, str]:
    """A stranger's: of ours only the program in PATH, and the small model, which is fetched once for all tests."""
    named = os.environ.get("VLLM_STUDIO_TEST_MODEL")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vllm-studio-tests"
    try:
        model = demo.fetch(Places.under(cache), Path(named) if named else None, lambda progress: None)
    except StudioError as error:
        pytest.skip(f"the small model cannot be had here: {error}")
    programs = home / ".local" / "bin"
    programs.mkdir(parents=True)
    for program in ("vllm-studio", "python3"):
        text = f'#!/bin/sh\nexec {sys.executable} {"-m vllm_studio_tui " if program == "vllm-studio" else ""}"$@"\n'
        (programs / program).write_text(text)
        (programs / program).chmod(0o755)
    ours = ("VLLM_STUDIO_", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {
        "HOME": str(home),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "VLLM_STUDIO_DEMO_MODEL": str(model),
        "LANG": "C.UTF-8",
    }


def test_every_page_of_the_guide_says_what_can_be_run() -> None:
    assert {one.name for one in pages()} == {one.name for one in GUIDE.glob("*.md")} - {
        "README.md",
        "write-a-backend.md",
        "write-a-plug-in.md",
    }
    unmarked = [(one.page, one.text) for page in pages() for one in blocks(page) if not one.mark]
    assert unmarked == []


def test_lines_that_do_not_come_are_found() -> None:
    assert missing(["a ... b", "...", "c"], "x\na  1 b\ny\nc\n") == []
    assert missing(["c", "a ... b"], "a 1 b\nc\n") == ["a ... b"]


@pytest.mark.timeout(600)
def test_the_guide_can_be_followed_as_it_is_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp")
    if shutil.which("bash") is None or shutil.which("curl") is None:
        pytest.skip("the guide needs bash and curl")
    run = [one for page in pages() for one in blocks(page) if one.mark == "run"]
    script = "\n".join(["set -euo pipefail", *(f"echo '{MARK}'\n{one.text}" for one in run), "echo followed"])
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment(home),
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=580,
        check=False,
    )
    printed = done.stdout.split(f"{MARK}\n")[1:]
    assert printed[-1].endswith("followed\n"), (run[len(printed) - 1], printed[-1][-3000:])
    wrong = [
        (one.page, gone, text) for one, text in zip(run, printed, strict=True) if (gone := missing(one.shown, text))
    ]
    assert wrong == []
    assert_documents_have_the_keys_of_the_reference(home / "vllm-studio-guide", monkeypatch)


def documented_keys() -> list[tuple[str, list[str], str, list[str]]]:
    """Of each row of the reference of JSON: the command, its keys, the key that holds a list, and the keys in that."""
    page = (GUIDE.parent / "reference" / "cli.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z- A-Z]+)` \| (`.+) \|$", page[page.index("| command | keys |") :], re.MULTILINE)
    found = []
    for command, cell in rows:
        own, _, inner = cell.partition(": a list of ")
        keys = re.findall(r"`(\w+)`", own.partition(";")[0])
        found.append((command, keys, keys[-1], re.findall(r"`(\w+)`", inner.partition(";")[0])))
    return found


#: They need a run that is ready, or start one.
NOT_TRIED = {"metrics RUN", "launch ID"}


def assert_documents_have_the_keys_of_the_reference(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(home))
    monkeypatch.setenv("VLLM_STUDIO_SIMULATE_GPUS", "2")
    tried = 0
    for command, keys, listing, inner in documented_keys():
        if command in NOT_TRIED:
            continue
        name = "last" if command.startswith("chats show") else "Paris" if "WORDS" in command else "smollm2-demo"
        argv = [name if word.isupper() else word for word in command.split()]
        if argv == ["status"]:
            argv.append("--all")
        document = json.loads(CliRunner().invoke(build(), [*argv, "--json"]).stdout)
        assert set(keys) <= set(document), command
        if inner:
            assert set(inner) <= set(document[listing][0]), command
        tried += 1
    assert tried > 10
