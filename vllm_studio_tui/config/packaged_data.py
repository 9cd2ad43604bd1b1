"""Themes and starter recipes that come with the program."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vllm_studio_tui.domain.errors import StudioError


def data_dir(kind: Literal["themes", "recipes"]) -> Path:
    """Return the directory of the packed data: inside an installed wheel, or at the top of a checkout.

    Raises:
        StudioError: The installation is damaged.
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "_data" / kind, package.parent / kind):
        if candidate.is_dir():
            return candidate
    raise StudioError(f"the packed {kind} are missing", cause=f"looked in {package}", advice="Install it again.")
