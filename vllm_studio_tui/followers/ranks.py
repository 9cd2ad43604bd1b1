"""One engine on several hosts, over ssh: a run of each host's own studio for each rank, watched and ended as one.

Who places ranks and has them find each other is the engine. Here they are started in order, heard of, and stopped:
where one ends the others do, and the cause is that one's own. A host that cannot be reached keeps its rank for as long
as its lease lasts (`keeper/lease.py`), so that nothing is left there.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import string
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.job import Cause, Part, Phase
from vllm_studio_tui.followers.rank_causes import cause_of_unit
from vllm_studio_tui.followers.rank_link import APART, RankLink
from vllm_studio_tui.followers.ssh import Host, cause_of
from vllm_studio_tui.followers.system import Job, Look, System, SystemTrouble
from vllm_studio_tui.kit import safe_json
from vllm_studio_tui.kit.durations import duration_words
from vllm_studio_tui.kit.paths import write_atomic
from vllm_studio_tui.kit.sanitize import clean_line

#: The file of the run's directory that says which runs the ranks are.
NOTES = "ranks.json"
#: Seconds that a start on a host may take.
START = 100.0
#: Seconds that a keeper needs to end its engine, at most, once its lease has run out.
GRACE = 30.0
#: Seconds that a host which is not heard of is tried when the unit is to end; by force.
REACH, REACH_FORCED = 15.0, 3.0
#: Bytes of the merged log at once.
MOST_LOG = 256 * 1024
#: Letters that a word of a remote command may have.
_TAIL = string.ascii_lowercase + string.digits


class Ranks(System):
    """The unit of one run."""

    every = 1.0
    log_every = 0.2  # it is in memory already

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        plan = job.plan
        self._hosts = [Host.from_plan(one) for one in plan["hosts"]]
        self._parts: list[Mapping[str, Any]] = list(plan["parts"])
        self._lost_after = float(plan["lost_after"])
        self.every = min(1.0, self._lost_after / 8)
        self._notes = self._read_notes()
        self._links: dict[int, RankLink] = {}
        self._sockets: Path | None = None
        self._tried_since: float | None = None
        self._dead: dict[int, float] = {}
        self._served = False
        self._stop_began: float | None = None
        self._told = bytearray()
        self._telling: set[str] = set()

    # --- starting ---------------------------------------------------------------------------------------

    def submit(self) -> str:
        """Start each rank on its host, the first one first; those that run already are found."""
        if not self._notes or self._notes.get("ended"):
            tail = "".join(random.choices(_TAIL, k=4))  # noqa: S311
            stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            self._notes = {"tail": f"{stamp}-{tail}", "begun": 0, "ports": {}, "ended": False}
            self._write_notes()
        self._tried_since = self._tried_since or time.monotonic()
        for index in range(len(self._parts)):
            if str(index) in self._notes["ports"]:
                self._link(index)
                continue
            self._notes["begun"] = max(self._notes["begun"], index + 1)
            self._write_notes()
            try:
                self._notes["ports"][str(index)] = self._start(index)
            except SystemTrouble as trouble:
                late = time.monotonic() - self._tried_since > self._lost_after
                if trouble.passing and not late:
                    raise
                self._end_begun(index)
                raise SystemTrouble(trouble.cause) from None
            self._write_notes()
            self._link(index)
        return f"ranks:{self._notes['tail']}"

    def _start(self, index: int) -> int:
        """Start one rank; return the port of its server there, 0 where it has none.

        Raises:
            SystemTrouble: It is not started, or that is not known.
        """
        part, host = self._parts[index], self._host(index)
        order = {
            "recipe": self.job.plan["recipe"],
            "place": part["place"],
            "part": {name: part.get(name) for name in ("name", "serves", "port")},
            "run_id": self._run_id(index),
            "lost_after": self._lost_after,
        }
        command = host.command("rank", "start", connect=min(15.0, max(2.0, self._lost_after / 4)))
        try:
            done = subprocess.run(
                command, input=json.dumps(order).encode(), capture_output=True, timeout=START, check=False
            )
        except subprocess.TimeoutExpired:
            cause = Cause("host_unreachable", f"{host.name} did not start {self._name(index)} within {START:g} s")
            raise SystemTrouble(cause, passing=True) from None
        except OSError as error:
            cause = Cause("ssh_missing", f"ssh cannot be run here: {error}", "Install OpenSSH's client.", (), False)
            raise SystemTrouble(cause) from None
        answer = _last_object(done.stdout)
        if isinstance(answer.get("error"), dict):
            raise self._refused(index, answer["error"])
        if done.returncode != 0 or not isinstance(answer.get("run_id"), str):
            words = (done.stderr + b"\n" + done.stdout).decode("utf-8", "replace").splitlines()
            cause, passing = cause_of(host, done.returncode, words)
            raise SystemTrouble(cause, passing=passing and done.returncode != 0)
        port = answer.get("port")
        return port if isinstance(port, int) else 0

    def _refused(self, index: int, error: Mapping[str, Any]) -> SystemTrouble:
        title, cause, advice = (clean_line(str(error.get(name) or "")) for name in ("title", "cause", "advice"))
        why = tuple(line for line in str(error.get("cause") or "").splitlines() if line.strip())
        words = f"{self._name(index)} on {self._host(index).name} was not started: {title}"
        retry = error.get("passing") is True
        return SystemTrouble(
            Cause("rank_refused", words, " ".join(part for part in (cause, advice) if part), why, retry), passing=retry
        )

    def _end_begun(self, failed: int) -> None:
        """End what was started before a start failed; what cannot be reached ends with its lease."""
        for index in range(failed):
            self._link(index)
        deadline = time.monotonic() + GRACE
        while not self.stop(force=False) and time.monotonic() < deadline:
            time.sleep(0.2)

    # --- looking ----------------------------------------------------------------------------------------

    def look(self) -> Look:
        links = self._all_links()
        self._note_offsets(links)
        now = time.monotonic()
        for index, link in links.items():
            if link.ended:
                self._dead.setdefault(index, now)
            elif self._dead:
                link.ask_why()
        lost = [one for one in links.values() if not one.ended and one.silent > self._lost_after + 2 * one.every]
        cause = cause_of_unit(self._named(links), self._dead, now, [(self._name(one.index), one) for one in lost])
        parts = [self._part(link) for link in links.values()]
        if cause is not None:
            return Look(Phase.ENDED, "ended", cause=cause, parts=parts)
        head = links[0]
        ready = head.run.get("state") == "ready"
        for index, link in links.items():
            link.say(f"works as {self._name(index)} of {len(links)}" if ready and not self._dead else "")
        self._served = self._served or ready
        state = "ready" if ready else "loading" if head.run else "starting"
        trouble = self._trouble(links)
        return Look(Phase.RUNNING, state, trouble=trouble, address=self._address(head), parts=parts)

    def _trouble(self, links: Mapping[int, RankLink]) -> str:
        said = []
        for index in self._dead:
            link = links[index]
            said.append(f"{self._name(index)} on {link.host.name} has ended: {link.run.get('title') or 'not said why'}")
        for link in links.values():
            if link.ended or link.connected:
                continue
            if link.silent > 2 * link.every:
                # As times of the day: words that change every second would fill the log.
                why = f": {link.cause.title}" if link.cause else ""
                since, until = _clock(-link.silent), _clock(self._lost_after - link.silent)
                said.append(f"no answer from {link.host.name} since {since}{why}; given up at {until}")
        apart = {link.host.name: link.apart for link in links.values() if abs(link.apart) > APART}
        for name, seconds in apart.items():
            ahead = "ahead of" if seconds > 0 else "behind"
            said.append(f"the clock of {name} is {duration_words(abs(seconds))} {ahead} ours: times in logs differ")
        return "; ".join(said)

    def _part(self, link: RankLink) -> Part:
        state = str(link.run.get("state") or "starting")
        stage = str(link.run.get("title") or link.run.get("stage") or "")
        if not link.ended and not link.connected:
            stage = link.cause.title if link.cause else "not heard of yet"
            state = state if link.silent <= 3 * link.every else "silent"
        elif state == "loading" and link.run.get("ready_at"):
            state = "ready"  # it has no server of its own: it is when its unit is
        name = self._name(link.index)
        return Part(name, link.host.name, state, clean_line(stage, limit=300), link.run_id)

    def _address(self, head: RankLink) -> tuple[str, int] | None:
        port = self._notes.get("ports", {}).get("0")
        if not port or not self._served:
            return None
        if not head.host.ssh:
            return "127.0.0.1", port
        return (str(self._sockets / "head"), 0) if self._sockets is not None else None

    def _note_offsets(self, links: Mapping[int, RankLink]) -> None:
        self.job.memory["offsets"] = {str(index): link.passed for index, link in links.items()}

    # --- ending -----------------------------------------------------------------------------------------

    def stop(self, *, force: bool) -> bool:
        """Stop the ranks, the last one first; those of hosts that cannot be reached are left to their lease."""
        if not self._notes or self._notes.get("ended"):
            return True
        self._stop_began = self._stop_began or time.monotonic()
        links = {index: self._link(index) for index in range(self._notes["begun"])}
        self._note_offsets(links)
        # All at once: one that sees another fall before it was told to end would say that it failed.
        for index in reversed(links):
            links[index].stop(force=force)
        left = [one for one in links.values() if not one.over]
        if not all(self._left(one, force=force) for one in left):
            return False
        for one in left:
            self._tell_left(one)
        self._notes["ended"] = True
        self._write_notes()
        return True

    def _left(self, link: RankLink, *, force: bool) -> bool:
        """Return whether a rank is left to its lease: its host cannot be reached."""
        if link.over or link.connected:
            return False
        if link.silent > self._lost_after + 2 * link.every:
            return True  # it was given up before
        assert self._stop_began is not None
        tried = min(link.silent, time.monotonic() - max(self._stop_began, link.began))
        return tried > min(REACH_FORCED if force else REACH, self._lost_after)

    def _tell_left(self, link: RankLink) -> None:
        """Say when a rank ends that could not be told to."""
        until = link.leased_until or link.began + self._lost_after
        left = until + GRACE - time.monotonic()
        if left <= 0:
            return
        at = _clock(left)
        why = f" ({link.cause.title})" if link.cause else ""
        name = self._name(link.index)
        words = f"{link.host.name} could not be reached{why}: {name} ends there by itself by {at}"
        self.job.left = f"{self.job.left}; {words}" if self.job.left else words
        self._tell(words)

    def _tell(self, words: str) -> None:
        if words not in self._telling:
            self._telling.add(words)
            self._told += f"[vllm-studio] {words}\n".encode()

    # --- the log ----------------------------------------------------------------------------------------

    def log(self) -> bytes:
        """Return new lines of all ranks, each with its rank and host before it."""
        out = bytearray(self._told)
        self._told.clear()
        for index, link in self._links.items():
            room = (MOST_LOG - len(out)) // 2
            if room <= 0:
                break
            mark = f"[{index} {link.host.name}] ".encode()
            for line in link.take_log(room, all_of_it=link.over).splitlines(keepends=True):
                out += mark + line
            if out and not out.endswith(b"\n"):
                out += b"\n"
        return bytes(out[: 2 * MOST_LOG])

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    # --- parts ------------------------------------------------------------------------------------------

    def _host(self, index: int) -> Host:
        return self._hosts[int(self._parts[index]["node"])]

    def _name(self, index: int) -> str:
        return str(self._parts[index].get("name") or f"rank {index}")

    def _run_id(self, index: int) -> str:
        recipe = str(self.job.plan["recipe"]["id"])[:32].rstrip("-")
        return f"{recipe}.r{index}-{self._notes['tail']}"

    def _named(self, links: Mapping[int, RankLink]) -> dict[int, tuple[str, RankLink]]:
        return {index: (self._name(index), link) for index, link in links.items()}

    def _all_links(self) -> dict[int, RankLink]:
        return {index: self._link(index) for index in range(len(self._parts))}

    def _link(self, index: int) -> RankLink:
        """Return the connection to a rank; it is begun when it is first asked for."""
        found = self._links.get(index)
        if found is not None:
            return found
        host, forward = self._host(index), ""
        port = self._notes["ports"].get(str(index))
        if index == 0 and port and host.ssh:
            # Short: the path of a socket has a hundred bytes at most.
            self._sockets = Path(tempfile.mkdtemp(prefix="vsr-", dir="/tmp" if Path("/tmp").is_dir() else None))  # noqa: S108
            forward = f"{self._sockets / 'head'}:127.0.0.1:{port}"
        offsets = self.job.memory.get("offsets")
        offset = offsets.get(str(index)) if isinstance(offsets, Mapping) else 0
        known = offset if isinstance(offset, int) and offset > 0 else 0
        self._links[index] = RankLink(
            host, self._run_id(index), self._lost_after, forward=forward, offset=known, index=index
        )
        return self._links[index]

    def _read_notes(self) -> dict[str, Any]:
        """Return which runs the ranks are, as this follower or an earlier one noted; empty: none was begun."""
        with contextlib.suppress(OSError, ValueError):
            data = safe_json.loads((self.job.folder / NOTES).read_bytes())
            if (
                isinstance(data, dict)
                and isinstance(data.get("tail"), str)
                and isinstance(data.get("begun"), int)
                and isinstance(data.get("ports"), dict)
            ):
                return data
        return {}

    def _write_notes(self) -> None:
        try:
            write_atomic(self.job.folder / NOTES, json.dumps(self._notes).encode())
        except OSError as error:
            cause = Cause("disk_full", f"nothing can be written here: {error.strerror or error}")
            raise SystemTrouble(cause, passing=True) from None


def _clock(seconds: float) -> str:
    """Return the time of the day so many seconds from now, on this machine."""
    return time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))


def _last_object(text: bytes) -> dict[str, Any]:
    """Return the last line that is a JSON object: shells may say something of their own before."""
    for line in reversed(text.splitlines()):
        with contextlib.suppress(ValueError):
            data = safe_json.loads(line)
            if isinstance(data, dict):
                return data
    return {}
