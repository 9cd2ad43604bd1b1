"""How full the context of a chat is, who counted, and making a chat shorter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.scripted_engine import TARGET, Engine, read
from vllm_studio_tui.domain.chat import Attachment, Delta, Ended, Message, Timings, TokenUsage
from vllm_studio_tui.domain.context import ContextReport, Counted, CountedBy, level_of
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.inference.model_tokens import load_model_tokens
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.context.counting import TokenCounter
from vllm_studio_tui.services.chat.context.service import ChatContext
from vllm_studio_tui.services.chat.context.shortening import place_to_cut, shortened
from vllm_studio_tui.services.chat.context.summary import write_summary
from vllm_studio_tui.services.chat.request import request_messages
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows

#: Nothing answers at the address of `TARGET`, so its engine cannot count.
DONE = Ended("stop", TokenUsage(10, 20), Timings(0.1, None, 1.0, 40.0))
SUMMARY = Engine(Delta("They spoke of Rome."), DONE)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


def context(db: Database, stream: Engine = SUMMARY, folder: Path | None = None) -> ChatContext:
    return ChatContext(lambda: db, lambda target, recipe: folder, stream=stream)


def talk(db: Database, turns: int, **settings: Any) -> str:
    """A chat with so many questions, each answered."""
    session = ChatService(db).new_session("talk", model="m", settings=settings)
    rows = MessageRows(db)
    for number in range(1, turns + 1):
        question = rows.append(Message("", session, "user", f"question {number}", rows.leaf(session)))
        rows.append(Message("", session, "assistant", f"answer {number}", question.id, finish="stop"))
    return session


def sent(db: Database, session: str, system: str | None = None) -> list[tuple[str, str]]:
    return [(one["role"], one["content"]) for one in request_messages(MessageRows(db).branch(session), system)]


def test_the_beginning_is_sent_as_a_summary_and_the_last_turns_stay(db: Database) -> None:
    session = talk(db, 6)
    engine = Engine(Delta("They spoke of Rome."), DONE)
    made = context(db, engine).compact(session, TARGET, keep=2)
    assert (made.role, made.content, made.details["summary"]["messages"]) == ("system", "They spoke of Rome.", 8)
    asked = str(engine.asked[0].messages)
    assert "question 4" in asked
    assert "question 5" not in asked
    now = sent(db, session, "Be short.")
    assert now[0][0] == "system"
    assert now[0][1].startswith("Be short.\n\n")
    assert now[0][1].endswith("They spoke of Rome.")
    assert now[1:] == [(role, f"{kind} {number}") for number in (5, 6) for role, kind in
                       (("user", "question"), ("assistant", "answer"))]  # fmt: skip


def test_a_window_leaves_the_beginning_out_and_needs_no_model(db: Database) -> None:
    session = talk(db, 3)
    context(db).compact(session, None, summary=False, keep=1)
    assert sent(db, session) == [("user", "question 3"), ("assistant", "answer 3")]
    assert len([one for one in MessageRows(db).branch(session) if one.role != "system"]) == 6  # nothing is deleted


def test_it_can_be_undone_and_done_again(db: Database) -> None:
    session = talk(db, 3)
    one = context(db)
    made = one.compact(session, TARGET, keep=1)
    before = sent(db, session)
    one.undo_compaction(made.id)
    assert [content for _, content in sent(db, session)][:2] == ["question 1", "answer 1"]
    one.undo_compaction(made.id, undone=False)
    assert sent(db, session) == before


@pytest.mark.parametrize(("letters", "most"), [(100, 64), (1500, 300), (100_000, 512)])
def test_a_summary_is_shorter_than_what_it_stands_for(letters: int, most: int) -> None:
    engine = Engine(Delta("Rome."), DONE)
    write_summary(TARGET, [Message("", "", "user", "x" * letters)], stream=engine, limit=100_000)
    assert engine.asked[0].sampling.max_tokens == most


def test_a_second_summary_is_written_from_the_first(db: Database) -> None:
    session = talk(db, 3)
    engine = Engine(Delta("They spoke of Rome."), DONE)
    one = context(db, engine)
    one.compact(session, TARGET, keep=1)
    rows = MessageRows(db)
    for number in (4, 5):
        question = rows.append(Message("", session, "user", f"question {number}", rows.leaf(session)))
        rows.append(Message("", session, "assistant", f"answer {number}", question.id, finish="stop"))
    made = one.compact(session, TARGET, keep=1)
    assert "They spoke of Rome." in str(engine.asked[1].messages)
    assert "question 1" not in str(engine.asked[1].messages)
    assert made.details["summary"]["messages"] == 8
    assert [content for _, content in sent(db, session)][1:] == ["question 5", "answer 5"]


def test_what_is_too_long_for_the_model_is_summed_up_in_pieces(db: Database) -> None:
    session = ChatService(db).new_session("long")
    rows = MessageRows(db)
    for number in range(4):
        question = rows.append(Message("", session, "user", f"{number} " + "word " * 2000, rows.leaf(session)))
        rows.append(Message("", session, "assistant", "yes", question.id, finish="stop"))
    engine = Engine(Delta("short"), DONE)
    context(db, engine).compact(session, TARGET, keep=1)
    assert len(engine.asked) > 1
    assert all(len(str(asked.messages)) < 4096 * 4 for asked in engine.asked)


@pytest.mark.parametrize("end", [Ended("failed", error="no"), Ended("stop")])
def test_a_model_that_writes_no_summary_changes_nothing(db: Database, end: Ended) -> None:
    session = talk(db, 3)
    with pytest.raises(StudioError, match="no summary"):
        context(db, Engine(end)).compact(session, TARGET, keep=1)
    assert len(MessageRows(db).branch(session)) == 6


def test_what_cannot_be_shorter_is_said(db: Database) -> None:
    session = talk(db, 2)
    with pytest.raises(UsageError, match="nothing to leave out"):
        context(db).compact(session, TARGET)
    with pytest.raises(UsageError, match="nobody"):
        context(db).compact(session, None, keep=1)
    with pytest.raises(UsageError, match="no summary"):
        context(db).undo_compaction(MessageRows(db).branch(session)[0].id)


ROLES = st.lists(st.sampled_from(["user", "assistant", "tool"]), max_size=12)


@given(ROLES, st.integers(0, 6))
def test_it_is_cut_before_a_question_or_after_all(roles: list[str], keep: int) -> None:
    branch = [Message(str(at), "s", role, "x") for at, role in enumerate(roles)]
    cut = place_to_cut(branch, keep)
    assert 0 <= cut <= len(branch)
    assert cut in (0, len(branch)) or branch[cut].role == "user"
    if keep and cut:
        assert sum(one.role == "user" for one in branch[cut:]) == keep


def test_a_summary_of_a_message_on_another_branch_changes_nothing() -> None:
    branch = [Message("1", "s", "user", "a"), Message("2", "s", "system", "sum", details={"summary": {"until": "9"}})]
    found = shortened(branch)
    assert ([one.id for one in found.branch], found.how) == (["1"], None)


async def test_a_chat_that_may_be_is_made_shorter_before_it_is_asked_more(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = talk(db, 8, compact="summary")
    engine = Engine(Delta("They spoke of Rome."), DONE)
    one = context(db, engine)
    full = ContextReport(Counted(95, CountedBy.ENGINE), 100)
    monkeypatch.setattr(one, "report", lambda *_, **__: full)
    service = ChatService(db, stream=engine, shorten=lambda *what: one.compact_if_full(what[0], what[1], draft=what[2]))
    await read(service.send(session, "question 9", TARGET))
    assert [str(content)[:10] for _, content in ((m["role"], m["content"]) for m in engine.asked[-1].messages)][1:] == [
        text for number in (5, 6, 7, 8) for text in (f"question {number}", f"answer {number}")
    ] + ["question 9"]
    other = talk(db, 8)
    await read(service.send(other, "question 9", TARGET))
    assert len(engine.asked[-1].messages) == 17


def test_a_report_tells_parts_and_who_counted(db: Database) -> None:
    session = ChatService(db).new_session("x", settings={"system": "Be short.", "max_tokens": 50})
    file = Attachment("a.py", text="print(1)", tokens=7)
    MessageRows(db).append(Message("", session, "user", "look", files=(file,), images=("data:x",)))
    report = context(db).report(session, None, draft="and this?")
    assert report.total.by is CountedBy.ESTIMATE
    assert (report.system, report.files, report.answer, report.pictures) == (3, 7, 50, 1)
    assert report.draft > 0
    assert report.limit is None
    assert sum(tokens for _, tokens in report.parts()) == report.total.tokens


def test_levels_rise_with_the_share() -> None:
    assert [level_of(used, 100) for used in (0, 79, 80, 95, 100, 300)] == ["", "", "filling", "nearly", "full", "full"]
    assert level_of(100, None) == level_of(None, 100) == ""


# --- counting by a model's files ------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose tokens are words."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: at for at, word in enumerate(["<unk>", "user", "assistant", ":", "hello", "there"])}
    one = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    one.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    place = tmp_path / "model"
    place.mkdir()
    one.save(str(place / "tokenizer.json"))
    template = "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}assistant :"
    (place / "chat_template.jinja").write_text(template)
    (place / "config.json").write_text('{"max_position_embeddings": 64}')
    return place


def test_an_engine_that_does_not_answer_is_stood_in_for_by_the_models_files(db: Database, folder: Path) -> None:
    session = ChatService(db).new_session("x")
    MessageRows(db).append(Message("", session, "user", "hello there"))
    report = context(db, folder=folder).report(session, TARGET)
    assert (report.total, report.limit) == (Counted(6, CountedBy.FILES), 64)


WITH_TOOLS = (
    "{% for tool in tools or [] %}{{ tool.function.name }} {% endfor %}"
    "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}assistant :"
)


def offering(db: Database, folder: Path, unknown: tuple[str, ...] = (), many: int = 3) -> ChatContext:
    """A context whose tools are `many` functions of one word each; whatever is named."""

    def known(names: Any) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        asked.append(tuple(names))
        return [{"type": "function", "function": {"name": f"tool{at}"}} for at in range(many)], unknown

    asked: list[tuple[str, ...]] = []
    return ChatContext(lambda: db, lambda target, recipe: folder, known_tools=known)


def test_definitions_of_tools_are_part_of_what_is_sent_and_counted(db: Database, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(WITH_TOOLS)
    session = ChatService(db).new_session("x", settings={"tools": ["builtin"]})
    MessageRows(db).append(Message("", session, "user", "hello there"))
    report = offering(db, folder).report(session)
    assert (report.total, report.tools, report.talk) == (Counted(9, CountedBy.FILES), 3, 6)
    assert dict(report.parts()) == {"tools": 3, "talk": 6}
    assert not report.heavy_tools
    # Without them nothing is offered, whatever the chat's settings say.
    assert offering(db, folder).report(session, tools=()).total.tokens == 6


def test_what_tools_take_is_told_before_the_first_question(db: Database, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(WITH_TOOLS)
    report = offering(db, folder, many=17).report(None, tools=("builtin",))
    assert (report.total.tokens, report.tools, report.talk) == (17, 17, 0)
    assert report.heavy_tools  # 17 of 64
    assert offering(db, folder, many=16).report(None, tools=("builtin",)).heavy_tools is False


def test_servers_whose_tools_are_not_known_are_named(db: Database, folder: Path) -> None:
    session = ChatService(db).new_session("x", settings={"tools": ["builtin", "web"]})
    report = offering(db, folder, ("web",)).report(session)
    assert report.unknown_tools == ("web",)
    assert report.to_json()["unknown_tools"] == ["web"]


def test_an_answer_without_counts_is_counted_here_and_marked(db: Database, folder: Path) -> None:
    session = ChatService(db).new_session("x")
    rows = MessageRows(db)
    question = rows.append(Message("", session, "user", "hello"))
    answer = rows.append(Message("", session, "assistant", "hello there", question.id, finish="stop"))
    counted = context(db, folder=folder).count_answer(answer.id, None)
    assert counted.details["counted"] == {"completion_tokens": 2, "by": "files"}
    assert counted.usage.completion_tokens is None
    assert rows.get(answer.id).details == counted.details


async def test_an_answer_that_is_written_on_is_counted_anew(db: Database, folder: Path) -> None:
    silent = Ended("length", TokenUsage(), Timings(0.1, None, 1.0, None))
    service = ChatService(db, stream=Engine(Delta("hello there"), silent))
    session = service.new_session("x")
    await read(service.send(session, "q", TARGET))
    one = context(db, folder=folder)
    answer = MessageRows(db).branch(session)[-1]
    assert one.count_answer(answer.id, None).details["counted"]["completion_tokens"] == 2
    await read(service.continue_answer(session, answer.id, TARGET))
    assert "counted" not in MessageRows(db).get(answer.id).details
    assert one.count_answer(answer.id, None).details["counted"]["completion_tokens"] == 3  # two words have become one


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('no') }}", "{% for", "{{ messages[9].x.y }}", "{{ ''.__class__.__mro__ }}", "{{ 1 / 0 }}"],
)
def test_a_template_that_refuses_leaves_the_words(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    counter = TokenCounter(lambda target, recipe: folder)
    found = counter.chat([{"role": "user", "content": "hello there"}])
    assert found.by in (CountedBy.WORDS, CountedBy.FILES)


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b"\xff\xfe", b'{"model": {}}'])
def test_files_that_are_no_tokenizer_are_none(folder: Path, raw: bytes) -> None:
    (folder / "tokenizer.json").write_bytes(raw)
    assert load_model_tokens(folder) is None


def test_odd_settings_of_a_model_are_passed_over(folder: Path) -> None:
    (folder / "config.json").write_bytes(b'{"max_position_embeddings": "many"}')
    (folder / "tokenizer_config.json").write_bytes(b'{"bos_token": 3, "chat_template": [1, {"name": "default"}]}')
    (folder / "chat_template.jinja").unlink()
    found = load_model_tokens(folder)
    assert found is not None
    assert (found.limit, found.of_text("hello there"), found.of_chat([], (), {})) == (None, 2, None)
