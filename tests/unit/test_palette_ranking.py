"""What the palette lists, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.tui.flows.palette_used import FILE, KEPT, keep_used, load_used
from vllm_studio_tui.tui.sheets.palette_ranking import RECENT, Entry, ranked

ENTRIES = (
    Entry("stop:a", "stop qwen3-32b", group="RUNS", thing="recipe:qwen3-32b"),
    Entry("launch:g", "run gemma-3-12b", words="launch org/gemma"),
    Entry("screen:2", "2 Recipes", kind="open", group="SCREENS"),
    Entry("page:a", "run qwen3-32b", kind="open", group="RUNS"),
    Entry("export", "export recipes", words="save", group="EVERYWHERE"),
    Entry("theme:paper", "paper theme", kind="set"),
)


def ids(typed: str, used: tuple[str, ...] = ()) -> list[str]:
    return [one.entry.id for one in ranked(ENTRIES, typed, used)]


def test_words_are_found_in_any_order() -> None:
    assert ids("qwen stop") == ids("stop qwen") == ["stop:a"]
    assert ids("gemma launch") == ["launch:g"]
    assert ids("nothing of it") == []


def test_the_best_answer_comes_first_and_verbs_before_places() -> None:
    assert ids("run") == ["launch:g", "page:a"]
    assert ids("recipes") == ["export", "screen:2"]
    assert ids("2 rec") == ["screen:2"]
    assert ids("paper") == ["theme:paper"]
    undo = Entry("undo", "undo the last change of a recipe, a delete")
    delete = Entry("delete", "delete the recipe")
    assert [one.entry.id for one in ranked((undo, delete), "recipe delete", ())] == ["delete", "undo"]


def test_what_was_used_last_comes_first() -> None:
    listed = ranked(ENTRIES, "", ("theme:paper", "gone", "stop:a"))
    assert [(one.entry.id, one.group) for one in listed[:2]] == [("theme:paper", RECENT), ("stop:a", RECENT)]
    assert [one.entry.id for one in listed].count("stop:a") == 1
    assert ids("qwen3", ("page:a",))[0] == "stop:a"  # a verb, though the place was used


def test_nothing_is_listed_unasked_that_has_no_heading() -> None:
    assert "launch:g" not in ids("")


def test_what_was_used_is_kept_and_a_damaged_file_hurts_nobody(tmp_path: Path) -> None:
    places = Places.under(tmp_path)
    assert load_used(places) == []
    for index in range(KEPT + 5):
        keep_used(places, f"stop:{index}")
    keep_used(places, "stop:30")
    assert load_used(places)[:2] == ["stop:30", f"stop:{KEPT + 4}"]
    assert len(load_used(places)) == KEPT
    for text in ("{", "[1, null]", '{"a": 1}', "\0", "[" * 5000):
        (places.state / FILE).write_text(text)
        assert load_used(places) == []


@pytest.mark.parametrize("typed", ["\x1b[31m", "(((", "*", "  "])
def test_odd_words_hurt_nobody(typed: str) -> None:
    ids(typed)
