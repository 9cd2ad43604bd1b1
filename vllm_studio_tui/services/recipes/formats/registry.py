"""The formats of other tools, in the order in which they are tried: those that are told surely come first."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.services.recipes.formats.command import CommandFormat
from vllm_studio_tui.services.recipes.formats.compose import ComposeFile
from vllm_studio_tui.services.recipes.formats.engine_config import EngineConfig
from vllm_studio_tui.services.recipes.formats.format import Format, Found, Source
from vllm_studio_tui.services.recipes.formats.litellm import LiteLLM
from vllm_studio_tui.services.recipes.formats.llama_swap import LlamaSwap
from vllm_studio_tui.services.recipes.formats.modelfile import Manifest, Modelfile
from vllm_studio_tui.services.recipes.formats.original_database import OriginalDatabase
from vllm_studio_tui.services.recipes.formats.presets import Presets
from vllm_studio_tui.services.recipes.formats.systemd_unit import SystemdUnit
from vllm_studio_tui.services.recipes.formats.vllm_cli import VllmCli
from vllm_studio_tui.services.recipes.formats.vllm_recipes import VllmRecipes

FORMATS: Sequence[Format] = (
    OriginalDatabase(),
    SystemdUnit(),
    ComposeFile(),
    LlamaSwap(),
    CommandFormat(),
    Modelfile(),
    Presets(),
    LiteLLM(),
    VllmRecipes(),
    VllmCli(),
    Manifest(),
    EngineConfig(),
)


def read_format(source: Source) -> list[Found] | None:
    """Return the recipes of a file of another tool; None where it is none that is known.

    Raises:
        StudioError: It is one, and none can be made of it.
    """
    for one in FORMATS:
        found = one.read(source)
        if found is not None:
            return found
    return None
