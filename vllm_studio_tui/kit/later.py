"""Modules that are imported when something of them is first used.

`dataclasses` imports `inspect`, which takes as long to import as all the rest of it, for the sake of classes that have
no docstring. `importlib.util.LazyLoader` is no help: before Python 3.12 the `import` statement itself has it load.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands in for a module until an attribute of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        import importlib

        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = importlib.import_module(self.__name__)
        self.__dict__.update(vars(module))
        return getattr(module, name)


def stand_in(name: str) -> None:
    """Have a module imported when something of it is first used; nothing changes where it is imported already."""
    sys.modules.setdefault(name, _Later(name))
