"""Asking an engine how many tokens a text or a chat has, and how many it can take. No answer of it raises."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.common.token_calls import LLAMACPP, VLLM, TokenCalls
from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.inference.deltas import token_count
from vllm_studio_tui.inference.request import authorization, loopback
from vllm_studio_tui.kit.sanitize import clean_line

#: Seconds that an engine may take; bytes of its answer that are read: it names every token.
PATIENCE = 5.0
MAX_ANSWER = 32 * 1024 * 1024


class EngineTokens:
    """The tokenizer of the engine that answers. Blocking; None means that it could not be asked."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._root = target.base_url.removesuffix("/v1")
        backend = registry.find(target.backend)
        # Of a server that somebody else runs it is not known which it is: most have vLLM's calls, our own server too.
        self._calls: tuple[TokenCalls, ...]
        if backend is None or not backend.needs_launch:
            self._calls = (VLLM, LLAMACPP)
        else:
            self._calls = () if backend.token_calls is None else (backend.token_calls,)

    def of_chat(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], template: Mapping[str, Any]
    ) -> int | None:
        """Return the tokens of a request, as the engine's template writes it.

        Args:
            template: Switches for the template, such as `enable_thinking`.
        """
        body: dict[str, Any] = {"messages": list(messages)}
        if tools:
            body["tools"] = list(tools)
        if template:
            body["chat_template_kwargs"] = dict(template)
        for calls in self._calls:
            asked: Mapping[str, Any] = body
            if calls.template is not None:
                made = self._post(calls.template, body)
                prompt = made.get("prompt") if made is not None else None
                if not isinstance(prompt, str):
                    continue
                asked = {"prompt": prompt, "add_special_tokens": False}
            if (found := self._encode(calls, asked)) is not None:
                self._calls = (calls,)
                return found
        return None

    def of_text(self, text: str) -> int | None:
        """Return the tokens of a text, without any that a template adds."""
        if not text:
            return 0
        for calls in self._calls:
            if (found := self._encode(calls, {"prompt": text, "add_special_tokens": False})) is not None:
                self._calls = (calls,)
                return found
        return None

    def of_picture(self, url: str) -> int | None:
        """Return how many tokens a picture adds to a question: as many in any other.

        Args:
            url: Its data URL.
        """
        words = {"type": "text", "text": "."}
        for calls in self._calls:
            counts = []
            for content in ([words], [words, {"type": "image_url", "image_url": {"url": url}}]):
                body = {"model": self._target.model, "messages": [{"role": "user", "content": content}]}
                answer = self._post(calls.pictures, body) if calls.pictures else None
                counts.append(token_count(answer.get("input_tokens")) if answer is not None else None)
                if not counts[-1]:
                    break
            else:
                bare, whole = counts
                if bare is not None and whole is not None and whole > bare:
                    return whole - bare
        return None

    def limit(self) -> int | None:
        """Return how many tokens it takes, prompt and answer together."""
        listed = self._get(f"{self._target.base_url}/models")
        entries = listed.get("data") if listed is not None else None
        if isinstance(entries, list):
            named = [one for one in entries if isinstance(one, dict)]
            ours = [one for one in named if one.get("id") == self._target.model] or named[:1]
            if ours and (found := token_count(ours[0].get("max_model_len"))):
                return found
        told = self._get(f"{self._root}/props")  # llama.cpp: of one of its slots
        settings = told.get("default_generation_settings") if told is not None else None
        return (token_count(settings.get("n_ctx")) or None) if isinstance(settings, dict) else None

    def version(self) -> str | None:
        """Return the version that it says it is."""
        told = self._get(f"{self._root}/version")
        if told is not None and isinstance(told.get("version"), str):
            return clean_line(told["version"])[:60]
        told = self._get(f"{self._root}/props")  # llama.cpp
        return (
            clean_line(told["build_info"])[:60]
            if told is not None and isinstance(told.get("build_info"), str)
            else None
        )

    def _encode(self, calls: TokenCalls, asked: Mapping[str, Any]) -> int | None:
        if not calls.encode:
            return None
        answer = self._post(calls.encode, calls.encode_body(asked, self._target.model or None))
        # llama.cpp has no tokens for what stands in a field that it does not know.
        return None if answer is None else token_count(calls.tokens_of(answer)["count"]) or None

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        return self._ask("POST", f"{self._root}/{path.removeprefix('/')}", body)

    def _get(self, url: str) -> dict[str, Any] | None:
        return self._ask("GET", url, None)

    def _ask(self, method: str, url: str, body: Mapping[str, Any] | None) -> dict[str, Any] | None:
        import httpx2

        here = loopback(url)
        headers = authorization(self._target.api_key, self._target.user)
        try:
            with (
                httpx2.Client(
                    timeout=PATIENCE, trust_env=not here, verify=not (here and url.startswith("http:"))
                ) as client,
                client.stream(method, url, headers=headers, json=None if body is None else dict(body)) as answer,
            ):
                if answer.status_code != 200:
                    return None
                raw = bytearray()
                for piece in answer.iter_bytes():
                    raw += piece
                    if len(raw) > MAX_ANSWER:
                        return None
            found = json.loads(raw)
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None
