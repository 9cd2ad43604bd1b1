"""The one list of screens, read from the folders beside this file.

Header, `--screen`, actions, keymap and docs/reference/keys.md come from it. A folder is imported for its declaration
alone; what the screen is made of is imported when it is first shown.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import cast

from vllm_studio_tui.tui import screens
from vllm_studio_tui.tui.screens.declaration import Screen


def _declared(folder: str) -> Screen:
    return cast(Screen, importlib.import_module(f"{screens.__name__}.{folder}").SCREEN)


_ALL = [_declared(module.name) for module in pkgutil.iter_modules(screens.__path__) if module.ispkg]
#: The screens of the header, in their order.
SCREENS: tuple[Screen, ...] = tuple(
    sorted((screen for screen in _ALL if screen.order is not None), key=lambda screen: screen.order or 0)
)
#: The pages that open over a screen.
PAGES: tuple[Screen, ...] = tuple(screen for screen in _ALL if screen.order is None)
BY_NAME = {screen.name: screen for screen in SCREENS}


def style_sheets() -> list[str]:
    """Return the paths of the screens' style sheets: `<name>.tcss` in the folder of a screen that has one."""
    folders = {Path(path) / screen.name: screen.name for path in screens.__path__ for screen in _ALL}
    return [str(sheet) for folder, name in folders.items() if (sheet := folder / f"{name}.tcss").is_file()]


def place_class(name: str) -> type:
    """Return the widget class of a screen or page; imports all that it needs."""
    widget = next(screen.widget for screen in _ALL if screen.name == name)
    return cast(type, getattr(importlib.import_module(f"{screens.__name__}.{name}.place"), widget))
