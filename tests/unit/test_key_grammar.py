"""A key means one thing: every action keeps the grammar of keys."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.grammar import RULES, broken_by
from vllm_studio_tui.tui.keys.keymap import Keys

#: Actions whose keys do not keep the grammar yet. Take them out as you mend them; never add one.
LEFT: set[str] = set()


def test_every_action_keeps_the_grammar() -> None:
    broken = {action.id: broken_by(action) for action in actions.ACTIONS}
    assert [words for name, found in broken.items() if name not in LEFT for words in found] == []


def test_nothing_is_left_that_keeps_the_grammar_by_now() -> None:
    assert [name for name in sorted(LEFT) if name not in actions.BY_ID or not broken_by(actions.BY_ID[name])] == []


def test_a_key_has_one_meaning() -> None:
    keys = Counter(key for rule in RULES for key in rule.keys)
    assert [key for key, count in keys.items() if count > 1] == []


def test_what_is_done_while_typing_types_nothing() -> None:
    keys = {key for rule in RULES for key in rule.typing}
    assert not {key for key in keys if len(key) == 1 or key in ("space", "slash", "plus", "minus", "question_mark")}


def test_names_of_before_still_work_in_a_keymap(tmp_path: Path) -> None:
    assert {new for new in actions.RENAMED.values() if new not in actions.BY_ID} == set()
    assert {old for old in actions.RENAMED if old in actions.BY_ID} == set()
    path = tmp_path / "keymap.yaml"
    path.write_text("monitor.table: t\nrecipes.switch: w\n")
    keys = Keys()
    (problem,) = keys.read(path)
    assert keys.of("monitor.view") == "t"
    assert "recipes.switch is no action" in problem


def test_the_keymap_on_the_page_of_keys_can_be_used(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "keys.md").read_text("utf-8")
    path = tmp_path / "keymap.yaml"
    path.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    keys = Keys()
    assert keys.read(path) == []
    assert keys.of("chat.model") == "f2"
