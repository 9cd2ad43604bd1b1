"""Counting tokens: by the engine that answers, else by the model's files, else by a guess that says so."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.context import Counted, CountedBy
from vllm_studio_tui.domain.usage import about_tokens

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Target
    from vllm_studio_tui.inference.engine_tokens import EngineTokens
    from vllm_studio_tui.inference.model_tokens import ModelTokens

#: Counts that are remembered; seconds for which an engine that did not answer is not asked again.
REMEMBERED = 1024
REST = 15.0
#: And one that does not say how many tokens pictures have: they are megabytes, and few engines say it.
REST_OF_PICTURES = 300.0
#: Tokens that a template puts around a message, about.
AROUND = 4


class TokenCounter:
    """Counts for one target after the other. Blocking; may be called from any thread, and raises for no engine.

    Args:
        model_folder: Finds the files of the model that a target serves, or that a recipe names; None: unknown.
    """

    def __init__(self, model_folder: Callable[[Target | None, str | None], Path | None]) -> None:
        self._folder_of = model_folder
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Counted] = OrderedDict()
        self._engines: dict[Target, EngineTokens] = {}
        self._silent: dict[str, float] = {}
        self._folders: dict[tuple[str | None, str | None], tuple[float, Path | None]] = {}
        self._files: dict[Path, ModelTokens | None] = {}
        self._limits: dict[Target, int] = {}

    def text(self, text: str, target: Target | None = None, *, recipe: str | None = None) -> Counted:
        """Return the tokens of a text."""
        if not text:
            return Counted(0, CountedBy.FILES)
        return self._remembered(["text", text], target, recipe, lambda: self._count_text(text, target, recipe))

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        target: Target | None = None,
        *,
        recipe: str | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        template: Mapping[str, Any] | None = None,
    ) -> Counted:
        """Return the tokens of a request: its messages without their pictures, and its tools."""
        messages = [_without_pictures(one) for one in messages]
        switches = dict(template or {})
        what = ["chat", messages, list(tools), switches]
        return self._remembered(
            what, target, recipe, lambda: self._count_chat(messages, target, recipe, tools, switches)
        )

    def pictures(self, urls: Sequence[str], target: Target | None) -> int | None:
        """Return the tokens of pictures, by their data URLs; None where nobody can say."""
        if target is None or not urls:
            return None
        key, total = f"{target.base_url} pictures", 0
        for url in urls:
            if time.monotonic() - self._silent.get(key, -2 * REST_OF_PICTURES) < REST_OF_PICTURES:
                return None
            what = ["picture", hashlib.sha256(url.encode()).hexdigest()]
            found = self._remembered(what, target, None, partial(self._count_picture, url, target))
            if found.by is not CountedBy.ENGINE:
                self._silent[key] = time.monotonic()
                return None
            total += found.tokens
        return total

    def limit(self, target: Target | None, recipe: str | None = None) -> int | None:
        """Return how many tokens prompt and answer may have; None: nobody says."""
        if target is not None:
            if target not in self._limits and self._asks(target) and (told := self._engine(target).limit()) is not None:
                self._limits[target] = told
            if target in self._limits:
                return self._limits[target]
        files = self._files_of(target, recipe)
        return files.limit if files is not None else None

    # --- each way ---------------------------------------------------------------------------------------

    def _count_text(self, text: str, target: Target | None, recipe: str | None) -> Counted:
        if target is not None and self._asks(target):
            if (found := self._engine(target).of_text(text)) is not None:
                return Counted(found, CountedBy.ENGINE)
            self._rests(target)
        files = self._files_of(target, recipe)
        if files is not None and (found := files.of_text(text)) is not None:
            return Counted(found, CountedBy.FILES)
        return Counted(about_tokens(text), CountedBy.ESTIMATE)

    def _count_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        target: Target | None,
        recipe: str | None,
        tools: Sequence[Mapping[str, Any]],
        template: Mapping[str, Any],
    ) -> Counted:
        if target is not None and self._asks(target):
            found = self._engine(target).of_chat(messages, tools, template)
            if found is not None:
                return Counted(found, CountedBy.ENGINE)
        files = self._files_of(target, recipe)
        if files is not None and (found := files.of_chat(messages, tools, template)) is not None:
            return Counted(found, CountedBy.FILES)
        words = "\n".join([*(_words(one) for one in messages), *(json.dumps(one) for one in tools)])
        counted = self._count_text(words, target, recipe) if words.strip() else Counted(0)
        by = CountedBy.WORDS if counted.by.exact else CountedBy.ESTIMATE
        return Counted(counted.tokens + AROUND * len(messages), by)

    def _count_picture(self, url: str, target: Target) -> Counted:
        found = self._engine(target).of_picture(url)
        return Counted(0) if found is None else Counted(found, CountedBy.ENGINE)

    def _engine(self, target: Target) -> EngineTokens:
        from vllm_studio_tui.inference.engine_tokens import EngineTokens

        if target not in self._engines:
            self._engines[target] = EngineTokens(target)
        return self._engines[target]

    def _asks(self, target: Target) -> bool:
        """Return whether an engine is asked: not again soon after it did not answer."""
        return time.monotonic() - self._silent.get(target.base_url, -2 * REST) >= REST

    def _rests(self, target: Target) -> None:
        self._silent[target.base_url] = time.monotonic()

    def _files_of(self, target: Target | None, recipe: str | None) -> ModelTokens | None:
        key = (target.run_id or target.recipe_id if target is not None else None, recipe)
        at, folder = self._folders.get(key, (-2 * REST, None))
        if time.monotonic() - at >= REST:
            folder = self._folder_of(target, recipe)
            self._folders[key] = (time.monotonic(), folder)
        if folder is None:
            return None
        if folder not in self._files:
            from vllm_studio_tui.inference.model_tokens import load_model_tokens

            self._files[folder] = load_model_tokens(folder)
        return self._files[folder]

    # --- what is known already --------------------------------------------------------------------------

    def _remembered(
        self, what: Sequence[Any], target: Target | None, recipe: str | None, count: Callable[[], Counted]
    ) -> Counted:
        whom = [recipe] if target is None else [target.base_url, target.model, target.run_id, recipe]
        key = hashlib.sha256(json.dumps([whom, what], default=str).encode()).hexdigest()
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        counted = count()
        if counted.by in (CountedBy.ENGINE, CountedBy.FILES):  # another may be had as soon as the engine answers
            with self._lock:
                self._known[key] = counted
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        return counted


def _without_pictures(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    texts = [
        str(part.get("text") or "") for part in content if isinstance(part, Mapping) and part.get("type") == "text"
    ]
    return {**message, "content": "\n".join(texts)}


def _words(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    return "\n".join([str(message.get("content") or ""), *([json.dumps(calls, default=str)] if calls else [])])
