"""Recipes whose launch failed again and again. Pure: time is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from vllm_studio_tui.domain.serving import Refusal


class Quarantine:
    """Counts failed launches that requests had asked for."""

    #: So many failures within so many seconds.
    FAILURES: ClassVar[int] = 3
    WITHIN: ClassVar[float] = 600.0

    def __init__(self) -> None:
        self._failures: dict[str, list[float]] = {}
        self._revisions: dict[str, str] = {}
        self._last: dict[str, Refusal] = {}

    def failed(self, now: float, key: str, revision: str, why: Refusal) -> None:
        """Count a failure of this form of a recipe."""
        recent = [at for at in self._failures.get(key, ()) if now - at < self.WITHIN]
        self._failures[key] = [*recent, now][-self.FAILURES :]
        self._revisions[key] = revision
        self._last[key] = why

    def forgive(self, key: str) -> None:
        """Forget its failures: it works, or a person tries it."""
        self._failures.pop(key, None)
        self._revisions.pop(key, None)
        self._last.pop(key, None)

    def changed(self, revisions: Mapping[str, str]) -> None:
        """Forget the failures of recipes that are no longer what failed."""
        for key, revision in list(self._revisions.items()):
            if revisions.get(key) != revision:
                self.forgive(key)

    def last(self, key: str) -> Refusal | None:
        """Return why a recipe that is in quarantine failed last; None where it is not."""
        return self._last[key] if len(self._failures.get(key, ())) >= self.FAILURES else None
