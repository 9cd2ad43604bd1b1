"""What was chosen in the palette last, kept in `palette.json` of the state directory. Losing it loses nothing."""

from __future__ import annotations

import json
import logging
from typing import Any

from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic

_log = logging.getLogger(__name__)

FILE = "palette.json"
#: Entries that are kept, and the largest file that is read.
KEPT = 40
MAX_FILE = 64 * 1024


def load_used(places: Places) -> list[str]:
    """Return the ids of what was chosen, the latest first; none where that cannot be read. Blocking."""
    try:
        with (places.state / FILE).open("rb") as stream:
            data: Any = json.loads(stream.read(MAX_FILE))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("%s cannot be read: %s", FILE, error)
        return []
    return [one for one in data if isinstance(one, str)][:KEPT] if isinstance(data, list) else []


def keep_used(places: Places, chosen: str) -> None:
    """Put what was chosen first. Blocking."""
    used = [chosen, *(one for one in load_used(places) if one != chosen)][:KEPT]
    try:
        private_dir(places.state)
        write_atomic(places.state / FILE, json.dumps(used).encode())
    except OSError as error:
        _log.warning("%s cannot be written: %s", FILE, error)
