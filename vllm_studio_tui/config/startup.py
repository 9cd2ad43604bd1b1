"""The two settings that the first picture needs, read without what checks settings.

Errors in the file are reported when all of it is read, a moment later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(r"^(theme|ascii)\s*:\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*(?:#.*)?$", re.MULTILINE)
_YES = ("true", "yes", "on", "1")


def read_startup_settings(path: Path, environ: Mapping[str, str]) -> tuple[str | None, bool]:
    """Return the name of the theme (None: the default), and whether to draw with ASCII only."""
    found: dict[str, str] = {}
    try:
        found = dict(_LINE.findall(path.read_text("utf-8", "replace")[:65536]))
    except OSError:
        found = {}
    theme = environ.get("VLLM_STUDIO_THEME") or found.get("theme")
    plain = environ.get("VLLM_STUDIO_ASCII") or found.get("ascii") or ""
    return theme or None, plain.lower() in _YES
