"""How streams are cut into HTTP chunks and TCP segments, and the keys of their events, as in real engines."""

from __future__ import annotations

import socket
import time
from email.utils import formatdate
from typing import Any

#: `uvicorn` (vLLM, SGLang, Transformers, TabbyAPI) and `llamacpp`: one HTTP chunk and one TCP segment an event. `tiny`:
#: the same bytes in segments of a few bytes. `gathered`: what came in some 20 ms as one chunk, as a proxy may do it.
FRAMINGS = ("uvicorn", "llamacpp", "tiny", "gathered")
TINY = 7
STEP = 0.02


class Framing:
    """Writes one chunked response."""

    def __init__(self, connection: socket.socket, how: str) -> None:
        self._connection = connection
        self._how = how
        self._gathered = bytearray()
        self._since = 0.0

    def head(self) -> None:
        """Send the status line and the headers."""
        lines = ["HTTP/1.1 200 OK"]
        if self._how == "llamacpp":
            lines += ["Server: llama.cpp", "Content-Type: text/event-stream", "Transfer-Encoding: chunked"]
            lines += ["Keep-Alive: timeout=5, max=100", "X-Simulated: yes"]
        else:
            lines += [f"date: {formatdate(usegmt=True)}", "server: uvicorn"]
            lines += [
                "content-type: text/event-stream; charset=utf-8",
                "x-simulated: yes",
                "transfer-encoding: chunked",
            ]
        self._send("\r\n".join([*lines, "", ""]).encode())

    def write(self, data: bytes) -> None:
        """Send, or gather, one piece of the body."""
        if self._how != "gathered":
            self._send(b"%x\r\n%b\r\n" % (len(data), data))
            return
        self._gathered += data
        if len(self._gathered) > 64 * 1024 or time.monotonic() - self._since > STEP:
            self.flush()

    def flush(self) -> None:
        """Send what was gathered."""
        if self._gathered:
            data = bytes(self._gathered)
            self._gathered.clear()
            self._since = time.monotonic()
            self._send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """Send the last chunk."""
        self.flush()
        self._send(b"0\r\n\r\n")

    def _send(self, data: bytes) -> None:
        if self._how == "tiny":
            for at in range(0, len(data), TINY):
                self._connection.sendall(data[at : at + TINY])
        else:
            self._connection.sendall(data)


def event(style: str, base: dict[str, Any], choice: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """Return one chunk of a stream, with the keys of that engine in its order (tests compare with captures).

    Args:
        base: `id`, `created` and `model`.
        choice: `delta` or `text`, and perhaps `finish_reason`; None in the chunk with the usage.
    """
    kind = "text_completion" if choice is not None and "text" in choice else "chat.completion.chunk"
    finish = None if choice is None else choice.get("finish_reason")
    if style == "llamacpp":
        choices = [] if choice is None else [{"finish_reason": finish, "index": 0, **choice}]
        system = {"system_fingerprint": "b0-unknown", "object": kind}
        return {
            "choices": choices,
            "created": base["created"],
            "id": base["id"],
            "model": base["model"],
            **system,
            **more,
        }
    head = {"id": base["id"], "object": kind, "created": base["created"], "model": base["model"]}
    if choice is None:
        tail = {"system_fingerprint": "SIMULATED"} if style == "vllm" else {}
        return {**head, "choices": [], **more, **tail}
    first = "role" in (choice.get("delta") or {})
    whole: dict[str, Any] = {"index": 0, **choice, "logprobs": None, "finish_reason": finish}
    if style == "sglang":
        return {**head, "choices": [{**whole, "matched_stop": None}], **more}
    if finish is not None:
        whole["stop_reason"] = None
    if first:
        return {**head, "choices": [whole], "prompt_token_ids": None, "prompt_text": None, **more}
    return {**head, "choices": [{**whole, "token_ids": None}], **more}
