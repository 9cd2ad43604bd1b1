"""An answer of the simulated engine, whole or streamed, in the format of the engine that it imitates."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from vllm_studio_tui.simulation import answers
from vllm_studio_tui.simulation.framing import Framing, event
from vllm_studio_tui.simulation.server import JsonHandler

#: The names of the field with thinking, by style.
REASONING = {"vllm": "reasoning", "llamacpp": "reasoning_content", "sglang": "reasoning_content"}


#: What a client is sent when the engine dies beneath its answer.
DIED = {"error": {"message": "EngineCore encountered an issue", "type": "InternalServerError", "code": 500}}


class Gone(Exception):
    """The client has hung up, or the stream was broken on purpose."""


class Reply:
    """Answers one completion request and counts it."""

    def __init__(self, handler: JsonHandler, body: dict[str, Any], *, chat: bool) -> None:
        self._handler, self._body, self._chat = handler, body, chat
        self._engine = handler.server
        self._style = self._engine.options.style
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._base = {"id": self._id, "created": int(time.time()), "model": self._engine.options.model}
        self._framing = Framing(handler.connection, self._engine.framing)
        self._sent = 0
        self._begin = self._first = time.monotonic()

    def run(self) -> None:
        """Refuse the request, or answer it."""
        prompt = self._prompt()
        prompt_tokens = answers.count(prompt)
        options = self._engine.options
        if prompt_tokens > options.max_context:
            self._handler.send_error_json(400, self._too_long(prompt_tokens), "BadRequestError")
            return
        counters = self._engine.counters
        tools = self._body.get("tools") if isinstance(self._body.get("tools"), list) else []
        thinks = options.thinking != "off" and (options.answer or "").startswith("thinking")
        answer = answers.answer(options.answer, self._last(), tools or [], thinks=thinks)
        if options.thinking == "off":
            answer = answers.Answer((), answer.text, answer.call)
        limit = self._body.get("max_tokens") or self._body.get("max_completion_tokens")
        with counters.lock:
            counters.running += 1
            counters.held += prompt_tokens
        self._engine.asked(1)
        finish = "abort"
        try:
            prefill = self._prefill(prompt_tokens)
            time.sleep(prefill)
            with counters.lock:
                counters.prompt_tokens += prompt_tokens
                counters.prompt_seconds += prefill
            finish = self._answer(answer, prompt_tokens, int(limit) if isinstance(limit, int) else None)
        except (Gone, OSError):
            self._handler.close_connection = True
        finally:
            with counters.lock:
                counters.running -= 1
                counters.held -= prompt_tokens + self._sent
                counters.requests += 1
                counters.finished[finish] = counters.finished.get(finish, 0) + 1
                counters.e2e.observe(time.monotonic() - self._begin)
            counters.write()
            self._engine.asked(-1)

    def _prefill(self, prompt_tokens: int) -> float:
        """Return the seconds until the first token: as asked for, or what the traffic leaves."""
        traffic = self._engine.traffic
        if traffic is None:
            return float(self._engine.options.prefill_seconds)
        flow = traffic.at(time.time())
        return traffic.layout.model.ttft * (0.6 + 6 * flow.burst) + prompt_tokens / 12_000

    def _rate(self) -> float:
        """Return the tokens a second of one answer; 0: as fast as possible."""
        traffic = self._engine.traffic
        itl = None if traffic is None else traffic.at(time.time()).itl
        return float(self._engine.options.tokens_per_second) if itl is None else 1 / itl

    def _prompt(self) -> str:
        if not self._chat:
            return str(self._body.get("prompt") or "")
        messages = self._body.get("messages")
        texts = (
            [_text(one.get("content")) for one in messages if isinstance(one, dict)]
            if isinstance(messages, list)
            else []
        )
        return "\n".join(texts)

    def _last(self) -> str:
        return self._prompt().rsplit("\n", 1)[-1]

    def _too_long(self, tokens: int) -> str:
        most = self._engine.options.max_context
        if self._style == "llamacpp":
            return f"request ({tokens} tokens) exceeds the available context size ({most} tokens), try increasing it"
        return f"This model's maximum context length is {most} tokens. However, your request has {tokens} input tokens."

    def _answer(self, answer: answers.Answer, prompt_tokens: int, limit: int | None) -> str:
        streaming = bool(self._body.get("stream"))
        pieces = list(answers.parts(answer))
        finish = "tool_calls" if answer.call else "stop"
        if limit is not None and len(pieces) > limit:
            pieces, finish = pieces[:limit], "length"
            answer = answers.Answer(answer.thinking, answer.text, None)
        wrapped = self._wrapped(pieces)
        if not streaming:
            for _ in self._paced(wrapped):
                pass
            self._whole(wrapped, answer, finish, prompt_tokens)
            return finish
        self._framing.head()
        first: dict[str, Any] = {"role": "assistant"}
        if self._style == "llamacpp":
            first["content"] = None
        elif self._style == "vllm":
            first["content"] = ""
        else:
            first |= {"content": "", "reasoning_content": None}
        self._event(self._chunk(first if self._chat else None))
        for kind, piece in self._paced(wrapped):
            self._piece(kind, piece)
        if answer.call and finish == "tool_calls":
            self._tool(*answer.call)
        last: dict[str, Any] = {"reasoning_content": None} if self._style == "sglang" else {}
        self._event(self._chunk(last, finish))
        if (self._body.get("stream_options") or {}).get("include_usage"):
            usage = self._usage(prompt_tokens)
            self._event(event(self._style, self._base, None, usage=usage, **self._timings(prompt_tokens)))
        if self._engine.faults.break_style != "no-done" or self._engine.faults.break_at is None:
            self._framing.write(b"data: [DONE]\n\n")
        self._framing.end()
        return finish

    def _wrapped(self, pieces: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the pieces with thinking as a field of its own, or as text between tags."""
        how = self._engine.options.thinking
        thinking = [piece for kind, piece in pieces if kind == "thinking"]
        if how == "field" or not thinking:
            return pieces
        texts = [piece for kind, piece in pieces if kind == "text"]
        opened = [] if how == "open" else ["<think>\n"]
        # The tags ride on tokens that are there anyway, so that the count of tokens stays that of the pieces.
        thinking[0] = "".join(opened) + thinking[0]
        thinking[-1] += "</think>\n\n"
        return [("text", piece) for piece in (*thinking, *texts)]

    def _paced(self, pieces: list[tuple[str, str]]) -> Any:
        """Yield the pieces at the configured speed, counting each before it is sent."""
        counters, faults = self._engine.counters, self._engine.faults
        rate = self._rate()
        begin = time.monotonic()
        for number, item in enumerate(pieces, 1):
            if rate > 0:
                wait = begin + (number - 1) / rate - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
            faults.token(number)
            with counters.lock:
                counters.generation_tokens += 1
                counters.held += 1
                if number == 1:
                    self._first = time.monotonic()
                    counters.ttft.observe(self._first - self._begin)
                elif rate > 0:
                    counters.itl.observe(1 / rate)
                    counters.generation_seconds += 1 / rate
            self._sent = number
            yield item
            if faults.break_at is not None and number >= faults.break_at:
                self._break()

    def _break(self) -> None:
        style = self._engine.faults.break_style
        if style == "no-done" or not self._body.get("stream"):
            self._framing.end()
            raise Gone
        if style == "error-object":
            self._event(DIED)
            self._framing.write(b"data: [DONE]\n\n")
            self._framing.end()
            raise Gone
        if style == "bad-json":
            self._framing.write(b'data: {"choices": [{"delta": {"content": "oops\n\n')
            self._engine.faults.break_at = None  # the stream continues after it
            return
        if style == "split-utf8":
            raw = json.dumps(self._chunk({"content": "┌─┐"}), ensure_ascii=False).encode()
            middle = raw.index("─".encode()) + 1
            self._framing.write(b"data: " + raw[:middle])
            self._framing.flush()
            time.sleep(0.05)
            self._framing.write(raw[middle:] + b"\n\n")
            self._engine.faults.break_at = None
            return
        self._framing.write(b'data: {"id": "' + self._id.encode()[:9])
        self._framing.flush()
        self._handler.connection.close()
        raise Gone

    def _piece(self, kind: str, piece: str) -> None:
        field = REASONING[self._style] if kind == "thinking" else "content"
        delta: dict[str, Any] = {field: piece}
        if self._style == "sglang":
            delta = {"reasoning_content": None, "content": None, **delta}
        self._event(self._chunk(delta) if self._chat else event(self._style, self._base, {"text": piece}))

    def _tool(self, name: str, arguments: str) -> None:
        call = {"index": 0, "id": f"call_{uuid.uuid4().hex[:9]}", "type": "function"}
        self._event(self._chunk({"tool_calls": [{**call, "function": {"name": name, "arguments": ""}}]}))
        middle = max(1, len(arguments) // 2)
        for part in (arguments[:middle], arguments[middle:]):
            self._event(self._chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}))

    def _chunk(self, delta: dict[str, Any] | None, finish: str | None = None) -> dict[str, Any]:
        choice: dict[str, Any] = {"text": ""} if delta is None else {"delta": delta}
        return event(self._style, self._base, {**choice, "finish_reason": finish})

    def _event(self, data: dict[str, Any]) -> None:
        raw = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
        self._framing.write(b"data: " + raw + b"\n\n")

    def _usage(self, prompt_tokens: int) -> dict[str, Any]:
        self._engine.counters.write()  # a client that was sent tokens may rely on the account
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": self._sent,
            "total_tokens": prompt_tokens + self._sent,
        }

    def _timings(self, prompt_tokens: int) -> dict[str, Any]:
        if self._style != "llamacpp":
            return {}
        taken = max(1e-3, (time.monotonic() - self._first) * 1000)
        prompt = max(1e-3, (self._first - self._begin) * 1000)
        timings: dict[str, float] = {"cache_n": 0}
        for name, count, spent in (("prompt", prompt_tokens, prompt), ("predicted", self._sent, taken)):
            timings |= {f"{name}_n": count, f"{name}_ms": spent, f"{name}_per_token_ms": spent / max(1, count)}
            timings[f"{name}_per_second"] = count / spent * 1000
        return {"timings": timings}

    def _whole(self, pieces: list[tuple[str, str]], answer: answers.Answer, finish: str, prompt_tokens: int) -> None:
        text = "".join(piece for kind, piece in pieces if kind == "text")
        thought = "".join(piece for kind, piece in pieces if kind == "thinking")
        base = {"id": self._id, "model": self._engine.options.model, "usage": self._usage(prompt_tokens)}
        if not self._chat:
            choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": finish}
            self._handler.send_json(200, {**base, "object": "text_completion", "choices": [choice]})
            return
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if thought:
            message[REASONING[self._style]] = thought
        if answer.call and finish == "tool_calls":
            function = {"name": answer.call[0], "arguments": answer.call[1]}
            message["tool_calls"] = [{"id": f"call_{uuid.uuid4().hex[:9]}", "type": "function", "function": function}]
        choice = {"index": 0, "message": message, "finish_reason": finish}
        timings = self._timings(prompt_tokens)
        self._handler.send_json(200, {**base, "object": "chat.completion", "choices": [choice], **timings})


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return ""
