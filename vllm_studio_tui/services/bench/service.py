"""Benchmarks: one is made at a time, in a process of its own; what they showed is kept. Blocking."""

from __future__ import annotations

import builtins
import contextlib
import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.bench import BenchPlan, BenchProgress, BenchResult
from vllm_studio_tui.domain.errors import NotFound, StoreError, StudioError, UsageError
from vllm_studio_tui.kit.paths import Places, private_dir
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.bench.folder import LOG, BenchFolder, folder_of, result_of

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench_compare import BenchComparison, BenchLimit
    from vllm_studio_tui.domain.chat import Target
    from vllm_studio_tui.services.bench.measured_engine import MeasuredEngine
    from vllm_studio_tui.store.benchmarks import BenchmarkRows
    from vllm_studio_tui.store.database import Database

#: Seconds between two looks of who follows, and seconds that a process may take to begin and to end.
LOOK, BEGIN, END = 0.2, 20.0, 15.0


class Bench:
    """Benchmarks of this machine.

    Args:
        engine: Finds who is measured, by a name of ours or an address, and what is known of that engine.
    """

    def __init__(
        self,
        places: Places,
        db: Callable[[], Database],
        engine: Callable[[str | None, str | None, str | None], MeasuredEngine],
    ) -> None:
        self._places, self._db, self._engine = places, db, engine
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.RLock()

    # --- making -----------------------------------------------------------------------------------------

    def start(
        self, plan: BenchPlan, name: str | None = None, *, base_url: str | None = None, model: str | None = None
    ) -> BenchResult:
        """Begin a benchmark, in a process that ends with this one; return it as it begins.

        Args:
            name: A run or recipe that is ready; None: the only one, or a server by its address.

        Raises:
            StudioError: The plan makes no sense, nobody answers, or another benchmark is being made.
        """
        plan = plan.checked()
        if plan.prompts_file and not plan.prompts:
            from vllm_studio_tui.services.bench.prompts import read_prompts

            plan = replace(plan, prompts=read_prompts(Path(plan.prompts_file)))
        found = self._engine(name, base_url, model)
        with self._lock:
            self._refuse_second()
            at = time.time()
            bench_id = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(at))}-{secrets.token_hex(2)}"
            result = replace(found.result, id=bench_id, at=at, plan=plan, state="running")
            folder = BenchFolder(folder_of(self._places) / bench_id)
            self._spawn(folder, result, found)
        return result

    def under_way(self) -> BenchProgress | None:
        """Return where the benchmark is that is being made; None where none is."""
        for folder in self._folders():
            if folder.held and (progress := folder.progress()) is not None:
                return progress
        return None

    def follow(self, bench_id: str) -> Iterator[BenchProgress]:
        """Yield where a benchmark is until it has ended; the last one says how.

        Raises:
            NotFound: There is none.
        """
        folder = BenchFolder(folder_of(self._places) / _plain(bench_id))
        last: BenchProgress | None = None
        while folder.held:
            progress = folder.progress()
            if progress is not None and progress != last:
                last = progress
                yield progress
            time.sleep(LOOK)
        self._reap(bench_id)
        result = self.get(bench_id)
        last = last or BenchProgress(bench_id)
        yield replace(last, state=result.state, share=1.0, seconds_left=None, words=result.error or "")

    def stop(self, bench_id: str) -> None:
        """End a benchmark: its requests end on the engine, and what was measured is kept. Blocking till it has ended.

        Raises:
            NotFound: It is not being made.
        """
        folder = BenchFolder(folder_of(self._places) / _plain(bench_id))
        if not folder.held:
            raise NotFound(f"{clean_line(bench_id)} is not being measured", advice="See: vllm-studio bench list")
        process = self._processes.get(bench_id)
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        else:
            folder.ask_to_stop()
        deadline = time.monotonic() + END
        while folder.held and time.monotonic() < deadline:
            time.sleep(0.05)
        self._reap(bench_id)

    def close(self) -> None:
        """End what this program measures, and keep it."""
        for bench_id in list(self._processes):
            with contextlib.suppress(StudioError):
                self.stop(bench_id)
            with contextlib.suppress(StudioError):
                self._settle()

    # --- what is kept -----------------------------------------------------------------------------------

    def list(self, recipe: str | None = None, limit: int = 100) -> builtins.list[BenchResult]:
        """Return benchmarks, the latest first, one that is being made among them.

        Args:
            recipe: Only those of this recipe, run or model.
        """
        making = self._settle()
        kept = [one for data in self._rows().list(recipe, limit) if (one := result_of(data)) is not None]
        making = [one for one in making if recipe is None or recipe in (one.recipe_id, one.run_id, one.model)]
        return sorted([*making, *kept], key=lambda one: one.at, reverse=True)[:limit]

    def get(self, bench_id: str) -> BenchResult:
        """Return one by its id, or by how its id begins; one that is being made has its steps so far.

        Raises:
            NotFound: There is none.
            UsageError: Several begin so.
        """
        making = {one.id: one for one in self._settle()}
        if bench_id in making:
            return making[bench_id]
        found = result_of(self._rows().get(bench_id))
        if found is not None:
            return found
        known = self.list(limit=10_000)
        if bench_id in ("last", "latest") and known:
            return known[0]
        begun = [one for one in known if bench_id and one.id.startswith(bench_id)]
        if len(begun) > 1:
            ids = ", ".join(one.id for one in begun[:10])
            raise UsageError(f"several benchmarks begin with {clean_line(bench_id)}", cause=ids)
        if not begun:
            raise NotFound(f"there is no benchmark {clean_line(bench_id)}", advice="See: vllm-studio bench list")
        return begun[0]

    def delete(self, bench_id: str) -> None:
        """Delete a benchmark.

        Raises:
            NotFound: There is none.
            UsageError: It is being made.
        """
        one = self.get(bench_id)
        if one.state == "running":
            raise UsageError(f"{one.id} is being measured", advice="Stop it first.")
        self._rows().delete(one.id)

    def compare(self, before: str, after: str) -> BenchComparison:
        """Return what changed from one to another, paired by their steps.

        Raises:
            NotFound: One of them is not there.
        """
        from vllm_studio_tui.services.bench.comparing import compare
        from vllm_studio_tui.services.bench.keeping import requests_of

        pair = [self.get(before), self.get(after)]
        raw = [requests_of(self._rows().requests(one.id)) for one in pair]
        return compare(pair[0], pair[1], raw[0], raw[1])

    def since_upgrade(self, bench_id: str) -> BenchComparison | None:
        """Return what changed since the last benchmark of the same recipe and plan on another version of its engine.

        Returns:
            None: there is no such benchmark.

        Raises:
            NotFound: There is no benchmark of this id.
        """
        from vllm_studio_tui.services.bench.comparing import same_plan

        after = self.get(bench_id)
        if after.recipe_id is None or after.engine_version is None:
            return None
        for one in self.list(after.recipe_id, limit=1000):
            before = one.engine_version is not None and one.engine_version != after.engine_version
            same = one.revision == after.revision and one.gpus == after.gpus and same_plan(one.plan, after.plan)
            if before and same and one.at < after.at and one.state in ("done", "stopped") and one.steps:
                return self.compare(one.id, after.id)
        return None

    def limit(self, bench_id: str, ttft: float | None = None, speed: float | None = None) -> BenchLimit:
        """Return how many users a benchmark's engine carries, from its steps.

        Args:
            ttft, speed: Seconds at most until the first token, p95, and tokens a second at least that a user sees;
                None: as the plan has it.
        """
        from vllm_studio_tui.services.bench.limits import limit_of

        return limit_of(self.get(bench_id), ttft, speed)

    def import_(self, raw: bytes, source: str) -> builtins.list[BenchResult]:
        """Take in a result file of another program; one that is there already takes the place of the earlier one.

        Raises:
            UsageError: It is none that is known.
        """
        from vllm_studio_tui.services.bench.folder import result_document
        from vllm_studio_tui.services.bench.importing import read_results

        found = read_results(raw, source)
        for one in found:
            self._rows().put(result_document(one), {})
        return found

    # --- folders ----------------------------------------------------------------------------------------

    def _rows(self) -> BenchmarkRows:
        from vllm_studio_tui.store.benchmarks import BenchmarkRows

        return BenchmarkRows(self._db())

    def _folders(self) -> builtins.list[BenchFolder]:
        try:
            return [BenchFolder(one) for one in sorted(folder_of(self._places).iterdir()) if one.is_dir()]
        except OSError:
            return []

    def _settle(self) -> builtins.list[BenchResult]:
        """Keep what has ended, and return what is being made."""
        from vllm_studio_tui.services.bench.keeping import keep

        making: builtins.list[BenchResult] = []
        with self._lock:
            for folder in self._folders():
                if _has_ended(folder):
                    if self._db().read_only:
                        continue
                    with contextlib.suppress(StoreError):
                        keep(self._db(), folder)
                elif (result := folder.result()) is not None:
                    making.append(result)
        return making

    def _refuse_second(self) -> None:
        now = self.under_way()
        if now is not None:
            raise UsageError(
                f"benchmark {now.id} is being made",
                cause="Two at once would measure each other.",
                advice=f"Wait for it, or stop it: vllm-studio bench stop {now.id}",
            )

    def _spawn(self, folder: BenchFolder, result: BenchResult, found: MeasuredEngine) -> None:
        from vllm_studio_tui.services.bench.folder import result_document

        task = {
            "folder": str(folder.path),
            "result": result_document(result),
            "prompts": list(result.plan.prompts),
            "target": _target_document(found.target),
            "gpus": list(result.gpu_uuids),
            "watched": found.watched,
        }
        data = json.dumps(task).encode()
        try:
            private_dir(folder.path)
            with (folder.path / LOG).open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "vllm_studio_tui.services.bench.worker"],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd="/",
                )
            assert process.stdin is not None
            process.stdin.write(b"%d\n%s" % (len(data), data))
            process.stdin.flush()
        except OSError as error:
            raise StudioError("the benchmark does not start", cause=clean_line(str(error))) from error
        self._processes[folder.id] = process
        deadline = time.monotonic() + BEGIN
        while not folder.held and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if not folder.held and folder.result() is None:
            words = (folder.path / LOG).read_bytes()[-1000:].decode("utf-8", "replace")
            raise StudioError("the benchmark does not start", cause=clean_line(words) or "It said nothing.")

    def _reap(self, bench_id: str) -> None:
        process = self._processes.pop(bench_id, None)
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(timeout=END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _target_document(target: Target) -> dict[str, Any]:
    return asdict(target)


def _has_ended(folder: BenchFolder) -> bool:
    """Return whether nobody measures there; one who has just written its end is waited for."""
    deadline = time.monotonic() + 1.0
    while folder.held:
        result = folder.result()
        if result is None or result.state == "running" or time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _plain(bench_id: str) -> str:
    """Return an id that is a name of a folder, whatever was given."""
    return bench_id if bench_id and "/" not in bench_id and not bench_id.startswith(".") else "none"
