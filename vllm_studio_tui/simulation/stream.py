"""One answer of the simulated engine: whole or as a stream, in the shapes of the engine that it plays."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.simulation import script

if TYPE_CHECKING:
    from vllm_studio_tui.simulation.engine import Handler

#: Streams are written in steps of about this many seconds.
STEP = 0.02
#: The names of the field with thinking, by style.
REASONING = {"vllm": "reasoning", "llamacpp": "reasoning_content", "sglang": "reasoning_content"}


class Gone(Exception):
    """The client has hung up, or the stream was broken on purpose."""


class Reply:
    """Answers one completion request and accounts for it."""

    def __init__(self, handler: Handler, body: dict[str, Any], *, chat: bool) -> None:
        self._handler, self._body, self._chat = handler, body, chat
        self._engine = handler.server
        self._style = self._engine.options.style
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._out = bytearray()
        self._sent = 0
        self._begin = time.monotonic()

    def run(self) -> None:
        """Refuse, or answer."""
        prompt = self._prompt()
        prompt_tokens = script.count(prompt)
        options = self._engine.options
        if prompt_tokens > options.max_context:
            self._handler._error(400, self._too_long(prompt_tokens), "BadRequestError")
            return
        spent = self._engine.spent
        tools = self._body.get("tools") if isinstance(self._body.get("tools"), list) else []
        thinks = options.thinking != "off" and (options.answer or "").startswith("thinking")
        answer = script.answer(options.answer, self._last(), tools or [], thinks=thinks)
        if options.thinking == "off":
            answer = script.Answer((), answer.text, answer.call)
        limit = self._body.get("max_tokens") or self._body.get("max_completion_tokens")
        with spent.lock:
            spent.running += 1
            spent.held += prompt_tokens
        finish = "abort"
        try:
            time.sleep(options.prefill_seconds)
            with spent.lock:
                spent.prompt_tokens += prompt_tokens
                spent.prompt_seconds += options.prefill_seconds
            finish = self._answer(answer, prompt_tokens, int(limit) if isinstance(limit, int) else None)
        except (Gone, OSError):
            self._handler.close_connection = True
        finally:
            with spent.lock:
                spent.running -= 1
                spent.held -= prompt_tokens + self._sent
                spent.requests += 1
                spent.finished[finish] = spent.finished.get(finish, 0) + 1
                spent.e2e.observe(time.monotonic() - self._begin)
            spent.write()

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

    def _answer(self, answer: script.Answer, prompt_tokens: int, limit: int | None) -> str:
        options = self._engine.options
        streaming = bool(self._body.get("stream"))
        pieces = list(script.parts(answer))
        finish = "tool_calls" if answer.call else "stop"
        if limit is not None and len(pieces) > limit:
            pieces, finish = pieces[:limit], "length"
            answer = script.Answer(answer.thinking, answer.text, None)
        wrapped = self._wrapped(pieces)
        if not streaming:
            for _ in self._paced(wrapped):
                pass
            self._whole(wrapped, answer, finish, prompt_tokens)
            return finish
        self._headers()
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
        self._event(self._chunk({}, finish))
        if (self._body.get("stream_options") or {}).get("include_usage"):
            usage = {"id": self._id, "object": "chat.completion.chunk", "model": options.model, "choices": []}
            self._event({**usage, "usage": self._usage(prompt_tokens), **self._timings(prompt_tokens)})
        if self._engine.mischief.break_style != "no-done" or self._engine.mischief.break_at is None:
            self._out += b"data: [DONE]\n\n"
        self._flush(last=True)
        return finish

    def _wrapped(self, pieces: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Thinking as a field of its own, or as text between tags of which the first may be in the prompt."""
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
        """Hand out the pieces at the wanted speed, counting each before it goes."""
        spent, mischief = self._engine.spent, self._engine.mischief
        rate = self._engine.options.tokens_per_second
        begin = time.monotonic()
        for number, item in enumerate(pieces, 1):
            if rate > 0:
                wait = begin + (number - 1) / rate - time.monotonic()
                if wait > STEP or (wait > 0 and number == len(pieces)):
                    self._flush()
                    time.sleep(wait)
            mischief.token(number)
            with spent.lock:
                spent.generation_tokens += 1
                spent.held += 1
                if number == 1:
                    spent.ttft.observe(time.monotonic() - self._begin)
                elif rate > 0:
                    spent.itl.observe(1 / rate)
                    spent.generation_seconds += 1 / rate
            self._sent = number
            yield item
            if mischief.break_at is not None and number >= mischief.break_at:
                self._break()

    def _break(self) -> None:
        style = self._engine.mischief.break_style
        if style == "no-done" or not self._body.get("stream"):
            self._flush(last=True)
            raise Gone
        if style == "error-object":
            self._event(
                {"error": {"message": "SIMULATED: the engine died", "type": "InternalServerError", "code": 500}}
            )
            self._out += b"data: [DONE]\n\n"
            self._flush(last=True)
            raise Gone
        if style == "bad-json":
            self._out += b'data: {"choices": [{"delta": {"content": "oops\n\n'
            self._engine.mischief.break_at = None  # the stream goes on behind it
            return
        if style == "split-utf8":
            raw = json.dumps(self._chunk({"content": "┌─┐"}), ensure_ascii=False).encode()
            middle = raw.index("─".encode()) + 1
            self._out += b"data: " + raw[:middle]
            self._flush()
            time.sleep(0.05)
            self._out += raw[middle:] + b"\n\n"
            self._engine.mischief.break_at = None
            return
        self._out += b'data: {"id": "' + self._id.encode()[:9]
        self._flush()
        self._handler.connection.close()
        raise Gone

    def _piece(self, kind: str, piece: str) -> None:
        field = REASONING[self._style] if kind == "thinking" else "content"
        delta: dict[str, Any] = {field: piece}
        if self._style == "sglang":
            delta = {"reasoning_content": None, "content": None, **delta}
        self._event(
            self._chunk(delta) if self._chat else {**self._chunk(None), "choices": [{"index": 0, "text": piece}]}
        )

    def _tool(self, name: str, arguments: str) -> None:
        call = {"index": 0, "id": f"call_{uuid.uuid4().hex[:9]}", "type": "function"}
        self._event(self._chunk({"tool_calls": [{**call, "function": {"name": name, "arguments": ""}}]}))
        middle = max(1, len(arguments) // 2)
        for part in (arguments[:middle], arguments[middle:]):
            self._event(self._chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}))

    def _chunk(self, delta: dict[str, Any] | None, finish: str | None = None) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
        if delta is not None:
            choice["delta"] = delta
        model = self._engine.options.model
        return {"id": self._id, "object": "chat.completion.chunk", "model": model, "choices": [choice]}

    def _event(self, data: dict[str, Any]) -> None:
        self._out += b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"
        if len(self._out) > 64 * 1024:
            self._flush()

    def _flush(self, *, last: bool = False) -> None:
        """Write what has gathered as one chunk of the transfer encoding."""
        wire = self._handler.wfile
        if self._out:
            wire.write(b"%x\r\n" % len(self._out) + bytes(self._out) + b"\r\n")
            self._out.clear()
        if last:
            wire.write(b"0\r\n\r\n")
        with contextlib.suppress(ValueError):
            wire.flush()

    def _headers(self) -> None:
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.send_header("X-Simulated", "yes")
        self._handler.end_headers()

    def _usage(self, prompt_tokens: int) -> dict[str, Any]:
        self._engine.spent.write()  # who is told of tokens may rely on the account
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": self._sent,
            "total_tokens": prompt_tokens + self._sent,
        }

    def _timings(self, prompt_tokens: int) -> dict[str, Any]:
        if self._style != "llamacpp":
            return {}
        taken = max(1e-6, time.monotonic() - self._begin)
        timings = {"prompt_n": prompt_tokens, "predicted_n": self._sent, "predicted_per_second": self._sent / taken}
        return {"timings": timings}

    def _whole(self, pieces: list[tuple[str, str]], answer: script.Answer, finish: str, prompt_tokens: int) -> None:
        text = "".join(piece for kind, piece in pieces if kind == "text")
        thought = "".join(piece for kind, piece in pieces if kind == "thinking")
        base = {"id": self._id, "model": self._engine.options.model, "usage": self._usage(prompt_tokens)}
        if not self._chat:
            choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": finish}
            self._handler._json(200, {**base, "object": "text_completion", "choices": [choice]})
            return
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if thought:
            message[REASONING[self._style]] = thought
        if answer.call and finish == "tool_calls":
            function = {"name": answer.call[0], "arguments": answer.call[1]}
            message["tool_calls"] = [{"id": f"call_{uuid.uuid4().hex[:9]}", "type": "function", "function": function}]
        choice = {"index": 0, "message": message, "finish_reason": finish}
        timings = self._timings(prompt_tokens)
        self._handler._json(200, {**base, "object": "chat.completion", "choices": [choice], **timings})


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return ""
