"""A studio on a stage: everything is real but what runs, which is written down here and stands still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.functional.quiet_pilot import QuietPilot
from tests.functional.stage_processes import StillProcesses
from tests.unit.scripted_engine import Engine
from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, GpuReport
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.domain.spec import RunSpec, Stage
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.port_choice import likely_port
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.context.service import ChatContext
from vllm_studio_tui.services.chat.request import title_of
from vllm_studio_tui.services.launching.launcher import Launcher
from vllm_studio_tui.services.watching.history import History
from vllm_studio_tui.services.watching.sampler import Snapshot
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.app import StudioApp

#: Everything happens at this second: 2026-11-23 14:32:00 UTC.
NOW = 1_795_444_320.0
GIB = 1024**3
LOG = """INFO 11-23 14:20:10 [core.py:133] Initializing a V1 LLM engine (v0.32.0)
WARNING 11-23 14:20:11 [config.py:88] a setting is odd
Loading safetensors checkpoint shards: 100% Completed | 30/30 [00:08<00:00]
ERROR 11-23 14:21:06 [core.py:842] EngineCore failed to start.
Traceback (most recent call last):
  File "core.py", line 833, in run_engine_core
    engine_core = EngineCoreProc(*args, **kwargs)
ValueError: To serve at least one request with the models's max seq len (131072), (20.00 GiB KV cache is needed), \
which is larger than the available KV cache memory (2.81 GiB). the estimated maximum model length is 18416
INFO 11-23 14:21:07 shutting down
"""


STAGES = {
    "serving": "startup complete", "warmup": "init engine", "graphs": "Capturing", "kv_cache": "KV cache",
    "weights": "Loading safetensors",
}  # fmt: skip


#: Groups of the work that a press may begin, and that is done soon.
AWAITED = {
    "start", "commands", "recipes", "plan", "usage", "chats", "requests", "hosts", "models", "pulls", "section",
    "match", "search", "fixes", "run-page", "completion", "create", "processes", "bench", "ray",
}  # fmt: skip
#: Likewise, but some of it takes its time, as where a log is long: it is waited for at most `A_WHILE` seconds.
MOSTLY_SOON = {
    "log-study", "log-level", "panels", "why", "lanes", "story", "files", "paths", "titles", "chips", "copy",
    "lab-prompt", "sixel",
}  # fmt: skip
A_WHILE = 1.0


class StillSampler:
    """Gives one snapshot, and a history that was filled beforehand."""

    def __init__(self, studio: Studio, snapshot: Snapshot) -> None:
        self._studio = studio
        self.latest: Snapshot | None = snapshot
        self.history = History()
        self.woken = 0

    def show(self, snapshot: Snapshot) -> None:
        self.latest = snapshot
        self._studio.bus.publish(snapshot)

    def set_pace(self, every: float) -> None:
        """It has none."""

    def start(self) -> None:
        self._studio.bus.publish(self.latest)

    def wake(self) -> None:
        self.woken += 1

    def close(self) -> None:
        return


class StageLauncher(Launcher):
    """Writes down what it is asked for; previews and checks are real."""

    calls: list[tuple[str, str]]
    refuse: LaunchRefused | None = None
    run: RunView

    def port_of(self, recipe: Recipe, runs: Iterable[RunView]) -> int:
        """Likewise, whatever else this machine runs."""
        others = [one for one in runs if one.live and one.recipe_id != recipe.id]
        return recipe.port or likely_port(others, self._settings.inference_port)

    def launch(self, recipe: Recipe, **options: Any) -> RunView:
        if self.refuse is not None and not options.get("force") and not options.get("share_gpus"):
            raise self.refuse
        self.calls.append(("launch", recipe.id))
        return self.run

    def switch(self, recipe: Recipe, **_: Any) -> RunView:
        self.calls.append(("switch", recipe.id))
        return self.run

    def stop(self, run: RunView, *, force: bool = False) -> RunView:
        self.calls.append(("kill" if force else "stop", run.recipe_id))
        return run

    def target(self, *, recipe: str | None = None, model: str | None = None, base_url: str | None = None) -> Target:
        return Target("http://127.0.0.1:1/v1", "m", backend="vllm", run_id="run-1", recipe_id=recipe)


def recipe(recipe_id: str, **fields: Any) -> Recipe:
    made, _ = parse_recipe(
        {"id": recipe_id, "name": recipe_id, "backend": "vllm", "model_path": f"org/{recipe_id}", **fields}
    )
    return made


def run_view(
    folder: Path, name: str, state: State, *, port: int = 8000, gpus: tuple[str, ...] = (), **facts: Any
) -> RunView:
    spec = RunSpec(
        run_id=f"{name}-1",
        recipe_id=name,
        name=name,
        backend="vllm",
        model=f"org/{name}",
        argv=("vllm", "serve"),
        host="127.0.0.1",
        port=port,
        base_url=f"http://127.0.0.1:{port}/v1",
        created_at=NOW - 7200,
        recipe={"id": name, "max_model_len": 32768},
        gpus=gpus,
        failures=FAILURES,
        stages=tuple(Stage(pattern, stage) for stage, pattern in STAGES.items()),
    )
    status = RunState(f"{name}-1", state, boot_id="b", pid=48812, **facts)
    place = folder / f"{name}-1"
    place.mkdir(parents=True, exist_ok=True)
    (place / "engine.log").write_text(LOG)
    alive = not status.final
    return RunView(place, f"{name}-1", spec, status, alive, alive, False)


def snapshot(folder: Path) -> Snapshot:
    """A ready, a loading and a failed run on four GPUs."""
    ready = run_view(folder, "qwen3-32b", State.READY, gpus=("0", "1"), started_at=NOW - 7200, ready_at=NOW - 7110)
    loading = run_view(
        folder, "deepseek-r1-70b", State.LOADING, port=8001, gpus=("2", "3"), started_at=NOW - 100, stage="weights",
        progress=0.43,
    )  # fmt: skip
    failed = run_view(
        folder, "llama-3.3-70b", State.FAILED, port=8002, started_at=NOW - 800, ended_at=NOW - 688, exit_code=1,
        reason="kv_cache_too_small", title="the KV cache cannot hold one request of 131072 tokens",
        advice="Set max_model_len to at most 18416.",
        evidence=["ValueError: To serve at least one request with the models's max seq len (131072)",
                  "the estimated maximum model length is 18416"],
    )  # fmt: skip
    gpus = tuple(
        Gpu(index, f"GPU-{index}", "NVIDIA H100 80GB HBM3", int(79.6 * GIB), int(used * GIB), utilization=use,
            temperature=heat, power_draw=power, power_limit=700.0, sm_clock=1980, fan=None,
            processes=(GpuProcess(48812 + index, "root", "VLLM::Worker", int(used * GIB), owner),))
        for index, (use, used, power, heat, owner) in enumerate(
            ((97, 71.2, 412.0, 64, ready.run_id), (95, 71.2, 405.0, 62, ready.run_id),
             (3, 31.4, 118.0, 38, loading.run_id), (2, 31.4, 116.0, 37, loading.run_id)))
    )  # fmt: skip
    metrics = EngineMetrics(
        running=12, waiting=0, prompt_tokens_per_second=214.0, generation_tokens_per_second=1842.0, kv_cache_usage=0.61,
        prefix_cache_hit_rate=0.74, preemptions=0, ttft=Percentiles(0.09, 0.182, 0.3, 100),
        itl=Percentiles(0.009, 0.0114, 0.02, 1000), interval=1.0,
    )  # fmt: skip
    host = Host(37.0, (1.2, 0.9, 0.7), 128 * GIB, 40 * GIB, 64)
    tick = Tick(NOW, GpuReport(NOW, gpus, "570.86", "12.8"), host, {ready.run_id: metrics})
    return Snapshot(tick, (ready, loading, failed), (ready, loading, failed))


def bare(folder: Path) -> Snapshot:
    """Nothing runs, and there is no GPU."""
    return Snapshot(Tick(NOW, GpuReport(NOW, error="No NVIDIA driver"), Host(1.0, (0.0, 0.0, 0.0), 8 * GIB, GIB, 2)))


def fill(history: History, shown: Snapshot) -> None:
    """Half an hour of samples that look like something."""
    from dataclasses import replace

    for second in range(1800, -1, -5):
        wave = ((second // 30) % 7) / 7
        engines = {
            run_id: replace(
                metrics,
                generation_tokens_per_second=1200 + 600 * wave,
                kv_cache_usage=0.4 + 0.2 * wave,
            )
            for run_id, metrics in shown.tick.engines.items()
        }
        history.record(replace(shown.tick, at=NOW - second, engines=engines))


class Staged:
    """An app on the stage, and what was asked of the launcher.

    Attributes:
        pressed: Every key that was pressed so far.
        said: What was told and nobody has waited for yet; a slow machine takes longer than a message stays.
        faults_expected: Errors that the screens report are part of the test.
    """

    faults_expected = False

    def __init__(
        self, app: StudioApp, pilot: QuietPilot, studio: Studio, launcher: StageLauncher, engine: Engine
    ) -> None:
        self.app = app
        self.pilot = pilot
        self.studio = studio
        self.launcher = launcher
        self.engine = engine
        self.pressed: set[str] = set()
        self.said: list[str] = []
        notify = app.notify

        def recorded(message: str, **options: Any) -> None:
            self.said.append(message)
            notify(message, **{**options, "timeout": 3600})  # or a test that is kept waiting sees nothing of it

        app.__dict__["notify"] = recorded

    @property
    def calls(self) -> list[tuple[str, str]]:
        return self.launcher.calls

    async def press(self, *keys: str) -> None:
        """Press keys one after the other, each once what the one before it began is done."""
        self.pressed.update(keys)
        for key in keys:
            self.pilot.send(key)
            await self.settle()

    async def type(self, text: str) -> None:
        names = {" ": "space", "-": "minus", ".": "full_stop", "/": "slash", "?": "question_mark", ":": "colon"}
        await self.press(*(names.get(character, character) for character in text))

    async def settle(self) -> None:
        """Wait until commands, threads and screens have nothing left to do."""
        began = time.monotonic()
        while True:
            await self.pilot.pause()
            awaited = AWAITED | MOSTLY_SOON if time.monotonic() < began + A_WHILE else AWAITED
            pending = [one for one in self.app.workers if one.group in awaited and not one.is_finished]
            waiting_for_a_person = len(self.app.screen_stack) > 1
            if not pending or (waiting_for_a_person and all(worker.group == "commands" for worker in pending)):
                return
            assert time.monotonic() < began + 40, f"still at work: {[worker.name for worker in pending]}"
            await asyncio.sleep(0.002)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 40
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not in time: {what}\n{self.text()}")
            await self.pilot.pause(0.02)

    async def quiet(self) -> str:
        """Return the picture once it has stayed the same for a while: whatever comes late has come."""
        text, same = self.text(), 0
        while same < 15:
            await self.settle()
            await self.pilot.pause(0.02)
            now = self.text()
            text, same = now, same + 1 if now == text else 0
        return text

    def lines(self) -> list[str]:
        """What is on the screen, line by line."""
        return ["".join(segment.text for segment in strip) for strip in self.app.screen._compositor.render_strips()]

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines())

    @property
    def clip(self) -> str:
        """What was copied last, as it is kept beside the terminal's clipboard."""
        path = self.studio.places.state / "clip.txt"
        return path.read_text() if path.exists() else ""

    @property
    def heard(self) -> list[str]:
        """Return what was told and nobody has waited for yet, with what stands there."""
        return [*self.said, *self.toasts]

    @property
    def toasts(self) -> list[str]:
        return [str(notification.message) for notification in self.app._notifications]


@asynccontextmanager
async def staged(
    home: Path,
    *,
    size: tuple[int, int] = (160, 45),
    shown: Callable[[Path], Snapshot] = snapshot,
    script: tuple[Any, ...] = (),
    recipes: tuple[Recipe, ...] | None = None,
    prepare: Callable[[Studio], None] | None = None,
    **options: Any,
) -> AsyncIterator[Staged]:
    """Run the app on the stage. Further options go to `StudioApp`."""
    studio = Studio(Places.under(home))
    launcher = StageLauncher(studio.places, studio.settings, lambda: studio.recipes)
    launcher.calls = []
    now = shown(home / "runs-of-the-stage")
    if now.runs:
        launcher.run = now.runs[0]
    sampler = StillSampler(studio, now)
    fill(sampler.history, now)
    engine = Engine(*script)
    given = studio.__dict__
    given["sampler"], given["launcher"] = sampler, launcher
    given["processes"] = StillProcesses(studio.places, lambda: sampler.latest, now)
    given["chat"] = ChatService(studio.db, studio.bus, engine)
    given["context"] = ChatContext(lambda: studio.db, lambda target, recipe: None, stream=engine)
    given["write_title"] = lambda question, answer, name=None: title_of(question)  # nobody is asked but by tests of it
    for one in recipes if recipes is not None else DEFAULT_RECIPES:
        studio.recipes.create(one)
    if prepare is not None:
        prepare(studio)
    app = StudioApp(studio, **options)
    try:
        async with app.run_test(size=size, notifications=True):
            stage = Staged(app, QuietPilot(app), studio, launcher, engine)
            await stage.until(lambda: app.snapshot is now, "the sample of the stage, after the app's own first look")
            await stage.settle()
            yield stage
            assert stage.faults_expected or not app.faults.errors, app.faults.errors
    finally:
        studio.close()


DEFAULT_RECIPES = (
    recipe("deepseek-r1-70b", backend="sglang", tensor_parallel_size=2, gpus=["2", "3"], max_model_len=16384),
    recipe("gemma-3-12b", max_model_len=32768),
    recipe("llama-3.3-70b", tensor_parallel_size=2, max_model_len=131072, description="Long documents."),
    recipe("qwen3-32b", tensor_parallel_size=2, gpus=["0", "1"], max_model_len=32768),
    recipe("elsewhere", backend="external", model_path="", base_url="http://10.0.0.9:8000/v1"),
)
