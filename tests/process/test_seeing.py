"""Pictures with a real engine that reads them: the small model, with a part that sees (tests/eyes.py).

The engine decodes each picture, encodes it and puts it into the model's context. What the model then says means
nothing, so nothing is said here of its words: only that pictures count as tokens, and change what is likely.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.eyes import eyes, tokens_of
from tests.pictures import picture
from tests.process.house import House
from tests.process.serving import small_model
from tests.process.test_screens_elsewhere import Screens
from vllm_studio_tui.cli import attach as attach_command
from vllm_studio_tui.cli import chat as chat_command
from vllm_studio_tui.cli import compare as compare_command
from vllm_studio_tui.domain.chat import Ended, Message, Sampling, Target
from vllm_studio_tui.domain.context import CountedBy
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.runs import control
from vllm_studio_tui.services.chat.attachments import reading, seeing
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.app import StudioApp

pytestmark = pytest.mark.timeout(240)
QUESTION = "What is in the picture?"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A home in which one run reads pictures, and one does not."""
    root = tmp_path_factory.mktemp("seeing")
    made, folder = House(root / "home"), root / "model"
    folder.mkdir()
    model = folder / "small.gguf"
    model.symlink_to(small_model())
    eyes(folder / "mmproj-small.gguf")
    fields = {"backend": "llamacpp", "max_model_len": 2048, "max_num_seqs": 1, "extra_args": {"threads": 1}}
    with Studio.open_sync(made.places) as studio:
        runs = []
        for name in ("seer", "reader"):
            where = {"model_path": str(folder)} if name == "seer" else {"model_path": str(model), "vision": False}
            about = {"id": name, "name": name, **fields, **where}
            runs.append(studio.launcher.launch(studio.recipes.create(Recipe.model_validate(about))))
        for run in runs:
            made.ready(run)
    yield made
    for run in runs:
        control.stop(run)


@pytest.fixture
def studio(house: House) -> Iterator[Studio]:
    with Studio.open_sync(house.places) as one:
        yield one


@pytest.fixture
def seer(studio: Studio) -> Target:
    return studio.launcher.target(recipe="seer")


def drawn(folder: Path, name: str, size: tuple[int, int], colour: Any) -> Path:
    path = folder / name
    path.write_bytes(picture(path.suffix[1:], size, colour=colour))
    return path


def ask(studio: Studio, target: Target, *paths: Path, text: str = QUESTION) -> Ended:
    attached = reading.attach([str(one) for one in paths])
    sampling = Sampling(temperature=0, max_tokens=4, seed=1, others={"logprobs": 3})

    async def whole() -> Ended:
        events = studio.chat.send(
            None,
            text,
            target,
            sampling=sampling,
            images=[one.image or "" for one in attached],
            files=[one.file for one in attached],
        )
        return [one async for one in events if isinstance(one, Ended)][-1]

    return asyncio.run(whole())


def command(house: House, *words: str) -> Result:
    """A command of the studio, without a process of its own."""
    app = typer.Typer()
    for one in (chat_command, compare_command, attach_command):
        one.register(app)
    return CliRunner().invoke(app, list(words), env={"VLLM_STUDIO_HOME": str(house.root)})


def test_the_engine_itself_says_whether_it_reads_pictures(studio: Studio, seer: Target) -> None:
    assert seeing.sight(seer) == seeing.Sight(True, "Its engine says so (/props: modalities.vision).")
    blind = Target(studio.launcher.target(recipe="reader").base_url, "small", backend="llamacpp")
    found = seeing.sight(blind)  # without its recipe, which says so too
    assert found.sees is False
    assert "mmproj" in found.advice


def test_pictures_are_in_the_prompt_and_change_what_is_likely(studio: Studio, seer: Target, tmp_path: Path) -> None:
    red, wide = drawn(tmp_path, "a.png", (70, 56), "red"), drawn(tmp_path, "b.jpeg", (140, 56), "blue")
    other = drawn(tmp_path, "c.png", (70, 56), "yellow")
    bare, one, both, next_ = (ask(studio, seer, *paths) for paths in ((), (red,), (red, wide), (other,)))
    assert bare.usage.prompt_tokens is not None
    assert one.usage.prompt_tokens == bare.usage.prompt_tokens + tokens_of(70, 56)
    assert one.usage.prompt_tokens is not None
    assert both.usage.prompt_tokens == one.usage.prompt_tokens + tokens_of(140, 56)
    # As many tokens, and others: the model does not say its first word with the same certainty.
    assert next_.usage.prompt_tokens == one.usage.prompt_tokens
    certain = [ended.details["logprobs"]["tokens"][0][:2] for ended in (bare, one, next_)]
    assert certain[0] != certain[1] != certain[2], certain


def test_what_pictures_take_of_the_context_is_counted_beforehand(studio: Studio, seer: Target, tmp_path: Path) -> None:
    paths = [drawn(tmp_path, "a.png", (70, 56), "red"), drawn(tmp_path, "b.jpeg", (140, 56), "blue")]
    attached = reading.attach([str(one) for one in paths])
    session = studio.chat.new_session("x", model=seer.model)
    studio.chats.put_message(session, {"role": "user", "content": QUESTION, "images": [one.image for one in attached]})
    report = studio.context.report(session, seer)
    assert (report.seen, report.pictures) == (tokens_of(70, 56) + tokens_of(140, 56), 0)
    assert report.total.by is CountedBy.ENGINE
    assert report.total.tokens == ask(studio, seer, *paths).usage.prompt_tokens
    assert ("pictures", report.seen) in report.parts()
    blind = studio.context.report(session, studio.launcher.target(recipe="reader"))
    assert (blind.seen, blind.pictures) == (0, 2)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp"])
def test_every_kind_that_may_be_sent_is_read_by_the_engine(
    studio: Studio, seer: Target, tmp_path: Path, kind: str
) -> None:
    ended = ask(studio, seer, drawn(tmp_path, f"a.{kind}", (84, 70), "green"))
    assert ended.finish in ("stop", "length"), ended
    assert ended.usage.prompt_tokens == (ask(studio, seer).usage.prompt_tokens or 0) + tokens_of(84, 70)


def test_on_the_command_line_pictures_go_by_option_and_by_name(
    house: House, studio: Studio, seer: Target, tmp_path: Path
) -> None:
    seen = drawn(tmp_path, "a.png", (70, 56), "red")
    few = ("--recipe", "seer", "--max-tokens", "3", "--json")
    done = command(house, "chat", "look", "--image", str(seen), *few)
    assert done.exit_code == 0, done.exception
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["usage"]["prompt_tokens"] == (ask(studio, seer, text="look").usage.prompt_tokens or 0) + tokens_of(
        70, 56
    )
    sides = ("--side", "seer", "--side", "seer,temperature=0", "--max-tokens", "3")
    assert command(house, "compare", f"look @{seen}", *sides).exit_code == 0
    question, *answers = studio.chat.tree(studio.chat.sessions.list(limit=1)[0].id)
    assert [one.name for one in question.files] == ["a.png"]
    assert len({one.usage.prompt_tokens for one in answers}) == 1
    before = studio.chat.sessions.count()
    for words in (("chat", "--recipe", "reader"), ("compare", "--side", "seer", "--side", "reader")):
        refused = command(house, *words, "look", "--image", str(seen))
        assert "reader reads no pictures" in str(refused.exception)
    assert studio.chat.sessions.count() == before


def test_what_the_engine_says_of_a_picture_it_does_not_take_is_told(studio: Studio, tmp_path: Path) -> None:
    there = studio.launcher.target(recipe="reader")
    lied = Target(there.base_url, there.model, backend="llamacpp", vision=True)
    ended = ask(studio, lied, drawn(tmp_path, "a.png", (20, 20), "red"))
    assert ended.finish == "failed"
    assert "image input is not supported" in (ended.error or "")


async def test_on_the_screen_pictures_are_named_attached_and_compared(house: House, tmp_path: Path) -> None:
    seen, other = drawn(tmp_path, "red.png", (70, 56), "red"), drawn(tmp_path, "blue.png", (140, 56), "blue")
    with contextlib.closing(Studio(house.places)) as studio:
        async with StudioApp(studio, place="chat").run_test(size=(160, 45)) as pilot:
            one = Screens(pilot.app, pilot)  # type: ignore[arg-type]
            place: Any = one.app.current
            await one.until(lambda: bool(place.snapshot and place.snapshot.runs), "the runs are seen")
            place.chat.use_recipe("seer", keep=True)
            place.chat.set("max_tokens", 4)

            async def asked(text: str, answers: int) -> list[Message]:
                place.prompt.focus()
                place.prompt.insert(text)
                await one.press("enter")
                await one.until(lambda: place.chat.id is not None, "the chat is begun")

                def ended() -> list[Message]:
                    tree: list[Message] = studio.chat.tree(place.chat.id)
                    return [each for each in tree if each.role == "assistant" and each.finish in ("stop", "length")]

                await one.until(lambda: len(ended()) == answers, "it is answered")
                return ended()

            (first,) = await asked(f"what is @{seen}", 1)
            await one.shows("image  red.png   70x56")
            handed = await asyncio.to_thread(command, house, "attach", str(other))
            assert handed.exit_code == 0, handed.exception
            await one.until(lambda: "blue.png" in place.prompt.text, "the prompt has what another terminal attached")
            _, second = await asked(" and this?", 2)
            questions = [each for each in studio.chat.tree(place.chat.id) if each.role == "user"]
            assert [[file.name for file in each.files] for each in questions] == [["red.png"], ["blue.png"]]
            assert first.usage.prompt_tokens is not None
            assert second.usage.prompt_tokens is not None
            assert second.usage.prompt_tokens > first.usage.prompt_tokens + tokens_of(140, 56)
