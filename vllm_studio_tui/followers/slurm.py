"""Jobs of SLURM, through its own commands: `sbatch`, `scontrol`, `squeue`, `scancel`, and `sacct` where it is kept.

The text of `scontrol` is read, not JSON: that of `squeue` holds all jobs of the cluster in 22.05, has another shape in
each version since, and is missing in many builds.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import time
from collections.abc import Mapping

from vllm_studio_tui.domain.job import Cause, Part, Phase
from vllm_studio_tui.followers import slurm_words
from vllm_studio_tui.followers.slurm_log import JobLog, where_it_serves
from vllm_studio_tui.followers.slurm_marks import LIMIT_CODE
from vllm_studio_tui.followers.system import Job, Look, System, SystemTrouble

#: Seconds that a command may take: clients of a controller that is away hang for minutes.
PATIENCE = 20.0
#: Seconds between two looks, at first and when nothing has changed for long: controllers serve everybody.
SOON, LATE = 2.0, 15.0
#: Seconds that a running job may take until its log can be seen here: shared file systems are slow.
LOG_SEEN = 30.0
SCRIPT = "job.sbatch"
_FIELD = re.compile(r"(?:^| )([A-Z][A-Za-z:/*]*)=")
_HANDLE = re.compile(r"slurm:([0-9]+)(?:@([A-Za-z0-9_.-]+))?")
_UNKNOWN_JOB = re.compile(r"invalid job id", re.IGNORECASE)
_NAMES = {"JobId", "JobName", "JobState", "Reason", "ExitCode", "TimeLimit", "StartTime", "NodeList", "SchedNodeList",
          "Comment", "StdOut", "BatchHost", "Restarts", "RunTime"}  # fmt: skip


class Slurm(System):
    """One job, which has the run's id as its name."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.every = SOON
        self._changed = time.monotonic()
        self._seen: tuple[str, ...] = ()
        self._log = JobLog(job.memory)
        self._running_since: float | None = None
        self._ranks: tuple[str, list[str]] = ("", [])
        self._addresses: dict[str, str] = {}

    # --- submitting -----------------------------------------------------------------------------------------

    def submit(self) -> str:
        found = self._by_name(refused=True)
        if found:
            return found
        path = self.job.folder / SCRIPT
        path.touch(mode=0o600)
        path.write_text(str(self.job.plan["script"]))
        self.job.memory.clear()
        done = self._ask("sbatch", "--parsable", str(path), refused=True)
        number, _, cluster = done.strip().splitlines()[-1].partition(";") if done.strip() else ("", "", "")
        if not number.isdigit():
            raise SystemTrouble(Cause("slurm_answer", f"sbatch answered {done.strip()[:200]!r}"), passing=True)
        return f"slurm:{number}@{cluster}" if cluster else f"slurm:{number}"

    def _by_name(self, *, refused: bool = False) -> str:
        """Return the handle of the live job that has the run's name; empty: there is none."""
        told = self._ask(
            "squeue", "--noheader", f"--user={os.getuid()}", f"--name={self.job.run_id}",
            "--states=PENDING,CONFIGURING,RUNNING,SUSPENDED", "--format=%i", refused=refused,
        )  # fmt: skip
        numbers = [word for word in told.split() if word.isdigit()]
        return f"slurm:{numbers[-1]}" if numbers else ""

    # --- looking --------------------------------------------------------------------------------------------

    def look(self) -> Look:
        facts = self._facts()
        if facts is None:
            return self._forgotten()
        state = facts["JobState"]
        self._slow_down((state, facts.get("Reason", ""), facts.get("Comment", "")))
        if state in slurm_words.WAITING:
            self._running_since = None
            return self._waiting(state, facts)
        if state in slurm_words.PREPARED:
            return Look(Phase.WAITING, state, "SLURM prepares its nodes", parts=self._parts(facts, state))
        if state in slurm_words.ENDED:
            return self._ended(state, facts)
        return self._running(state, facts)

    def _facts(self) -> dict[str, str] | None:
        """Return what SLURM tells of the job; None: it knows no such job (any more)."""
        try:
            told = self._ask("scontrol", *self._cluster(), "--oneliner", "show", "job", self._number)
        except SystemTrouble as trouble:
            if trouble.cause.reason == "slurm_unknown_job":
                return None
            raise
        facts = read_facts(told)
        if "JobState" not in facts:
            raise SystemTrouble(Cause("slurm_answer", "SLURM's answer about the job is not understood"), passing=True)
        # A controller that lost its state gives numbers a second time: the other job is not touched.
        return facts if facts.get("JobName", self.job.run_id) == self.job.run_id else None

    def _waiting(self, state: str, facts: Mapping[str, str]) -> Look:
        reason = facts.get("Reason", "")
        words, advice = slurm_words.why_waiting(reason)
        stage = f"waiting in SLURM: {words}"
        if reason not in ("", "None"):
            stage += f" ({reason})"
        starts = facts.get("StartTime", "")
        if not advice and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", starts):
            stage += f", begins about {starts[11:16]}" + ("" if starts[:10] == _today() else f" on {starts[:10]}")
        return Look(Phase.WAITING, state, stage, f"{words}. {advice}".strip() if advice else "")

    def _running(self, state: str, facts: Mapping[str, str]) -> Look:
        if self._running_since is None:
            self._running_since = time.monotonic()
        self._note_output(facts)
        parts = self._parts(facts, state)
        if state == "COMPLETING":
            return Look(Phase.RUNNING, state, "SLURM ends it", parts=parts)
        found = where_it_serves(facts.get("Comment", "")) or self._log.serves
        address = (self._address_of(found[0]), found[1]) if found else None
        trouble = ""
        if state in ("SUSPENDED", "STOPPED"):
            trouble = "SLURM suspended it: it answers nobody until it goes on"
        elif not self._log.here and time.monotonic() - self._running_since > LOG_SEEN:
            trouble = f"its log {self._log.path} cannot be read here: the nodes write it to a file system of their own"
        return Look(Phase.RUNNING, state, "" if address else "its node begins", trouble, address, parts)

    def _ended(self, state: str, facts: Mapping[str, str]) -> Look:
        self._note_output(facts)
        code, nodes = facts.get("ExitCode", ""), _list(facts.get("NodeList", ""))
        limit = facts.get("TimeLimit", "")
        parts = self._parts(facts, state)
        if state == "CANCELLED" and self.job.memory.get("stopping"):
            return Look(Phase.ENDED, state, parts=parts, stopped=True)
        if state == "FAILED" and code.split(":")[0] == str(LIMIT_CODE):
            state = "TIMEOUT"
        who = self._who_cancelled() if state == "CANCELLED" else ""
        if state in ("NODE_FAIL", "BOOT_FAIL"):
            nodes = self._failed_nodes(nodes) or nodes
        first = self._log.first_to_end() if state == "FAILED" and len(parts) > 1 else None
        if first and code.partition(":")[2] in ("", "0"):
            return Look(Phase.ENDED, state, cause=slurm_words.rank_ended(*first), parts=parts)
        cause = slurm_words.ending(state, code=code, limit=limit, nodes=nodes, who=who, reason=facts.get("Reason", ""))
        return Look(Phase.ENDED, state, cause=cause, parts=parts)

    def _forgotten(self) -> Look:
        """Return what is kept of a job that the controller has forgotten: it does so minutes after the end."""
        row = self._accounted("State,ExitCode,NodeList,Timelimit")
        if row:
            state, code, nodes, limit = (*row, "", "", "", "")[:4]
            word = state.split()[0] if state else "UNKNOWN"
            if word in slurm_words.ENDED:
                return self._ended(word, {"ExitCode": code, "NodeList": nodes, "TimeLimit": limit})
        stopped = bool(self.job.memory.get("stopping"))
        cause = Cause(
            "slurm_forgotten",
            "SLURM no longer knows the job, and does not tell how it ended",
            "See its log.",
            weak=True,
        )
        return Look(Phase.ENDED, "UNKNOWN", cause=None if stopped else cause, stopped=stopped)

    def _accounted(self, fields: str) -> list[str]:
        """Return what accounting keeps of the job; empty where there is none."""
        try:
            told = self._ask(
                "sacct", *self._cluster(), "--allocations", "--noheader", "--parsable2", f"--format={fields}",
                f"--jobs={self._number}",
            )  # fmt: skip
        except SystemTrouble:
            return []
        lines = told.splitlines()
        return lines[-1].split("|") if lines else []

    def _who_cancelled(self) -> str:
        found = re.match(r"CANCELLED by (\d+)", (self._accounted("State") or [""])[0])
        if not found:
            return ""
        try:
            return pwd.getpwuid(int(found[1])).pw_name
        except (KeyError, OverflowError):
            return f"user {found[1]}"

    def _failed_nodes(self, nodes: str) -> str:
        """Return which of these nodes do not work, and why, as SLURM tells it."""
        try:
            told = self._ask(
                "sinfo", *self._cluster(), "--noheader", "--Node", f"--nodes={nodes}", "--format=%N|%t|%E",
                "--states=down,drained,draining,fail,no_respond",
            )  # fmt: skip
        except SystemTrouble:
            return ""
        rows = [line.split("|") for line in dict.fromkeys(told.splitlines()) if line.count("|") >= 2]
        return ", ".join(f"{row[0]}, {row[2]}" if row[2] not in ("", "none") else row[0] for row in rows)

    # --- where it runs --------------------------------------------------------------------------------------

    def _parts(self, facts: Mapping[str, str], state: str) -> list[Part]:
        nodes = _list(facts.get("NodeList", ""))
        if not nodes:
            return []
        if self._ranks[0] != nodes:
            try:
                self._ranks = (nodes, self._ask("scontrol", "show", "hostnames", nodes).split())
            except SystemTrouble:
                return [Part("nodes", nodes, state)]
        return [Part(f"rank {rank}", node, state) for rank, node in enumerate(self._ranks[1])]

    def _address_of(self, node: str) -> str:
        """Return the address by which SLURM itself reaches a node; names need not be known outside of the cluster."""
        if node not in self._addresses:
            try:
                told = self._ask("scontrol", *self._cluster(), "--oneliner", "show", "node", node)
            except SystemTrouble:
                return node
            found = re.search(r"\bNodeAddr=(\S+)", told)
            self._addresses[node] = found[1] if found else node
        return self._addresses[node]

    # --- its log --------------------------------------------------------------------------------------------

    def _note_output(self, facts: Mapping[str, str]) -> None:
        """Take the path of its log, which newer versions of SLURM show as the pattern that was given."""
        parts = {"%": "%", "j": self._number, "J": self._number, "A": self._number, "x": self.job.run_id}
        self._log.note(re.sub(r"%(.)", lambda found: parts.get(found[1], found[0]), facts.get("StdOut", "")))

    def log(self) -> bytes:
        return self._log.read(self._ranks[1])

    # --- ending ---------------------------------------------------------------------------------------------

    def stop(self, *, force: bool) -> bool:
        if not self.job.handle:
            self.job.handle = self._by_name()
            if not self.job.handle:
                return True
        facts = self._facts()
        if facts is None or facts["JobState"] in slurm_words.ENDED:
            return True
        self._note_output(facts)
        told = self.job.memory.get("stopping")
        if not told:
            # Its steps and its script get SIGTERM, and SIGKILL after the cluster's KillWait.
            self._cancel()
            self.job.memory["stopping"] = "in order"
        elif force and told != "at once":
            self._cancel("--signal=KILL", "--full")
            self.job.memory["stopping"] = "at once"
        return False

    def _cancel(self, *options: str) -> None:
        try:
            self._ask("scancel", *self._cluster(), *options, self._number)
        except SystemTrouble as trouble:
            if trouble.cause.reason != "slurm_unknown_job":
                raise

    # --- asking ---------------------------------------------------------------------------------------------

    @property
    def _number(self) -> str:
        found = _HANDLE.fullmatch(self.job.handle)
        return found[1] if found else "0"

    def _cluster(self) -> list[str]:
        found = _HANDLE.fullmatch(self.job.handle)
        return [f"--clusters={found[2]}"] if found and found[2] else []

    def _slow_down(self, seen: tuple[str, ...]) -> None:
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._changed = seen, now
        self.every = min(LATE, max(SOON, (now - self._changed) / 20))

    def _ask(self, *words: str, refused: bool = False) -> str:
        """Run a command of SLURM's; return what it prints.

        Args:
            refused: What it says against it is a refusal that stays.

        Raises:
            SystemTrouble: It does not answer, or says no.
        """
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False, env=environment()
            )
        except FileNotFoundError:
            cause = Cause(
                "slurm_not_here", f"{words[0]} is not here: this machine is no login node of a SLURM cluster",
                "Start the studio where sbatch works.", retry=False,
            )  # fmt: skip
            raise SystemTrouble(cause, passing=not refused) from None
        except subprocess.TimeoutExpired:
            raise SystemTrouble(
                Cause("slurm_silent", f"SLURM does not answer: {words[0]} took more than {PATIENCE:.0f} s"),
                passing=True,
            ) from None
        told = done.stderr.decode(errors="replace")
        if done.returncode == 0:
            return done.stdout.decode(errors="replace")
        if done.returncode < 0:  # whoever ended it, and ends us too
            cause = Cause("slurm_silent", f"SLURM was not asked: signal {-done.returncode} ended {words[0]}")
            raise SystemTrouble(cause, passing=True)
        if _UNKNOWN_JOB.search(told):
            raise SystemTrouble(Cause("slurm_unknown_job", "SLURM knows no such job"), passing=True)
        lines = [line for line in told.splitlines() if line.strip()]
        last = lines[-1].strip()[:300] if lines else f"{words[0]} failed with exit code {done.returncode}"
        if slurm_words.PASSING.search(told) or not refused:
            raise SystemTrouble(Cause("slurm_silent", f"SLURM does not answer: {last}", evidence=(last,)), passing=True)
        raise SystemTrouble(slurm_words.refusal(told))


def environment() -> dict[str, str]:
    """Return the variables for SLURM's commands: those of a job that we may be in ourselves would change another."""
    kept = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"}
    base = {
        name: value
        for name, value in os.environ.items()
        if name in kept or not name.startswith(("SLURM_", "SLURMD_", "VLLM_STUDIO_"))
    }
    return {**base, "SLURM_TIME_FORMAT": "standard"}


def read_facts(told: str) -> dict[str, str]:
    """Return what `scontrol --oneliner show job` tells, by SLURM's names. Values may have blanks in them."""
    line = next((one for one in told.splitlines() if one.startswith("JobId=")), "")
    marks = list(_FIELD.finditer(line))
    found: dict[str, str] = {}
    for at, mark in enumerate(marks):
        end = marks[at + 1].start() if at + 1 < len(marks) else len(line)
        if mark[1] in _NAMES:
            found.setdefault(mark[1], line[mark.end() : end].strip())
    if found.get("JobState"):
        found["JobState"] = re.split(r"[ +,]", found["JobState"])[0]
    return found


def _list(nodes: str) -> str:
    return "" if nodes in ("(null)", "None assigned") else nodes


def _today() -> str:
    return time.strftime("%Y-%m-%d")
