"""Tool calls that a model wrote as text: each family is read, however the answer is cut; what is no call stays."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.chat import Delta, Ended, Relabel
from vllm_studio_tui.inference.thinking import ThinkingSplitter
from vllm_studio_tui.inference.tool_forms import FORMS
from vllm_studio_tui.inference.tool_text import MOST_HELD, CallSplitter, ToolTextReader, recovered
from vllm_studio_tui.inference.tool_values import json_value

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "exact": {"type": "boolean"},
        "where": {"anyOf": [{"type": "array"}, {"type": "null"}]},
        "share": {"type": ["number", "null"]},
    },
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "sky__now", "parameters": {}}},
]
PARIS = ("get_weather", {"city": "Paris", "days": 2})
NOW: tuple[str, Any] = ("sky__now", {})
MIXED = ("get_weather", {"where": [True, None], "exact": False})
JSON = '{"city": "Paris", "days": 2}'
CALL = f'{{"name": "get_weather", "arguments": {JSON}}}'
LLAMA = f'{{"name": "get_weather", "parameters": {JSON}}}'
#: Text of an answer, the family, and its calls.
ANSWERS: Sequence[tuple[str, str, list[tuple[str, Any]]]] = [
    ("<tool_call>\n" + CALL + "\n</tool_call>", "hermes", [PARIS]),
    (
        "<tool_call>" + CALL + '</tool_call>\n<tool_call>{"name": "sky__now"}</tool_call>',
        "hermes",
        [PARIS, NOW],
    ),
    ("<tool_call>" + CALL, "hermes", [PARIS]),
    ('<tool_call>{"name": "other", "arguments": "{\\"a\\": 1}"}</tool_call>', "hermes", [("other", {"a": 1})]),
    (LLAMA, "llama3_json", [PARIS]),
    ('{"type": "function", "function": {"name": "sky__now", "parameters": {}}}<|eot_id|>', "llama3_json", [NOW]),
    ("\n<|python_tag|>" + LLAMA + '; {"name": "sky__now"}', "llama3_json", [PARIS, NOW]),
    ('<|python_tag|>get_weather.call(city="Paris", days=2)', "llama3_json", [PARIS]),
    ("[" + CALL + "]", "llama3_json", [PARIS]),
    ("[get_weather(city='Paris', days=2), sky__now()]", "pythonic", [PARIS, NOW]),
    ("[get_weather(where=[true, None], exact=False)]", "pythonic", [MIXED]),
    ('<|tool_call_start|>[get_weather(city="Paris", days=2)]<|tool_call_end|>', "lfm2", [PARIS]),
    ("[TOOL_CALLS] [" + CALL + ', {"name": "sky__now", "arguments": {}}]', "mistral", [PARIS, NOW]),
    ("[TOOL_CALLS]get_weather[ARGS]" + JSON + "[TOOL_CALLS]sky__now[ARGS]{}</s>", "mistral", [PARIS, NOW]),
    ("[TOOL_CALLS]get_weather[CALL_ID]abc123456[ARGS]" + JSON, "mistral", [PARIS]),
    (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
        f"```json\n{JSON}\n```<｜tool▁call▁end｜>"
        "\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>sky__now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "deepseek_v3",
        [PARIS, NOW],
    ),
    (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
        f"{JSON}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "deepseek_v3",
        [PARIS],
    ),
    (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n'
        '<｜DSML｜parameter name="city" string="true">Paris'
        '</｜DSML｜parameter>\n<｜DSML｜parameter name="days" string="false">2</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
        "</｜DSML｜function_calls>",
        "deepseek_v32",
        [PARIS],
    ),
    (
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n2\n</parameter>\n"
        "</function>\n</tool_call>",
        "qwen3_coder",
        [PARIS],
    ),
    ("<function=get_weather><parameter=city>Paris</parameter><parameter=days>2</function>", "qwen3_coder", [PARIS]),
    ("<function=get_weather>" + JSON + "</function>", "qwen3_coder", [PARIS]),
    (
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n"
        "<arg_value>2</arg_value>\n</tool_call>",
        "glm45",
        [PARIS],
    ),
    (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        + JSON
        + "<|tool_call_end|><|tool_call_begin|>functions.sky__now:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
        "<|tool_calls_section_end|>",
        "kimi_k2",
        [PARIS, NOW],
    ),
    (
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n'
        '<parameter name="days">2</parameter>\n</invoke>\n<invoke name="sky__now">\n</invoke>\n</minimax:tool_call>',
        "minimax_m2",
        [PARIS, NOW],
    ),
    (
        '<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="get_weather">'
        '<steptml:parameter name="city">Paris</steptml:parameter><steptml:parameter name="days">2</steptml:parameter>'
        "</steptml:invoke><｜tool_call_end｜><｜tool_calls_end｜>",
        "step3",
        [PARIS],
    ),
    (
        f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{JSON}<|call|>",
        "openai",
        [PARIS],
    ),
    (" to=functions.sky__now<|channel|>commentary json<|message|>{}", "openai", [NOW]),
    ("<|tool_call|>[" + CALL + "]", "granite", [PARIS]),
]


def read(pieces: Sequence[str]) -> tuple[str, list[tuple[str, Any]], str | None]:
    reader = ToolTextReader(TOOLS)
    text = "".join([*(reader.feed(piece) for piece in pieces), reader.close()])
    return text, [(one.name, json_value(one.arguments, one.arguments)) for one in reader.calls], reader.family


@pytest.mark.parametrize(("answer", "family", "calls"), ANSWERS)
def test_the_calls_of_every_family_are_read(answer: str, family: str, calls: list[tuple[str, Any]]) -> None:
    assert read([answer]) == ("", calls, family)
    assert read(list(answer)) == ("", calls, family)


@pytest.mark.parametrize(
    ("answer", "family", "calls"), [one for one in ANSWERS if "<" in one[0][:2] or one[0].startswith("[T")]
)
def test_text_before_a_call_is_passed_on(answer: str, family: str, calls: list[tuple[str, Any]]) -> None:
    assert read(["Let me look.\n\n", answer]) == ("Let me look.", calls, family)


def test_every_form_has_an_example() -> None:
    assert {form.family for form in FORMS} - {family for _, family, _ in ANSWERS} == {
        "deepseek_v4"
    }  # as V3.2, in another tag


@pytest.mark.parametrize(
    "answer",
    [
        "Paris is warm.",
        "  \n",
        '{"city": "Paris"}',
        '{"name": "Ada", "born": 1815}',
        '{"name": "get_weather", "parameters": {}} is how it is called',
        "[1, 2, 3]",
        "[get_weather(city=Paris)]",
        "[get_weather('Paris')]",
        "[other(a=1)]",
        "[link](https://a)",
        "<tool_call> is the tag of a call.",
        "<tool_call>{broken</tool_call> and more",
        '<tool_call>{"name": "a b"}</tool_call>',
        "Use `<tool_call>{\"name\": \"get_weather\"}</tool_call>`.",
        '```xml\n<tool_call>{"name": "get_weather"}</tool_call>\n```\nSo it looks.',
        "[TOOL_CALLS]",
        "a <function=",
        "<|python_tag|>print(1)",
        "<tool_call><tool_call><tool_call>",
        "[" * 300_000,
        "<tool_call>" + "[" * 100_000 + "</tool_call>",
        "[get_weather(where=" + "[" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_call_stays_as_it_is(answer: str) -> None:
    assert read([answer]) == (answer, [], None)
    if len(answer) < 1000:
        assert read(list(answer)) == (answer, [], None)


def test_a_call_behind_one_that_is_broken_is_read() -> None:
    broken = "<tool_call>{nothing</tool_call> "
    text, calls, _ = read([broken, ANSWERS[0][0]])
    assert (text, calls) == (broken.rstrip(), [PARIS])


def test_text_comes_on_while_no_call_can_be() -> None:
    reader = ToolTextReader(TOOLS)
    assert reader.feed("Paris") == "Paris"
    assert reader.feed(" is <") == " is"
    assert reader.feed("b>warm") == " <b>warm"
    reader = ToolTextReader(TOOLS)
    assert reader.feed('{"name": "Ada"') == '{"name": "Ada"'


def test_values_are_what_the_schema_of_the_tool_says() -> None:
    given = {
        "city": "7",
        "days": "3",
        "exact": "True",
        "where": "null",
        "share": "0.5",
        "other": '{"a": [1]}',
        "odd": "x y",
    }
    pairs = "".join(f"<parameter={name}>{value}</parameter>" for name, value in given.items())
    _, calls, _ = read([f"<tool_call><function=get_weather>{pairs}</function></tool_call>"])
    assert calls == [
        (
            "get_weather",
            {"city": "7", "days": 3, "exact": True, "where": None, "share": 0.5, "other": {"a": [1]}, "odd": "x y"},
        )
    ]


def test_more_than_is_held_back_is_text() -> None:
    call = '<tool_call>{"name": "get_weather", "arguments": {"city": "' + "x" * MOST_HELD + '"}}</tool_call>'
    assert read([call]) == (call, [], None)
    pieces = [call[at : at + 4096] for at in range(0, len(call), 4096)]
    assert read(pieces) == (call, [], None)


@pytest.mark.parametrize("opener", sorted({form.opener for form in FORMS}))
def test_an_endless_answer_of_openers_takes_little_time(opener: str) -> None:
    text = opener * (1_000_000 // len(opener))
    begin = time.process_time()
    assert read([text[at : at + 1000] for at in range(0, len(text), 1000)])[0] == text
    assert time.process_time() - begin < 5


def test_a_large_call_that_comes_letter_by_letter_takes_little_time() -> None:
    call = '<tool_call>{"name": "get_weather", "arguments": {"city": "' + "x" * 300_000 + '"}}</tool_call>'
    begin = time.process_time()
    assert len(read([call[at : at + 3] for at in range(0, len(call), 3)])[1]) == 1
    assert time.process_time() - begin < 5


PIECES = st.sampled_from(
    [
        *(answer for answer, _, _ in ANSWERS),
        *(form.opener for form in FORMS),
        *(closer for form in FORMS for closer in form.closers),
        *("Hm. ", "\n", " ", "```\n", "`", "<", "[", "{"),
        *('{"name": "get_weather"', "}", "]", "(a=1)", "get_weather", "<think>", "</think>"),
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=8), st.data())
def test_any_cutting_gives_the_same_text_and_calls(tokens: list[str], data: st.DataObject) -> None:
    text = "".join(tokens)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    places = [0, *cuts, len(text)]
    pieces = [text[begin:end] for begin, end in itertools.pairwise(places)]
    whole = read([text])
    assert read(pieces) == whole
    assert read(list(text)) == whole


@given(st.text() | st.lists(PIECES, max_size=6).map("".join))
def test_nothing_is_lost_of_what_is_not_called(text: str) -> None:
    reader = ToolTextReader(TOOLS)
    given_on = reader.feed(text) + reader.close()
    if not reader.calls:
        assert given_on == text
    assert sorted(given_on + reader.give_up()) == sorted(text) or text[-1:].isspace()


def split(pieces: Sequence[str]) -> tuple[str, str, list[str]]:
    splitter = CallSplitter(ThinkingSplitter(), TOOLS)
    content, reasoning = "", ""
    for event in [*itertools.chain.from_iterable(splitter.feed(piece) for piece in pieces), *splitter.close()]:
        if isinstance(event, Relabel):
            content, reasoning = "", reasoning + content
        else:
            content, reasoning = content + event.content, reasoning + event.reasoning
    return content, reasoning, [one.name for one in splitter.reader.calls]


def test_a_call_behind_thinking_is_read_and_one_within_is_thinking() -> None:
    call = ANSWERS[0][0]
    assert split([f"<think>{call} would do.</think>\n{call}"]) == ("", f"{call} would do.", ["get_weather"])
    # Without the opening tag it was taken for the answer until the closing one came.
    content, reasoning, calls = split([f"I may {call}", "</think>Done."])
    assert (content, calls) == ("Done.", [])
    assert sorted(reasoning) == sorted(f"I may {call}")


@given(st.lists(PIECES, max_size=6), st.data())
def test_any_cutting_gives_the_same_thinking_too(tokens: list[str], data: st.DataObject) -> None:
    text = "".join(tokens)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    pieces = [text[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(text)])]
    assert split(pieces) == split([text])


def test_what_is_recovered_says_which_parser_to_set() -> None:
    reader = ToolTextReader(TOOLS)
    reader.feed(ANSWERS[0][0])
    for backend, words in (
        ("vllm", "tool_call_parser hermes"),
        ("sglang", "tool_call_parser hermes"),
        ("external", "hermes"),
    ):
        ended = recovered(Ended("stop"), reader.calls, reader.family, backend)
        assert (ended.finish, ended.details["recovered"]) == ("tool_calls", "hermes")
        assert words in (ended.advice or "")
    assert recovered(Ended("stop"), (), None, "vllm") == Ended("stop")


def test_content_and_reasoning_of_one_event_both_come() -> None:
    class Both(ThinkingSplitter):
        def feed(self, text: str) -> list[Delta | Relabel]:
            return [Delta("said", "thought")]

    assert CallSplitter(Both(), TOOLS).feed("x") == [Delta("said", "thought")]
