"""The report of a follower: one small file of the run's directory, which its keeper and the faces read."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from vllm_studio_tui.domain.job import REPORT, Report
from vllm_studio_tui.kit import safe_json
from vllm_studio_tui.kit.paths import write_atomic

#: Bytes of a report; more was not written by us.
MOST = 4 * 1024 * 1024


def read_report(folder: Path) -> Report | None:
    """Return what the follower of a run wrote last; None where there is nothing that can be read."""
    with contextlib.suppress(OSError, ValueError), (folder / REPORT).open("rb") as stream:
        raw = stream.read(MOST + 1)
        data = safe_json.loads(raw) if len(raw) <= MOST else None
        if isinstance(data, dict):
            return Report.from_json(data)
    return None


class ReportFile:
    """Writes the report where it has changed, and again later where the disk was full."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / REPORT
        self._written = b""

    def write(self, report: Report) -> bool:
        """Write it; False where that was not possible just now."""
        data = json.dumps(report.to_json(), separators=(",", ":")).encode()
        if data == self._written and self._path.exists():
            return True
        try:
            write_atomic(self._path, data)
        except OSError:
            return False
        self._written = data
        return True
