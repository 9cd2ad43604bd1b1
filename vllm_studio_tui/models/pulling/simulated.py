"""A download of the simulation: no byte is fetched; at its end the model is there as `simulation.model_files` has it.

Everything else is as with a real one: a process of its own, its queue, pause and resume, and its state.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from vllm_studio_tui.domain.download import DownloadPlan, DownloadState, PlannedFile
from vllm_studio_tui.models.pulling.directory import begin, create, read_state, write_state
from vllm_studio_tui.models.pulling.worker import TELL, Worker
from vllm_studio_tui.simulation import model_files

#: What stands in place of the hub's address.
ENDPOINT = "simulated:"
#: Bytes a second, and the part of it that is there when the simulated home is opened.
SPEED, BEGUN = 412 * 1024**2, 0.35


class SimulatedWorker(Worker):
    """Counts up in place of fetching."""

    def _download(self) -> None:
        spec = self._spec
        done = read_state(self._folder).bytes_done
        last = time.monotonic()
        while True:
            left = done
            for file in spec.files:
                self._have[file.name] = min(file.size, left)
                left -= self._have[file.name]
            self._tell_all()
            if done >= spec.total or self.stop.wait(TELL):
                break
            if not self._folder.is_dir():
                return  # the simulated home was thrown away
            now = time.monotonic()
            done, last = min(spec.total, done + int(SPEED * (now - last))), now
        if self.stop.is_set():
            self._end_paused()
            return
        shape = next(one for one in model_files.SHAPES if one.id == spec.repo)
        model_files.write_model(Path(spec.cache), shape)
        self._write(DownloadState.DONE)


def begin_simulated(root: Path, hub: Path, begun: float = BEGUN) -> None:
    """Begin the download of the model that comes, a part of which seems to be there.

    Args:
        root: Where downloads have their directories.
        hub: The cache of the hub.
        begun: The part of it that is there.

    Raises:
        OSError: It cannot be begun.
    """
    shape = next(one for one in model_files.SHAPES if one.id == model_files.COMING)
    files = tuple(
        PlannedFile(name, size, model_files.digest_of(shape, name)) for name, size in model_files.files_of(shape)
    )
    folder = hub / f"models--{shape.id.replace('/', '--')}"
    plan = DownloadPlan(
        shape.id, "main", model_files.commit_of(shape), files, folder=str(folder), licence=shape.licence,
        target=str(folder / "snapshots" / model_files.commit_of(shape)),
    )  # fmt: skip
    spec = create(root, plan, endpoint=ENDPOINT, cache=hub)
    place = root / spec.id
    write_state(place, replace(read_state(place), bytes_done=int(plan.bytes * begun)))
    begin(place)
