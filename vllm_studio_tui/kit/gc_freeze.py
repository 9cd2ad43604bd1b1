"""Exclude long-lived objects from garbage collection.

Imported modules are half a million objects. A look at all of them stops every thread for 150 to 250 ms, and one comes
every few seconds while an answer streams. `gc.freeze` (docs.python.org/3/library/gc.html) takes what there is out of
such looks; what comes later is collected as ever. A cycle that is dropped after it was frozen is never freed, so this
is done a few times in a process that lives, after its imports, and never in one that makes apps over and over.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_ours = False


def begin() -> None:
    """Stop collecting until the first `importing` is over. Call it at the start of a process that shows the screens."""
    global _ours
    _ours = True
    gc.disable()


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Stop collecting while much is imported, then freeze what there is.

    Does nothing in a process that has not called `begin`.
    """
    if _ours:
        gc.disable()
    try:
        yield
    finally:
        if _ours:
            gc.freeze()
            gc.enable()


def settled() -> None:
    """Take what there is out of later looks. Call it once, in a process that has made all that stays."""
    gc.collect()
    gc.freeze()
