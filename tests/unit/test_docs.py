"""The documentation: what is made from the code is as the code makes it, links lead somewhere, commands exist."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.main import get_command

from vllm_studio_tui.__main__ import SCREEN_OPTIONS
from vllm_studio_tui.cli.app import build
from vllm_studio_tui.services.recipes.form_fields import form_fields
from vllm_studio_tui.tui.screens.registry import BY_NAME

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", DOCS / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILD = generator()


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", BUILD.pages(), ids=name)
def test_what_is_made_from_the_code_is_as_the_code_makes_it(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == BUILD.renewed(text), "run: python docs/build.py"


def test_every_part_that_can_be_made_is_on_a_page() -> None:
    shown = {found[2] for page in BUILD.pages() for found in BUILD.PART.finditer(page.read_text("utf-8"))}
    assert shown == set(BUILD.PARTS)


def test_check_names_what_differs_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text("Before\n<!-- made: keys -->\nold\n<!-- /made -->\nafter\n")
    monkeypatch.setattr(BUILD, "DOCS", page.parent)
    assert BUILD.main(["--check"]) == 1
    assert "-old" in capsys.readouterr().out
    assert "old" in page.read_text()
    assert BUILD.main([]) == 0
    assert page.read_text().startswith("Before\n<!-- made: keys -->\n\n## Everywhere")
    assert page.read_text().endswith("<!-- /made -->\nafter\n")
    assert BUILD.main(["--check"]) == 0


def test_every_field_of_a_recipe_and_every_option_says_what_it_does() -> None:
    assert [one.name for one in form_fields() if not one.help] == []
    rows = re.findall(r"^\| (`-.*?) \|(.*) \|$", BUILD.commands(), re.MULTILINE)
    assert len(rows) > 100
    assert [option for option, words in rows if not words.strip()] == []


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    text = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text("utf-8"))
    return {slug(one) for one in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def dead_links(page: Path) -> list[str]:
    dead = []
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`\n[a](#one-two) [b](page.md#one-two) [c](https://x) [d](#three) [e](gone.md)\n")
    assert dead_links(page) == ["#three", "gone.md"]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = [one.partition("#")[0] for one in LINK.findall(page.read_text("utf-8")) if ":" not in one]
        ahead += [(page.parent / one).resolve() for one in targets if one.endswith(".md")]
    assert {name(one) for one in PAGES} - {name(one) for one in reached} == set()


def command_lines() -> list[tuple[str, str]]:
    """Every command of the studio in a block of shell, with its page."""
    found = []
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text("utf-8")):
            if language not in ("sh", "bash", "console"):
                continue
            for line in block.replace("\\\n", " ").splitlines():
                found += [(name(page), one) for one in studio_commands(line)]
    return found


def studio_commands(line: str) -> list[str]:
    """The commands of the studio in a line of shell; there may be several, and others beside them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    commands: list[list[str]] = []
    inside = False
    for word in lexer:
        if word in ("vllm-studio", ".venv/bin/vllm-studio"):
            commands.append([])
            inside = True
        elif re.fullmatch(r"[|&;<>()]+", word):
            inside = False
        elif inside:
            commands[-1].append(word)
    return [shlex.join(one) for one in commands]


def wrong_with(line: str) -> str | None:
    """What the command line has against a command; None: nothing. Nothing is run."""
    argv = shlex.split(line)
    if argv[:1] == ["monitor"] and "--replay" not in argv:  # a recording is shown by the command itself
        argv = ["--screen", "monitor", *argv[1:]]
    if argv in (["--version"], ["--install-completion"]):  # these would be done while they are parsed
        return None
    if not argv or argv[0] in SCREEN_OPTIONS:
        screens = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
        screens.add_argument("--screen", choices=BY_NAME)
        screens.add_argument("--recipe")
        for flag in set(SCREEN_OPTIONS) - {"--screen", "--recipe"}:
            screens.add_argument(flag, action="store_true")
        try:
            rest = screens.parse_known_args(argv)[1]
        except argparse.ArgumentError as error:
            return str(error)
        return f"unknown: {rest}" if rest else None
    command: Any = get_command(build())
    try:
        while hasattr(command, "commands") and argv and not argv[0].startswith("-"):
            command = command.commands[argv.pop(0)]
        command.make_context("vllm-studio", argv)
    except typer.Exit:
        return None  # --help
    except KeyError as error:
        return f"no command {error}"
    except Exception as error:  # noqa: BLE001, RUF100
        return str(error)
    return None


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_every_command_on_a_page_exists_with_its_options(page: str, line: str) -> None:
    assert wrong_with(line) is None


@pytest.mark.parametrize(
    "line", ["lunch x", "launch x --wiat", "--screen nowhere", "monitor --compct", "recipes ad x", "usage --days x"]
)
def test_a_wrong_command_is_found(line: str) -> None:
    assert wrong_with(line) is not None


def test_commands_are_found_in_pipes_and_substitutions() -> None:
    line = "x=$(vllm-studio status --json | jq .) && echo hi | vllm-studio chat 'a b' > f; ls"
    assert studio_commands(line) == ["status --json", "chat 'a b'"]
