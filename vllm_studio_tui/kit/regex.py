"""Regular expressions that are compiled when they are first used.

The tables of causes hold hundreds, which a process needs only where an engine has failed: compiling all of them takes
longer than starting the engine.
"""

from __future__ import annotations

import re
from functools import cache


@cache
def regex(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Return the pattern, compiled once.

    Raises:
        re.error: The pattern is none.
    """
    return re.compile(pattern, flags)
