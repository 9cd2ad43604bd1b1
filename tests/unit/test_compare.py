"""One question to several at once: their answers in the tree of a chat, votes, scores, and the commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from tests.elsewhere import where  # noqa: F401, RUF100
from tests.pictures import picture
from tests.unit.scripted_engine import DONE, Engine, read
from vllm_studio_tui.cli import compare as command
from vllm_studio_tui.domain.chat import ChatRequest, Delta, Ended, StreamEvent, Target
from vllm_studio_tui.domain.compare import Question, Score, Vote, scores_of, winner_of
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.inference import client
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.chat.attachments import seeing
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.compare import Compare
from vllm_studio_tui.services.chat.side_spec import read_spec
from vllm_studio_tui.services.launching import targets
from vllm_studio_tui.store.arena_votes import ArenaVoteRows
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows


def target(recipe: str | None = None, model: str | None = None) -> Target:
    name = recipe or f"{model}-served"
    if recipe == "nobody" or recipe == "model" or model == "nobody":
        raise NotFound("no run called so")
    return Target(f"http://{name}/v1", f"org/{name}", backend="vllm", recipe_id=name)


LAB: Any = None  # no comparison asks it for anything


def preset(name: str) -> Mapping[str, Any]:
    if name != "exact":
        raise NotFound(f"no preset is called {name}")
    return {"temperature": 0.2, "top_p": 0.9}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(Database.open(tmp_path / "studio.db")) as opened:
        yield opened


class Two:
    """Each model answers with its own name, and all are under way before the first ends."""

    def __init__(self) -> None:
        self.asked: dict[str, ChatRequest] = {}
        self.together = asyncio.Barrier(2)

    async def __call__(self, at: Target, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        self.asked[at.model] = request
        yield Delta(f"I am {at.model}")
        await self.together.wait()
        yield DONE


async def both(compare: Compare, asked: Question, specs: tuple[str, ...], *, blind: bool = False) -> list[str]:
    """Have all answer; the ids of their messages."""
    sides = compare.sides(specs)
    ids = [f"{asked.message_id}-{place}" for place in range(len(sides))]
    await asyncio.gather(
        *(
            read(
                compare.answer(
                    asked.session_id, asked.message_id, side.target, name=side.name, sampling=side.sampling,
                    answer_id=ids[place], blind=blind, place=place,
                )
            )
            for place, side in enumerate(sides)
        )
    )  # fmt: skip
    return ids


# --- asking ---------------------------------------------------------------------------------------------


async def test_all_answer_at_once_beside_each_other_in_the_chat(db: Database) -> None:
    engine = Two()
    chat = ChatService(db, None, engine)
    compare = Compare(db, chat, target, preset, LAB)
    session = chat.new_session("before", settings={"system": "Be brief."})
    asked = compare.begin("who are you?", session_id=session)
    ids = await both(compare, asked, ("one", "two,temperature=0.5"))
    answers = compare.answers(asked.message_id)
    assert [one.id for one in answers] == ids
    assert [one.content for one in answers] == ["I am org/one", "I am org/two"]
    assert {one.parent_id for one in answers} == {asked.message_id}
    assert [one.finish for one in answers] == ["stop", "stop"]
    assert [one.details["side"]["name"] for one in answers] == ["one", "two,temperature=0.5"]
    assert [engine.asked[model].sampling.temperature for model in ("org/one", "org/two")] == [None, 0.5]
    assert [one["content"] for one in engine.asked["org/one"].messages] == ["Be brief.", "who are you?"]


async def test_the_chat_goes_on_from_the_answer_that_is_kept_and_with_whoever_wrote_it(db: Database) -> None:
    chat = ChatService(db, None, Two())
    compare = Compare(db, chat, target, preset, LAB)
    asked = compare.begin("who are you?", system="Be brief.")
    ids = await both(compare, asked, ("one,temperature=0,thinking=off", "two"))
    kept = compare.keep(ids[0])
    session = chat.sessions.get(asked.session_id)
    assert (kept.id, session.leaf_id, session.model) == (ids[0], ids[0], "org/one")
    assert session.settings == {"system": "Be brief.", "recipe": "one", "temperature": 0.0, "thinking": False}
    assert [one.content for one in chat.messages.branch(asked.session_id)] == ["who are you?", "I am org/one"]
    assert len(chat.tree(asked.session_id)) == 3  # the other one stays


async def test_one_is_stopped_and_the_other_goes_on(db: Database) -> None:
    chat = ChatService(db, None, Engine(Delta("x"), DONE))
    compare = Compare(db, chat, target, preset, LAB)
    asked = compare.begin("q")
    one, two = compare.sides(("one", "two"))
    events = compare.answer(asked.session_id, asked.message_id, one.target, name="one", answer_id="a")
    async for _ in events:
        break
    await events.aclose()
    await read(compare.answer(asked.session_id, asked.message_id, two.target, name="two", answer_id="b"))
    assert [(one.content, one.finish) for one in compare.answers(asked.message_id)] == [("x", "stopped"), ("x", "stop")]


def test_sides_are_refused_with_what_to_do(db: Database) -> None:
    compare = Compare(db, ChatService(db), target, preset, LAB)
    for specs in ((), ("one",), ("a", "b", "c", "d", "e"), ("one", "one"), ("one,seed=7", "one , seed=07")):
        with pytest.raises(UsageError) as found:
            compare.sides(specs)
        assert found.value.advice
    with pytest.raises(NotFound):
        compare.sides(("one", "nobody"))
    assert [one.target.recipe_id for one in compare.sides(("one", "model"))] == ["one", "model-served"]
    names = {tuple(one.name for one in compare.sides(("a", "b", "c"), shuffled=True)) for _ in range(200)}
    assert len(names) == 6


@pytest.mark.parametrize(
    "text", ["", ",temperature=1", "temperature=1", "a,temperature", "a,temperature=x", "a,temperature=9", "a,b=1",
             "a,max_tokens=0", "a,max_tokens=1.5", "a,preset=", "a,stop=x", "a,thinking=maybe", "a,temperature=nan"]
)  # fmt: skip
def test_a_side_that_is_written_wrongly_is_said(text: str) -> None:
    with pytest.raises(UsageError) as found:
        read_spec(text, {}, preset)
    assert found.value.advice


def test_a_side_has_one_name_however_it_is_written_and_the_settings_of_the_chat_below() -> None:
    one = read_spec(" a , top_p=0.50,temperature=1.0 ", {"temperature": 0.3, "max_tokens": 5, "system": "x"}, preset)
    assert one.name == "a,temperature=1,top_p=0.5" == read_spec(one.name, {}, preset).name
    assert (one.sampling.temperature, one.sampling.top_p, one.sampling.max_tokens) == (1.0, 0.5, 5)


def test_a_preset_stands_in_the_place_of_what_shaped_the_answers_and_more_can_be_set_over_it() -> None:
    one = read_spec("a,seed=7,preset=exact", {"temperature": 0.9, "max_tokens": 5, "system": "x"}, preset)
    assert one.name == "a,preset=exact,seed=7"
    assert one.settings == {"temperature": 0.2, "top_p": 0.9, "seed": 7, "system": "x", "preset": "exact"}
    assert one.sampling.max_tokens is None
    with pytest.raises(NotFound):
        read_spec("a,preset=none", {}, preset)


# --- votes ----------------------------------------------------------------------------------------------


async def test_a_vote_counts_as_blind_once_before_the_names_are_shown(db: Database) -> None:
    compare = Compare(db, ChatService(db, None, Two()), target, preset, LAB)
    asked = compare.begin("q")
    await both(compare, asked, ("one", "two"), blind=True)
    first = compare.vote(asked.message_id, "two")
    assert (first.blind, first.sides, first.winner) == (True, ("one", "two"), "two")
    assert [one.name for one in compare.scores()] == ["two", "one"]
    changed = compare.vote(asked.message_id, None)
    assert (changed.blind, changed.winner) == (False, None)
    assert [one.id for one in compare.votes()] == [changed.id]  # in the place of the first
    assert compare.scores() == []
    assert [one.ties for one in compare.scores(seen=True)] == [1, 1]
    assert compare.vote_of(asked.message_id) == changed
    with pytest.raises(UsageError):
        compare.vote(asked.message_id, "three")


def test_there_is_nothing_to_vote_on_below_an_ordinary_question(db: Database) -> None:
    compare = Compare(db, ChatService(db), target, preset, LAB)
    with pytest.raises(NotFound):
        compare.vote(compare.begin("q").message_id, None)
    with pytest.raises(NotFound):
        compare.vote("nothing", None)


def test_a_damaged_row_of_votes_is_read_all_the_same(db: Database) -> None:
    rows = ArenaVoteRows(db)
    rows.put(Vote(("a", "b"), "a", blind=True, message_id="m"))
    with db.write() as tables:
        tables.execute("INSERT INTO arena_votes (at, winner, sides, blind) VALUES (1, 'a', '[1, {', 1)")
        tables.execute("INSERT INTO arena_votes (at, winner, sides, blind) VALUES (1, 'x', '[\"a\", 1, \"b\"]', 1)")
    assert [one.sides for one in rows.list()] == [("a", "b"), (), ("a", "b")]
    assert [(one.name, one.games) for one in scores_of(rows.list())] == [("a", 1), ("b", 1)]


@pytest.mark.parametrize(
    ("choice", "found"), [("A", "x"), ("b", "y"), ("y", "y"), ("tie", None), ("Neither", None), (" a ", "x")]
)
def test_the_better_one_is_named_by_letter_or_name(choice: str, found: str | None) -> None:
    assert winner_of(choice, ("x", "y")) == found


@pytest.mark.parametrize("choice", ["", "C", "z", "AB"])
def test_what_is_no_side_is_refused(choice: str) -> None:
    with pytest.raises(ValueError, match="Choose A, B or tie"):
        winner_of(choice, ("x", "y"))


# --- scores ---------------------------------------------------------------------------------------------


def won(winner: str | None, *sides: str) -> Vote:
    return Vote(sides, winner, blind=True)


def test_scores_are_those_of_bradley_and_terry() -> None:
    """For two sides with the imagined ties the likelihood can be maximised by hand."""
    (best, worst) = scores_of([won("a", "a", "b")] * 3 + [won("b", "a", "b")])
    p, q = (10 ** ((one.rating - 1000) / 400) for one in (best, worst))
    assert math.isclose(p * q, 1.0, rel_tol=1e-6)
    # Of strength p: 3.5 wins are expected from 4 games against q and one against 1 (the scale moves with the mean).
    assert math.isclose(4 * p / (p + q) + p / (p + 1), 3.5, rel_tol=1e-6)
    assert (best.name, best.games, best.wins, best.losses, best.ties) == ("a", 4, 3, 1, 0)


def test_the_best_of_three_beats_both_and_nothing_is_known_of_the_others() -> None:
    found = {one.name: one for one in scores_of([won("c", "a", "b", "c")])}
    assert [(one.games, one.wins, one.losses) for one in (found["a"], found["b"], found["c"])] == [
        (1, 0, 1), (1, 0, 1), (2, 2, 0),
    ]  # fmt: skip
    assert found["a"].rating == pytest.approx(found["b"].rating)
    tied = scores_of([won(None, "a", "b", "c")])
    assert [(round(one.rating, 6), one.ties) for one in tied] == [(1000.0, 2)] * 3


VOTES = st.lists(
    st.lists(st.sampled_from("abcde"), min_size=2, max_size=4, unique=True).flatmap(
        lambda sides: st.sampled_from([None, *sides, "gone"]).map(lambda winner: won(winner, *sides))
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(VOTES, st.randoms())
def test_scores_are_finite_whatever_was_voted_and_in_whichever_order(votes: list[Vote], order: Any) -> None:
    found = scores_of(votes)
    assert all(math.isfinite(one.rating) for one in found)
    assert sum(one.wins for one in found) == sum(one.losses for one in found)
    mixed = list(votes)
    order.shuffle(mixed)

    def by_name(scores: list[Score]) -> list[tuple[str, float]]:
        return sorted((one.name, round(one.rating, 3)) for one in scores)

    assert by_name(scores_of(mixed)) == by_name(found)
    if found:
        more = scores_of([*votes, *[won("z", "z", one.name) for one in found for _ in range(3)]])
        assert more[0].name == "z"  # who beat everybody again and again stands first


# --- commands -------------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> Engine:  # noqa: F811, RUF100
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    made = Engine(Delta(reasoning="hm"), Delta("Paris.\x1b]0;x\x07"), DONE)
    monkeypatch.setattr(client, "stream_chat", made)
    monkeypatch.setattr(targets.Targets, "target", lambda self, **named: target(**named))
    return made


def run(*words: str) -> Result:
    app = typer.Typer()
    command.register(app)
    return CliRunner().invoke(app, list(words))


SIDES = ("--side", "one", "--side", "two,temperature=0")


def test_answers_stand_one_below_the_other_with_their_figures(engine: Engine) -> None:
    done = run("compare", "Capital of France?", *SIDES, "--max-tokens", "9", "--seed", "7")
    assert done.exit_code == 0, done.exception
    assert done.stdout.startswith("A  one\nParis.\x1b]0;x\x07\n\nB  two,temperature=0\nParis.")
    assert "40.0" in done.stdout
    assert {(one.sampling.max_tokens, one.sampling.seed) for one in engine.asked} == {(9, 7)}
    assert "arena vote" in done.stderr


def test_names_are_hidden_until_the_vote_and_told_with_it(engine: Engine) -> None:
    done = run("compare", "q", *SIDES, "--blind", "--json")
    assert done.exit_code == 0, done.exception
    assert "one" not in done.stdout
    assert "temperature" not in done.stdout
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one.get("side") for one in lines[:-1]} == {"A", "B"}
    question = lines[-1]["question_id"]
    voted = json.loads(run("arena", "vote", question, "b", "--json").stdout)
    assert voted["vote"]["blind"] is True
    assert voted["vote"]["winner"] == voted["vote"]["sides"][1]
    scores = json.loads(run("arena", "scores", "--json").stdout)["scores"]
    assert scores == voted["scores"]
    assert scores[0]["name"] == voted["vote"]["winner"]
    assert json.loads(run("arena", "votes", "--json").stdout)["votes"] == [voted["vote"]]
    again = run("arena", "vote", question, "tie")
    assert "names were not hidden" in again.stderr
    assert isinstance(run("arena", "vote", question, "z").exception, UsageError)


def test_the_chat_goes_on_from_the_kept_one_and_in_a_chat_that_was_there(engine: Engine, tmp_path: Path) -> None:
    assert run("compare", "q", *SIDES, "--keep", "two,temperature=0").exit_code == 0
    assert run("compare", "r", *SIDES, "--session", "last", "--keep", "A").exit_code == 0
    with contextlib.closing(Database.open(Places.of().database)) as db:
        chat = ChatService(db)
        (session,) = chat.sessions.list()
        assert [one.content[:6] for one in chat.messages.branch(session.id)] == ["q", "Paris.", "r", "Paris."]
        assert (session.messages, session.settings) == (6, {"recipe": "one", "temperature": 0.0})


@pytest.mark.parametrize(
    "words",
    [("compare", "q"), ("compare", "q", "--side", "one"), ("compare", *SIDES), ("compare", "q", *SIDES, "--keep", "C"),
     ("compare", "q", *SIDES, "--keep", "tie"), ("compare", "q", *SIDES, "--blind", "--keep", "one"),
     ("compare", "q", *SIDES, "--session", "last", "--system", "s")],
)  # fmt: skip
def test_wrong_usage_asks_nobody(engine: Engine, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert isinstance(done.exception, UsageError), done.exception
    assert engine.asked == []


def test_a_side_that_fails_is_told_and_the_code_says_so(engine: Engine) -> None:
    engine.script = (Delta("half"), Ended("failed", error="it broke", advice="Mend it."))
    done = run("compare", "q", *SIDES)
    assert done.exit_code == 1
    assert done.stdout.count("half") == 2
    assert "error: it broke" in done.stderr


def test_files_and_pictures_go_to_all_of_them_and_a_blind_side_refuses_them(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "b.txt").write_text("heron")
    blind: set[str] = set()
    monkeypatch.setattr(seeing, "_asked", lambda target: seeing.Sight(target.model not in blind, "It says so."))
    monkeypatch.setattr(seeing, "_known", {})
    done = run("compare", f"look at @{tmp_path}/a.png", *SIDES, "--file", str(tmp_path / "b.txt"))
    assert done.exit_code == 0, done.exception
    assert "[with b.txt: 5 B" in done.stderr
    for request in engine.asked:
        text, image = request.messages[0]["content"]
        assert text["text"].startswith('File "b.txt":\n```\nheron')
        assert image["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    blind.add("org/two")
    seeing._known.clear()
    refused = run("compare", "and this?", *SIDES, "--image", str(tmp_path / "a.png"))
    assert "two reads no pictures" in str(refused.exception)
    with contextlib.closing(Database.open(Places.of().database)) as db:
        (session,) = ChatRows(db).list()  # of the one that was refused there is none
        assert [one.name for one in MessageRows(db).tree(session.id)[0].files] == ["b.txt", "a.png"]
    assert len(engine.asked) == 2
