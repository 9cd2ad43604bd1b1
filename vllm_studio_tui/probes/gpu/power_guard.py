"""Power limits of GPUs for a while: a process sets them, and sets them back when whoever asked for it ends in any way.

`python -m vllm_studio_tui.probes.gpu.power_guard UUID ..` reads watts from its standard input, a number a line, and
answers each with a line of JSON. At its end, which a killed parent causes too, every limit is what it was.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.probes.gpu.nvml import LibraryMissing, load


class PowerRefused(Exception):
    """The driver does not set the power: why."""


class PowerGuard:
    """The side of who asks. Blocking.

    Args:
        uuids: The GPUs.

    Raises:
        PowerRefused: The driver does not let it.
    """

    def __init__(self, uuids: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vllm_studio_tui.probes.gpu.power_guard", *uuids],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        try:
            self._answer()
        except PowerRefused:
            self.close()
            raise

    def set(self, watts: int) -> None:
        """Set the limit of each GPU.

        Raises:
            PowerRefused: The driver does not let it, or its own limits do not.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"%d\n" % watts)
            self._process.stdin.flush()
        except OSError as error:
            raise PowerRefused(f"the process that sets the power has ended: {error}") from None
        self._answer()

    def close(self) -> None:
        """Have the limits set back, and wait for it."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)

    def _answer(self) -> None:
        assert self._process.stdout is not None
        try:
            told = json.loads(self._process.stdout.readline() or b'{"error": "it ended"}')
        except ValueError:
            told = {"error": "it said nothing that can be read"}
        if told.get("error"):
            raise PowerRefused(clean_line(str(told["error"])))


class _Ended(BaseException):
    """Somebody wants it to end."""


class _Limits:
    """The limits of some GPUs."""

    def __init__(self, library: Any, uuids: Sequence[str]) -> None:
        self._library = library
        library.nvmlInit()
        found = [library.nvmlDeviceGetHandleByIndex(place) for place in range(library.nvmlDeviceGetCount())]
        named = {_text(library.nvmlDeviceGetUUID(one)): one for one in found}
        missing = [one for one in uuids if one not in named]
        if missing or not uuids:
            raise PowerRefused(f"no GPU {', '.join(missing) or 'is named'}")
        self._handles = [named[one] for one in uuids]
        self._before = [int(library.nvmlDeviceGetPowerManagementLimit(one)) for one in self._handles]
        # Setting what is set already shows whether it may be done at all.
        for handle, limit in zip(self._handles, self._before, strict=True):
            library.nvmlDeviceSetPowerManagementLimit(handle, limit)

    def set(self, watts: int) -> None:
        for handle in self._handles:
            least, most = self._library.nvmlDeviceGetPowerManagementLimitConstraints(handle)
            if not least <= watts * 1000 <= most:
                raise PowerRefused(f"{watts} W is not from {least // 1000} to {most // 1000} W")
        for handle in self._handles:
            self._library.nvmlDeviceSetPowerManagementLimit(handle, watts * 1000)

    def restore(self) -> None:
        for handle, limit in zip(self._handles, self._before, strict=True):
            with contextlib.suppress(Exception):  # each of them, whatever the driver says of another
                self._library.nvmlDeviceSetPowerManagementLimit(handle, limit)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _tell(error: str | None = None) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps({"error": error}) + "\n")
        sys.stdout.flush()


def _end(*_: object) -> None:
    raise _Ended


def main(uuids: Sequence[str]) -> int:
    """Serve until standard input ends, then set everything back."""
    for one in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(one, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    try:
        limits = _Limits(load(), uuids)
    except (LibraryMissing, PowerRefused) as error:
        _tell(str(error))
        return 1
    except AttributeError:
        _tell("these GPUs have no limit of power that could be set")
        return 1
    except Exception as error:  # noqa: BLE001, RUF100
        _tell(f"the driver does not let the power be set: {error}")
        return 1
    try:
        _tell()
        for line in sys.stdin:
            try:
                limits.set(int(line))
            except (PowerRefused, ValueError) as error:
                _tell(str(error))
            except Exception as error:  # noqa: BLE001, RUF100
                _tell(f"the driver does not let the power be set: {error}")
            else:
                _tell()
    except _Ended:
        pass
    finally:
        limits.restore()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
