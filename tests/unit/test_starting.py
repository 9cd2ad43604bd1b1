"""What could be run on this machine, what a typed text means, and how far a download is."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_studio_tui.models.progress import Progress
from vllm_studio_tui.services.recipes.starting import (
    EngineHere,
    default_engine,
    engine_for,
    free_id,
    read_typed,
    recipe_of_model,
)
from vllm_studio_tui.tui.flows.downloads import Cancelled, Download
from vllm_studio_tui.tui.paint.starting import Here, entries_of

VLLM = EngineHere("vllm", "vLLM", "0.32.0 at /opt/vllm", usable=True)
MISSING = EngineHere("vllm", "vLLM", "not found", usable=False)
LLAMA = EngineHere("llamacpp", "llama.cpp", "xllamacpp 0.2", usable=True)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("vllm serve org/a --port 80", "command", "vllm serve org/a --port 80"),
        ("https://hub.example/Qwen/Qwen3-8B/tree/main", "model", "Qwen/Qwen3-8B"),
        ("/vllm serve org/a", "command", "vllm serve org/a"),  # the slash goes to the box on other screens
        ("/opt/vllm/bin/vllm serve org/a", "command", "/opt/vllm/bin/vllm serve org/a"),
        ("http://127.0.0.1:8000/v1", "server", "http://127.0.0.1:8000/v1"),
        ("http://[", "", ""),
        ("Qwen/Qwen3-8B", "model", "Qwen/Qwen3-8B"),
        ("qwen", "", ""),
        ("two words", "", ""),
        ("", "", ""),
        ("/not/there.yaml", "", ""),
    ],
)
def test_a_typed_text_is_understood(text: str, kind: str, value: str) -> None:
    assert [(one.kind, one.value) for one in read_typed(text)] == ([(kind, value)] if kind else [])


def test_a_typed_path_is_a_folder_a_model_or_a_file_to_import(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.gguf", "c.bin"):
        (tmp_path / name).touch()
    kinds = {name: [one.kind for one in read_typed(str(tmp_path / name))] for name in ("", "a.yaml", "b.gguf", "c.bin")}
    assert kinds == {"": ["folder"], "a.yaml": ["file"], "b.gguf": ["folder"], "c.bin": []}


def test_what_is_called_as_typed_comes_before_a_new_recipe() -> None:
    found = entries_of(Here(), [], [], "demo", new=True)
    assert [entry.key for entry in found] == ["do:demo", "recipe:demo"]
    assert [entry.key for entry in entries_of(Here(), [], [], "opt-125m", new=True)] == ["recipe:opt-125m"]


@pytest.mark.parametrize(
    ("demo", "words"),
    [
        ((0, False), "a chat with a small real model on the CPU"),
        ((98_000_000, False), "93 MiB to fetch, then a chat"),
        ((98_000_000, True), "nothing to fetch: a chat"),
    ],
)
def test_what_the_demo_costs_comes_first_and_only_where_it_is_known(demo: tuple[int, bool], words: str) -> None:
    (entry,) = (one for one in entries_of(Here(demo=demo), [], [], "", new=True) if one.key == "do:demo")
    assert entry.detail.startswith(words) and "–" not in entry.detail


def test_an_engine_that_is_installed_comes_before_one_that_is_not() -> None:
    assert default_engine([MISSING, LLAMA]) == "llamacpp"
    assert default_engine([MISSING]) == "vllm"
    assert engine_for("gguf", [MISSING, LLAMA]) == LLAMA
    assert engine_for("safetensors", [MISSING, LLAMA]) == MISSING
    assert engine_for("safetensors", [VLLM, LLAMA], on_hub=True) == VLLM
    assert (VLLM.version, MISSING.version) == ("0.32.0", "")


def test_a_recipe_of_a_model_has_a_free_id_and_the_parsers_of_its_family() -> None:
    recipe = recipe_of_model("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", "vllm", {"qwen3-8b"})
    assert (recipe.id, recipe.name) == ("qwen3-8b-2", "Qwen3-8B")
    assert recipe.tool_call_parser
    assert free_id("a" * 64, {"a" * 64}) == "a" * 58 + "-2"


def test_a_download_tells_its_share_rate_and_time_left_and_can_be_ended() -> None:
    now = [0.0]
    one = Download("model", lambda: now[0])
    assert (one.share, one.rate, one.seconds_left) == (None, None, None)
    for second in range(5):
        now[0] = float(second)
        one.take(Progress(second * 100, 1000, "model"))
    assert (one.share, one.rate, one.seconds_left) == (0.4, 100.0, 6.0)
    one.take(Progress(1, None, "unpacking"))
    assert (one.what, one.share, one.rate) == ("unpacking", None, None)
    one.cancelled = True
    with pytest.raises(Cancelled):
        one.take(Progress(2, None, "unpacking"))
