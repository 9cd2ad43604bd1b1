"""What Kubernetes says of pods, in words: where each is, what it waits for, how it ended, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.job import Cause, Part

#: Why a container does not start, in words, and what helps.
_WAITING = {
    "ErrImagePull": "its image cannot be fetched",
    "ImagePullBackOff": "its image cannot be fetched",
    "ErrImageNeverPull": "its image is not on the node, and may not be fetched",
    "InvalidImageName": "the name of its image is none",
    "RegistryUnavailable": "the registry of its image does not answer",
    "CreateContainerConfigError": "something that it refers to is missing",
    "CreateContainerError": "its container cannot be made",
    "RunContainerError": "its container cannot be started",
    "CrashLoopBackOff": "its engine ends again and again",
    "ContainerCreating": "its node prepares it",
    "PodInitializing": "its node prepares it",
}
#: A pod that goes through these needs no word of advice.
_PREPARING = ("ContainerCreating", "PodInitializing", "")


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod.

    Attributes:
        state: As `kubectl get pods` shows it.
        words: What else a person should know.
        started: Its container runs.
        ready: It takes requests.
        ends: How often its container ended.
        last: How it ended last: reason and exit code; empty: it has not.
        code: The exit code of that end; None: it has not, or it is not known.
        role: `leader` or `worker` of a LeaderWorkerSet.
        hopeless: It can never start as it is.
        uid: Which pod of that name it is.
    """

    name: str
    node: str
    state: str
    words: str = ""
    started: bool = False
    ready: bool = False
    ends: int = 0
    last: str = ""
    code: int | None = None
    role: str = ""
    born: str = ""
    leaving: bool = False
    hopeless: bool = False
    over: bool = False
    uid: str = ""

    @property
    def preparing(self) -> bool:
        """Return whether its node prepares it: only events tell what that waits for."""
        return self.state in _PREPARING

    def part(self, prefix: str) -> Part:
        """Return it as a part of the run; its name without what all have in common."""
        short = self.name.removeprefix(prefix).strip("-") or self.name
        name = f"{self.role} {short}" if self.role else f"pod {short}"
        return Part(name, self.node, "ready" if self.ready else self.state, self.words)


def view_of(pod: Mapping[str, Any]) -> PodView:
    """Return what a pod is; whatever is missing or of another kind is as if nothing was said of it."""
    head, spec, status = (_map(pod.get(name)) for name in ("metadata", "spec", "status"))
    container = next(iter(_maps(status.get("containerStatuses"))), {})
    now, before = _map(container.get("state")), _map(container.get("lastState"))
    waiting, running, ended = (_map(now.get(name)) for name in ("waiting", "running", "terminated"))
    last = ended or _map(before.get("terminated"))
    phase = _text(status.get("phase")) or "Unknown"
    leaving = bool(head.get("deletionTimestamp"))
    state = _text(status.get("reason")) or _text(waiting.get("reason")) or _text(ended.get("reason")) or phase
    if leaving:
        state = "Terminating"
    words = _words(status, waiting, last, state)
    ready = container.get("ready") is True and not leaving
    count = container.get("restartCount")
    return PodView(
        _text(head.get("name")), _text(spec.get("nodeName")), state, words, bool(running), ready,
        (count if isinstance(count, int) else 0) + bool(ended), _end_words(last), _code(last),
        _text(_map(head.get("labels")).get("role")), _text(head.get("creationTimestamp")), leaving,
        state in ("InvalidImageName", "ErrImageNeverPull"), phase in ("Failed", "Succeeded"), _text(head.get("uid")),
    )  # fmt: skip


def _words(status: Mapping[str, Any], waiting: Mapping[str, Any], last: Mapping[str, Any], state: str) -> str:
    scheduled = next((one for one in _maps(status.get("conditions")) if one.get("type") == "PodScheduled"), {})
    if scheduled.get("status") == "False":
        return _text(scheduled.get("message")) or _text(scheduled.get("reason"))
    told = _text(status.get("message")) or _text(waiting.get("message"))
    found = [_WAITING.get(state, "")]
    if state == "CrashLoopBackOff":
        found.append(_end_words(last))
    elif told:
        found.append(told)
    elif last and state not in ("Running", "Terminating"):
        found.append(_end_words(last))
    return ": ".join(part for part in found if part)


def _end_words(last: Mapping[str, Any]) -> str:
    if not last:
        return ""
    code, reason = _code(last), _text(last.get("reason"))
    message = " ".join(_text(last.get("message")).split())[:300]
    parts = [reason if reason not in ("Error", "") else "", f"exit code {code}" if code is not None else "", message]
    return ", ".join(part for part in parts if part)


def _code(last: Mapping[str, Any]) -> int | None:
    code = last.get("exitCode")
    return code if isinstance(code, int) else None


def stage_of(pods: Sequence[PodView], told: Iterable[str] = ()) -> str:
    """Return what a person reads while no pod runs.

    Args:
        told: What else keeps pods from being made, such as a quota.
    """
    for words in told:
        return f"waiting in Kubernetes: {words}"
    if not pods:
        return "waiting in Kubernetes: no pod was made yet"
    waits = [one for one in pods if not one.started]
    if not waits:
        return ""
    one = max(waits, key=lambda pod: (bool(pod.words), not pod.preparing))
    return f"waiting in Kubernetes: {one.words or one.state}"


def advice_of(state: str, secret: str = "") -> str:
    """Return what to do about a pod in a state.

    Args:
        secret: The command that makes the run's Secret.
    """
    if state in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable"):
        return "Look at docker.image of the recipe, and whether the cluster may fetch from there."
    if state == "CreateContainerConfigError" and secret:
        return f"Make its Secret, and it goes on: {secret}"
    if state in ("OOMKilled", "Evicted"):
        return "Raise handover.memory of the recipe; /dev/shm counts too."
    if state == "Pending":
        return "Look at `kubectl get nodes` and at handover.accelerator, cpus and memory of the recipe."
    return ""


def cause_of(pod: PodView, secret: str = "") -> Cause:
    """Return why a run has ended that can be said of its pod."""
    kind = pod.last.split(",")[0]
    if kind == "OOMKilled":
        words = "its container took more memory than it may (OOMKilled)"
        return Cause("system_ram_oom", words, advice_of("OOMKilled"), (f"{pod.name}: {pod.last}",))
    if pod.hopeless:
        return Cause("image", f"{pod.state}: {pod.words}", advice_of(pod.state, secret), retry=False)
    if pod.state == "Evicted":
        return Cause("evicted", f"its node threw it out: {pod.words}", advice_of("Evicted"), (pod.name,))
    words = f"the engine ended in Kubernetes: {pod.last or pod.state}"
    return Cause("engine_error", words, "See its log.", (f"{pod.name}: {pod.last or pod.state}",), weak=True)


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return " ".join(value.split())[:1000] if isinstance(value, str) else ""
