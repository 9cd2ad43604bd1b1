"""Which recipes are pinned, kept in `pins.json` of the state directory. Losing it loses nothing but their order."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.kit.paths import private_dir, write_atomic

_log = logging.getLogger(__name__)

FILE = "pins.json"
#: The largest file that is read.
MAX_FILE = 256 * 1024


def load_pins(folder: Path | None) -> frozenset[str]:
    """Return the ids of the pinned recipes; none where that cannot be read. Blocking."""
    if folder is None:
        return frozenset()
    try:
        with (folder / FILE).open("rb") as stream:
            data: Any = json.loads(stream.read(MAX_FILE))
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("%s cannot be read: %s", FILE, error)
        return frozenset()
    return frozenset(one for one in data if isinstance(one, str)) if isinstance(data, list) else frozenset()


def keep_pins(folder: Path | None, pins: Iterable[str]) -> None:
    """Keep which recipes are pinned. Blocking.

    Raises:
        StoreError: That cannot be written.
    """
    if folder is None:
        return
    try:
        private_dir(folder)
        write_atomic(folder / FILE, json.dumps(sorted(pins)).encode())
    except OSError as error:
        raise StoreError("the pins cannot be kept", cause=error.strerror or str(error)) from None
