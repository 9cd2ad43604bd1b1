"""The palette: everything by name, from every screen."""

from __future__ import annotations

from pathlib import Path

from tests.functional.acting import at, cursor, shows, told
from tests.functional.stage import Staged, recipe, staged
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.flows.palette_used import load_used
from vllm_studio_tui.tui.sheets.chooser import Chooser
from vllm_studio_tui.tui.sheets.palette import Palette


def palette(stage: Staged) -> Palette:
    found = stage.app.screen
    assert isinstance(found, Palette)
    return found


def labels(stage: Staged) -> list[str]:
    return [one.entry.label for one in palette(stage)._listed]


async def look(stage: Staged, words: str) -> list[str]:
    """Open the palette, type, and return what is listed."""
    await stage.press("colon")
    await stage.type(words)
    await stage.until(lambda: not palette(stage)._loading, "all is read")
    await stage.settle()
    return labels(stage)


async def close(stage: Staged) -> None:
    while len(stage.app.screen_stack) > 1:
        await stage.press("escape")


async def test_everything_is_found_by_name_and_nothing_that_cannot_work(tmp_path: Path) -> None:
    def chats(studio: Studio) -> None:
        for title in ("Parrots and fishes", "Bench plan"):
            studio.chat.new_session(title)

    async with staged(tmp_path, prepare=chats) as stage:
        for words, first in (
            ("export", "export"),
            ("doctor", "doctor"),
            ("quit", "leave"),
            ("qwen stop", "stop qwen3-32b"),
            ("launch gemma", "run gemma-3-12b"),
            ("recipe gemma", "recipe gemma-3-12b"),
            ("fishes parr", 'chat "Parrots and fishes"'),
            ("paper", "paper theme"),
            ("usage", "5 Usage"),
            ("monitor hold", "mark the moment, which holds the picture"),
        ):
            found = await look(stage, words)
            assert found, words
            assert found[0].startswith(first), (words, found[:4])
            await close(stage)
        assert "what do you want to run?" in await look(stage, "starter")
        await close(stage)
        assert "stop llama-3.3-70b" not in await look(stage, "stop")
        await close(stage)
        assert "chat with llama-3.3-70b" not in await look(stage, "chat llama")
        await close(stage)
        assert "cancel the download that goes on" not in await look(stage, "cancel")
        await close(stage)
        # Verbs stand before places where they answer equally well.
        found = await look(stage, "qwen3")
        assert found.index("stop qwen3-32b") < found.index("open qwen3-32b") < found.index("recipe qwen3-32b")
        await close(stage)


async def test_what_was_used_last_comes_first_also_after_a_restart(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await look(stage, "ansi")
        await stage.press("enter")
        await stage.until(lambda: stage.app.theme == "ansi", "it is done")
        await look(stage, "log llama")
        await stage.press("enter")
        await at(stage, "logs", "a setting is odd")
        assert load_used(stage.studio.places) == ["log:llama-3.3-70b-1", "theme:ansi"]
        found = await look(stage, "")
        assert found[0] == "log of llama-3.3-70b"
        assert stage.text().index("RECENT") < stage.text().index("ACTIONS ON LOGS")
        assert "enter open its log" in stage.text()  # what enter does with the line that is chosen
        await close(stage)


async def test_the_word_theme_leads_to_a_choice_that_changes_nothing_by_itself(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert (await look(stage, "theme"))[0] == "choose a theme"
        await stage.press("enter")
        await shows(stage, "contrast")
        assert isinstance(stage.app.screen, Chooser)
        assert stage.app.screen._matches[0].value == stage.app.theme == "slate"
        await stage.press("enter")
        await stage.settle()
        assert stage.app.theme == "slate"
        assert not stage.studio.places.settings_file.exists()
        found = await look(stage, "theme pa")
        assert found[0] == "paper theme"
        await close(stage)


async def test_tab_lists_all_that_can_be_done_with_a_thing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await look(stage, "stop qwen")
        assert "enter stop it" in stage.text()
        assert "tab more for this one" in stage.text()
        await stage.press("tab")
        assert {"stop qwen3-32b", "chat with qwen3-32b", "copy the URL of qwen3-32b", "edit qwen3-32b"} <= set(
            labels(stage)
        )
        assert all("qwen3-32b" in label for label in labels(stage))
        await stage.press("escape")
        assert len(stage.app.screen_stack) == 2
        assert "stop deepseek-r1-70b" in labels(stage)
        await close(stage)


async def test_actions_of_other_screens_lead_there(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await look(stage, "processes charts")
        await stage.press("enter")
        await at(stage, "monitor", "Worker TP0")
        await look(stage, "delete recipe")
        assert "enter go to Recipes" in stage.text()
        await stage.press("enter")
        await at(stage, "recipes", "RECIPES")
        await told(stage, "Choose with the arrow keys first.")
        await look(stage, "recipe gemma")
        await stage.press("enter")
        await stage.until(lambda: stage.app.current.one("#recipes-table").key == "gemma-3-12b", "the cursor is on it")


async def test_a_burst_of_keys_goes_into_the_palette(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await cursor(stage, "#ledger", "qwen3-32b-1")
        await stage.pilot.press("colon", "s", "t", "o", "p", "space", "q")
        await shows(stage, "stop qwen3-32b")
        assert stage.calls == []
        assert isinstance(stage.app.screen, Palette)


async def test_ten_thousand_chats_do_not_make_it_slow(tmp_path: Path) -> None:
    def many(studio: Studio) -> None:
        studio.chat.new_session("the needle of them all")
        with studio.db.write() as tables:
            row = next(iter(tables.table("chat_sessions").rows))
            rows = ({**row, "id": f"c{index}", "title": f"chat {index}"} for index in range(10_000))
            tables.table("chat_sessions").insert_all(rows)

    async with staged(tmp_path, prepare=many, recipes=(recipe("one"),)) as stage:
        assert 'chat "the needle of them all"' in await look(stage, "needle")
        assert len(palette(stage)._searched) <= 30
        await close(stage)


async def test_in_the_smallest_window_each_row_is_one_to_choose(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(40, 6)) as stage:
        await stage.press("ctrl+p")
        await stage.until(lambda: "reading" not in stage.text() and len(stage.text().splitlines()) == 6, "the palette")
        assert len([line for line in stage.lines()[1:] if line.strip()]) == 5
        assert "enter do it" not in stage.text()
