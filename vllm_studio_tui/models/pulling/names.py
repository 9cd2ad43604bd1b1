"""Read what people call a model on the hub: a name, a name with a quantization, an address of its page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.models.hub_client import check_repo

_HOSTS = {"huggingface.co", "www.huggingface.co", "hf.co", "hf-mirror.com"}


@dataclass(frozen=True, slots=True)
class HubName:
    """What a person named.

    Attributes:
        part: A quantization as `Q4_K_M`, or the name of a file; empty: nothing was said.
        revision: A branch, tag or commit; None: nothing was said.
    """

    repo: str
    part: str = ""
    revision: str | None = None


def read_name(text: str) -> HubName:
    """Return the repository that a text names.

    Raises:
        UsageError: It names none.
    """
    text = text.strip().strip("<>\"'")
    if re.match(r"(?i)(hf|https?)://|(www\.)?(huggingface\.co|hf\.co)/", text):
        return _from_address(text)
    repo, _, part = text.partition(":")
    return HubName(check_repo(repo), _part(part))


def _from_address(text: str) -> HubName:
    address = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(address)
    except ValueError:
        raise UsageError(
            f"{text[:80]!r} is no address of a model", advice="As https://huggingface.co/OWNER/NAME"
        ) from None
    path = [unquote(one) for one in parts.path.split("/") if one]
    if parts.scheme.lower() == "hf":
        path.insert(0, parts.netloc)
        path = path[1:] if path[0] == "models" else path
    elif (parts.hostname or "").lower() not in _HOSTS:
        raise UsageError(
            f"{parts.hostname or text[:80]} is no hub of models that is known here",
            advice="A model is named OWNER/NAME; another hub is named by HF_ENDPOINT.",
        )
    if path and path[0] in ("datasets", "spaces", "api", "models", "collections"):
        raise UsageError(f"{text[:80]!r} is no address of a model", advice="As https://huggingface.co/OWNER/NAME")
    part = ""
    if path and ":" in path[-1] and len(path) <= 2:  # as Ollama and llama.cpp write it: hf.co/OWNER/NAME:Q4_K_M
        path[-1], _, part = path[-1].partition(":")
    if path and "@" in path[-1] and len(path) <= 2:
        path[-1], _, at = path[-1].partition("@")
        return HubName(check_repo("/".join(path)), _part(part), at or None)
    for place, word in enumerate(path[:3]):
        if word in ("tree", "blob", "resolve", "raw") and place in (1, 2):
            revision = path[place + 1] if len(path) > place + 1 else None
            file = "/".join(path[place + 2 :]) if word != "tree" else ""
            return HubName(check_repo("/".join(path[:place])), _part(file or part), revision)
    return HubName(check_repo("/".join(path[:2])), _part(part))


def _part(text: str) -> str:
    if len(text) > 500 or not text.isprintable():
        raise UsageError("what follows the colon is no quantization and no file", advice="As OWNER/NAME:Q4_K_M")
    return text
