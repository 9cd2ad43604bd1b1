"""The table widget: order, filter, marks and cursor over many rows, at four sizes; its details; and the sheet."""

from __future__ import annotations

from collections import Counter

from textual.app import App, ComposeResult
from textual.widgets import Input

from vllm_studio_tui.tui.look.sizes import size_class
from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.paint.table import MEASURED, Column
from vllm_studio_tui.tui.widgets.listing import Listing, Shape
from vllm_studio_tui.tui.widgets.table import Table

Item = tuple[str, int]
MANY = [(f"item-{index:05}", index * 7919 % 10_007) for index in range(10_000)]


class Stage(App[None]):
    """A listing alone; counts how often values are asked for."""

    CSS = "Input { height: 1; border: none; }"

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.items = MANY

    def compose(self) -> ComposeResult:
        ink = Ink({})

        def name(item: Item) -> list[tuple[str, str]]:
            self.asked["name"] += 1
            return [(item[0], "fg")]

        columns: tuple[Column[Item], ...] = (
            Column("name", name, 8, grow=1, order=lambda item: item[0]),
            Column(
                "size", lambda item: [(str(item[1]), "fg")], 5, right=True, order=lambda item: item[1], falling=True
            ),
        )
        yield Listing(
            Table(
                columns,
                lambda: ink,
                lambda: size_class(*self.size),
                title="ITEMS",
                key=lambda item: item[0],
                words=lambda item: item[0],
                rank=lambda item: item[0],
                rank_words="by their names",
                can_mark=True,
            ),
            detail=self._detail,
        )

    def on_mount(self) -> None:
        self.table.show_items(self.items)
        self.table.focus()

    def _detail(self, shape: Shape, x: int, width: int, height: int) -> list[Row]:
        row = Row()
        row.put(x, f"details of {self.table.key}")
        return [row]

    @property
    def table(self) -> Table[Item]:
        return self.query_one(Table)

    def text(self) -> str:
        return "\n".join(
            "".join(segment.text for segment in strip).rstrip() for strip in self.screen._compositor.render_strips()
        )


async def test_ten_thousand_rows_are_moved_through_by_drawing_those_in_sight() -> None:
    app = Stage()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.asked.clear()
        await pilot.press(*["down"] * 20, "end", "home", "pagedown", "space")
        assert app.asked["name"] <= 25 * 2 * 24
        app.asked.clear()
        await pilot.press("o")
        assert app.asked["name"] <= MEASURED + 4 * 24
        await pilot.press("end")
        assert app.table.key == "item-09999"
        assert "item-09999" in app.text()


async def test_keys_order_filter_and_mark_at_every_size() -> None:
    app = Stage()
    async with app.run_test(size=(160, 45)) as pilot:
        table = app.table
        for size, shape in (((160, 45), Shape.BESIDE), ((120, 36), Shape.BELOW), ((80, 24), Shape.BELOW),
                            ((60, 15), Shape.SHEET), ((40, 6), Shape.SHEET)):  # fmt: skip
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert app.query_one(Listing).shape is shape, size
            assert ("details of item-00000" in app.text()) == (shape is not Shape.SHEET), size
            await pilot.press("o", "o")
            assert "size▾" in app.text(), size
            assert table.shown[0][1] == 10_006
            assert table.key == "item-00000"
            await pilot.press("O")
            assert "size▴" in app.text(), size
            assert table.shown[0][1] == 0
            await pilot.press("slash", *"0042")
            await pilot.pause()
            assert "11 of 10000" in app.text(), size
            await pilot.press("enter", "space")
            assert "1 marked" in app.text(), size
            await pilot.press("slash", *"zz")
            await pilot.pause()
            assert 'Nothing matches "0042zz"' in app.text(), size
            assert table.key is None
            await pilot.press("escape")
            await pilot.pause()
            assert app.focused is table
            assert "1 marked" in app.text(), size
            assert table.shown[0][1] == 0
            assert app.query_one(Listing).escape()
            assert not table.marks
            assert not app.query_one(Listing).escape()
            table.order_by("")
            await pilot.press("home")


async def test_the_cursor_and_the_marks_stay_on_their_keys_when_items_come_and_go() -> None:
    app = Stage()
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.table
        await pilot.press("down", "down", "space")
        assert (table.key, table.marks) == ("item-00003", {"item-00002"})
        table.show_items([("item-00000a", 1), *MANY[1:]])
        assert table.key == "item-00003"
        table.show_items([item for item in MANY if item[0] != "item-00003"])
        assert table.key == "item-00004"
        assert table.marks == {"item-00002"}
        table.show_items(MANY[5:])
        assert table.marks == set()
        table.show_items([])
        assert table.key is None
        assert "ITEMS  0" in app.text()


async def test_where_there_is_no_room_the_details_are_a_sheet_and_where_there_is_they_can_be_put_away() -> None:
    app = Stage()
    async with app.run_test(size=(160, 45)) as pilot:
        await pilot.press("i")
        await pilot.pause()
        assert "details of" not in app.text()
        await pilot.press("i")
        await pilot.pause()
        assert "details of item-00000" in app.text()


async def test_a_click_on_a_head_orders_and_on_a_row_moves_the_cursor() -> None:
    app = Stage()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        lines = app.text().splitlines()
        heads = next(index for index, line in enumerate(lines) if "size" in line)
        await pilot.click(offset=(lines[heads].index("size"), heads))
        assert app.table.ordered == "size"
        await pilot.press("home")
        await pilot.click(offset=(4, heads + 3))
        assert app.table.key == app.table.shown[2][0]
        await pilot.press("slash")
        assert isinstance(app.focused, Input)
        await pilot.press("down")
        assert app.table.key == app.table.shown[3][0]
