"""A run in Kubernetes: a Deployment or a LeaderWorkerSet, which `kubectl` applies, is asked for, and deletes.

Everything that is made carries the run's label: by that it is found again, and nothing else is touched.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.job import Cause, Phase
from vllm_studio_tui.followers.kube_logs import PodLogs
from vllm_studio_tui.followers.kube_pods import PodView, advice_of, cause_of, stage_of, view_of
from vllm_studio_tui.followers.kubectl import MANAGER, Kubectl, Stream
from vllm_studio_tui.followers.system import Job, Look, System, SystemTrouble

#: The label of everything that belongs to a run, and the container of its engine.
LABEL, ENGINE = "vllm-studio/run", "engine"
#: Seconds between two looks at events, which tell what a node waits for.
EVENTS = 10.0
#: Bytes of the log that are passed on at once.
AT_ONCE = 256 << 10
GONE = Cause("deleted", "somebody deleted it in Kubernetes", "Launch it again.")
_FORWARDS = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+) ->")


class Kubernetes(System):
    """Follows one run through kubectl."""

    every = 2.0

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        plan = job.plan
        self._name = str(plan.get("name") or "")
        self._kinds = [str(one) for one in plan.get("kinds") or ()]
        self._label = f"{LABEL}={plan.get('label')}"
        self._limit = max(1, int(plan.get("budget") or 1))
        self._secret = str(plan.get("secret") or "")
        namespace = job.handle.removeprefix("k8s:").rpartition("/")[0] or str(plan.get("namespace") or "")
        self._kubectl = Kubectl(str(plan.get("kubectl") or "kubectl"), str(plan.get("context") or ""), namespace)
        self._logs = PodLogs(self._kubectl, job.memory, ENGINE, self._name)
        self._forward: Stream | None = None
        self._leads_to, self._port = "", 0
        self._forward_due = 0.0
        self._events: tuple[float, dict[str, str]] = (0.0, {})

    # --- begin ------------------------------------------------------------------------------------------

    def submit(self) -> str:
        plan = self.job.plan
        documents = {"apiVersion": "v1", "kind": "List", "items": plan.get("documents") or []}
        options = [str(one) for one in plan.get("options") or ()]
        if any(_map(one.get("metadata")).get("deletionTimestamp") for one in self._objects("pods")):
            raise SystemTrouble(Cause("leaving", "what there was of it before is still being deleted"), passing=True)
        words = ("apply", "--server-side", f"--field-manager={MANAGER}", "-f", "-", *options)
        try:
            self._kubectl.ask(*words, given=documents)
            found = self._objects()
        except SystemTrouble as error:
            for kind in self._kinds if not error.passing else ():  # a part of it may have been taken
                with contextlib.suppress(SystemTrouble):
                    self._delete(kind)
            raise
        spaces = [str(_map(one.get("metadata")).get("namespace") or "") for one in found]
        self._kubectl.namespace = next((one for one in spaces if one), self._kubectl.namespace)
        return f"k8s:{self._kubectl.namespace}/{self._name}"

    def _objects(self, *more: str) -> list[dict[str, Any]]:
        """Return what there is of the run: its objects, and pods where they are asked for."""
        return self._kubectl.items("get", ",".join((*self._kinds, *more)), "--selector", self._label)

    # --- look -------------------------------------------------------------------------------------------

    def look(self) -> Look:
        found = self._objects("pods")
        pods = [view_of(one) for one in found if one.get("kind") == "Pod"]
        # What has ended for good counts only where nothing else is there: another pod has taken its place.
        pods = sorted((one for one in pods if not one.over), key=lambda one: (one.role != "leader", one.born)) or pods
        workload = next((one for one in found if one.get("kind") in ("Deployment", "LeaderWorkerSet")), None)
        if workload is None:
            self._lead(())
            return Look(Phase.ENDED, "deleted", cause=GONE)
        self._logs.follow(pods)
        parts = [one.part(self._name) for one in pods]
        ready = [one for one in pods if one.ready]
        started = any(one.started for one in pods)
        state = self._state(pods)
        if ready:
            self.job.memory["leaders"] = [one.uid for one in pods if one.role == "leader"]
        ended = self._ended(workload, pods)
        if ended is not None:
            return Look(Phase.ENDED, state, parts=parts, cause=ended)
        told = _conditions(workload)
        serving = [one for one in ready if one.role != "worker"]
        return Look(
            Phase.RUNNING if started else Phase.WAITING,
            state,
            "" if started else stage_of([self._explained(one) for one in pods], told if not pods else ()),
            self._trouble(pods, ready, started),
            self._lead(serving),
            parts,
        )

    def _state(self, pods: Sequence[PodView]) -> str:
        """Return the run's state in the words of `kubectl get pods`: of the pod that is the farthest from ready."""
        if not pods:
            return "Pending"
        late = [one for one in pods if not one.ready]
        if not late:
            return "Running"
        return "NotReady" if late[0].started else late[0].state

    def _ended(self, workload: Mapping[str, Any], pods: Sequence[PodView]) -> Cause | None:
        """Return why it is over; None: it goes on. Kubernetes itself would start an engine anew for ever."""
        if _map(workload.get("metadata")).get("deletionTimestamp"):
            return GONE if not pods else None
        if any(one.ready for one in pods):
            return None
        again = self._made_anew(pods)
        if again >= self._limit:
            words = f"one of its pods ended, and all were made anew, {again} times"
            return Cause("engine_error", words, "See its log.", retry=self._limit == 1, weak=True)
        for one in pods:
            if one.hopeless or one.ends >= self._limit:
                # Kubernetes has tried again already, as often as the recipe allows.
                return replace(cause_of(one, self._secret), retry=self._limit == 1 and not one.hopeless)
        return None

    def _made_anew(self, pods: Sequence[PodView]) -> int:
        """Return how often the group of a LeaderWorkerSet was made anew since it was ready.

        Where a container of a group ends, the set deletes all its pods and makes others of the same names: none of
        them tells of the end.
        """
        seen = self.job.memory.setdefault("leaders", [])
        for one in pods:
            if one.role == "leader" and one.uid and one.uid not in seen:
                seen.append(one.uid)
        copies = len({one.name for one in pods if one.role == "leader"})
        return len(seen) - max(1, copies)

    def _trouble(self, pods: Sequence[PodView], ready: Sequence[PodView], started: bool) -> str:
        late = [self._explained(one) for one in pods if not one.ready and not one.leaving]
        bad = [one for one in late if one.words and not one.started]
        if not started:
            advice = advice_of(bad[0].state, self._secret) if bad else ""
            return f"{bad[0].state}: {advice}" if bad and advice else ""
        again = [one for one in pods if one.ends and not one.ready]
        if again:
            return f"{again[0].name} ended {again[0].ends} times ({again[0].last or again[0].state})"
        if ready and late:
            why = f": {bad[0].words}" if bad else ""
            return f"{len(late)} of {len(pods)} pods are not ready{why}"
        return self._logs.trouble

    def _explained(self, pod: PodView) -> PodView:
        """Return a pod that its node prepares with what that waits for, which only events tell."""
        if not pod.preparing or not pod.node:
            return pod
        if time.monotonic() - self._events[0] > EVENTS:
            told: dict[str, str] = {}
            with contextlib.suppress(SystemTrouble):
                for one in self._kubectl.items("get", "events", "--field-selector", "type=Warning"):
                    about = _map(one.get("involvedObject"))
                    words = " ".join(str(one.get("message") or "").split())[:500]
                    if (
                        about.get("kind") == "Pod"
                        and words
                        and one.get("reason") in ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
                    ):
                        told[str(about.get("name"))] = words
            self._events = (time.monotonic(), told)
        words = self._events[1].get(pod.name, "")
        return pod if not words else PodView(pod.name, pod.node, pod.state, words, role=pod.role)

    # --- lead to it -------------------------------------------------------------------------------------

    def _lead(self, serving: Sequence[PodView]) -> tuple[str, int] | None:
        """Return where a pod that serves is reached from here; a port-forward that ended is begun again."""
        if self._forward is not None and (
            not self._forward.alive or self._leads_to not in {one.name for one in serving}
        ):
            if self._forward.alive:  # another pod is led to at once; one that cannot be is tried again later
                self._forward_due = 0.0
            self._forward.close()
            self._forward, self._port = None, 0
        if not serving:
            return None
        if self._forward is None:
            if time.monotonic() < self._forward_due:
                return None
            self._forward_due = time.monotonic() + self.every
            self._leads_to = serving[0].name
            port = int(self.job.plan.get("port") or 0)
            call = self._kubectl.words("port-forward", "--address", "127.0.0.1", f"pod/{self._leads_to}", f":{port}")
            with contextlib.suppress(OSError):
                self._forward = Stream(call)
                self._wait_for_port(self._forward)
        elif not self._port:
            self._wait_for_port(self._forward, 0.0)
        else:
            self._forward.read(AT_ONCE)  # what it says of each connection
        return ("127.0.0.1", self._port) if self._port else None

    def _wait_for_port(self, forward: Stream, patience: float = 3.0) -> None:
        said, until = b"", time.monotonic() + patience
        while not self._port and forward.alive:
            said += forward.read(4096)
            found = _FORWARDS.search(said)
            self._port = int(found[1]) if found else 0
            if self._port or time.monotonic() >= until:
                return
            time.sleep(0.02)

    # --- end --------------------------------------------------------------------------------------------

    def stop(self, *, force: bool) -> bool:
        self._lead(())
        found = self._objects("pods")
        self._logs.follow([view_of(one) for one in found if one.get("kind") == "Pod"])
        if not found:
            return True
        if any(
            not _map(_map(one).get("metadata")).get("deletionTimestamp") for one in found if one.get("kind") != "Pod"
        ):
            self._delete(",".join(self._kinds))
        elif all(one.get("kind") == "Pod" for one in found) and any(
            not _map(one.get("metadata")).get("deletionTimestamp") for one in found
        ):
            self._delete("pods")
        if force:
            self._delete("pods", "--grace-period=0", "--force")
        return False

    def _delete(self, kinds: str, *options: str) -> None:
        self._kubectl.ask("delete", kinds, "--selector", self._label, "--ignore-not-found", "--wait=false", *options)

    def log(self) -> bytes:
        return self._logs.read(AT_ONCE)

    def close(self) -> None:
        self._logs.close()
        if self._forward is not None:
            self._forward.close()
            self._forward = None


def _conditions(workload: Mapping[str, Any]) -> list[str]:
    """Return what keeps a Deployment or a LeaderWorkerSet from making pods."""
    listed = _map(workload.get("status")).get("conditions")
    found = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    return [
        " ".join(str(one.get("message") or one.get("reason") or "").split())[:500]
        for one in found
        if one.get("type") == "ReplicaFailure" and one.get("status") == "True"
    ]


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
