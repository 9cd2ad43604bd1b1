"""The logs of a run's pods, each line once: through `kubectl logs -f`, and again from where they stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vllm_studio_tui.followers.kube_pods import PodView
from vllm_studio_tui.followers.kubectl import Kubectl, Stream
from vllm_studio_tui.followers.system import SystemTrouble

#: Pods whose logs are passed on at once; those of further ones are `kubectl logs`' own affair.
MOST_PODS = 16
#: Bytes of one line, of what is read at once, and of the log of a container that has ended.
LONGEST_LINE, AT_ONCE, OF_ENDED = 64 << 10, 64 << 10, 4 << 20
#: Seconds before a log that ended or would not begin is asked for again.
AGAIN = 3.0
#: Seconds after which a log that is followed and has told nothing is read in one piece; each time twice as many.
SILENT = 6.0


@dataclass(slots=True)
class _Log:
    """The log of a pod: until when it was passed on, in nanoseconds since 1970, and what reads it."""

    last: int = 0
    ends: int = 0
    stream: Stream | None = None
    rest: bytes = b""
    due: float = 0.0
    #: When it is doubted that what follows it hears anything, and after how many seconds again; 0: it was heard.
    doubt: float = 0.0
    patience: float = 0.0


class PodLogs:
    """Passes on what the engine's container of each pod writes.

    Args:
        memory: Keeps until when each log was passed on, for the follower after this one.
        prefix: What the names of all pods begin with.
    """

    def __init__(self, kubectl: Kubectl, memory: dict[str, Any], container: str, prefix: str) -> None:
        self._kubectl, self._container, self._prefix = kubectl, container, prefix
        kept = memory.get("logs")
        self._kept: dict[str, list[int]] = kept if isinstance(kept, dict) else {}
        memory["logs"] = self._kept
        self._logs: dict[str, _Log] = {}
        self._ready: list[bytes] = []
        self.several = False
        #: Why a log cannot be read; empty: nothing is known to be wrong.
        self.trouble = ""

    def follow(self, pods: Sequence[PodView]) -> None:
        """Follow the logs of these pods, and no longer those of others."""
        wanted = [one for one in pods if one.started or one.ends][:MOST_PODS]
        self.several = self.several or len(pods) > 1
        for name in [name for name in self._logs if name not in {one.name for one in pods}]:
            self._take(name, self._logs[name])
            self._drop(name)
        for one in wanted:
            self._follow(one)

    def _follow(self, pod: PodView) -> None:
        log = self._logs.get(pod.name)
        if log is None:
            last, ends = (*self._kept.get(pod.name, []), 0, 0)[:2]
            log = self._logs[pod.name] = _Log(
                last if isinstance(last, int) else 0, ends if isinstance(ends, int) else 0
            )
        now = time.monotonic()
        if log.stream is not None and not log.stream.alive:
            self._take(pod.name, log)
            log.stream.close()
            log.stream, log.due = None, now + AGAIN
            if pod.started and pod.ends == log.ends:  # it could not be followed: a node has its limits
                self._read_whole(pod.name, log)
        if log.stream is None and pod.ends > log.ends:
            # Its container has ended since: what was not followed of it is read in one piece.
            self._read_whole(pod.name, log, *(["--previous"] if pod.started else []))
            log.ends = pod.ends
            self._keep(pod.name, log)
        if log.stream is None and pod.started and now >= log.due:
            with contextlib.suppress(OSError):
                log.stream = Stream(self._kubectl.words(*self._call(pod.name, log), "--follow"), both=False)
                log.patience = log.patience or SILENT
                log.doubt = now + log.patience
        elif log.stream is not None and log.doubt and now >= log.doubt:
            self._doubt(pod.name, log, now)

    def _doubt(self, name: str, log: _Log, now: float) -> None:
        """Read a log of which nothing was heard: a connection through several proxies may hang."""
        self._take(name, log)
        if not log.doubt:
            return
        before = log.last
        self._read_whole(name, log)
        log.patience *= 2
        log.doubt = now + log.patience
        if log.last != before and log.stream is not None:
            log.stream.close()
            log.stream = None

    def _read_whole(self, name: str, log: _Log, *words: str) -> None:
        """Read what there is of a log in one piece."""
        log.rest = b""
        try:
            text = self._kubectl.ask(*self._call(name, log), *words, f"--limit-bytes={OF_ENDED}")
        except SystemTrouble as error:
            self.trouble = f"the log of {self._short(name)} cannot be read: {error.cause.title}"
            return
        self._lines(name, log, text.encode())

    def _call(self, name: str, log: _Log) -> list[str]:
        since = [f"--since-time={_moment(log.last)}"] if log.last else []
        return ["logs", name, "--container", self._container, "--timestamps", *since]

    def read(self, most: int) -> bytes:
        """Return what is new, whole lines of all pods."""
        for name, log in self._logs.items():
            self._take(name, log)
        found, size = list[bytes](), 0
        while self._ready and size < most:
            piece = self._ready.pop(0)
            found.append(piece)
            size += len(piece)
        return b"".join(found)

    def _take(self, name: str, log: _Log) -> None:
        if log.stream is None or sum(map(len, self._ready)) > 4 * AT_ONCE:
            return
        piece = log.stream.read(AT_ONCE)
        if piece:
            log.doubt, log.patience = 0.0, 0.0
            self._lines(name, log, piece)

    def _lines(self, name: str, log: _Log, data: bytes) -> None:
        whole, newline, rest = (log.rest + data).rpartition(b"\n")
        log.rest = rest[-LONGEST_LINE:]
        before = log.last
        for line in whole.split(b"\n") if newline else ():
            at, _, text = line.partition(b" ")
            moment = stamp(at)
            if moment is None or moment <= before:
                continue
            self.trouble = ""
            log.last = max(log.last, moment)
            self._ready.append((f"[{self._short(name)}] ".encode() if self.several else b"") + text + b"\n")
        if log.last != before:
            self._keep(name, log)

    def _short(self, name: str) -> str:
        return name.removeprefix(self._prefix).strip("-") or name

    def _keep(self, name: str, log: _Log) -> None:
        self._kept[name] = [log.last, log.ends]
        while len(self._kept) > 4 * MOST_PODS:
            self._kept.pop(next(iter(self._kept)))

    def _drop(self, name: str) -> None:
        log = self._logs.pop(name)
        if log.stream is not None:
            log.stream.close()

    def close(self) -> None:
        """End what reads them."""
        for name in list(self._logs):
            self._drop(name)


def stamp(text: bytes) -> int | None:
    """Return nanoseconds since 1970 of a time as kubectl writes it; None: it is none."""
    try:
        words = text.decode("ascii")
        if words[10:11] != "T":
            return None
        whole, dot, more = words.partition(".")
        digits = more[: len(more) - len(more.lstrip("0123456789"))] if dot else ""
        zone = (more[len(digits) :] if dot else "") or ("" if dot else words[19:])
        at = datetime.fromisoformat(whole[:19] + (zone.replace("Z", "+00:00") or "+00:00"))
    except ValueError:
        return None
    return int(at.timestamp()) * 10**9 + int((digits + "000000000")[:9])


def _moment(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(nanoseconds // 10**9))
