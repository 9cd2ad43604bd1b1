"""Read the values of one GPU through NVML, each of which may be missing, slow or wrong.

Every function of the driver may be missing, slow, refused or lying by itself; each costs only its own column. So a
GPU is a table of values: `steps` asks for them one by one, and `gpu` puts together what is known at any moment, also
while one of the calls does not return. Units of the library: bytes, percent, degrees C, milliwatts, millijoules, MHz
(NVML API reference, and the docstrings of nvidia-ml-py).
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, Xid
from vllm_studio_tui.probes.gpu import validation
from vllm_studio_tui.probes.gpu.timed_calls import Step
from vllm_studio_tui.probes.gpu.values import (
    EVERY,
    FIXED,
    HANDLE,
    KINDS,
    LENGTHY,
    LISTS,
    LIVE,
    SLOWLY,
    VALUES,
    Value,
    argument,
)

UNINITIALIZED = 1
NOT_SUPPORTED = 3
NO_PERMISSION = 4
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
ARGUMENT_VERSION_MISMATCH = 25
DEPRECATED = 26
TIMEOUT = 10
#: What was raised was no error of NVML: the package and the driver do not fit, or something else is missing.
ODD = -1
#: Answers to a question for samples of which there are none: no error, or "not found".
NO_SAMPLES = frozenset({0, 6})

#: Answers that hardly change while the driver stays loaded: asked again only after `AGAIN` seconds.
NEVER = frozenset({NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH, DEPRECATED})
AGAIN = 60.0
#: Answers that say of the GPU itself that it is in trouble.
TROUBLE = frozenset({GPU_IS_LOST, RESET_REQUIRED})
#: Seconds for which a value stands in for one that timed out or does not come.
KEEP = 10.0
#: Seconds after which a call that does not return is reported.
REPORT_AFTER = 2.0
#: Seconds after which a GPU that tells nothing new has stale values, and after which it is taken as lost.
STALE = 5.0
SILENT = 60.0
#: Seconds between two attempts at a lost GPU.
RETRY_LOST = 10.0
#: Calls of one GPU that may hang at once; more are not begun.
MAX_HANGING = 3

Processes = Callable[[Sequence[GpuProcess]], tuple[GpuProcess, ...]]


class Device:
    """A GPU by its index. Nothing here raises, whatever the driver does.

    Args:
        library: The module `pynvml`, or what stands in for it.
        index: NVML's index, which is not CUDA's unless CUDA_DEVICE_ORDER=PCI_BUS_ID.
        monotonic: A clock in seconds.
    """

    def __init__(self, library: Any, index: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._nvml = library
        vendor = getattr(library, "vendor", None)
        self._vendor: str = vendor if isinstance(vendor, str) else "nvidia"
        self._monotonic = monotonic
        self.index = index
        self._handle: Any = None
        self._known: dict[str, tuple[float, Any]] = {}
        self._refused: dict[str, tuple[int, str]] = {}
        self._not_before: dict[tuple[str, int], float] = {}
        #: Calls that are under way, with the function and the time of their beginning.
        self._asking: dict[str, tuple[str, float]] = {}
        self._left: deque[Value] = deque()
        self._began = self._floor = monotonic()
        self._since = monotonic()
        self._retry_at = 0.0
        # GPUs take turns with what takes long.
        turn = self._since + SLOWLY * (1 + index % 5) / 5
        self._due = dict.fromkeys(LENGTHY, turn)
        self._counted: dict[str, tuple[float, tuple[int | None, ...]]] = {}

    @property
    def uuid(self) -> str:
        """Return the GPU's UUID; empty until it was read once."""
        return self._get("uuid") or ""

    @property
    def hanging(self) -> float:
        """Return for how many seconds the longest running call has been running; 0 if there is none."""
        now = self._monotonic()
        return max((now - at for _, at in list(self._asking.values())), default=0.0)

    def steps(self, keys: Collection[str], *, thorough: bool = False) -> Iterator[Step]:
        """Yield the calls that read these values. What the last reading did not get to comes first.

        Args:
            thorough: Also what is not due yet.
        """
        if self._monotonic() < self._retry_at:
            return
        if not self._left:
            self._floor, self._began = self._began, self._monotonic()
            self._left.extend(value for value in VALUES if value.key in keys and self._wanted(value, thorough))
        while self._left and len(self._asking) < MAX_HANGING:
            if self._handle is None:
                if "handle" in self._asking:
                    return
                yield self._open
                if self._handle is None:  # refused, or it still hangs
                    return
            value = self._left.popleft()
            if value.needs is not None and not self._get(value.needs):
                self._known.pop(value.key, None)
            elif value.key not in self._asking:
                yield functools.partial(self._ask, value)

    def _wanted(self, value: Value, thorough: bool) -> bool:
        if value.fixed:
            return value.key not in self._known
        return thorough or self._monotonic() >= self._due.get(value.key, 0.0)

    def gpu(self, processes: Processes, xids: tuple[Xid, ...] = ()) -> Gpu:
        """Return what is known now; `processes` describes the processes on it, `xids` are its errors in the log."""
        lost = self._lost()
        if lost is not None:
            self._handle = None
            self._left.clear()
            if self._monotonic() >= self._retry_at and not self._asking:
                self._retry_at = self._monotonic() + RETRY_LOST
            bus = self._get("pci_bus")
            name = self._get("name") or self._unnamed
            return Gpu(self.index, self.uuid, name, pci_bus=bus, lost=lost, xids=xids, vendor=self._vendor)
        self._retry_at = 0.0
        newest = self._newest()
        age = None if newest is None else self._monotonic() - newest
        return Gpu(
            index=self.index,
            vendor=self._vendor,
            processes=processes(self._using()),
            trouble=self._trouble(),
            xids=xids,
            stale=age if age is not None and age > STALE else None,
            **{"uuid": "", "name": self._unnamed, **self._fields()},
        )

    def energy(self) -> tuple[str, int] | None:
        """Return UUID and millijoules since the driver was loaded; None if the GPU does not count or answer."""
        count = self._get("energy_mj")
        return None if count is None or not self.uuid else (self.uuid, count)

    @property
    def _unnamed(self) -> str:
        return f"GPU {self.index}"

    def _fields(self) -> dict[str, Any]:
        """Return the fields of `Gpu` whose values are known."""
        found: dict[str, Any] = {}
        for value in VALUES:
            known = self._get(value.key)
            if known is None:
                continue
            found.update({value.key: known} if value.fields is None else zip(value.fields, known, strict=False))
        return found

    @property
    def bus(self) -> str | None:
        """Return where it is plugged in, as the driver says it; None until it was read once."""
        found = self._get("pci_bus")
        return found if isinstance(found, str) else None

    def _open(self) -> None:
        self._handle = None
        self._ask(Value("handle", ((HANDLE,),), lambda handle: handle), self.index)
        self._handle = self._known.pop("handle", (0.0, None))[1]

    def _ask(self, value: Value, *arguments: Any) -> None:
        """Call the library for one value, and record the value or why there is none."""
        key = value.key
        failure = (ODD, "told nothing that can be")
        self._due[key] = self._monotonic() + value.every
        for number, (function, *given) in enumerate(value.calls):
            if self._monotonic() < self._not_before.get((key, number), 0.0):
                failure = self._refused.get(key, failure)
                continue
            self._asking[key] = (function, self._monotonic())
            found = None
            try:
                found = self._call(value, function, arguments or given)
            except Exception as error:  # noqa: BLE001, RUF100
                code = code_of(self._nvml, error)
                failure = (code, str(error)[: validation.MAX_TEXT] or type(error).__name__)
                if code in NO_SAMPLES:
                    found = value.empty
                if code in (*NEVER, ODD) and key != "handle":
                    self._not_before[key, number] = self._monotonic() + AGAIN
            finally:
                self._asking.pop(key, None)
            if found is not None:
                now = self._monotonic()
                self._known[key] = (now, self._a_second(value, found, now) if value.counters else found)
                self._refused.pop(key, None)
                return
        self._refused[key] = failure
        if failure[0] != TIMEOUT:  # a value that timed out is kept for a while
            self._known.pop(key, None)

    def _call(self, value: Value, function: str, given: Sequence[Any]) -> Any:
        if value.walk is not None:
            return value.read(value.walk(self._nvml, self._handle))
        call = getattr(self._nvml, function)
        if value.key == "handle":
            return call(*given)
        return value.read(call(self._handle, *(argument(self._nvml, one) for one in given)))

    def _a_second(self, value: Value, found: tuple[Any, ...], now: float) -> tuple[Any, ...]:
        """Return the value with its counters as what was counted in a second since the reading before."""
        before, counted = self._counted.get(value.key, (now, ()))
        self._counted[value.key] = (now, tuple(found))
        told: list[Any] = list(found)
        for place in value.counters:
            old, new = (counted[place] if counted else None), found[place]
            # It began anew with the driver where it went back.
            fits = old is not None and new is not None and new >= old and now > before
            rate = (new - old) / (now - before) if fits else None
            told[place] = rate if rate is not None and rate <= validation.MAX_RATE else None
        return tuple(told)

    def _get(self, key: str) -> Any:
        """Return a value, unless it is too old: read before the previous reading began, and not just now."""
        at, value = self._known.get(key, (0.0, None))
        recent = at > self._monotonic() - KEEP - EVERY.get(key, 0.0)
        return value if key in FIXED or recent or (at >= self._floor and key not in self._refused) else None

    def _newest(self) -> float | None:
        """Return when the GPU last returned a value that changes."""
        return max((self._known[key][0] for key in LIVE if self._get(key) is not None), default=None)

    def _lost(self) -> str | None:
        """Return why the GPU counts as lost; None if it answers."""
        newest, now = self._newest(), self._monotonic()
        if newest is not None and (now - newest < SILENT or not self._asking):
            return None
        if newest is None:
            refusals = [self._refused[key] for key in ("handle", *LIVE) if key in self._refused]
            if self._handle is None and "handle" in self._refused:
                return refusals[0][1]
            serious = [words for code, words in refusals if code not in NEVER]
            if serious and not self._left:
                return serious[0]
        if self._asking and (newest is not None or now - self._since >= REPORT_AFTER):
            return f"no answer for {now - (newest if newest is not None else self._since):.0f} s"
        return None

    def _trouble(self) -> str | None:
        """Return what is wrong with a GPU that answers; None if nothing is."""
        for code, words in list(self._refused.values()):
            if code in TROUBLE:
                return words
        now = self._monotonic()
        for function, at in list(self._asking.values()):
            if now - at >= REPORT_AFTER:
                return f"{function} has not answered for {now - at:.0f} s"
        return None

    def _using(self) -> list[GpuProcess]:
        """Return the processes, once each: one may be in both lists, with memory in one only."""
        found: dict[int, GpuProcess] = {}
        shares: Mapping[int, int] | None = self._get("Uses")
        for key in LISTS:
            at, listed = self._known.get(key, (0.0, ()))
            if key in self._asking and self._monotonic() - at > SILENT:
                continue
            kind = KINDS[key]
            for pid, memory in listed:
                known = found.get(pid)
                held = known.gpu_memory if known else None
                found[pid] = GpuProcess(
                    pid,
                    gpu_memory=held if memory is None else max(memory, held or 0),
                    sm=None if shares is None else shares.get(pid, 0),
                    kind="both" if known and known.kind != kind else kind,
                )
        return sorted(found.values(), key=lambda one: one.pid)


def code_of(library: Any, error: Exception) -> int:
    """Return NVML's code of an error; `ODD` if it is not an NVML error."""
    kind = getattr(library, "NVMLError", None)
    value = getattr(error, "value", None) if isinstance(kind, type) and isinstance(error, kind) else None
    return value if isinstance(value, int) else ODD
