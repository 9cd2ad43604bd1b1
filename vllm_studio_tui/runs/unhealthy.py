"""Why a run that was ready does not answer, since when, and what comes of it: in sentences."""

from __future__ import annotations

import re

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit.numbers import duration
from vllm_studio_tui.runs.read import RunView

#: What keepers of earlier versions wrote down, and what that means. They live on for weeks.
_RAW = (
    (re.compile(r"ConnectionRefusedError|Errno 111|Connection refused", re.IGNORECASE), "nothing listens on its port"),
    (
        re.compile(r"ConnectionResetError|Errno 104|RemoteDisconnected|Broken pipe"),
        "it closes the connection unanswered",
    ),
    (re.compile(r"TimeoutError|timed out", re.IGNORECASE), "it takes the connection and does not answer"),
    (re.compile(r"\b[A-Z]\w*(?:Error|Exception)\b"), "its answer cannot be read"),
)


def unhealthy_since(run: RunView) -> float | None:
    """Return since when it has not answered, in seconds since the epoch; None where it answers or that is not known."""
    return run.status.heard_at if run.state is State.UNHEALTHY else None


def why_unhealthy(run: RunView) -> str:
    """Return why, in words that may follow a name; empty for a run in another state."""
    if run.state is not State.UNHEALTHY:
        return ""
    status = run.status
    said = plain(status.heard or "")
    title = plain((status.title or "").removeprefix("does not answer: "))
    words = said if status.stranger else title or said
    if not words:
        return "it does not answer"
    if run.engine_alive and status.pid and not status.stranger and words == said:
        words = f"{words}, although process {status.pid} is up"
    return words


def what_comes(run: RunView, now: float) -> str:
    """Return what will happen by itself, or what to do; empty for a run in another state."""
    if run.state is not State.UNHEALTHY:
        return ""
    if run.status.advice:
        return run.status.advice
    if run.status.stranger:
        return "Stop the other program, or give the recipe another port."
    restart = run.spec.restart if run.spec is not None else None
    if restart is None or restart.policy == "never":
        return (
            "Nothing restarts it: the recipe's restart policy is never. Stop it and run it again, or look at its log."
        )
    since = unhealthy_since(run)
    if restart.hang_after and since is not None:
        left = since + restart.hang_after - now
        when = f"in {duration(left)}" if left >= 1 else "now"
        return f"If it goes on, the studio restarts it {when}."
    return "The studio restarts it when it ends."


def plain(words: str) -> str:
    """Return words of a probe without the names and numbers of errors of Python."""
    return next((said for pattern, said in _RAW if pattern.search(words)), words)
