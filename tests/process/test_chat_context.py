"""Counting and compaction with the small real model in the embedded engine: counts are what requests really have."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.process.house import House
from tests.process.serving import small_model
from vllm_studio_tui.domain.chat import Ended, Sampling, Target
from vllm_studio_tui.domain.context import CountedBy
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.tools import ToolChoice
from vllm_studio_tui.runs import control
from vllm_studio_tui.studio import Studio

pytestmark = pytest.mark.timeout(240)
SHORT = Sampling(temperature=0, max_tokens=12)


def ask(studio: Studio, session: str, target: Target, text: str, tools: ToolChoice | None = None) -> Ended:
    async def whole() -> Ended:
        events = studio.chat.send(session, text, target, sampling=SHORT, tools=tools)
        return [one async for one in events if isinstance(one, Ended)][-1]

    return asyncio.run(whole())


def test_what_is_counted_beforehand_is_what_the_request_has(tmp_path: Path) -> None:
    model = small_model()
    house = House(tmp_path)
    with Studio.open_sync(house.places) as studio:
        fields = {"id": "smol", "name": "smol", "backend": "llamacpp", "model_path": str(model), "max_model_len": 1024}
        run = house.ready(studio.launcher.launch(studio.recipes.create(Recipe.model_validate(fields))))
        target = studio.launcher.target(recipe="smol")
        session = studio.chat.new_session("x", model=target.model, settings={"recipe": "smol", "system": "Be short."})
        for question in ("What is the capital of France?", "Ünïcode, 漢字 and \U0001f600?", "print('<|im_end|>')"):
            report = studio.context.report(session, target, draft=question)
            ended = ask(studio, session, target, question)
            assert (report.total.tokens, report.total.by) == (ended.usage.prompt_tokens, CountedBy.ENGINE)
            assert report.limit == 1024
            assert ended.details["engine"]["prefill_tps"] > 0
        made = studio.context.compact(session, target, keep=1)
        assert made.content.strip()
        report = studio.context.report(session, target, draft="And now?")
        assert (report.left_out, report.shortened) == (4, "summary")
        assert ask(studio, session, target, "And now?").usage.prompt_tokens == report.total.tokens
        control.stop(run)
        # Its engine is gone and a GGUF has no tokenizer that we read: it is a guess, and says so.
        assert studio.context.report(session, target).total.by is CountedBy.ESTIMATE


#: SmolLM2's own template writes nothing of tools.
WITH_TOOLS = (
    "{% if tools %}<|im_start|>system\nTools:\n"
    "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("template", [None, WITH_TOOLS], ids=["its own template", "a template with tools"])
def test_definitions_of_tools_are_counted_as_the_engine_writes_them(tmp_path: Path, template: str | None) -> None:
    house = House(tmp_path)
    fields: dict[str, Any] = {"id": "smol", "name": "smol", "backend": "llamacpp", "model_path": str(small_model())}
    if template is not None:
        (tmp_path / "tools.jinja").write_text(template)
        fields["extra_args"] = {"chat-template-file": str(tmp_path / "tools.jinja")}
    with Studio.open_sync(house.places) as studio:
        run = house.ready(studio.launcher.launch(studio.recipes.create(Recipe.model_validate(fields))))
        target = studio.launcher.target(recipe="smol")
        session = studio.chat.new_session("x", model=target.model, settings={"tools": ["builtin"]})
        report = studio.context.report(session, target, draft="What time is it?")
        ended = ask(studio, session, target, "What time is it?", ToolChoice(("builtin",), call=False))
        assert report.total.tokens == ended.usage.prompt_tokens
        assert report.unseen_tools is (template is None)
        assert (report.tools > 100) is (template is not None)
        control.stop(run)
