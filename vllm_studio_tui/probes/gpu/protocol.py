"""The lines of JSON in which the worker process reports the GPUs to its parent."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, GpuReport, MigDevice, Throttle, Xid
from vllm_studio_tui.kit.plain_data import plain

#: A longer line is not one of ours.
MAX_LINE = 4 * 1024 * 1024

_REPORT = frozenset(f.name for f in fields(GpuReport))
_GPU = frozenset(f.name for f in fields(Gpu))
_PROCESS = frozenset(f.name for f in fields(GpuProcess))
_XID = frozenset(f.name for f in fields(Xid))
_MIG = frozenset(f.name for f in fields(MigDevice))


def dump(report: GpuReport, number: int) -> bytes:
    """Return the line that answers the request of this number."""
    return json.dumps({"n": number, "report": plain(report)}, separators=(",", ":")).encode() + b"\n"


def load(line: bytes) -> tuple[int, GpuReport]:
    """Parse a line that `dump` wrote, into request number and report.

    Raises:
        ValueError: It is something else, for example a message that a library printed.
    """
    try:
        data = json.loads(line)
        return int(data["n"]), _report(data["report"])
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a report") from error


def _report(data: dict[str, Any]) -> GpuReport:
    values = {key: value for key, value in data.items() if key in _REPORT}
    values["gpus"] = tuple(_gpu(gpu) for gpu in values.get("gpus") or ())
    return GpuReport(**values)


def _gpu(data: dict[str, Any]) -> Gpu:
    values = {key: value for key, value in data.items() if key in _GPU}
    values["throttle"] = tuple(Throttle(one) for one in values.get("throttle") or ())
    values["processes"] = tuple(
        GpuProcess(**{key: value for key, value in process.items() if key in _PROCESS})
        for process in values.get("processes") or ()
    )
    values["xids"] = tuple(
        Xid(**{key: value for key, value in one.items() if key in _XID}) for one in values.get("xids") or ()
    )
    values["mig_devices"] = tuple(_mig(one) for one in values.get("mig_devices") or ())
    return Gpu(**values)


def _mig(data: dict[str, Any]) -> MigDevice:
    values = {key: value for key, value in data.items() if key in _MIG}
    return MigDevice(**{**values, "processes": tuple(values.get("processes") or ())})
