"""The hosts screen in a real terminal: this program becomes that of another host, and comes back."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.functional.stage import recipe
from tests.hosts import real_server
from tests.terminal.conftest import Opener
from tests.terminal.pty_screen import Terminal, environment
from vllm_studio_tui.config.hosts import save_host
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio


def test_enter_goes_to_a_host_and_the_header_says_which(home: Path, terminal: Opener) -> None:
    there = home / "there"
    there.mkdir()
    with Studio.open_sync(Places.under(there)) as studio:
        studio.recipes.create(recipe("one-of-there"))
    with real_server(there) as (address, _):
        save_host(Places.under(home), "gpu-box", {"connect": address})
        one = terminal("--screen", "hosts", "--ascii")
        one.until("gpu-box   a studio")
        assert "9 Hosts" in one.text().splitlines()[0]
        one.send("g", "enter")
        one.until(lambda text: "gpu-box" in text.splitlines()[0])
        one.send("2")
        one.until("one-of-there")
        assert one.text().isascii(), "how it was started stays"
        pid = one.process.pid
        one.send("9")
        one.until("shown now")
        one.send("G", "enter")
        one.until(lambda text: "gpu-box" not in text.splitlines()[0] and "studio" in text.splitlines()[0])
        one.send("2")
        one.until(lambda text: "2 Recipes" in text.splitlines()[0])
        assert "one-of-there" not in one.text()
        one.send("q")
        assert one.wait() == 0
        assert one.process.pid == pid


def killed_on_the_way(home: Path) -> str:
    """Return a program: `vllm-studio` that kills the process in VICTIM once it is connected elsewhere."""
    program = home / "program.py"
    program.write_text(
        "import os, signal, sys\n"
        "from vllm_studio_tui.tui import start\n"
        "from vllm_studio_tui.__main__ import main\n"
        "opened = start.open_screens\n"
        "def open_screens(studio, **options):\n"
        "    if studio.host:\n"
        "        os.kill(int(os.environ['VICTIM']), signal.SIGKILL)\n"
        "    return opened(studio, **options)\n"
        "start.open_screens = open_screens\n"
        "sys.exit(main())\n"
    )
    return str(program)


def test_a_host_that_goes_away_before_the_first_picture_is_an_error_in_words(home: Path) -> None:
    with real_server(home / "there") as (address, server):
        save_host(Places.under(home), "far", {"connect": address})
        argv = [sys.executable, killed_on_the_way(home), "--connect", "far"]
        one = Terminal(argv, environment(home, VICTIM=str(server.pid)), columns=120, rows=36)
        try:
            assert one.wait(60) == 1
            one._reader.join(5)
            assert "far does not answer" in one.text()
            assert "fault" not in one.text()
            assert not (Places.under(home).state / "faults").exists()
        finally:
            one.close()


def test_a_host_that_goes_away_while_one_goes_to_it_leads_back_to_the_list(home: Path, terminal: Opener) -> None:
    (home / "there").mkdir()
    gate = home / "gate"
    gate.mkdir()
    # `python -P -m` of the program that becomes another reads this first, as any other of its start.
    (gate / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "if '--connect' in sys.orig_argv:\n"
        "    os.kill(int(os.environ['VICTIM']), signal.SIGKILL)\n"
    )
    with real_server(home / "there") as (address, server):
        save_host(Places.under(home), "far", {"connect": address})
        one = terminal("--screen", "hosts", "--ascii", PYTHONPATH=str(gate), VICTIM=str(server.pid))
        one.until("far   a studio")
        pid = one.process.pid
        one.send("g", "enter")
        one.until("far does not answer")
        shown = one.until(lambda text: "9 Hosts" in text.splitlines()[0])
        assert "far" not in shown.splitlines()[0]
        assert shown.isascii(), "how it was started stays"
        one.send("q")
        assert one.wait() == 0
        assert one.process.pid == pid
