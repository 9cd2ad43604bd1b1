"""How commands end: full disks, closed pipes, JSON errors, hostile words, and completion."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from vllm_studio_tui.cli import app, output
from vllm_studio_tui.kit.durations import duration_words
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.kit.sanitize import clean, json_safe

HOSTILE = "x\x1b[31m\x9b2J\u202eevil\U000e0041\ufeff"
#: Commands that write something on stdout whatever is there, quick ones and others.
WRITERS = (
    ["--version"], ["status", "--json"], ["status"], ["gpus", "--json"], ["gpus", "--line"], ["gpus"],
    ["recipes", "list", "--json"], ["recipes", "starters"], ["--help"], ["usage", "--json"],
)  # fmt: skip


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VLLM_STUDIO_SIMULATE_GPUS", "2")


def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "vllm_studio_tui", *arguments]
    return subprocess.run(line, text=True, timeout=120, check=False, **options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("arguments", WRITERS, ids=" ".join)
def test_output_that_cannot_be_written_is_one_clear_error(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = run(arguments, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the output could not be written")
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.parametrize("arguments", WRITERS, ids=" ".join)
def test_a_reader_that_has_gone_ends_every_command_quietly_and_alike(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(arguments, stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def commands() -> Iterator[tuple[list[str], Any]]:
    """Every command that has --json, with what it is."""

    def walk(command: Any, path: list[str]) -> Iterator[tuple[list[str], Any]]:
        for name, one in getattr(command, "commands", {}).items():
            yield from walk(one, [*path, name])
        if any("--json" in getattr(option, "opts", ()) for option in command.params):
            yield path, command

    return walk(get_command(app.build()), [])


COMMANDS = {" ".join(path): (path, command) for path, command in commands()}


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_usage_with_json_leaves_one_document(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = COMMANDS[name]
    assert app.run([*path, "--json", "--bogus-flag"]) == 2
    told = capsys.readouterr()
    error = json.loads(told.out)["error"]
    assert "--bogus-flag" in error["title"] and error["exit_code"] == 2
    assert told.err.startswith("error: No such option: --bogus-flag")


@pytest.mark.parametrize(
    "arguments",
    [
        ["recipes", "show", "nobody"], ["recipes", "check", "nobody"], ["recipes", "command", "nobody"],
        ["launch", "nobody"], ["switch", "nobody"], ["stop", "nobody"], ["wait-ready", "nobody"],
        ["diagnose", "nobody"], ["metrics", "nobody"], ["chats", "show", "nobody"], ["runs", "show", "nobody"],
        ["gpus", "--once", "--watch"], ["usage", "--by", "colour"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_error_with_json_leaves_one_document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if " ".join(arguments[:2]) not in COMMANDS and arguments[0] not in COMMANDS:
        pytest.skip("has no --json")
    code = app.run([*arguments, "--json"])
    told = capsys.readouterr()
    assert code in (1, 2)
    document = json.loads(told.out)
    assert document["error"]["title"] and document["error"]["exit_code"] == code
    assert told.err.startswith("error: ")


def test_a_document_that_was_printed_stays_the_only_one(capsys: pytest.CaptureFixture[str]) -> None:
    from vllm_studio_tui.cli.ending import report
    from vllm_studio_tui.domain.errors import StudioError

    output.emit({"runs": []})
    report(StudioError("later"), ["status", "--json"])
    assert json.loads(capsys.readouterr().out) == {"runs": []}


# --- hostile words ------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_on_a_terminal_holds_nothing_that_it_would_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    for emit in (output.emit, output.emit_line):
        out = Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        emit({"name": HOSTILE, "lone": "\ud800"})
        monkeypatch.undo()
        text = out.getvalue().rstrip("\n")
        assert clean(text) == text
        assert json.loads(text) == {"name": HOSTILE, "lone": "?"}


def test_json_in_a_pipe_is_as_it_was_but_for_what_cannot_be_written() -> None:
    text = json.dumps({"a": "\x9b\u202e", "b": "\ud800"}, ensure_ascii=False)
    safe = json_safe(text, terminal=False)
    assert "\x9b\u202e" in safe
    assert json.loads(safe.encode()) == {"a": "\x9b\u202e", "b": "?"}


def test_a_noun_alone_shows_its_help_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["recipes"]) == 2
    assert capsys.readouterr().out.count("Usage:") == 1


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_document_survives_the_terminal(document: Any) -> None:
    text = json_safe(json.dumps(document, ensure_ascii=False), terminal=True)
    assert json.loads(text) == document
    assert clean(text) == text


@pytest.mark.parametrize("arguments", [[f"--{HOSTILE}"], [HOSTILE], ["gpus", HOSTILE]])
def test_words_of_a_usage_error_are_made_safe(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(arguments) == 2
    told = capsys.readouterr().err
    assert clean(told) == told
    assert "evil" in told


def test_what_is_copied_holds_no_escapes(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from vllm_studio_tui.tui.terminal.clipboard import copy

    written: list[str] = []

    def write(sequence: str) -> bool:
        written.append(sequence)
        return True

    app_ = SimpleNamespace(
        write_terminal=write,
        tell=lambda *_: None,
        studio=SimpleNamespace(places=Places.under(tmp_path)),
        profile=SimpleNamespace(terminal=SimpleNamespace(inside="")),
    )
    copy(app_, f"\x1b[31mred\x1b[0m\ttab\nline {HOSTILE}")
    kept = (tmp_path / "state" / "clip.txt").read_text()
    assert kept.startswith("red\ttab\nline x")
    assert clean(kept) == kept
    assert any(written) and not any("\x1b[31m" in sequence for sequence in written)


# --- completion ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "variables"),
    [
        ("bash", {"COMP_WORDS": "vllm-studio rec", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "vllm-studio rec"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "vllm-studio rec", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_a_shell_is_answered_by_the_protocol_of_its_completion(shell: str, variables: dict[str, str]) -> None:
    environment = {**os.environ, "_VLLM_STUDIO_COMPLETE": f"complete_{shell}", **variables}
    done = run([], env=environment, capture_output=True)
    assert "recipes" in done.stdout
    assert "screens need" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown_and_asks_as_it_is_answered(shell: str) -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = run(["--show-completion", shell], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "_VLLM_STUDIO_COMPLETE" in done.stdout


def test_the_script_is_installed_where_the_shell_looks(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = run(["--install-completion", "bash"], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".bash_completions" / "vllm-studio.sh").is_file()


# --- small words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "0.5 seconds"), (1, "1 second"), (60, "1 minute"), (100, "1 minute 40 seconds"), (600, "10 minutes"),
     (5400, "1 hour 30 minutes"), (90_061, "1 day 1 hour"), (59.9, "1 minute")],
)  # fmt: skip
def test_a_length_of_time_is_told_in_words(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


def test_failures_are_counted_within_a_time_that_people_say() -> None:
    from vllm_studio_tui.domain.spec import Restart
    from vllm_studio_tui.keeper.restart import CrashBudget
    from vllm_studio_tui.keeper.verdict import Verdict

    budget = CrashBudget(Restart(policy="always", budget=2, window=100), [1.0])
    decided = budget.after(Verdict("crashed", ""), 5.0, by_itself=False)
    assert decided.note == "2 failures within 1 minute 40 seconds: not started again."


def test_a_device_is_a_log_like_any_other(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert app.run(["diagnose", "/dev/null"]) in (0, 3)
    assert "neither a file" not in capsys.readouterr().err
    assert app.run(["diagnose", str(tmp_path)]) == 1
    assert "It is a folder." in capsys.readouterr().err


def test_a_search_without_a_hit_does_not_say_that_there_is_no_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["recipes", "list", "--search", "zzz"]) == 0
    assert capsys.readouterr().out == "No recipe matches 'zzz'.\n"
