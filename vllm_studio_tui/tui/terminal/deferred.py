"""Work for Textual's workers that begins when the worker does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")


def deferred(
    function: Callable[P, Awaitable[Any]], *arguments: P.args, **options: P.kwargs
) -> Callable[[], Coroutine[Any, Any, Any]]:
    """Return what calls a function, for `run_worker`.

    A coroutine that is made at once is never awaited where its worker is replaced before it begins, which Python
    reports on the standard error.
    """

    async def begin() -> Any:
        return await function(*arguments, **options)

    return begin
