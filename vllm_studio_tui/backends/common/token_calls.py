"""How engines are asked to turn text into tokens and back: each has paths and fields of its own.

Requests and answers are in vLLM's form: `{prompt or messages, add_special_tokens}` gives `{count, tokens}`, and
`{tokens}` gives `{prompt}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenCalls:
    """Paths beside `/v1`, and the names of fields there.

    Attributes:
        encode, decode: Paths; empty: it has none.
        text: The field of the text to encode.
        special: The field that says whether special tokens are added.
        decoded: The field of the text that tokens stand for.
        template: The path that makes a prompt of `messages`; None: `encode` takes them itself.
        pictures: The path that says how many tokens `messages` have with their pictures (`input_tokens`); empty: it
            has none.
    """

    encode: str = "/tokenize"
    decode: str = "/detokenize"
    text: str = "prompt"
    special: str = "add_special_tokens"
    decoded: str = "prompt"
    template: str | None = None
    pictures: str = ""

    def encode_body(self, data: Mapping[str, Any], model: str | None) -> dict[str, Any]:
        """Return the body that encodes a prompt or messages."""
        body: dict[str, Any] = {} if model is None else {"model": model}
        for name, value in data.items():
            if name in ("prompt", "text", "content", "input"):
                body[self.text] = value
            elif name in ("add_special_tokens", "add_special"):
                body[self.special] = value
            elif name != "model":
                body[name] = value
        return body

    def tokens_of(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer to an encoding as `{count, tokens, max_model_len}`."""
        tokens = answer.get("tokens")
        count = answer.get("count", answer.get("length"))
        if count is None and isinstance(tokens, list):
            count = len(tokens)
        return {"count": count, "tokens": tokens, "max_model_len": answer.get("max_model_len")}

    def text_of(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer to a decoding as `{prompt}`."""
        return {"prompt": answer.get(self.decoded)}


#: vLLM's and SGLang's.
VLLM = TokenCalls()
LLAMACPP = TokenCalls(
    text="content",
    special="add_special",
    decoded="content",
    template="/apply-template",
    pictures="/v1/chat/completions/input_tokens",
)
TABBY = TokenCalls("/v1/token/encode", "/v1/token/decode", "text", "add_bos_token", "text")
