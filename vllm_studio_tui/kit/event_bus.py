"""An event bus for frozen values. Subscribers are called in order, on the publisher's thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

_log = logging.getLogger(__name__)

Subscriber = Callable[[Any], None]


class Bus:
    """Publishes values to the subscribers of their type or of one of its bases."""

    def __init__(self) -> None:
        self._subscribers: list[tuple[type[Any], Subscriber]] = []
        self._lock = threading.Lock()

    def subscribe(self, kind: type[Any], subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with every published value of this type, until the returned function is called."""
        entry = (kind, subscriber)
        with self._lock:
            self._subscribers.append(entry)

        def cancel() -> None:
            with self._lock:
                if entry in self._subscribers:
                    self._subscribers.remove(entry)

        return cancel

    def publish(self, value: Any) -> None:
        """Call the subscribers of a value. One that raises does not keep it from the others."""
        with self._lock:
            found = [subscriber for kind, subscriber in self._subscribers if isinstance(value, kind)]
        for subscriber in found:
            try:
                subscriber(value)
            except Exception:  # noqa: BLE001, RUF100
                _log.exception("a subscriber failed")
