"""Work in the background: begun when its worker begins, and shown only where somebody still looks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec

from textual.widget import Widget

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


def still_there(widget: Widget) -> bool:
    """Return whether a widget can show what was found out for it: it has its parts, and is not being removed.

    One that is being removed stays attached a moment longer than its parts.
    """
    return widget.is_attached and widget.is_running and widget.display
