"""`record`: a session of facts into a file, to be looked at again with `monitor --replay`."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import note, say
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit import numbers

#: Seconds before the recording of which events are written too.
BEFORE = 1800.0
#: Seconds from one look for events to the next.
EVENTS_EVERY = 30.0


def register(app: typer.Typer) -> None:
    @app.command("record")
    def record(
        path: Path = typer.Argument(..., metavar="FILE", help="A new file, such as session.jsonl.gz."),
        seconds: float | None = typer.Option(None, "--seconds", min=1, help="So long; otherwise until ctrl+c."),
        interval: float | None = typer.Option(None, "--interval", min=0.2, max=60, help="Seconds between two samples."),
    ) -> None:
        """Record GPUs, engines, runs and events into a file; secrets, texts and names of people are left out."""
        from vllm_studio_tui.remote.recording import Recorder
        from vllm_studio_tui.services.watching.snapshot import Snapshot

        with open_studio() as studio:
            recorder = Recorder(path)
            began = time.time()
            failed: list[StudioError] = []

            def took(snapshot: Snapshot) -> None:
                if failed or snapshot.stale is not None:
                    return
                try:
                    recorder.sample(snapshot)
                except StudioError as error:
                    failed.append(error)

            def events() -> None:
                recorder.events(studio.timeline.events(began - BEFORE, time.time() + 1))

            pace = interval if interval is not None else studio.settings.refresh_seconds
            unfollow = studio.bus.subscribe(Snapshot, took)
            try:
                studio.sampler.set_pace(pace)
                studio.sampler.start()
                note(f"recording to {path}{'' if seconds is None else f', {seconds:g} s'}; ctrl+c ends it")
                looked = 0.0
                while not failed and (seconds is None or time.time() - began < seconds):
                    time.sleep(0.1)
                    if time.time() - looked >= EVENTS_EVERY and recorder.count:
                        looked = time.time()
                        events()
            except KeyboardInterrupt:
                pass
            finally:
                unfollow()
                with contextlib.closing(recorder):
                    if not failed:
                        events()
        if failed:
            raise failed[0]
        say(f"{recorder.count} samples, {numbers.size(path.stat().st_size)}: vllm-studio monitor --replay {path}")
