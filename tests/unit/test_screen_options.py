"""The options of the screens are found by who asks for help, and refused where they do nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

OPTIONS = ("--screen", "--recipe", "--compact", "--read-only", "--ascii", "--no-mouse")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vllm_studio_tui", *arguments]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)


def test_help_says_what_opens_the_screens() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "its screens open" in " ".join(done.stdout.split())
    for option in OPTIONS:
        assert option in done.stdout, option


def test_the_monitor_is_a_command_with_a_help_of_its_own() -> None:
    done = run("monitor", "--help")
    assert done.returncode == 0
    assert "Open the monitor" in done.stdout
    assert "--no-mouse" in done.stdout
    assert "the screens need a terminal" in run("monitor", "--compact").stderr


@pytest.mark.parametrize(
    "arguments", [("--compact", "status"), ("monitor", "--screen", "chat"), ("--no-mouse", "runs")]
)
def test_an_option_of_the_screens_is_not_ignored_elsewhere(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "screens" in done.stderr or "No such option" in done.stderr
