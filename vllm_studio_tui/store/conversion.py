"""Convert values for the database and back. A value from outside that does not fit becomes None, unknown."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

#: No count of tokens or millijoules is larger: integers up to here are exact in every JSON reader.
MOST = 2**53


def now() -> str:
    """Return the time now as ISO 8601 in UTC with milliseconds."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def storable(text: str) -> str:
    """Return the text with halves of surrogate pairs joined; a lone half, which UTF-8 cannot hold, becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def optional_text(value: Any) -> str | None:
    """Return storable text; None if the value is not text."""
    return storable(value) if isinstance(value, str) else None


def integer(value: Any) -> int | None:
    """Return a whole number that SQLite can hold, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def to_json(value: Any) -> str:
    """Return JSON in ASCII, which can hold any text."""
    return json.dumps(value, separators=(",", ":"), default=str)


def from_json(text: Any, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    """Parse what `to_json` wrote; empty if it cannot be read or is of another kind."""
    if text is None or text == "{}":  # most rows
        return kind()
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, kind) else kind()
