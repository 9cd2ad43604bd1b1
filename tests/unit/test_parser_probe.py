"""Whether an engine's parsers work, from what its answers look like; which parser a family needs on which engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from vllm_studio_tui.backends.common.known_names import known
from vllm_studio_tui.backends.common.parsers import FAMILIES, same_elsewhere, suggest_parsers
from vllm_studio_tui.domain.chat import ChatRequest, Delta, Ended, StreamEvent, Target, TokenUsage, ToolCall
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.services.launching.parser_probe import probe_parsers

TARGET = Target("http://127.0.0.1:1/v1", "m")
CALL = ToolCall("1", "get_weather", '{"city": "Paris"}')


def engine(with_tool: tuple[StreamEvent, ...], without: tuple[StreamEvent, ...]) -> Any:
    async def stream(target: Target, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        for event in with_tool if request.tools else without:
            yield event

    return stream


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ((Ended("tool_calls", tool_calls=(CALL,)),), "works"),
        ((Ended("stop", tool_calls=(ToolCall("1", "get_weather", '{"city": '),)),), "unparsed"),
        ((Delta(content='<tool_call>\n{"name": "get_weather"}'), Ended("stop")), "unparsed"),
        ((Delta(content="It is sunny in Paris."), Ended("stop")), "none"),
        ((Ended("failed", error='"auto" tool choice requires --enable-auto-tool-choice'),), "failed"),
        ((), "failed"),
    ],
)
def test_a_tool_call_shows_whether_the_tool_parser_works(answer: tuple[StreamEvent, ...], verdict: str) -> None:
    found = probe_parsers(TARGET, engine(answer, (Ended("stop"),)))
    assert found.tools.verdict == verdict
    assert found.tools.words


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ((Delta(reasoning="9.9 is larger"), Delta(content="9.9"), Ended("stop")), "works"),
        ((Delta(content="<think>9.9 is larger</think>9.9"), Ended("stop")), "unparsed"),
        ((Delta(content="9.9 is larger</think>9.9"), Ended("stop")), "unparsed"),
        ((Delta(content="9.9"), Ended("stop")), "none"),
    ],
)
def test_a_thought_shows_whether_the_reasoning_parser_works(answer: tuple[StreamEvent, ...], verdict: str) -> None:
    assert probe_parsers(TARGET, engine((Ended("stop"),), answer)).thinking.verdict == verdict


def test_its_questions_are_requests_like_any_other() -> None:
    """The engine counts their tokens: without them a model would have answered nobody."""
    kept: list[CompletedRequest] = []
    usage = TokenUsage(prompt_tokens=30, completion_tokens=12)
    answers = ((Ended("stop", usage=usage),), (Ended("failed", error="refused"),))
    target = Target("http://127.0.0.1:1/v1", "m", run_id="r-1", attempt=2, recipe_id="r")
    probe_parsers(target, engine(*answers), record=kept.append)
    assert [(one.source, one.finish, one.run_id, one.attempt, one.completion_tokens) for one in kept] == [
        ("probe", "stop", "r-1", 2, 12),
        ("probe", "failed", "r-1", 2, None),
    ]


def test_every_suggested_parser_exists_on_its_engine() -> None:
    for backend in ("vllm", "sglang"):
        table = known(backend)
        assert table is not None
        for family in FAMILIES:
            tool, reasoning = family.pair(backend)
            assert tool is None or tool in table.tool_parsers, (family.name, tool)
            assert reasoning is None or reasoning in table.reasoning_parsers, (family.name, reasoning)


def test_the_engines_names_of_a_parser_differ() -> None:
    recipe = {"id": "a", "name": "A", "model_path": "/m/Qwen3-8B"}
    assert suggest_parsers(Recipe.model_validate(recipe)) == ("hermes", "qwen3")
    assert suggest_parsers(Recipe.model_validate({**recipe, "backend": "sglang"})) == ("qwen25", "qwen3")
    assert suggest_parsers(Recipe.model_validate({**recipe, "backend": "llamacpp"})) == (None, None)
    assert same_elsewhere("openai_gptoss", "sglang", 1) == "gpt-oss"
    assert same_elsewhere("no_such", "sglang", 1) is None
