"""Forms of answers, parameters of sampling and likelihoods with a real small model on the embedded engine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ports import free_port
from tests.process.serving import small_model
from vllm_studio_tui.backends.common import parameters
from vllm_studio_tui.domain.chat import ChatRequest, Delta, Ended, Target
from vllm_studio_tui.domain.chat_settings import sampling_of
from vllm_studio_tui.domain.sampling import BY_NAME, form_of_text
from vllm_studio_tui.inference.client import stream_chat

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "age": {"type": "integer", "minimum": 1, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
VALUES: dict[str, Any] = {"float": 0.5, "int": 1, "bool": False, "texts": ["@@"], "map": {"5": -1.0}, "tool": "none"}


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    port = free_port()
    command = [sys.executable, "-m", "vllm_studio_tui.backends.embedded", "--model", str(small_model())]
    engine = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                assert engine.poll() is None and time.monotonic() < deadline, "the engine does not answer"
                time.sleep(0.1)
        yield Target(f"{url}/v1", "smol", backend="llamacpp")
    finally:
        engine.kill()
        engine.wait(10)


async def ask(
    target: Target, question: str, tools: tuple[dict[str, Any], ...] = (), **settings: Any
) -> tuple[str, Ended]:
    settings = {"max_tokens": 60, "seed": 1, **settings}
    request = ChatRequest(({"role": "user", "content": question},), sampling_of(settings), tools)
    text, ended = "", None
    async for event in stream_chat(target, request):
        if isinstance(event, Delta):
            text += event.content
        elif isinstance(event, Ended):
            ended = event
    assert ended is not None and ended.finish in ("stop", "length"), ended
    return text, ended


@pytest.mark.timeout(180)
async def test_an_answer_is_held_to_a_schema(target: Target) -> None:
    form = form_of_text("json_schema", json.dumps(SCHEMA), "person")
    text, ended = await ask(target, "Invent a person.", form=form.to_json())
    assert set(json.loads(text)) == {"name", "age"}
    assert ended.details["form"]["valid"] is True
    assert "not_sent" not in ended.details


@pytest.mark.timeout(180)
async def test_an_answer_is_held_to_a_choice_or_a_grammar_and_what_cannot_be_is_said(target: Target) -> None:
    text, ended = await ask(target, "A colour?", form=form_of_text("choice", "red\nblue").to_json())
    assert text in ("red", "blue") and ended.details["form"]["valid"] is True
    text, ended = await ask(target, "A colour?", form=form_of_text("grammar", 'root ::= "green" | "grey"').to_json())
    assert text in ("green", "grey") and ended.details["form"]["valid"] is None
    text, ended = await ask(target, "A number?", form=form_of_text("regex", "[0-9]+").to_json(), max_tokens=8)
    assert "regular expression" in ended.details["not_sent"]["form"]


@pytest.mark.timeout(180)
async def test_likelihoods_of_every_token_are_told(target: Target) -> None:
    text, ended = await ask(target, "Say hello.", logprobs=3, max_tokens=8)
    kept = ended.details["logprobs"]
    assert "".join(token for token, _, _ in kept["tokens"]).strip().startswith(text.strip()[:4])
    assert all(value is not None and value <= 0 and len(others) == 3 for _, value, others in kept["tokens"])


@pytest.mark.timeout(180)
async def test_the_engine_takes_all_that_it_is_said_to_take(target: Target) -> None:
    every = {name: VALUES[BY_NAME[name].kind] for name in parameters.LLAMACPP if name not in ("dry_base", "logprobs")}
    _, ended = await ask(target, "Say hello.", **{**every, "dry_base": 1.75, "max_tokens": 4})
    assert "not_sent" not in ended.details
    same = [(await ask(target, "Tell a story.", temperature=1.0, seed=seed, max_tokens=16))[0] for seed in (7, 7)]
    assert same[0] == same[1]


@pytest.mark.timeout(180)
async def test_what_it_refuses_together_with_tools_is_left_out(target: Target) -> None:
    tool = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
    _, ended = await ask(target, "Hello.", (tool,), logprobs=2, max_tokens=4, form={"kind": "json_object"})
    assert set(ended.details["not_sent"]) == {"logprobs", "form"}


@pytest.mark.timeout(180)
async def test_a_forced_call_that_does_not_come_is_said(target: Target) -> None:
    """The embedded engine looks at no choice of a tool; nothing but the answer tells."""
    tool = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
    _, ended = await ask(target, "Say hello.", (tool,), tool_choice="clock", max_tokens=200, temperature=0)
    assert ended.finish == "stop"
    assert ended.details["unheeded"] == "a call of clock was forced, and none came: the engine did not look at it"
    _, ended = await ask(target, "Say hello.", (tool,), tool_choice="none", max_tokens=8)
    assert "unheeded" not in ended.details
