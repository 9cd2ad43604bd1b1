"""Which charts the monitor draws, and how many fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.functional.stage import snapshot
from vllm_studio_tui.domain.gpus import GpuProcess
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.screens.monitor import lanes
from vllm_studio_tui.tui.screens.monitor.lanes import Axis, Group, Lane
from vllm_studio_tui.tui.screens.monitor.rows import processes


def lane(label: str, *series: str) -> Lane:
    return Lane(label, series or (label,), str)


GROUPS = st.lists(
    st.builds(
        lambda title, count: Group(title, tuple(lane(f"{title}{number}") for number in range(count))),
        st.sampled_from(["", "a", "b"]),
        st.integers(1, 8),
    ),
    max_size=6,
)


@given(GROUPS, st.integers(0, 30))
def test_what_fits_is_never_more_than_the_room_and_each_group_keeps_its_first(wanted: list[Group], room: int) -> None:
    shown = lanes.that_fit(wanted, lambda _: True, room)
    assert sum(len(group.lanes) + bool(group.title) for group in shown) <= room
    for group, given_group in zip(shown, wanted, strict=False):
        assert group.lanes == given_group.lanes[: len(group.lanes)]


def test_a_lane_without_any_series_is_left_out() -> None:
    shown = lanes.that_fit([Group("a", (lane("x"), lane("y"))), Group("b", (lane("z"),))], lambda name: name == "y", 9)
    assert shown == [Group("a", (lane("y"),))]


def test_several_series_make_one_value_and_unknown_is_not_zero() -> None:
    both = Lane("both", ("one", "two"), lambda value: "–" if value is None else f"{value:g}")
    values = {"one": [1.0, None, 3.0], "two": [2.0, None, None]}
    rows = lanes.rows(
        [Group("", (both,))],
        lambda name, count: [None] * (count - 3) + values[name],
        (),
        Axis(60.0, 0.0, 0.0, cursor=2),
        UNICODE,
        120,
        Size.WIDE,
    )
    text = " ".join(piece[1] for piece in rows[1].pieces if piece[1] != "│")
    assert text.split()[-2:] == ["3", "3"]  # now, and at the cursor two columns before


def test_a_process_on_several_gpus_is_one_row_with_all_its_memory(tmp_path: Path) -> None:
    shown = snapshot(tmp_path)
    first, second = shown.tick.gpus.gpus[:2]
    more = (GpuProcess(7, gpu_memory=900), GpuProcess(9, gpu_memory=950))
    gpus = (replace(first, processes=(GpuProcess(7, gpu_memory=890),)), replace(second, processes=more))
    shown = replace(shown, tick=replace(shown.tick, gpus=replace(shown.tick.gpus, gpus=gpus)))
    rows = processes(shown, UNICODE, 120, Size.WIDE, 10)
    assert [row.key for row in rows if row.key] == ["pid:7", "pid:9"]
    assert [text for _, text, _ in rows[2].pieces][:4] == ["0 1", "7", "–", "2 KiB"]
