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


SCREENS: tuple[Screen, ...] = tuple(
    sorted(
        (_declared(module.name) for module in pkgutil.iter_modules(screens.__path__) if module.ispkg),
        key=lambda screen: screen.order,
    )
)
BY_NAME = {screen.name: screen for screen in SCREENS}


def style_sheets() -> list[str]:
    """Return the paths of the screens' style sheets: `<name>.tcss` in the folder of a screen that has one."""
    folders = {Path(path) / screen.name: screen.name for path in screens.__path__ for screen in SCREENS}
    return [str(sheet) for folder, name in folders.items() if (sheet := folder / f"{name}.tcss").is_file()]


def place_class(name: str) -> type:
    """Return the widget class of a screen; imports all that the screen needs."""
    return cast(type, getattr(importlib.import_module(f"{screens.__name__}.{name}.place"), BY_NAME[name].widget))
