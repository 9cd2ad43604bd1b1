"""The one list of screens: a folder declares itself, and everything else is made from that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vllm_studio_tui
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.place import Page, Place
from vllm_studio_tui.tui.screens.declaration import Screen
from vllm_studio_tui.tui.screens.registry import PAGES, SCREENS, place_class
from vllm_studio_tui.tui.start import open_screens

FOLDER = Path(vllm_studio_tui.__file__).parent / "tui/screens"


def test_every_folder_is_a_screen() -> None:
    folders = {path.parent.name for path in FOLDER.glob("*/place.py")}
    assert folders == {screen.name for screen in (*SCREENS, *PAGES)}
    orders = [screen.order or 0 for screen in SCREENS]
    assert orders == sorted(set(orders))
    assert set(orders) <= set(range(1, 11))
    assert len({screen.key for screen in SCREENS}) == len(SCREENS), "each has a digit of its own"


@pytest.mark.parametrize("screen", [*SCREENS, *PAGES], ids=lambda screen: screen.name)
def test_a_screen_is_what_it_declares(screen: Screen) -> None:
    name, widget = screen.name, place_class(screen.name)
    assert issubclass(widget, Place if screen in SCREENS else Page)
    assert name == widget.SCOPE == next(iter(screen.scopes))
    assert {action.scope for action in screen.actions} == set(screen.scopes)


def test_a_screen_is_brought_to_the_front_by_its_number() -> None:
    for screen in SCREENS:
        assert actions.BY_ID[f"app.{screen.name}"].keys == f"{screen.key},alt+{screen.key}"


def test_a_screen_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused, Studio.open_sync(Places.under(tmp_path)) as studio:
        open_screens(studio, screen="dashbord")
    assert (
        refused.value.cause
        == "There are: dashboard, recipes, chat, monitor, usage, logs, requests, models, hosts, bench."
    )


def test_the_list_is_light() -> None:
    """`--screen` is checked before anything of Textual is imported."""
    code = "import sys, vllm_studio_tui.tui.screens.registry; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "textual" not in loaded and "vllm_studio_tui.tui.place" not in loaded
