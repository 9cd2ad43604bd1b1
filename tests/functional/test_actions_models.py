"""What every action of the models screen does, and what it shows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import Scene, asked, at, cursor, fill_in, hides, shows, told
from tests.functional.models import (
    COMING,
    FAILED,
    HOSTILE,
    MODELS,
    StillDownloads,
    StillModels,
    model,
    with_models,
)
from tests.functional.stage import GIB, NOW, Staged, bare, recipe, snapshot, staged
from vllm_studio_tui.domain.download import DownloadPlan, DownloadState
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.model import ModelScan
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.screens.models import lines as paint
from vllm_studio_tui.tui.screens.models import words
from vllm_studio_tui.tui.screens.models.flows import read_name
from vllm_studio_tui.tui.screens.models.place import ModelsPlace

SIZES = ((160, 45), (120, 36), (80, 24), (60, 15), (40, 6), (38, 2))


def place_of(stage: Staged) -> ModelsPlace:
    place = stage.app.current
    assert isinstance(place, ModelsPlace)
    return place


def models_of(stage: Staged) -> StillModels:
    made: StillModels = stage.studio.__dict__["models"]
    return made


def downloads_of(stage: Staged) -> StillDownloads:
    made: StillDownloads = stage.studio.__dict__["downloads"]
    return made


def prepared(studio: Studio) -> None:
    with_models(studio)
    studio.recipes.create(recipe("gemma-3-12b-long", model_path="/srv/models/gemma-3-12b-it"))


async def at_the_beginning(stage: Staged) -> None:
    """Everything is there again, and the cursor on a model that two recipes use."""
    models, downloads = models_of(stage), downloads_of(stage)
    models.models, downloads.downloads, downloads.planned = list(MODELS), {one.id: one for one in COMING}, None
    place = place_of(stage)
    place.read_again()
    await stage.until(lambda: len(place.table.shown) == len(MODELS) + 2, "the models")
    models.calls.clear()
    downloads.calls.clear()
    await on(stage, "/srv/models/gemma-3-12b-it")


async def on(stage: Staged, key: str) -> None:
    await stage.until(lambda: place_of(stage).table.item(key) is not None, f"{key} is listed")
    await cursor(stage, "#models-table", key)


models = Scene("models", place="models", begin=at_the_beginning, prepare=prepared)
SCENES = (models,)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


@models.scenario("models.open")
async def _open(stage: Staged) -> None:
    await stage.press("enter")
    await shows(stage, "open which of its 2 recipes?")
    await fill_in(stage, "long")
    await stage.press("enter")
    await at(stage, "recipes", "gemma-3-12b-long")
    await stage.press("8")
    # A model that runs leads to its run, and one that comes to what is known of it.
    await on(stage, "Qwen/Qwen3-32B")
    await stage.press("enter")
    await at(stage, "run", "qwen3-32b")
    await stage.press("escape")
    await at(stage, "models", "MODELS")
    await on(stage, "openai/gpt-oss-120b")
    await stage.press("enter")
    await stage.until(lambda: len(stage.app.screen_stack) == 2, "its details")
    await shows(stage, "/hub/gpt-oss-120b")
    await stage.press("escape")


@models.scenario("models.run")
async def _run(stage: Staged) -> None:
    await stage.press("r")
    await shows(stage, "run which of its 2 recipes?")
    await fill_in(stage, "long")
    await stage.press("enter")
    await asked(stage, ("launch", "gemma-3-12b-long"))
    stage.calls.clear()
    # One recipe is run at once; what runs is not run again; what stopped coming goes on.
    await on(stage, "/srv/models/Llama-3.3-70B-Instruct")
    await stage.press("r")
    await asked(stage, ("launch", "llama-3.3-70b"))
    stage.calls.clear()
    await on(stage, "Qwen/Qwen3-32B")
    await stage.press("r")
    await on(stage, "/srv/models/Mistral-Small-24B")
    await stage.press("r")
    assert stage.calls == [] and downloads_of(stage).calls == []
    await on(stage, "Qwen/Qwen3-235B-A22B-FP8")
    await stage.press("r")
    await told(stage, "Qwen3-235B-A22B-FP8 goes on.")
    assert downloads_of(stage).calls == [("resume", "qwen3")]
    # Without a recipe one is begun.
    await on(stage, "/srv/models/SmolLM2-135M-Instruct")
    await stage.press("r")
    await at(stage, "create", "/srv/models/SmolLM2-135M-Instruct")
    await stage.press("escape")
    await at(stage, "models", "MODELS")


@models.scenario("models.stop")
async def _stop(stage: Staged) -> None:
    await stage.press("s")
    assert downloads_of(stage).calls == []
    await on(stage, "openai/gpt-oss-120b")
    await stage.press("s")
    await told(stage, "gpt-oss-120b is paused")
    assert downloads_of(stage).calls == [("pause", "gpt-oss")]
    await stage.until(lambda: stage.text().count("paused") >= 2, "both are paused")


@models.scenario("models.new")
async def _new(stage: Staged) -> None:
    downloads = downloads_of(stage)
    await stage.press("n")
    await shows(stage, "Get a model")
    await fill_in(stage, "nonsense")
    await stage.press("enter")
    await shows(stage, "owner/name")
    await fill_in(stage, "https://huggingface.co/org/tiny/tree/main")
    await stage.press("enter")
    await shows(stage, "Get org/tiny?")
    assert ("plan", "https://huggingface.co/org/tiny/tree/main") in downloads.calls
    text = stage.text()
    assert "2 files, 1.0 GiB" in text and "100.0 GiB are free into /hub" in text and "licence apache-2.0" in text
    await stage.press("n")  # another name
    await fill_in(stage, "org/other@v2")
    await stage.press("enter")
    await shows(stage, "Get org/other?")
    await stage.press("d")
    await told(stage, "other is coming")
    assert downloads.calls[1:] == [("plan", "org/other@v2"), ("start", "org/other@v2")]
    await stage.until(lambda: place_of(stage).table.key == "org/other", "the cursor is on it")


@models.scenario("models.delete")
async def _delete(stage: Staged) -> None:
    await stage.press("d")
    await shows(stage, "Delete gemma-3-12b-it?")
    assert "22.7 GiB come free" in stage.text() and "gemma-3-12b-long" in stage.text()
    await stage.press("escape")
    assert ("delete", "/srv/models/gemma-3-12b-it") not in models_of(stage).calls
    await stage.press("delete", "d")
    await told(stage, "22.7 GiB came free")
    assert models_of(stage).calls.count(("delete", "/srv/models/gemma-3-12b-it")) == 1
    # A download is cancelled; what only waits for an answer is not.
    await on(stage, "openai/gpt-oss-120b")
    await stage.press("d")
    await shows(stage, "21.4 GiB that came are deleted")
    await stage.press("enter")  # the gentle answer
    await told(stage, "gpt-oss-120b is paused")
    await stage.press("d", "d")
    await told(stage, "Cancelled gpt-oss-120b; 21.4 GiB came free.")
    await stage.until(lambda: place_of(stage).table.item("openai/gpt-oss-120b") is None, "it is gone")
    assert downloads_of(stage).calls == [("pause", "gpt-oss"), ("cancel", "gpt-oss")]


@models.scenario("models.copy")
async def _copy(stage: Staged) -> None:
    await stage.press("y")
    assert stage.clip == "/srv/models/gemma-3-12b-it"


# --- what is shown ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_each_size_shows_what_it_has_room_for(tmp_path: Path, size: tuple[int, int]) -> None:
    async with staged(tmp_path, place="models", size=size, prepare=with_models) as stage:
        text = await stage.quiet()
        width, height = size
        assert "gpt-oss-120b" in text and "35%" in text
        assert ("Mistral-Small-24B" in text) is (height > 6)  # there downloads alone
        assert ("used by" in text) is (width >= 150)
        assert ("fits here" in text) is (width >= 120)
        assert ("kind" in text) is (width >= 150)
        assert ("not whole" in text or "3 of 10" in text) is (height > 6)
        assert ("DOWNLOADS" in text) is (width >= 120 or height == 6)


async def test_an_empty_machine_says_what_to_do(tmp_path: Path) -> None:
    prepare = partial(with_models, models=(), downloads=())
    async with staged(tmp_path / "a", place="models", shown=bare, prepare=prepare) as stage:
        await shows(stage, "No models on this machine.")
        assert "n get one by its name on the hub" in stage.text()
        assert "/srv/models  models_dirs" in stage.text() and "hub  not there" in stage.text()
    async with staged(tmp_path / "b", place="models", shown=bare, prepare=prepare, read_only=True) as stage:
        await shows(stage, "No models on this machine.")
        assert "n get one" not in stage.text()


async def test_downloads_alone_are_listed_while_the_models_are_looked_for(tmp_path: Path) -> None:
    async with staged(tmp_path, place="models", prepare=partial(with_models, models=())) as stage:
        await shows(stage, "gpt-oss-120b")
        assert "MODELS  2" in stage.text()


async def test_what_cannot_be_looked_for_is_said_and_what_was_known_stays(tmp_path: Path) -> None:
    async with staged(tmp_path, place="models", prepare=with_models) as stage:
        await shows(stage, "Qwen3-32B")

        def fails(folder: str | None = None) -> ModelScan:
            raise StudioError("the disk does not answer", cause="timed out")

        models_of(stage).scan = fails  # type: ignore[method-assign]
        await stage.press("f5")
        await shows(stage, "the disk does not answer")
        assert "Qwen3-32B" in stage.text()


async def test_reading_again_looks_at_the_disks(tmp_path: Path) -> None:
    async with staged(tmp_path, place="models", prepare=with_models) as stage:
        await shows(stage, "Qwen3-32B")
        assert models_of(stage).calls == [("list", "")]
        await stage.press("f5")
        await stage.until(lambda: ("scan", "") in models_of(stage).calls, "a look at the disks")


async def test_the_table_is_ordered_filtered_and_marked(tmp_path: Path) -> None:
    async with staged(tmp_path, place="models", prepare=with_models) as stage:
        place = place_of(stage)
        await shows(stage, "Qwen3-32B")
        shown = [line.name for line in place.table.shown]
        assert shown[:2] == ["gpt-oss-120b", "Qwen3-235B-A22B-FP8"]
        assert set(shown[2:4]) == {"Qwen3-32B", "DeepSeek-R1-Distill-Llama-70B"}  # they run
        await stage.press("slash")
        await stage.type("gemma")
        await stage.press("enter")
        assert [line.name for line in place.table.shown] == ["gemma-3-12b-it"]
        await stage.press("escape")
        place.table.order_by("size")
        assert place.table.shown[0].name in ("DeepSeek-R1-Distill-Llama-70B", "Llama-3.3-70B-Instruct")
        await on(stage, "/srv/models/gemma-3-12b-it")
        await stage.press("space")
        await on(stage, "/srv/models/SmolLM2-135M-Instruct")
        await stage.press("space", "y")
        assert sorted(stage.clip.split("\n")) == ["/srv/models/SmolLM2-135M-Instruct", "/srv/models/gemma-3-12b-it"]
        # What is marked is deleted together, after one question.
        await stage.press("d")
        await shows(stage, "Delete 2 models?")
        await stage.press("d")
        await told(stage, "2 models")
        await hides(stage, "SmolLM2-135M")


async def test_the_end_of_a_download_is_told_and_its_model_is_there(tmp_path: Path) -> None:
    async with staged(tmp_path, place="models", prepare=with_models) as stage:
        await shows(stage, "412 MiB/s")
        models_of(stage).models.append(model("gpt-oss-120b", 60.8, 116.8, path="openai/gpt-oss-120b", source="hub"))
        downloads = downloads_of(stage)
        downloads.downloads["gpt-oss"] = replace(COMING[0], state=DownloadState.DONE, bytes_done=int(60.8 * GIB))
        stage.app.pulls.look()
        await told(stage, "gpt-oss-120b is whole")
        await shows(stage, "116.8B")
        assert "412 MiB/s" not in stage.text()


async def test_why_a_download_stopped_stands_below_it_with_what_mends_it(tmp_path: Path) -> None:
    prepare = partial(with_models, downloads=(FAILED,))
    async with staged(tmp_path, place="models", prepare=prepare) as stage:
        await shows(stage, FAILED.error)
        assert "Accept them at https://huggingface.co/meta-llama/Llama-3.3-8B, then go on." in stage.text()
        await on(stage, "meta-llama/Llama-3.3-8B")
        await stage.press("r")
        assert downloads_of(stage).calls == [("resume", "gated")]
        downloads_of(stage).downloads["gated"] = FAILED
        stage.app.pulls.look()
        await told(stage, "The download of Llama-3.3-8B stopped.")


async def test_other_screens_show_what_comes(tmp_path: Path) -> None:
    async with staged(tmp_path, place="dashboard", prepare=with_models) as stage:
        await shows(stage, "gpt-oss-120b 35%")
        assert "412 MiB/s" not in stage.text()
        await stage.press("2")
        await shows(stage, "412 MiB/s")  # a line of its own among the recipes
        assert "8 models" in stage.text()
        await stage.press("8")
        await hides(stage, "gpt-oss-120b 35%")  # its row says it
        downloads_of(stage).downloads.clear()
        stage.app.pulls.look()
        await stage.press("2")
        await hides(stage, "412 MiB/s")


async def test_the_palette_pauses_goes_on_and_cancels(tmp_path: Path) -> None:
    async with staged(tmp_path, place="dashboard", prepare=with_models) as stage:
        await shows(stage, "gpt-oss-120b 35%")
        for typed, call in (
            ("pause gpt-oss", ("pause", "gpt-oss")),
            ("go on qwen3-235", ("resume", "qwen3")),
            ("cancel qwen3-235", ("cancel", "qwen3")),
        ):
            await stage.press("ctrl+p")
            await stage.until(lambda: len(stage.app.screen_stack) == 2, "the palette")
            await fill_in(stage, typed)
            await stage.press("enter")
            if call[0] == "cancel":
                await shows(stage, "Cancel the download of Qwen3-235B-A22B-FP8?")
                await stage.press("d")
            await stage.until(lambda call=call: downloads_of(stage).calls[-1:] == [call], f"{call}")  # type: ignore[misc]


async def test_gpus_that_are_known_later_change_what_fits_and_its_details(tmp_path: Path) -> None:
    def without(folder: Path) -> Snapshot:
        whole = snapshot(folder)
        return replace(whole, tick=replace(whole.tick, gpus=GpuReport(NOW, ())))

    async with staged(tmp_path, place="models", prepare=with_models, shown=without) as stage:
        await on(stage, "/srv/models/Llama-3.3-70B-Instruct")
        await shows(stage, "the processor, with nothing else on it")
        sampler: Any = stage.studio.sampler
        sampler.show(snapshot(tmp_path))
        await shows(stage, "2 of 4 GPUs, with nothing else on them: 32k for 1, 8k for 5")
        await shows(stage, "✓ 32k for 1, 2 GPUs")


async def test_what_fits_is_said_of_each_model_and_in_its_details(tmp_path: Path) -> None:
    async with staged(tmp_path, place="models", prepare=with_models) as stage:
        await shows(stage, "✓ 32k for 1")
        await on(stage, "/srv/models/Llama-3.3-70B-Instruct")
        await shows(stage, "2 of 4 GPUs, with nothing else on them: 32k for 1, 8k for 5")
        assert "131.4 GiB weights; a token costs 256 KiB" in stage.text()
        rows = [line for line in stage.lines() if " whole " in line]
        assert any("Llama-3.3-70B-Instruct" in row and "✓ 32k for 1, 2 GPUs" in row for row in rows)
        assert any("SmolLM2-135M-Instruct" in row and "✓ 8k for 35" in row for row in rows)
        assert not any("gguf" in row and "✓" in row[20:] for row in rows), "nothing is known of it"
        place_of(stage).table.order_by("fits here")
        assert place_of(stage).table.shown[0].name == "SmolLM2-135M-Instruct"


async def test_what_is_too_large_says_how_many_gpus_it_would_need(tmp_path: Path) -> None:
    huge = model("Huge", 400.0, 400.0)
    async with staged(tmp_path, place="models", prepare=partial(with_models, models=(huge,), downloads=())) as stage:
        await shows(stage, "✕ needs 8 GPUs")
        await shows(stage, "not even a short text")


async def test_what_does_not_fit_cannot_be_begun(tmp_path: Path) -> None:
    async with staged(tmp_path, place="models", prepare=with_models) as stage:
        await shows(stage, "Qwen3-32B")
        downloads = downloads_of(stage)
        downloads.planned = replace(downloads.plan("org/big"), room=GIB // 2, gated=True)
        await stage.press("n")
        await fill_in(stage, "org/big")
        await stage.press("enter")
        await shows(stage, "do not fit")
        assert "gated" in stage.text() and "download it" not in stage.text()
        await stage.press("d")
        await stage.press("escape")
        assert not [one for one in downloads.calls if one[0] == "start"]


async def test_a_quantization_is_chosen_where_there_are_several(tmp_path: Path) -> None:
    async with staged(tmp_path, place="models", prepare=with_models) as stage:
        await shows(stage, "Qwen3-32B")
        downloads = downloads_of(stage)
        choices = (("Q8_0", 8 * GIB), ("Q4_K_M", 4 * GIB))
        downloads.planned = replace(downloads.plan("org/g"), quantization="Q4_K_M", choices=choices)
        await stage.press("n")
        await fill_in(stage, "org/g")
        await stage.press("enter")
        await shows(stage, "which of 2 quantizations?")
        await fill_in(stage, "q8")
        await stage.press("enter")
        await stage.until(lambda: ("plan", "org/g:Q8_0") in downloads.calls, "the other one is planned")
        await stage.press("escape")


async def test_what_the_hub_does_not_understand_is_said_where_it_was_typed(tmp_path: Path) -> None:
    async with staged(tmp_path, place="models", prepare=with_models) as stage:
        await shows(stage, "Qwen3-32B")

        def plan(repo: str, **_: object) -> DownloadPlan:
            raise UsageError("a quantization has to be chosen", cause="There are: Q8_0, Q4_0")

        downloads_of(stage).plan = plan  # type: ignore[method-assign]
        await stage.press("n")
        await fill_in(stage, "org/g")
        await stage.press("enter")
        await shows(stage, "a quantization has to be chosen. There are: Q8_0, Q4_0")
        assert "org/g" in stage.text()
        await stage.press("escape")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_hostile_names_are_only_text(tmp_path: Path, size: tuple[int, int]) -> None:
    nasty = tuple(
        replace(one, name=HOSTILE, path=f"/m/{number}{HOSTILE}", architecture=HOSTILE, quantization=HOSTILE,
                missing=HOSTILE, complete=False, origin=HOSTILE, recipes=(HOSTILE,))
        for number, one in enumerate(MODELS[:2])
    )  # fmt: skip
    coming = (replace(FAILED, repo=f"a/{HOSTILE}", error=HOSTILE, advice=HOSTILE, path=HOSTILE),)
    prepare = partial(with_models, models=nasty, downloads=coming)
    async with staged(tmp_path, place="models", size=size, prepare=prepare) as stage:
        text = await stage.quiet()
        assert not {"\x1b", "\x9b", "\u202e"} & set(text)
        assert "evi" in text
        await stage.press("d")
        text = stage.text()
        assert not {"\x1b", "\x9b", "\u202e"} & set(text)
        await stage.press("escape")


def test_names_of_the_hub_are_read_as_they_are_typed() -> None:
    assert read_name("org/m") == ("org/m", None)
    assert read_name("org/m:Q4_K_M") == ("org/m:Q4_K_M", None)
    assert read_name(" org/m@v1:Q4_K_M ") == ("org/m:Q4_K_M", "v1")
    assert read_name("https://huggingface.co/org/m@1/blob") == ("https://huggingface.co/org/m@1/blob", None)


def test_numbers_are_said_as_people_say_them() -> None:
    wanted = {8_300_000_000: "8.3B", 235_000_000_000: "235B", 135_000_000: "135M", 116_800_000_000: "116.8B"}
    assert {number: words.parameters(number) for number in wanted} == wanted
    assert words.parameters(None) == words.parameters(-3) == "–"
    assert [words.context(one) for one in (131_072, 40_960, 18_416, 128_000, None, 0)] == [
        "128k", "40k", "18416", "128000", "–", "–",
    ]  # fmt: skip
    assert words.architecture("Qwen2_5_VLForConditionalGeneration") == "qwen2 5 vl"


def test_how_weights_are_kept_is_said_where_it_is_known() -> None:
    assert words.kept_in(model("a", 16.0, 8.0, quantization="fp8")) == "fp8"
    plain = model("a", 15.0, 8.03, quantization=None)
    assert words.kept_in(plain) == "16 bit"
    assert words.kept_in(replace(plain, complete=False)) == words.kept_in(replace(plain, parameters=None)) == ""
    assert words.kept_in(replace(plain, bytes=plain.bytes // 4)) == "", "four bits and something"


def test_a_download_and_its_model_are_one_row() -> None:
    half = model("gpt-oss-120b", 21.4, 116.8, path="openai/gpt-oss-120b", source="hub", complete=False)
    found = paint.lines_of([half], COMING, {})
    assert [(line.key, line.model is not None, line.download is not None) for line in found] == [
        ("openai/gpt-oss-120b", True, True),
        ("Qwen/Qwen3-235B-A22B-FP8", False, True),
    ]
    assert paint.lead(found[0], UNICODE) == ("◐", "accent")
    names: list[Any] = [column.name for column in paint.columns_of(UNICODE, 0.0, Size.COMPACT)]
    assert names == ["name", "GiB", "state"]
