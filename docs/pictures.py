"""Makes the pictures of the README from the running app, on four simulated GPUs: `python docs/pictures.py`."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
QUESTION = "How large is a KV cache?"
#: What stands in the pictures in place of the temporary home, which is as long on Linux.
SHOWN_HOME = "/srv/vllm-studio"


async def take() -> None:
    """Launch the simulation, use it for a moment, and keep what the screens show."""
    from vllm_studio_tui.domain.run import State
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.runs import read
    from vllm_studio_tui.services import demo
    from vllm_studio_tui.studio import Studio
    from vllm_studio_tui.tui.app import StudioApp

    places = Places.of()
    async with Studio.open(places) as studio:
        demo.prepare_simulation(places)
        run = demo.open_simulation(places, studio.settings, studio.db, studio.recipes)
        await asyncio.to_thread(read.wait_for, run.folder, frozenset({State.READY}), 60.0)
        studio.sampler.start()
        app = StudioApp(studio, place="chat", label="SIMULATED")
        try:
            async with app.run_test(size=(150, 42)) as pilot:
                for character in QUESTION:
                    await pilot.press({" ": "space", "?": "question_mark"}.get(character, character))
                await pilot.press("enter")
                await pilot.pause(6)
                keep(app, "chat")
                for place in ("monitor", "recipes", "dashboard"):
                    # As high as its charts: the processes below them would show the paths of this machine.
                    await pilot.resize_terminal(150, 36 if place == "monitor" else 42)
                    await app.show_place(place)
                    await pilot.pause(4)
                    keep(app, place)
        finally:
            for run in read.live_runs(places):
                studio.launcher.stop(run, force=True)


def keep(app: object, name: str) -> None:
    svg: str = app.export_screenshot()  # type: ignore[attr-defined]
    (HERE / f"{name}.svg").write_text(svg.replace(os.environ["VLLM_STUDIO_HOME"], SHOWN_HOME), "utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"VLLM_STUDIO_HOME": home, "VLLM_STUDIO_SIMULATE_GPUS": "4"}
        asyncio.run(take())
