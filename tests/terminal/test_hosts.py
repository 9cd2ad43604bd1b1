"""The hosts screen in a real terminal: this program becomes that of another host, and comes back."""

from __future__ import annotations

from pathlib import Path

from tests.functional.stage import recipe
from tests.hosts import real_server
from tests.terminal.conftest import Opener
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
        assert one.process.wait(20) == 0
        assert one.process.pid == pid
