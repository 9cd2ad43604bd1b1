"""A property that is made once, also where several threads ask for it at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once_property(Generic[T]):  # noqa: N801, RUF100
    """Compute a property at its first use and keep it in the instance's `__dict__`, under a lock.

    Since Python 3.12 `functools.cached_property` has no lock: two threads may both compute, and open a database twice.
    The lock is of the class that declares the property; it may be taken again by the thread that holds it.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._lock = threading.RLock()
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> once_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> once_property[T] | T:
        if instance is None:
            return self
        # Not a data descriptor: once the value is in `__dict__`, Python finds it there and does not come here again.
        with self._lock:
            values = instance.__dict__
            if self._name not in values:
                values[self._name] = self._compute(instance)
            value: T = values[self._name]
            return value
