"""The life of a follower: it has a job started or finds it again, watches it, passes its log on, and ends it.

Whatever a system answers, or does not, the follower stays: only what is known to have ended counts as ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from types import FrameType

from vllm_studio_tui.domain.job import Cause, Phase, Report
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.followers.registry import system_of
from vllm_studio_tui.followers.relay import Relay
from vllm_studio_tui.followers.report import ReportFile, read_report
from vllm_studio_tui.followers.system import Job, Look, System, SystemTrouble

#: Seconds between two tries of a submission that nobody took, at first and at most.
AGAIN, AGAIN_MOST = 2.0, 60.0
#: Seconds between two looks while a job is being ended.
ENDING = 0.5
#: Reads of a log that has more, between two looks, and after the end.
READS, LAST_READS = 8, 256
FAULT = Cause("follower_fault", "its follower met a fault", "See the end of its log; launch it again.")


class Follower:
    """Owns one job from its submission, or from where another follower left it, to its end."""

    def __init__(self, folder: Path, spec: RunSpec) -> None:
        self._folder, self._spec = folder, spec
        before = read_report(folder)
        # What has ended was another attempt; this one begins anew.
        self.report = before if before is not None and before.going_on else Report()
        self._file = ReportFile(folder)
        self._job = Job(folder, spec.run_id, spec.follow, self.report.handle, dict(self.report.memory))
        self._stops = 0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def listen(self) -> None:
        """Handle signals: TERM and INT end the job, a second one without grace; HUP is ignored."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)

    def _told(self, _number: int, _frame: FrameType | None) -> None:
        self._stops += 1
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b".")

    def _wait(self, seconds: float) -> None:
        """Wait so long, or until a signal comes."""
        import select

        select.select([self._wake_read], [], [], seconds)
        with contextlib.suppress(OSError):
            os.read(self._wake_read, 4096)

    # --- the whole --------------------------------------------------------------------------------------

    def run(self) -> int:
        """Follow the job until it has ended; return the exit code."""
        relay = None
        try:
            system = system_of(self._job)
            try:
                if self._spec.port:
                    relay = Relay(self._spec.host, self._spec.port)
                code = self._follow(system, relay)
            finally:
                system.close()
        except SystemTrouble as trouble:
            return self._over(trouble.cause)
        except OSError as error:
            words = f"port {self._spec.port} of this machine cannot be led to it: {error.strerror or error}"
            return self._over(Cause("port_taken", words, "Choose another port."))
        finally:
            if relay is not None:
                relay.close()
        return code

    def _follow(self, system: System, relay: Relay | None) -> int:
        if not self.report.handle and not self._submit(system):
            return 1 if self.report.cause else 0
        while True:
            if self._stops:
                return self._stop(system)
            seen = self._look(system)
            if seen is not None:
                self._take(self._led(relay, seen) if relay is not None else seen)
                if seen.phase is Phase.ENDED:
                    self._pass_on(system, LAST_READS)
                    if relay is not None:
                        relay.lead_to(None)
                    return self._end_rest(system, seen)
            self._pass_on(system, READS)
            self._save()
            self._wait_reading(system)

    def _wait_reading(self, system: System) -> None:
        """Wait until the next look; its log is passed on meanwhile, where that costs little."""
        until = time.monotonic() + system.every
        while not self._stops and (left := until - time.monotonic()) > 0:
            self._wait(min(left, system.log_every or left))
            if system.log_every is not None:
                self._pass_on(system, READS)

    def _submit(self, system: System) -> bool:
        """Have it started; False: it was refused, or told to stop before."""
        pause = AGAIN
        for note in self._notes():
            say(note)
        self.report.submitting = True
        self.report.phase = Phase.WAITING
        self._save()
        while not self._stops:
            try:
                handle = system.submit()
            except SystemTrouble as trouble:
                if not trouble.passing:
                    self._over(trouble.cause)
                    return False
                self._trouble(trouble.cause.title)
                self._wait(pause)
                pause = min(AGAIN_MOST, pause * 2)
                continue
            self._job.handle = self.report.handle = handle
            self.report.submitting, self.report.trouble = False, ""
            self._save()
            say(f"submitted as {handle}")
            return True
        # It may have arrived all the same: what is named by the run is taken away.
        self._stop(system)
        return False

    def _notes(self) -> list[str]:
        given = self._spec.follow.get("notes")
        return [one for one in given if isinstance(one, str)] if isinstance(given, list) else []

    def _look(self, system: System) -> Look | None:
        try:
            return system.look()
        except SystemTrouble as trouble:
            self._trouble(trouble.cause.title)
        except Exception as error:  # noqa: BLE001 - a fault of ours in reading an answer ends no job
            traceback.print_exc(limit=-4)
            self._trouble(f"its answer could not be read: {type(error).__name__}: {error}")
        return None

    def _led(self, relay: Relay, seen: Look) -> Look:
        """Lead the run's port to the job. Where somebody took the port meanwhile the job goes on all the same."""
        try:
            relay.lead_to(seen.address)
        except OSError as error:
            words = f"port {self._spec.port} of this machine cannot be led to it: {error.strerror or error}"
            return replace(seen, trouble=words)
        return seen

    def _take(self, seen: Look) -> None:
        report = self.report
        if seen.phase is not Phase.UNKNOWN:
            if seen.state and seen.state != report.state:
                say(f"{report.handle} is {seen.state}")
            report.phase, report.state, report.stage = seen.phase, seen.state, seen.stage
            report.parts = list(seen.parts)
        if seen.trouble != report.trouble and seen.trouble:
            say(seen.trouble)
        report.trouble = seen.trouble

    def _trouble(self, words: str) -> None:
        if words != self.report.trouble:
            say(words)
        self.report.trouble = words
        self._save()

    def _pass_on(self, system: System, reads: int) -> None:
        """Write what is new in the job's log to ours, which is the run's."""
        for _ in range(reads):
            try:
                piece = system.log()
            except SystemTrouble:
                return
            except Exception:  # noqa: BLE001 - a log that cannot be read ends no job
                traceback.print_exc(limit=-4)
                return
            if not piece:
                return
            write(piece)

    # --- ending -----------------------------------------------------------------------------------------

    def _stop(self, system: System) -> int:
        """End the job, and return once its system says that it is gone. The keeper limits how long that may take."""
        told = ""
        while True:
            try:
                if system.stop(force=self._stops > 1):
                    break
            except SystemTrouble as trouble:
                if trouble.cause.title != told:
                    told = trouble.cause.title
                    self._trouble(told)
            except Exception:  # noqa: BLE001 - a fault in one try is no reason to leave the job running
                traceback.print_exc(limit=-4)
            self._wait(ENDING)
        self._pass_on(system, LAST_READS)
        self.report.stopped = True
        self._over(None)
        return 0

    def _end_rest(self, system: System, seen: Look) -> int:
        """A job has ended by itself: what is left of it is taken away, for a while."""
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline and not self._stops:
            with contextlib.suppress(SystemTrouble):
                if system.stop(force=False):
                    break
            self._wait(ENDING)
        self.report.stopped = seen.stopped
        self._over(seen.cause)
        return 0 if seen.stopped or seen.cause is None else 1

    def _over(self, cause: Cause | None) -> int:
        report = self.report
        report.cause, report.ended, report.submitting = cause, True, False
        report.phase, report.trouble, report.stage = Phase.ENDED, self._job.left, ""
        if cause is not None:
            say(cause.title)
        while not self._save() and not self._stops:  # a full disk: the end is worth waiting for
            self._wait(AGAIN)
        return 1 if cause is not None else 0

    def _save(self) -> bool:
        self.report.memory = self._job.memory
        return self._file.write(self.report)


def end_job(folder: Path, spec: RunSpec, *, force: bool, patience: float) -> bool:
    """End what a run has elsewhere, without its follower; True once it is known to be gone.

    Args:
        patience: Seconds after which it is given up.
    """
    follower = Follower(folder, spec)
    if not follower.report.going_on:
        return True
    system = system_of(follower._job)
    deadline = time.monotonic() + patience
    try:
        while time.monotonic() < deadline:
            try:
                if system.stop(force=force):
                    follower.report.stopped = True
                    follower._over(None)
                    return True
            except SystemTrouble as trouble:
                say(trouble.cause.title)
            time.sleep(ENDING)
    finally:
        system.close()
    return False


def say(words: str) -> None:
    """Write a line of our own to the run's log."""
    write(f"[vllm-studio] {' '.join(words.split())}\n".encode())


def write(data: bytes) -> None:
    """Write to the run's log; a full disk loses lines and ends nothing."""
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), data)
