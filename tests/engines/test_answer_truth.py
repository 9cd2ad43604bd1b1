"""What a real vLLM tells of an answer: tools in the context, the prompt's cache, whose preemption it was."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.engines.conftest import Home
from vllm_studio_tui.domain.answer_share import AnswerShare
from vllm_studio_tui.domain.chat import Ended, Sampling, Target
from vllm_studio_tui.domain.context import CountedBy
from vllm_studio_tui.domain.tools import ToolChoice
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.chat.events import AnswerSaved
from vllm_studio_tui.studio import Studio

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
TOOLS = (
    "{% if tools %}<|im_start|>system\nTools:\n"
    "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: Two of these, and what is answered to them, do not fit into the cache at once.
LONG = " ".join(f"word{number}" for number in range(260))


async def ask(studio: Studio, target: Target, text: str, tokens: int, tools: ToolChoice | None = None) -> Ended:
    session = studio.chat.new_session(text[:20], model=target.model)
    shape = Sampling(temperature=0, max_tokens=tokens, extra={"ignore_eos": True})
    events = studio.chat.send(session, text, target, sampling=shape, tools=tools)
    return [one async for one in events if isinstance(one, Ended)][-1]


async def test_an_answer_says_what_it_cost(home: Home, tmp_path: Path) -> None:
    (tmp_path / "tools.jinja").write_text(TOOLS)
    more = {
        "enforce_eager": True,
        "enable_prompt_tokens_details": True,
        "chat_template": str(tmp_path / "tools.jinja"),
        "num_gpu_blocks_override": 18,
        "block_size": 128,
    }
    recipe_id = home.recipe("vllm", tool_call_parser="hermes", extra_args=more)
    home.launch(recipe_id)
    with Studio.open_sync(Places.under(home.root)) as studio:
        target = studio.launcher.target(recipe=recipe_id)
        session = studio.chat.new_session("x", model=target.model, settings={"tools": ["builtin"]})
        report = studio.context.report(session, target, draft="What time is it?")
        ended = await ask(studio, target, "What time is it?", 4, ToolChoice(("builtin",), call=False))
        assert (report.total.tokens, report.total.by) == (ended.usage.prompt_tokens, CountedBy.ENGINE)
        assert report.tools > 100
        assert report.unseen_tools is False
        first, again = [await ask(studio, target, LONG, 4) for _ in range(2)]
        assert (first.usage.cached_tokens or 0) < 128 <= (again.usage.cached_tokens or 0)

        saved = asyncio.Queue[AnswerSaved]()
        loop = asyncio.get_running_loop()

        def on_saved(event: AnswerSaved) -> None:
            loop.call_soon_threadsafe(saved.put_nowait, event)

        studio.bus.subscribe(AnswerSaved, on_saved)
        studio.sampler.start()
        await asyncio.sleep(2.0)  # the engine is read, once a second
        both = await asyncio.gather(*(ask(studio, target, f"{number}: {LONG}", 300) for number in range(2)))
        assert [one.finish for one in both] == ["length", "length"]
        event = await asyncio.wait_for(saved.get(), 30)
        assert event.message_id is not None
        share = AnswerShare.from_json(studio.chat.messages.get(event.message_id).details["during"])
        assert share is not None
        assert share.preemptions is not None
        assert share.preemptions > 0
        assert share.alone  # its own, though two were there
        assert share.joules is None  # there is no GPU
