"""Parsers of tool calls and thinking, by a model's family. They are suggested, never set unasked.

The engines' names for the same parser differ; rows hold those of vLLM 0.33, SGLang 0.5.23 and TabbyAPI (August 2026),
None where an engine has none for the family. Another package adds rows by the entry point
`vllm_studio_tui.parser_families`: a `Family`, or several, with the files of their parsers where vLLM is to load them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.common import plug_ins
from vllm_studio_tui.backends.common.known_names import known

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe


GROUP = "vllm_studio_tui.parser_families"


@dataclass(frozen=True, slots=True)
class Family:
    """Models that write tool calls and thinking alike. Pairs are the parsers of tools and of thinking.

    Attributes:
        pattern: A regular expression, searched in the model's names in lower case.
        plugin_files: Python files that vLLM loads to have its two parsers of this row; None: it has them.
    """

    pattern: str
    name: str
    vllm: tuple[str | None, str | None] = (None, None)
    sglang: tuple[str | None, str | None] = (None, None)
    tabbyapi: tuple[str | None, str | None] = (None, None)
    plugin_files: tuple[str | None, str | None] = (None, None)

    def pair(self, backend: str) -> tuple[str | None, str | None]:
        pairs = {"vllm": self.vllm, "sglang": self.sglang, "tabbyapi": self.tabbyapi}
        return pairs.get(backend, (None, None))


#: The particular before the general.
FAMILIES: tuple[Family, ...] = (
    Family(r"minimax.*m-?3", "MiniMax M3", ("minimax_m3", "minimax_m3"), ("minimax-m3", "minimax-m3")),
    Family(r"minimax.*m-?2", "MiniMax M2", ("minimax_m2", "minimax_m2_append_think"),
           ("minimax-m2", "minimax-append-think"), ("minimax_m2", "yes")),
    Family(r"intellect-?3", "INTELLECT-3", ("hermes", "deepseek_r1"), ("hermes", "deepseek-r1")),
    Family(r"glm-?4[.-]7|glm-?5", "GLM-4.7", ("glm47", "glm45"), ("glm47", "glm45"), ("glm4_5", "yes")),
    Family(r"glm-?4[.-][56]", "GLM-4.5", ("glm45", "glm45"), ("glm45", "glm45"), ("glm4_5", "yes")),
    Family(r"mirothinker", "MiroThinker", (None, "deepseek_r1"), (None, "deepseek-r1")),
    Family(r"gpt-?oss", "gpt-oss", ("openai", "openai_gptoss"), ("gpt-oss", "gpt-oss"), ("harmony", "yes")),
    Family(r"kimi-?k3", "Kimi K3", ("kimi_k3", "kimi_k3"), ("kimi_k3", "kimi_k3")),
    Family(r"kimi-?k2", "Kimi K2", ("kimi_k2", "kimi_k2"), ("kimi_k2", "kimi_k2")),
    Family(r"deepseek-?r1", "DeepSeek-R1", ("deepseek_v3", "deepseek_r1"), ("deepseekv3", "deepseek-r1")),
    Family(r"deepseek-?v4[.-]?1", "DeepSeek-V4.1", ("deepseek_v41", "deepseek_v41"), ("deepseekv41", "deepseek-v41")),
    Family(r"deepseek-?v4", "DeepSeek-V4", ("deepseek_v4", "deepseek_v4"), ("deepseekv4", "deepseek-v4"),
           ("deepseek_v4", "yes")),
    Family(r"deepseek-?v3[.-]?2", "DeepSeek-V3.2", ("deepseek_v32", "deepseek_v3"), ("deepseekv32", "deepseek-v3")),
    Family(r"deepseek-?v3[.-]?1", "DeepSeek-V3.1", ("deepseek_v31", "deepseek_v3"), ("deepseekv31", "deepseek-v3")),
    Family(r"qwen3.*coder", "Qwen3-Coder", ("qwen3_coder", None), ("qwen3_coder", None), ("qwen3_coder", None)),
    Family(r"qwen3.*thinking", "Qwen3-Thinking", ("hermes", "deepseek_r1"), ("qwen25", "qwen3-thinking")),
    Family(r"qwen3.*instruct", "Qwen3-Instruct", ("hermes", None), ("qwen25", None)),
    Family(r"qwen3", "Qwen3", ("hermes", "qwen3"), ("qwen25", "qwen3")),
    Family(r"qwen2[.-]?5", "Qwen2.5", ("hermes", None), ("qwen25", None)),
    Family(r"gemma-?4", "Gemma 4", ("gemma4", "gemma4"), ("gemma4", "gemma4"), ("gemma4", "yes")),
    Family(r"llama-?4", "Llama 4", ("llama4_pythonic", None), ("pythonic", None)),
    Family(r"llama-?3", "Llama 3", ("llama3_json", None), ("llama3", None)),
    Family(r"mistral|ministral|devstral|magistral", "Mistral", ("mistral", None), ("mistral", None), ("mistral", None)),
    Family(r"granite", "Granite", ("granite", "granite"), (None, "granite_thinking_parser")),
)  # fmt: skip


def families() -> tuple[Family, ...]:
    """Return the families of other packages, then ours."""
    return (*_others()[0], *FAMILIES)


def broken_plug_ins() -> dict[str, str]:
    """Return the plug-ins whose families cannot be used, and why."""
    return dict(_others()[1])


@cache
def _others() -> tuple[tuple[Family, ...], dict[str, str]]:
    found, broken = plug_ins.load(GROUP, _accept)
    return tuple(one for some in found.values() for one in some), broken


def _accept(point: str, loaded: object) -> tuple[Family, ...]:
    some = (loaded,) if isinstance(loaded, Family) else tuple(loaded) if isinstance(loaded, Iterable) else ()
    if not some or not all(isinstance(one, Family) for one in some):
        raise plug_ins.NotUsable(f"{point} is no Family and no list of them")
    rows = tuple(one for one in some if isinstance(one, Family))
    for row in rows:
        re.compile(row.pattern)  # a wrong pattern is reported now, not when a recipe is checked
    return rows


def family_of(recipe: Recipe) -> Family | None:
    """Return the family of the recipe's model by its served name, path and the recipe's name; None: unknown."""
    text = f"{recipe.served_model_name or ''} {recipe.model_path} {recipe.name}".lower()
    return next((one for one in families() if re.search(one.pattern, text)), None)


def suggest_parsers(recipe: Recipe) -> tuple[str | None, str | None]:
    """Return the parsers of tool calls and of thinking for the recipe's model on its engine; None: no suggestion."""
    family = family_of(recipe)
    return family.pair(recipe.backend) if family is not None else (None, None)


def suggested_names(backend: str, index: int) -> set[str]:
    """Return every parser that is suggested for some family on this engine; `index` 0: of tools, 1: of thinking."""
    return {name for one in families() if (name := one.pair(backend)[index])}


def same_elsewhere(name: str, backend: str, index: int) -> str | None:
    """Return this engine's name of a parser that another engine calls `name`; None where there is none."""
    for one in families():
        if name in (one.vllm[index], one.sglang[index], one.tabbyapi[index]):
            found = one.pair(backend)[index]
            if found and found != name:
                return found
    return None


def parser_of_form(form: str, backend: str) -> str | None:
    """Return the parser of tool calls that an engine has for a form of calls; None where none is known.

    Args:
        form: As vLLM calls its parser, which has the most of them.
    """
    table = known(backend)
    if table is None:
        return None
    return form if form in table.tool_parsers else same_elsewhere(form, backend, 0)


def plugin_file(name: str, index: int) -> str | None:
    """Return the file that vLLM must load for the parser `name`, None where it needs none.

    Args:
        index: 0: a parser of tool calls, 1: of thinking.
    """
    return next((one.plugin_files[index] for one in _others()[0] if one.vllm[index] == name), None)
