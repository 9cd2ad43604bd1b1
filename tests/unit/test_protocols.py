"""What faces may ask of a studio, and that they go no other way."""

from __future__ import annotations

from pathlib import Path

from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.protocols import StudioApi
from vllm_studio_tui.studio import Studio


def test_the_studio_of_this_machine_is_one(tmp_path: Path) -> None:
    one: StudioApi = Studio(Places.under(tmp_path))  # the type checker proves it
    assert one.places.runs.is_relative_to(tmp_path)
