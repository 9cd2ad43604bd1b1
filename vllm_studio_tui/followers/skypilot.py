"""A run of SkyPilot's: a cluster with one job, or a service of SkyServe, started, asked for and taken down by `sky`.

The cluster or service has the run's name. `sky launch` is not safe to repeat (it would run the engine a second time),
so it is asked for once, and what it says goes into the run's log.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.job import Cause, Part, Phase
from vllm_studio_tui.followers.kubectl import Stream
from vllm_studio_tui.followers.sky_words import (
    FAILED_JOBS,
    FAILED_SERVICES,
    JOBS,
    SERVICES,
    address_in,
    json_in,
    plain,
    records,
    service_in,
    word,
)
from vllm_studio_tui.followers.system import Job, Look, System, SystemTrouble

NO_SKY = Cause(
    "no_sky", "sky is not installed here", "Install SkyPilot, and look with `sky check` which clouds it may use."
)
#: Seconds that a question may take, and after which one that was accepted and left no trace has failed.
PATIENCE, LOST = 90, 600.0
#: Seconds in which a launch that was let go of may still make machines.
COMING = 60.0
#: Bytes of what `sky` says that are kept to tell why it failed, and of the log that are passed on at once.
KEPT, AT_ONCE = 8192, 256 << 10
#: Seconds before a log that ended is asked for again.
AGAIN = 15.0
_ASKED, _TASK = "skypilot.asked", "skypilot.yaml"


class SkyPilot(System):
    """Follows one run through `sky`, whose every call takes a second or two."""

    every = 8.0

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        plan = job.plan
        self._sky, self._name = str(plan.get("sky") or "sky"), str(plan.get("name") or "")
        self._served, self._port = bool(plan.get("served")), int(plan.get("port") or 0)
        self._environ = {**os.environ, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "NO_COLOR": "1"}
        self._launching: Stream | None = None
        self._said = b""
        self._logs: Stream | None = None
        self._logs_due = 0.0
        self._passed = 0
        self._endpoint: tuple[str, int] | None = None
        self._down: Stream | None = None
        self._refused = False

    def _ask(self, *words: str) -> tuple[int, str, str]:
        """Return how a call ended, what it answered, and what it said beside.

        Raises:
            SystemTrouble: It cannot be run, or does not end.
        """
        try:
            done = subprocess.run(
                [self._sky, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False,
                env=self._environ,
            )  # fmt: skip
        except FileNotFoundError:
            raise SystemTrouble(NO_SKY) from None
        except (subprocess.TimeoutExpired, OSError) as error:
            words_ = f"SkyPilot does not answer: {type(error).__name__}"
            raise SystemTrouble(Cause("no_answer", words_), passing=True) from None
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    # --- begin ------------------------------------------------------------------------------------------

    def submit(self) -> str:
        handle = f"sky:{self._name}"
        # What was asked for a while ago and is not there yet is seen by looking.
        if self._exists() or (self._asked_lately(LOST) and not self.job.memory.get("seen")):
            return handle
        task = self.job.folder / _TASK
        for path, text in ((task, str(self.job.plan.get("task") or "")), (self.job.folder / _ASKED, "")):
            path.write_text(text, "utf-8")
            path.chmod(0o600)
        options = [str(one) for one in self.job.plan.get("options") or ()]
        secrets = [part for name in self.job.plan.get("secrets") or () for part in ("--secret", str(name))]
        start = ["serve", "up", "-y", "-n", self._name] if self._served else ["launch", "-y", "-d", "-c", self._name]
        try:
            self._launching = Stream([self._sky, *start, *secrets, *options, str(task)], env=self._environ)
        except OSError:
            raise SystemTrouble(NO_SKY) from None
        return handle

    def _exists(self) -> bool:
        if self._served:
            return self._service() is not None
        return self._cluster() is not None

    def _cluster(self) -> Mapping[str, Any] | None:
        code, answer, said = self._ask("status", self._name, "-o", "json")
        found = json_in(answer)
        if code or not isinstance(found, list):
            raise SystemTrouble(Cause("no_answer", f"SkyPilot does not answer: {_last(said or answer)}"), passing=True)
        return next((one for one in records(found) if word(one, "name") == self._name), None)

    def _service(self) -> Any:
        code, answer, said = self._ask("serve", "status", self._name)
        if code and "No live services" not in said:
            raise SystemTrouble(Cause("no_answer", f"SkyPilot does not answer: {_last(said or answer)}"), passing=True)
        return service_in(answer, self._name)

    # --- look -------------------------------------------------------------------------------------------

    def look(self) -> Look:
        self._hear()
        found = self._look_at_service() if self._served else self._look_at_cluster()
        if found.phase is Phase.RUNNING:
            self._follow_log()
        return found

    def _hear(self) -> None:
        """Take what the launch says."""
        if self._launching is None:
            return
        piece = self._launching.read(AT_ONCE)
        self._said = (self._said + piece)[-AT_ONCE:]

    def _begins(self) -> Look:
        """Return what is said of a run of which SkyPilot knows nothing (any more)."""
        if self.job.memory.get("seen"):
            return Look(Phase.ENDED, "gone", cause=Cause("deleted", "SkyPilot has it no more", "Launch it again."))
        if self._launching.alive if self._launching is not None else self._asked_lately(LOST):
            return Look(Phase.WAITING, "launching", "waiting in SkyPilot: it looks for machines")
        return Look(Phase.ENDED, "failed", cause=self._failure())

    def _asked_lately(self, seconds: float) -> bool:
        """Return whether its launch was asked for so short a time ago, by us or a follower before us."""
        with contextlib.suppress(OSError):
            return time.time() - (self.job.folder / _ASKED).stat().st_mtime < seconds
        return False

    def _failure(self) -> Cause:
        """Return why a launch that ended failed, of what it said."""
        self._hear()
        said = str(self.job.memory.get("heard") or "") + self._said.decode(errors="replace")
        lines = [line.strip() for line in plain(said).splitlines() if line.strip()] or ["no reason was given"]
        why = next((line for line in reversed(lines) if "sky.exceptions." in line or "Error" in line), lines[-1])
        words = why.split("sky.exceptions.")[-1][:400]
        advice = "Look at `sky check` and at handover.accelerator, cpus and memory of the recipe."
        return Cause("refused", f"SkyPilot did not start it: {words}", advice, tuple(lines[-6:]))

    def _look_at_cluster(self) -> Look:
        cluster = self._cluster()
        if cluster is None:
            return self._begins()
        self.job.memory["seen"] = True
        status = word(cluster, "status")
        nodes = cluster.get("nodes")
        where = " ".join(part for part in (word(cluster, "cloud"), word(cluster, "region")) if part)
        parts = [Part(f"node {number}", where, status) for number in range(nodes if isinstance(nodes, int) else 1)]
        reason = word(cluster, "init_status_reason")
        if status == "STOPPED":
            cause = Cause("stopped_elsewhere", "its machines were stopped", "Launch it again.")
            return Look(Phase.ENDED, status, parts=parts, cause=cause)
        if status == "INIT" and word(cluster, "init_kind") == "unhealthy":
            return Look(Phase.RUNNING, status, "", f"its machines are not well: {reason}", self._endpoint, parts)
        if status == "INIT":
            if self._launching is not None and self._launching.code:
                return Look(Phase.ENDED, status, parts=parts, cause=self._failure())
            stage = f"waiting in SkyPilot: {reason or 'its machines are made ready'}"
            return Look(Phase.WAITING, status, stage, parts=parts)
        job = self._job()
        if job is None and self.job.memory.get("ran"):
            raise SystemTrouble(Cause("no_answer", "SkyPilot does not tell of its job"), passing=True)
        if job is None:
            return Look(Phase.WAITING, status, "waiting in SkyPilot: its job is not there yet", parts=parts)
        if job in FAILED_JOBS:
            words = f"{FAILED_JOBS[job]} ({job})"
            self._follow_log()
            return Look(Phase.ENDED, job, parts=parts, cause=Cause("engine_error", words, "See its log.", weak=True))
        if job in JOBS:
            return Look(Phase.WAITING, job, f"waiting in SkyPilot: {JOBS[job]}", parts=parts)
        self.job.memory["ran"] = True
        address = self._find_endpoint("status", self._name, "--endpoint", str(self._port))
        trouble = "" if address else "SkyPilot tells no address for its port yet"
        return Look(Phase.RUNNING, job, "", trouble, address, parts)

    def _job(self) -> str | None:
        _, answer, _ = self._ask("queue", self._name, "-o", "json")
        found = json_in(answer)
        jobs = records(found.get(self._name)) if isinstance(found, dict) else []
        numbered = [(one["job_id"], one) for one in jobs if isinstance(one.get("job_id"), int)]
        return word(max(numbered, key=lambda pair: pair[0])[1], "status") if numbered else None

    def _look_at_service(self) -> Look:
        service = self._service()
        if service is None:
            return self._begins()
        self.job.memory["seen"] = True
        ready = any(one.state == "READY" for one in service.parts)
        if service.status in FAILED_SERVICES and not ready:
            failed = next((one for one in service.parts if one.state.startswith("FAILED")), None)
            which = f": {failed.name} {failed.state} {failed.words}".rstrip() if failed else ""
            cause = Cause("engine_error", f"SkyServe says {service.status}{which}", "See its log.", weak=True)
            return Look(Phase.ENDED, service.status, parts=service.parts, cause=cause)
        if not ready:
            told = next((f"{one.name}: {one.words}" for one in service.parts if one.words), "")
            stage = f"waiting in SkyServe: {told or SERVICES.get(service.status, service.status)}"
            started = any(one.state in ("STARTING", "NOT_READY") for one in service.parts)
            return Look(Phase.RUNNING if started else Phase.WAITING, service.status, stage, parts=service.parts)
        late = sum(one.state != "READY" for one in service.parts)
        trouble = f"{late} of {len(service.parts)} copies are not ready" if late else ""
        return Look(Phase.RUNNING, service.status, "", trouble, address_in(service.endpoint, 80), service.parts)

    def _find_endpoint(self, *words: str) -> tuple[str, int] | None:
        if self._endpoint is None:
            code, answer, _ = self._ask(*words)
            self._endpoint = address_in(answer, self._port) if not code else None
        return self._endpoint

    # --- its log ----------------------------------------------------------------------------------------

    def _follow_log(self) -> None:
        if self._logs is not None and not self._logs.alive and not self._passed_on():
            self._logs.close()
            self._logs, self._logs_due = None, time.monotonic() + AGAIN
        if self._logs is None and time.monotonic() >= self._logs_due:
            words = ["serve", "logs", self._name, "1"] if self._served else ["logs", self._name, "--tail", "0"]
            with contextlib.suppress(OSError):
                self._logs, self._passed = Stream([self._sky, *words], both=False, env=self._environ), 0

    def _passed_on(self) -> bytes:
        """Return what is new of the log: it is told from its beginning each time that it is asked for."""
        if self._logs is None:
            return b""
        piece = self._logs.read(AT_ONCE)
        before = int(self.job.memory.get("log") or 0)
        new = piece[max(0, before - self._passed) :]
        self._passed += len(piece)
        self.job.memory["log"] = max(before, self._passed)
        return new

    def log(self) -> bytes:
        if self._launching is not None:
            said, self._said = self._said, b""
            piece = said + self._launching.read(AT_ONCE)
            if piece:
                kept = (self.job.memory.get("heard", "") + piece.decode(errors="replace"))[-KEPT:]
                self.job.memory["heard"] = kept
                return piece
        return self._passed_on()

    # --- end --------------------------------------------------------------------------------------------

    def stop(self, *, force: bool) -> bool:
        down = ["serve", "down", "-y", self._name] if self._served else ["down", "-y", self._name]
        if self._down is not None and self._down.alive:
            return False
        if self._launching is not None:
            self._refused = self._refused or bool(self._launching.code)
            self._launching.close()
            self._launching = None
        if not self._exists():
            # What was asked for a moment ago may still come: SkyPilot goes on with it without us.
            return bool(self.job.memory.get("seen")) or self._refused or not self._asked_lately(COMING)
        self.job.memory["seen"] = True
        with contextlib.suppress(OSError):
            self._down = Stream([self._sky, *down, *(["--purge"] if force and self._served else [])], env=self._environ)
        return False

    def close(self) -> None:
        for one in (self._launching, self._logs, self._down):
            if one is not None:
                one.close()


def _last(text: str) -> str:
    lines = [line.strip() for line in plain(text).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason"
