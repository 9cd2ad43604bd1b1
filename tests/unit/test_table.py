"""Where the columns of a table stand, at any width."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from vllm_studio_tui.tui.paint.glyphs import ASCII, UNICODE
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.table import Column, lay_out, natural_widths, put_heads, put_values

Item = tuple[str, int, str]

COLUMNS: tuple[Column[Item], ...] = (
    Column("name", lambda item: [(item[0], "fg")], 8, grow=1, order=lambda item: item[0]),
    Column("count", lambda item: [(str(item[1]), "fg")], 5, right=True, drop=2, order=lambda item: item[1]),
    Column("state", lambda item: [(item[2], "dim")], 5),
    Column("note", lambda item: [(item[2] * 3, "dim")], 6, grow=2, drop=3),
)
items = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60),
        st.integers(0, 10**12),
        st.sampled_from(["", "ready", "failed 14:21"]),
    ),
    min_size=1,
    max_size=8,
)


@given(items, st.integers(1, 200), st.integers(0, 5))
def test_columns_never_overlap_and_never_leave_their_room(given_items: list[Item], room: int, x: int) -> None:
    cells = lay_out(COLUMNS, natural_widths(COLUMNS, given_items), room, x)
    at = x
    for cell in cells:
        assert cell.start >= at
        at = cell.end
    assert at <= x + room
    for item in given_items:
        row = put_values(cells, Row(), item, UNICODE)
        assert all(x <= column and column + cell_len(text) <= x + room for column, text, _ in row.pieces)


@given(items, st.integers(1, 200))
def test_a_number_is_whole_or_not_there(given_items: list[Item], room: int) -> None:
    cells = lay_out(COLUMNS, natural_widths(COLUMNS, given_items), room)
    count = next((cell for cell in cells if cell.column.name == "count"), None)
    for item in given_items:
        row = put_values(cells, Row(), item, UNICODE)
        drawn = [text for column, text, _ in row.pieces if count is not None and count.start <= column < count.end]
        assert drawn in ([], [str(item[1])])
        if room >= 80:
            assert drawn == [str(item[1])]


@given(items, st.integers(30, 200))
def test_names_are_whole_before_another_column_gets_more_than_its_least(given_items: list[Item], room: int) -> None:
    natural = natural_widths(COLUMNS, given_items)
    widths = {cell.column.name: cell.width for cell in lay_out(COLUMNS, natural, room)}
    if widths["name"] < natural["name"]:
        assert widths.get("note", 6) == 6
    if natural["name"] <= room * 3 // 5:
        assert widths["name"] >= natural["name"]


def test_columns_go_in_their_order_where_there_is_too_little_room() -> None:
    natural = natural_widths(COLUMNS, [("a" * 20, 12345, "ready")])
    kept = [[cell.column.name for cell in lay_out(COLUMNS, natural, room)] for room in (60, 38, 28, 6)]
    assert kept == [["name", "count", "state", "note"], ["name", "count", "state"], ["name", "state"], ["name"]]


def test_a_value_that_was_not_measured_and_is_too_wide_is_no_other_number() -> None:
    cells = lay_out(COLUMNS, {"name": 8, "count": 5}, 60)
    row = put_values(cells, Row(), ("a", 1234567, ""), UNICODE)
    assert row.text().split() == ["a", "…"]
    assert put_values(cells, Row(), ("a", 1234567, ""), ASCII).text().split() == ["a", ".."]


def test_the_head_of_the_order_has_a_mark_and_nothing_moves_for_it() -> None:
    cells = lay_out(COLUMNS, {"name": 8}, 60)
    plain, by_name, by_count = (put_heads(cells, Row(), ordered=name, mark="▾") for name in ("", "name", "count"))
    assert "name ▾" in by_name.text()
    assert "count▾" in by_count.text()
    assert by_count.text().index("state") == plain.text().index("state")
    assert [action for _, _, action in plain.links] == ["order:name", "order:count"]
