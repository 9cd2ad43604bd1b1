"""Where a run runs that runs elsewhere, in words. Light: a status bar asks for it often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vllm_studio_tui.domain.run import ANSWERING, RunState, State
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.runs.read import RunView

#: Hosts that are named before the rest is counted.
NAMED = 3
#: Letters of what a system says that a line is given.
LONGEST = 300
#: States of parts, in the words of the systems, in which they do what they should.
_WELL = {
    "ready", "running", "healthy", "alive", "up", "started", "succeeded", "completed", "completing", "configuring",
    "starting", "loading", "pending", "waiting", "deploying", "containercreating", "podinitializing",
}  # fmt: skip


def is_elsewhere(run: RunView) -> bool:
    """Return whether somebody else runs it: other hosts over ssh, or a system that it was handed over to."""
    return run.status.handle is not None or run.status.job_state is not None or kind_of(run) != ""


def kind_of(run: RunView) -> str:
    """Return what runs it elsewhere, as `slurm`; empty where it runs here, or where that was not read."""
    kind = run.spec.follow.get("kind") if run.spec is not None else None
    return kind if isinstance(kind, str) else ""


def waits(run: RunView) -> bool:
    """Return whether nothing of it runs yet: its turn has not come, and how long that takes nobody knows."""
    return run.state is State.STARTING and is_elsewhere(run)


def told_why(run: RunView) -> bool:
    """Return whether its system says what it waits for, in words of its own: its log has nothing to say yet."""
    return waits(run) or (run.state is State.LOADING and is_elsewhere(run) and " " in (run.status.stage or ""))


def part_ids(runs: Iterable[RunView]) -> set[str]:
    """Return the ids of runs that are parts of others: ranks on the machine from which they are led."""
    return {str(one["run_id"]) for run in runs if run.live for one in run.status.parts if one.get("run_id")}


def trouble_of(run: RunView) -> str:
    """Return what is wrong there although it goes on, on one line; empty where nothing is."""
    return "" if run.status.final else clean_line(run.status.trouble or "", limit=LONGEST)


def warned(run: RunView) -> bool:
    """Return whether it answers, and something of it is wrong all the same."""
    return run.state in ANSWERING and bool(trouble_of(run))


def shown_state(run: RunView) -> State:
    """Return the state whose mark stands for a run where there is room for nothing else: a warning for trouble."""
    return State.UNHEALTHY if warned(run) else run.state


def hosts_of(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the hosts that parts are on, each once, in their order."""
    return list(dict.fromkeys(clean_line(str(one["where"]), limit=80) for one in parts if one.get("where")))


def hosts_words(hosts: Sequence[str]) -> str:
    """Return hosts in words: `n1,n2,n3 and 5 more`."""
    more = f" and {len(hosts) - NAMED} more" if len(hosts) > NAMED else ""
    return f"{','.join(hosts[:NAMED])}{more}"


def where_words(status: RunState, kind: str = "") -> str:
    """Return what its system calls it and the hosts it is on: `slurm:123 on n1,n2`; empty for a run of this machine."""
    handle = clean_line(status.handle or kind, limit=80)
    if handle.startswith("ranks:"):  # what follows is ours, and says nobody anything
        handle = "ranks"
    hosts = hosts_words(hosts_of(status.parts))
    return f"{handle} on {hosts}" if handle and hosts else handle or hosts


def elsewhere_words(run: RunView) -> str:
    """Return `where_words` of a run."""
    return where_words(run.status, kind_of(run))


def in_trouble(part: Mapping[str, Any]) -> bool:
    """Return whether a part is not as it should be: its system calls its state nothing that goes well."""
    state = str(part.get("state") or "").lower().replace("_", "").replace("-", "")
    return bool(state) and state not in _WELL


def sorted_parts(parts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return parts with those in trouble first, otherwise in their order."""
    return sorted(parts, key=lambda one: not in_trouble(one))


def part_words(part: Mapping[str, Any]) -> str:
    """Return a part on one line: its name, where it is, its state, and what else there is to know."""
    words = (part.get("name"), part.get("where"), part.get("state"), part.get("words"))
    return clean_line("  ".join(str(one) for one in words if one), limit=LONGEST)
