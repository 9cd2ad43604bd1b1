"""A home of its own with simulated engines in it, and ways to hurt them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.ports import free_port
from vllm_studio_tui.domain.run import FINAL, State
from vllm_studio_tui.domain.spec import CounterNames, Failure, ReadyProbe, Restart, RunSpec, Stage, Stop
from vllm_studio_tui.keeper.files import LEDGER, read_ledger
from vllm_studio_tui.keeper.tree import VARIABLE
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.listeners import all_pids, holders, listeners
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.kit.ports import port_free
from vllm_studio_tui.runs import control, read

COUNTERS = CounterNames(
    prompt_tokens=("vllm:prompt_tokens_total",),
    generation_tokens=("vllm:generation_tokens_total",),
    requests=("vllm:request_success_total",),
    running=("vllm:num_requests_running",),
)
STAGES = (
    Stage(r"Loading safetensors checkpoint shards:.*\| (?P<n>\d+)/(?P<m>\d+)", "weights"),
    Stage(r"Starting to load model", "weights"),
    Stage(r"Application startup complete", "serving"),
)


def wait_ready(run: read.RunView, timeout: float) -> read.RunView:
    """Look at a run until it is ready or has ended, for at most `timeout` seconds."""
    return read.wait_for(run.folder, FINAL | {State.READY}, timeout)


def until(condition: Callable[[], bool], what: str | Callable[[], str], seconds: float = 60.0) -> None:
    """Wait for something that must come; fail with its name when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(0.02)


class House:
    """One home directory; every process that it brings forth can be found."""

    def __init__(self, root: Path, accounts: Path | None = None) -> None:
        self.root = root
        self.places = Places.under(root)
        self.accounts = accounts or root / "accounts"
        self.accounts.mkdir(parents=True)

    def launch(
        self,
        *flags: str,
        recipe: str = "sim",
        port: int | None = None,
        restart: Restart | None = None,
        argv: tuple[str, ...] | None = None,
        deadline: float | None = None,
        stop: Stop | None = None,
        gpus: tuple[str, ...] = (),
        energy: tuple[str, ...] = (),
        again: bool = False,
        stop_argv: tuple[str, ...] = (),
        failures: tuple[Failure, ...] = (),
        before: Callable[[int], tuple[str, ...]] | None = None,
        key: str | None = None,
        scope: bool = False,
        models_path: str | None = None,
        lease: float | None = None,
        headless: bool = False,
        follow: Path | None = None,
    ) -> read.RunView:
        def build(run_id: str, chosen: int) -> RunSpec:
            program = argv or (
                sys.executable,
                "-m",
                "vllm_studio_tui.simulation.engine",
                "--host",
                "127.0.0.1",
                "--port",
                str(chosen),
                "--model",
                "sim",
                "--account",
                str(self.accounts / f"{run_id}.{{pid}}.json"),
                *flags,
            )
            folder = str(self.places.runs / run_id)
            if follow is not None:
                program = (sys.executable, str(Path(__file__).with_name("follower_stand_in.py")), folder)
            if before is not None:  # a program that is given the engine's arguments and starts it
                program = (*before(chosen), *program[1:])
            return RunSpec(
                run_id,
                recipe,
                recipe,
                "custom",
                "sim",
                program,
                "127.0.0.1",
                0 if headless else chosen,
                f"http://127.0.0.1:{chosen}/v1",
                time.time(),
                ready=ReadyProbe(deadline=deadline, timeout=1.0, failures=2, models_path=models_path, model="sim"),
                stages=STAGES,
                failures=failures,
                env_refs={"ENGINE_KEY": key} if key else {},
                api_key_ref=key,
                counters=COUNTERS,
                restart=restart or Restart(),
                stop=stop or Stop(leader_grace=2.0, tree_grace=1.0),
                stop_argv=(*program, "--stop") if follow is not None else stop_argv,
                follow={"kind": "cluster", "cluster": str(follow)} if follow is not None else {},
                count_every=0.2,
                probe_every=0.2,
                energy_every=0.5,
                energy_argv=energy,
                gpus=gpus,
                simulated=True,
                lease=lease,
            )

        return control.launch(
            self.places,
            build,
            recipe,
            host="127.0.0.1",
            port=port,
            first_port=free_port() if port is None else port,
            gpus=gpus,
            again=again,
            scope=scope,
        )

    def ready(self, run: read.RunView) -> read.RunView:
        now = wait_ready(run, 60.0)
        assert now.state is State.READY, (now.status, self.log(run))
        return now

    def now(self, run: read.RunView) -> read.RunView:
        return read.view(run.folder)

    def log(self, run: read.RunView) -> str:
        log = run.log.read_text(errors="replace")[-2000:] if run.log.exists() else ""
        keeper = run.folder / "keeper.log"
        return log + (keeper.read_text(errors="replace")[-2000:] if keeper.exists() else "")

    def ask(self, run: read.RunView, tokens: int = 10) -> tuple[int, int]:
        """One completion; its prompt and completion tokens as the engine counted them."""
        body = {"model": "sim", "messages": [{"role": "user", "content": "count"}], "max_tokens": tokens}
        request = urllib.request.Request(
            f"{run.base_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            usage = json.load(answer)["usage"]
        return int(usage["prompt_tokens"]), int(usage["completion_tokens"])

    def kill_keeper(self, run: read.RunView) -> None:
        state = self.now(run).status
        if state.keeper_pid is not None and process.send(state.keeper_pid, state.keeper_start, signal.SIGKILL):
            process.wait_gone(state.keeper_pid, state.keeper_start, 5.0)

    @contextlib.contextmanager
    def standing(self, run: read.RunView) -> Iterator[None]:
        """Its keeper does nothing meanwhile, and is in no write: one under way frees the pages of the old file."""
        keeper = self.now(run).status.keeper_pid
        assert keeper is not None
        stat = Path(f"/proc/{keeper}/stat")
        while True:
            os.kill(keeper, signal.SIGSTOP)
            until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it stands still")
            if not [*run.folder.glob(".*")]:
                break
            os.kill(keeper, signal.SIGCONT)
        try:
            yield
        finally:
            os.kill(keeper, signal.SIGCONT)

    def kill_engine(self, run: read.RunView) -> None:
        state = self.now(run).status
        if state.pid is not None:
            process.send(state.pid, state.pid_start, signal.SIGKILL)

    def ours(self) -> list[process.Stat]:
        """Every process of this home: engines and their workers by their mark, keepers by their command line."""
        ids = {folder.name for folder in self.places.runs.iterdir()} if self.places.runs.is_dir() else set()
        found = []
        for one in process.all_processes():
            if one.state in "ZX" or one.pid == os.getpid():
                continue
            mark = process.environment_value(one.pid, VARIABLE)
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{one.pid}/cmdline").read_bytes().decode(errors="replace")
                if mark in ids or (str(self.root) in line and "vllm_studio_tui" in line):
                    found.append(one)
        return found

    def ledger(self, run: read.RunView) -> list[dict[str, object]]:
        return [line for _, line in read_ledger(run.folder / LEDGER)]

    def check_nothing_is_left(self) -> None:
        """No process, port or lock; every run in a final state; no ledger line missing."""
        until(lambda: not self.ours(), "all processes gone")
        for one in read.all_runs(self.places):
            assert one.status.final, one
            until(lambda one=one: not read.lock_held(one.folder), "the lock is let go")  # type: ignore[misc]
            assert not one.lost, one
            if one.port is not None:
                assert port_free("127.0.0.1", one.port) or self._has_another(one.port), one
            numbers = [line["seq"] for line in self.ledger(one)]
            assert numbers == list(range(1, len(numbers) + 1))

    def _has_another(self, port: int) -> bool:
        """Return whether a program that no test of this home started listens there: another run of the tests, say."""
        pids = {pid for one in listeners(port, None) or () for pid in holders(one.inode, all_pids())}
        return bool(pids) and os.getpid() not in pids

    def end(self) -> None:
        """Whatever a test left: end it."""
        for one in self.ours():
            process.send(one.pid, one.start, signal.SIGKILL)


def house(tmp_path: Path) -> Iterator[House]:
    one = House(tmp_path / "home")
    try:
        yield one
    finally:
        one.end()
