"""A chat on a real vLLM: calls of tools that are forced, forbidden and written as text, summaries, sides, forms.

vLLM is started once for this file. It holds the arguments of forced calls to the schemas of their tools only with
`tool_strict_level: parameter`. SmolLM2 writes no call by itself: its text is held to such a form (guided decoding).
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from tests.engines.conftest import Home
from tests.ports import free_port
from tests.process.test_mcp_client import WELL, well_over
from vllm_studio_tui.domain.chat import Delta, Ended, Target
from vllm_studio_tui.domain.chat_settings import sampling_of
from vllm_studio_tui.domain.tools import CallAsked, CallEnded, ChatEvent, Decision, RoundBegan, RoundEnded, ToolChoice
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
ADD = "well__add"
QUESTION = "Add 2 and 40."
COLD = {"temperature": 0, "max_tokens": 200}
NUMBER = "[1-9][0-9]?"
#: SmolLM2's own, and what was thought before a call.
TEMPLATE = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>
{% endif %}{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    one = Home(tmp_path_factory.mktemp("vllm"))
    template = one.root / "template.jinja"
    template.write_text(TEMPLATE)
    recipe = one.recipe(
        "vllm",
        port=free_port(),
        max_model_len=4096,
        tool_call_parser="hermes",
        enable_auto_tool_choice=True,
        extra_args={"enforce_eager": True, "tool_strict_level": "parameter", "chat_template": str(template)},
    )
    run = one.launch(recipe)
    assert run["state"] == "ready"
    yield one
    one.run("stop", "--all", "--force")
    one.check_nothing_is_left(run["port"])


@pytest.fixture
def studio(home: Home) -> Iterator[Studio]:
    with Studio.open_sync(Places.under(home.root)) as one:
        yield one


@pytest.fixture(params=["stdio", "http"])
def well(studio: Studio, request: pytest.FixtureRequest) -> Iterator[str]:
    """A real MCP server, over standard streams and over HTTP."""
    if request.param == "stdio":
        studio.tools.add_server("well", {"command": sys.executable, "args": [WELL]}, trust=True, replace=True)
        yield request.param
    else:
        with well_over("http") as url:
            studio.tools.add_server("well", {"url": url}, trust=True, replace=True)
            yield request.param


def target(studio: Studio) -> Target:
    return studio.launcher.target(model="smol")


async def taken(studio: Studio, events: AsyncGenerator[ChatEvent, None], decision: Decision) -> list[ChatEvent]:
    """The events of an answer, up to the first below the results of its calls: so small a model calls on and on."""
    found: list[ChatEvent] = []
    async with aclosing(events):
        async for event in events:
            found.append(event)
            if isinstance(event, CallAsked):
                assert studio.chat.decide(event.call.id, decision)
            if any(isinstance(one, RoundBegan) for one in found[:-1]):
                break
    return found


def first(kind: type[Any], events: list[ChatEvent]) -> Any:
    return next(one for one in events if isinstance(one, kind))


@pytest.mark.parametrize("decision", [Decision.ONCE, Decision.DENY])
async def test_a_forced_call_goes_to_a_real_server_or_is_refused(studio: Studio, well: str, decision: Decision) -> None:
    session = studio.chat.new_session(QUESTION)
    sampling = sampling_of({**COLD, "tool_choice": ADD})
    events = await taken(
        studio,
        studio.chat.send(session, QUESTION, target(studio), sampling=sampling, tools=ToolChoice((ADD, "well__fail"))),
        decision,
    )
    ended, asked, result = first(RoundEnded, events), first(CallAsked, events), first(CallEnded, events)
    (call,) = ended.ended.tool_calls
    assert (call.name, ended.recovered, "unheeded" in ended.ended.details) == (ADD, False, False)
    assert asked.call == call
    wanted = json.loads(call.arguments)
    print(f"{well} {decision}: {call.arguments} -> {result.result.text!r}, {ended.ended.timings.total:.1f} s")
    assert set(wanted) == {"a", "b"} and all(type(one) is int for one in wanted.values())
    told = next(one for one in studio.chats.branch(session) if one.role == "tool")
    if decision is Decision.ONCE:
        assert (result.how, result.result.text) == ("done", str(wanted["a"] + wanted["b"]))
        assert told.content == str(wanted["a"] + wanted["b"])
    else:
        assert result.how == "denied"
        assert "did not allow" in told.content
    roles = [one.role for one in studio.chats.branch(session)]
    assert roles == ["user", "assistant", "tool", "assistant"]


def test_a_call_is_forced_and_allowed_on_the_command_line(studio: Studio, home: Home) -> None:
    studio.tools.add_server("well", {"command": sys.executable, "args": [WELL]}, trust=True, replace=True)
    options = ("--tools", "add", "--tool-choice", "add", "--temperature", "0", "--max-tokens", "120", "--json")
    for allow, how in (("add", "done"), ("time", "denied")):
        code, out, err = home.run("chat", QUESTION, "--allow", allow, *options)
        assert code == 0, err
        events = [json.loads(line) for line in out.splitlines()]
        call = next(one for one in events if one["event"] == "tool_call")
        result = next(one for one in events if one["event"] == "tool_result")
        wanted = json.loads(call["arguments"])
        assert (call["name"], result["how"]) == (ADD, how)
        assert how == "denied" or result["text"] == str(wanted["a"] + wanted["b"])
        assert events[-1]["event"] == "stats"
    code, _, err = home.run("chat", QUESTION, "--tools", "add", "--tool-choice", "rain")
    assert code == 1
    assert "no tool rain is offered" in err and ADD in err


@pytest.mark.parametrize(
    ("family", "opener", "written"),
    [
        ("mistral", "[TOOL_CALLS]", rf'\[TOOL_CALLS\] \[\{{"name": "{ADD}", "arguments": \{{"a": N, "b": N\}}\}}\]'),
        ("llama3_json", "{", rf'\{{"name": "{ADD}", "parameters": \{{"a": N, "b": N\}}\}}'),
    ],
    ids=["mistral", "llama3_json"],
)
async def test_a_call_in_the_text_that_vllm_does_not_parse_is_read_and_made(
    studio: Studio, family: str, opener: str, written: str
) -> None:
    studio.tools.add_server("well", {"command": sys.executable, "args": [WELL]}, trust=True, replace=True)
    question = f"{QUESTION} Begin your answer with {opener}"
    form = {"kind": "regex", "value": written.replace("N", NUMBER)}
    session = studio.chat.new_session(question)
    sampling = sampling_of({**COLD, "form": form})
    events = await taken(
        studio,
        studio.chat.send(session, question, target(studio), sampling=sampling, tools=ToolChoice((ADD,))),
        Decision.ONCE,
    )
    ended, result = first(RoundEnded, events), first(CallEnded, events)
    (call,) = ended.ended.tool_calls
    wanted = json.loads(call.arguments)
    assert ended.recovered and ended.ended.details["recovered"] == family
    assert f"set tool_call_parser {family}" in ended.ended.advice
    assert (result.how, result.result.text) == ("done", str(wanted["a"] + wanted["b"]))
    assert not [one for one in events[: events.index(ended)] if isinstance(one, Delta) and one.content.strip()]


async def test_calls_that_are_forbidden_stay_text(studio: Studio) -> None:
    studio.tools.add_server("well", {"command": sys.executable, "args": [WELL]}, trust=True, replace=True)
    call = rf'<tool_call>\{{"name": "{ADD}", "arguments": \{{"a": {NUMBER}, "b": {NUMBER}\}}\}}</tool_call>'
    settings = {**COLD, "tool_choice": "none", "form": {"kind": "regex", "value": call}}
    session = studio.chat.new_session(QUESTION)
    events = await taken(
        studio,
        studio.chat.send(
            session, QUESTION, target(studio), sampling=sampling_of(settings), tools=ToolChoice((ADD, "well__fail"))
        ),
        Decision.ONCE,
    )
    ended = first(Ended, events)
    assert (ended.finish, ended.tool_calls) == ("stop", ())
    assert not [one for one in events if isinstance(one, CallAsked | CallEnded)]
    answer = studio.chats.branch(session)[-1]
    assert answer.content.startswith("<tool_call>") and answer.tool_calls == ()


def test_a_chat_is_made_shorter_by_a_summary_of_the_model(home: Home) -> None:
    code, _, err = home.run("chat", "My name is Ada, and I keep herons.", "--max-tokens", "60", "--seed", "1")
    assert code == 0, err
    for question in ("What do herons eat?", "Where do they nest?", "How long do they live?"):
        assert home.run("chat", question, "--session", "last", "--max-tokens", "60", "--seed", "1")[0] == 0
    before = home.json("chats", "context", "last")["context"]
    made = home.json("chats", "compact", "last", "--keep", "1")
    after = home.json("chats", "context", "last")["context"]
    summary = made["message"]["content"].strip()
    print(f"{before['total']['tokens']} -> {after['total']['tokens']} tokens: {summary[:200]!r}")
    assert summary
    sent = home.json("lab", "show", "last")["request"]["messages"]
    assert "My name is Ada, and I keep herons." in json.dumps(sent), "the last answer was asked for before"
    code, _, err = home.run("chat", "Who am I?", "--session", "last", "--max-tokens", "20", "--seed", "1")
    assert code == 0, err
    sent = home.json("lab", "show", "last")["request"]["messages"]
    assert any(summary[:40] in str(one["content"]) for one in sent)
    assert [one["content"] for one in sent if one["role"] == "user"][-2:] == ["How long do they live?", "Who am I?"]
    assert not any("I keep herons" in str(one["content"]) for one in sent if one["role"] == "user")


def test_two_sides_answer_beside_each_other(home: Home) -> None:
    recipe = home.json("status")["runs"][0]["recipe_id"]
    sides = ("--side", f"{recipe},temperature=1,seed=3", "--side", f"{recipe},temperature=0")
    code, out, err = home.run("compare", "Name a colour.", *sides, "--max-tokens", "20", "--json")
    assert code == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    stats = {one["side"]: one for one in events if one["event"] == "stats"}
    assert set(stats) == {"A", "B"}
    assert all(one["content"].strip() and one["usage"]["completion_tokens"] > 0 for one in stats.values())
    answers = home.json("chats", "show", events[-1]["session_id"])["messages"]
    print({name: one["content"] for name, one in stats.items()})
    assert answers[0]["content"] == "Name a colour."


def test_an_answer_is_held_to_a_schema(home: Home) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    options = ("--schema", json.dumps(schema), "--temperature", "0", "--max-tokens", "100")
    code, out, err = home.run("chat", "Invent a person.", *options)
    assert code == 0, err
    assert set(json.loads(out)) == {"name", "age"}
    assert "[valid, JSON by a schema" in err
    code, out, err = home.run("chat", "Invent a person.", *options[:-1], "3")
    assert code == 1
    assert "NOT valid" in err


async def test_what_was_thought_before_a_call_goes_back_to_the_model_until_the_next_question(
    studio: Studio, home: Home
) -> None:
    studio.tools.add_server("well", {"command": sys.executable, "args": [WELL]}, trust=True, replace=True)
    thought, call = (
        "[a-z]{3,9} [a-z]{3,9} [a-z]{3,9}",
        f'"name": "{ADD}", "arguments": \\{{"a": {NUMBER}, "b": {NUMBER}\\}}',
    )
    form = {"kind": "regex", "value": rf"<think>{thought}</think>\[TOOL_CALLS\] \[\{{{call}\}}\]"}
    question = f"{QUESTION} Begin your answer with <think>"
    session = studio.chat.new_session(question)
    sampling = sampling_of({**COLD, "form": form})
    events = await taken(
        studio,
        studio.chat.send(session, question, target(studio), sampling=sampling, tools=ToolChoice((ADD,))),
        Decision.ONCE,
    )
    assert first(CallEnded, events).how == "done"
    branch = studio.chats.branch(session)
    reasoning = branch[1].reasoning
    assert [one.role for one in branch[:4]] == ["user", "assistant", "tool", "assistant"] and len(
        reasoning.split()
    ) == 3
    studio.chat.sessions.set_leaf(session, branch[3].id)
    sent = home.json("lab", "show", session)["request"]["messages"]
    assert sent[1]["reasoning"] == reasoning
    rendered = home.run("lab", "prompt", session)[1]
    print(rendered)
    assert f"<think>{reasoning}</think>" in rendered
    code, _, err = home.run("chat", "And now?", "--session", session, "--max-tokens", "8")
    assert code == 0, err
    assert reasoning not in json.dumps(home.json("lab", "show", session)["request"])
