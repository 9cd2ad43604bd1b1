"""Themes, keymaps, numbers, bars: what the screens are drawn with."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import Color, ColorSystem

from vllm_studio_tui.config.keymap import read_keymap
from vllm_studio_tui.config.packaged_data import data_dir
from vllm_studio_tui.config.themes import COLOURS, contrast, load_themes, too_low
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.probes.clipboard import osc52
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look import indexed
from vllm_studio_tui.tui.look.sizes import Size, size_class
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import ASCII, UNICODE
from vllm_studio_tui.tui.paint.ink import Ink, Row, fit, fit_change, wrap

# --- themes ---------------------------------------------------------------------------------------------


def test_the_packed_themes_are_whole_and_can_be_read() -> None:
    themes, broken = load_themes(None)
    assert broken == []
    assert {"slate", "paper", "contrast", "ansi"} <= set(themes)
    for theme in themes.values():
        assert set(theme.colours) == set(COLOURS)
        assert theme.ansi or too_low(theme.colours) == []


def test_a_theme_of_ones_own_replaces_and_a_bad_one_is_named(tmp_path: Path) -> None:
    slate = (data_dir("themes") / "slate.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(slate)
    (tmp_path / "old.yaml").write_text(f"name: slate\n{slate}")  # as they were written once
    (tmp_path / "pale.yaml").write_text(slate.replace("#d8dce0", "#202020"))
    (tmp_path / "half.yaml").write_text("colours: {bg: '#000000'}\n")
    (tmp_path / "odd.yaml").write_text(slate.replace("accent:", "akzent:"))
    (tmp_path / "none.yaml").write_text("{")
    themes, broken = load_themes(tmp_path)
    assert {"mine", "old"} <= set(themes)
    assert themes["slate"].path.parent != tmp_path
    assert themes["mine"].name == "mine"
    reasons = {one.path.name: one.reason for one in broken}
    assert set(reasons) == {"pale.yaml", "half.yaml", "odd.yaml", "none.yaml"}
    assert "contrast" in reasons["pale.yaml"]
    assert "akzent" in reasons["odd.yaml"]
    assert "missing" in reasons["half.yaml"]


@pytest.mark.parametrize("name", ["slate", "paper", "contrast"])
def test_in_256_colours_planes_states_and_text_stay_apart(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(Color, "downgrade", Color.downgrade)
    indexed.install()
    theme = indexed.for_indexed_colours(load_themes(None)[0])[name]
    colours = theme.colours
    assert too_low(colours) == []
    assert contrast(colours["fg"], colours["fill"]) >= 4.5  # selected text
    assert len({colours[word] for word in ("bg", "sel", "panel")}) == 3
    assert len({colours[word] for word in ("fg", "ok", "warn", "err", "accent", "dim", "faint")}) == 7
    red, green, _ = Color.parse(colours["err"]).triplet or (0, 0, 0)
    assert red > green + 100  # as the eye sees it, and no orange
    for colour in colours.values():
        assert Color.parse(colour).downgrade(ColorSystem.EIGHT_BIT).get_truecolor().hex == colour


def test_text_is_readable_on_every_plane_of_every_theme() -> None:
    themes, _ = load_themes(None)
    for theme in themes.values():
        if theme.ansi:
            continue
        colours = theme.colours
        for plane in ("bg", "surf", "panel", "sel", "errbg", "warnbg", "code"):
            for word in ("fg", "dim", "accent", "ok", "warn", "err", "kw", "str"):
                assert contrast(colours[word], colours[plane]) >= 4.5, (theme.name, word, plane)
            assert contrast(colours["faint"], colours[plane]) >= 3, (theme.name, plane)
        assert contrast(colours["fg"], colours["fill"]) >= 4.5, theme.name  # selected text
        assert contrast(colours["data"], colours["bg"]) >= 3, theme.name  # bars
        assert contrast(colours["data"], colours["fill"]) >= 1.5, theme.name  # the newest column and the older ones


def test_contrast_is_as_the_guideline_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


# --- actions and keymap -----------------------------------------------------------------------------------

KNOWN = {action.id: action.keys for action in actions.ACTIONS}
TOGETHER = {scope: {"app", scope, "list"} for scope in actions.SCOPES}


def test_every_action_has_a_place_a_help_and_a_name_of_its_own() -> None:
    assert len(KNOWN) == len(actions.ACTIONS)
    assert all(action.scope in actions.SCOPES and action.help for action in actions.ACTIONS)


def test_no_two_actions_of_a_place_share_a_key() -> None:
    for scope in actions.SCOPES:
        seen: dict[str, str] = {}
        for action in (*actions.of(scope), *actions.of("app")):
            for key in filter(None, action.keys.split(",")):
                if scope == "form" and key == "escape":
                    continue  # the form's own way back stands before everybody's
                if action.id == "logs.follow" and key == "f":
                    continue  # of a failed run there is nothing to follow: there it is the key of `logs.fix`
                before = seen.setdefault(key, action.id)
                if before.partition(".")[2] == action.name:
                    continue  # a screen does what is done everywhere in a way of its own
                assert before == action.id, (key, before, action.id)


def test_keys_that_terminals_and_multiplexers_take_are_not_used() -> None:
    used = {key for action in actions.ACTIONS for key in action.keys.split(",")}
    assert not used & {"ctrl+b", "ctrl+a", "ctrl+s", "ctrl+q", "ctrl+i", "ctrl+m", "ctrl+h", "shift+enter"}


def test_the_docs_table_is_made_from_the_list() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "reference" / "keys.md").read_text()
    assert actions.markdown_table() in docs


def test_a_keymap_changes_keys_and_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "keymap.yaml"
    path.write_text("dashboard.stop: S\ndashbord.chat: x\nmonitor.view: [y, ctrl+y]\ndashboard.run: c\nusage.by: ''\n")
    keymap, problems = read_keymap(path, KNOWN, TOGETHER)
    assert keymap == {"dashboard.stop": "S", "monitor.view": "y,ctrl+y"}
    assert any("did you mean dashboard.chat" in problem for problem in problems)
    assert any("c is already dashboard.chat" in problem for problem in problems)
    assert any("usage.by" in problem for problem in problems)


@pytest.mark.parametrize("text", ["{", "- a\n", "[", "\0", "a: " + "b" * 70_000, "1: 2\n"])
def test_a_keymap_that_is_none_hurts_nobody(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keymap.yaml"
    path.write_text(text)
    keymap, problems = read_keymap(path, KNOWN, TOGETHER)
    assert keymap == {}
    assert problems


def test_no_keymap_is_no_problem(tmp_path: Path) -> None:
    assert read_keymap(tmp_path / "keymap.yaml", KNOWN, TOGETHER) == ({}, [])


# --- numbers ------------------------------------------------------------------------------------------------


@given(value=st.floats(0, 1e15))
def test_a_count_takes_five_cells(value: float) -> None:
    assert len(numbers.count(value)) <= 5


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (numbers.count(1842), "1842"),
        (numbers.count(18_432), "18.4k"),
        (numbers.count(2_900_000), "2.90M"),
        (numbers.count(None), "–"),
        (numbers.percent(0.004), "<1%"),
        (numbers.percent(0.996), ">99%"),
        (numbers.percent(0.0), "0%"),
        (numbers.percent(1.0), "100%"),
        (numbers.latency(0.0114), "11.4 ms"),
        (numbers.latency(0.182), "182 ms"),
        (numbers.latency(1.42), "1.42 s"),
        (numbers.latency(16.3), "16.3 s"),
        (numbers.latency(242), "4m02s"),
        (numbers.duration(38), "38 s"),
        (numbers.duration(11_520), "3h12m"),
        (numbers.duration(187_200), "2d04h"),
        (numbers.power(412.4), "412 W"),
        (numbers.power(1051.0), "1.05 kW"),
        (numbers.energy(21_300), "21.3 kWh"),
        (numbers.memory(71.2 * 2**30, 79.6 * 2**30), "71.2 / 79.6 GiB"),
        (numbers.about(131), "2m10s"),
        (numbers.rate(66.1), "66.1"),
    ],
)
def test_numbers_are_written_as_the_guide_says(made: str, text: str) -> None:
    assert made == text


# --- rows, bars, charts -------------------------------------------------------------------------------------


@given(text=st.text(max_size=80), width=st.integers(0, 40))
def test_cut_text_fits(text: str, width: int) -> None:
    from vllm_studio_tui.kit.sanitize import clean_line

    assert cell_len(fit(clean_line(text), width)) <= width


def test_of_two_long_paths_what_differs_is_seen() -> None:
    old, new = "/srv/models/of/all/people/first.gguf", "/srv/models/of/all/people/second.gguf"
    assert fit_change(old, new, 200) == (old, new)
    assert fit_change(old, new, 40) == ("…/first.gguf", "…/second.gguf")
    assert fit_change("a long text that shares nothing", "/with/this", 10)[1] == "/with/this"


@given(text=st.text(max_size=200), width=st.integers(1, 40))
def test_wrapped_text_fits(text: str, width: int) -> None:
    assert all(cell_len(line) <= max(2, width) for line in wrap(text, width))


PIECES = st.lists(
    st.tuples(st.integers(0, 50), st.text(max_size=20), st.sampled_from(["fg", "dim bold", "err"])), max_size=6
)


@given(pieces=PIECES, width=st.integers(1, 60), cursor=st.booleans(), edge=st.integers(-1, 1))
def test_a_row_is_exactly_as_wide_as_it_is_asked_for(
    pieces: list[tuple[int, str, str]], width: int, cursor: bool, edge: int
) -> None:
    themes, _ = load_themes(None)
    ink = Ink(themes["slate"].colours)
    ink.edge = edge
    row = Row(bar="err")
    for column, text, style in pieces:
        row.put(column, text, style)
    strip = ink.strip(row, width, cursor=cursor)
    assert strip.cell_length == width
    assert cell_len("".join(segment.text for segment in strip)) == width
    assert not any(
        ord(character) < 32 or 127 <= ord(character) < 160 for segment in strip for character in segment.text
    )


def test_a_later_piece_covers_an_earlier_one() -> None:
    row = Row()
    row.put(0, "abcdef")
    row.put(2, "X", "err")
    assert row.text(6) == "abXdef"


@given(share=st.floats(0, 1), width=st.integers(1, 40))
def test_a_bar_shows_what_is_not_nothing_and_is_not_full_before_all(share: float, width: int) -> None:
    parts = charts.bar(UNICODE, share, width)
    text = "".join(text for text, _ in parts)
    assert len(text) == width
    assert (text.strip(UNICODE.track) == "") == (share == 0)
    assert (UNICODE.track not in text and UNICODE.half not in text) == (share == 1)


@given(values=st.lists(st.none() | st.floats(0, 1e6), min_size=1, max_size=50), height=st.integers(1, 6))
def test_charts_have_a_cell_for_every_value(values: list[float | None], height: int) -> None:
    for glyphs in (UNICODE, ASCII):
        rows = charts.columns(glyphs, values, height)
        assert [sum(len(text) for text, _ in row) for row in rows] == [len(values)] * height
        assert sum(len(text) for text, _ in charts.spark(glyphs, values)) == len(values)


def test_ascii_is_ascii() -> None:
    for name in ASCII.__slots__:
        value = getattr(ASCII, name)
        assert not isinstance(value, str) or value.isascii(), name
    assert all(ASCII.state(state)[0].isascii() for state in ("ready", "loading", "failed", "backoff"))


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(160, 45, Size.FULL), (120, 36, Size.WIDE), (80, 24, Size.BASE), (60, 15, Size.COMPACT), (40, 6, Size.STRIP),
     (200, 5, Size.STRIP), (39, 50, Size.LINE), (1, 1, Size.LINE), (300, 3, Size.LINE)],
)  # fmt: skip
def test_the_smaller_of_width_and_height_decides(width: int, height: int, size: Size) -> None:
    assert size_class(width, height) is size
    assert size_class(width, height, compact=True) <= Size.COMPACT


# --- clipboard ----------------------------------------------------------------------------------------------


def test_copying_passes_through_multiplexers() -> None:
    plain = osc52(b"hi", "")
    assert plain == "\x1b]52;c;aGk=\x07"
    assert osc52(b"hi", "tmux") == f"{plain}\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\"
    screen = osc52(b"x" * 200, "screen")
    assert screen.startswith("\x1bP\x1b]52;c;")
    assert all(len(piece) <= 80 for piece in screen.split("\x1b\\"))
