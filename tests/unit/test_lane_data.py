"""When the columns of charts are looked up."""

from __future__ import annotations

from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, cast

from vllm_studio_tui.tui.screens.monitor.lane_data import LaneData
from vllm_studio_tui.tui.screens.monitor.time_view import Axis
from vllm_studio_tui.tui.shell import Shell


def test_where_there_is_no_room_for_a_chart_nothing_is_looked_up() -> None:
    begun: list[Coroutine[Any, Any, Any]] = []
    studio = SimpleNamespace(sampler=SimpleNamespace(history=SimpleNamespace(reach=None)), timeline=None)
    shell = SimpleNamespace(studio=studio, spawn=lambda work, group: begun.append(work))
    data = LaneData(cast(Shell, shell), lambda: None)
    axis = Axis("5 min", 5.0, 60, until=1000.0, now=1000.0)
    assert data.columns((), axis) == {}
    assert not begun  # each look would end in a picture, and that in the next look, as fast as they go
    assert data.columns(("gpu.0.util",), axis) == {"gpu.0.util": [None] * 60}
    assert len(begun) == 1
    begun[0].close()
