"""Counting tokens by a model's own files: its tokenizer and its chat template.

Needs the library `tokenizers` (extra `tokens`).

The files are outside text: nothing here raises for what is in them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template
    from tokenizers import Tokenizer

#: Bytes of a tokenizer, and of a template or a configuration, that are read.
MAX_TOKENIZER, MAX_FILE = 256 * 1024 * 1024, 4 * 1024 * 1024


class ModelTokens:
    """The tokenizer in a model's folder.

    Attributes:
        limit: Tokens that the model was made for; None: its files do not say.
    """

    def __init__(self, tokenizer: Tokenizer, template: Template | None, special: Mapping[str, str], limit: int | None):
        self._tokenizer = tokenizer
        self._template = template
        self._special = special
        self.limit = limit

    def of_text(self, text: str) -> int | None:
        """Return the tokens of a text, without any that a template adds."""
        try:
            return len(self._tokenizer.encode(text, add_special_tokens=False).ids)
        except Exception:  # noqa: BLE001, RUF100
            return None  # whatever a foreign tokenizer raises

    def of_chat(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], template: Mapping[str, Any]
    ) -> int | None:
        """Return the tokens of a request, as the model's template writes it; None: it has none, or it refuses."""
        if self._template is None:
            return None
        try:
            prompt = self._template.render(
                messages=[dict(one) for one in messages],
                tools=[dict(one) for one in tools] or None,
                add_generation_prompt=True,
                **self._special,
                **template,
            )
        except Exception:  # noqa: BLE001, RUF100
            return None  # a template may do anything, and refuses what it does not like by an error
        return self.of_text(prompt)


def load_model_tokens(folder: Path) -> ModelTokens | None:
    """Return the tokenizer of a model's folder; None where there is none, or the library is not installed. Blocking."""
    file = folder / "tokenizer.json"
    try:
        if not file.is_file() or file.stat().st_size > MAX_TOKENIZER:
            return None
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # noqa: BLE001, RUF100
        return None  # not installed, or no tokenizer that it knows
    settings = _document(folder / "tokenizer_config.json")
    special = {name: text for name in ("bos_token", "eos_token") if (text := _token(settings.get(name))) is not None}
    source = _text(folder / "chat_template.jinja") or _template_in(settings.get("chat_template"))
    longest = _document(folder / "config.json").get("max_position_embeddings")
    limit = longest if type(longest) is int and 0 < longest < 1e9 else None
    return ModelTokens(tokenizer, _compiled(source) if source else None, special, limit)


def _compiled(source: str) -> Template | None:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def as_json(value: Any, indent: int | None = None, **_: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = as_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = _strftime_now
    try:
        return environment.from_string(source)
    except (TemplateError, ValueError, RecursionError):
        return None


def _strftime_now(form: str) -> str:
    import time

    return time.strftime(form[:100])


def _template_in(given: Any) -> str | None:
    """Return the template of a configuration: one, or several by name."""
    if isinstance(given, list):
        named = {one.get("name"): one.get("template") for one in given if isinstance(one, dict)}
        given = named.get("default")
    return given if isinstance(given, str) else None


def _token(given: Any) -> str | None:
    if isinstance(given, dict):
        given = given.get("content")
    return given if isinstance(given, str) else None


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE).decode(errors="replace")
    except OSError:
        return None
