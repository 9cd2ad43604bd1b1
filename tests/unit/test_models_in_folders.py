"""Models in folders: which files are one, of which format, and what is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.weight_files import MODEL, gguf, model, safetensors
from vllm_studio_tui.domain.model import Model
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.tensors import TooLarge
from vllm_studio_tui.models.inventory import headers
from vllm_studio_tui.models.inventory.reading import models_below


def put(path: Path, data: bytes | str = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def only(folder: Path) -> Model:
    (found,) = models_below(str(folder))
    return found


def test_several_quantizations_in_one_folder_are_several_models_and_parts_are_one(tmp_path: Path) -> None:
    folder = tmp_path / "Qwen-GGUF"
    for name in ("Qwen-Q4_K_M.gguf", "Qwen-Q8_0.gguf", "mmproj-Qwen-F16.gguf", "Qwen.imatrix"):
        put(folder / name, gguf({**MODEL, "general.file_type": 15 if "Q4" in name else 7}))
    for number in (1, 2, 3):
        put(folder / f"Qwen-BF16-0000{number}-of-00003.gguf", gguf({**MODEL, "general.file_type": 32}))
    found = {one.name: one for one in models_below(str(tmp_path))}
    assert {name: one.quantization for name, one in found.items()} == {
        "Qwen-BF16": "BF16", "Qwen-Q4_K_M": "Q4_K_M", "Qwen-Q8_0": "Q8_0",
    }  # fmt: skip
    whole = found["Qwen-BF16"]
    assert whole.path.endswith("Qwen-BF16-00001-of-00003.gguf")
    assert whole.bytes == 3 * found["Qwen-Q8_0"].bytes
    assert whole.projector == str(folder / "mmproj-Qwen-F16.gguf")
    assert all(one.complete and one.kind == "gguf" and one.architecture == "llama" for one in found.values())


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    for number in (2, 5):
        put(tmp_path / f"big-0000{number}-of-00005.gguf", gguf())
    found = only(tmp_path)
    assert (found.complete, found.missing) == (False, "3 of 5 parts: 00001, 00003, 00004")


def test_a_file_that_ends_early_is_not_whole(tmp_path: Path) -> None:
    put(tmp_path / "m.gguf", gguf(numbers=4096, cut=10_000))
    found = only(tmp_path)
    assert (found.complete, found.missing) == (False, "m.gguf is cut off: 6 KiB of 16 KiB")
    model(tmp_path / "st", model__safetensors=safetensors({"a": (64, 64)}, cut=8192))
    assert only(tmp_path / "st").missing == "model.safetensors is cut off: 8 KiB of 16 KiB"


def test_what_is_no_gguf_at_all_says_so(tmp_path: Path) -> None:
    put(tmp_path / "page.gguf", "<html>login first</html>")
    found = only(tmp_path)
    assert (found.complete, found.missing) == (False, "page.gguf does not begin with GGUF")


def test_projectors_vocabularies_and_matrices_are_no_models_whatever_they_are_called(tmp_path: Path) -> None:
    put(tmp_path / "vision.gguf", gguf({**MODEL, "general.type": "mmproj"}))
    put(tmp_path / "calibration.gguf", gguf({**MODEL, "general.type": "imatrix"}))
    put(tmp_path / "adapter.gguf", gguf({**MODEL, "general.type": "adapter"}))
    found = only(tmp_path)
    assert (found.name, found.kind, found.runnable) == ("adapter", "adapter", False)


def test_every_file_that_the_index_names_must_be_there(tmp_path: Path) -> None:
    weights = {f"layer.{at}": f"model-0000{at}-of-00004.safetensors" for at in (1, 2, 3, 4)}
    index = json.dumps({"weight_map": weights})
    folder = model(tmp_path / "m", model__safetensors=None, model__safetensors__index__json=index)
    for number in (1, 3):
        put(folder / f"model-0000{number}-of-00004.safetensors", safetensors())
    found = only(folder)
    assert found.complete is False
    assert found.missing == "2 files: model-00002-of-00004.safetensors, model-00004-of-00004.safetensors"
    for number in (2, 4):
        put(folder / f"model-0000{number}-of-00004.safetensors", safetensors())
    assert (only(folder).complete, only(folder).missing) == (True, "")


def test_parts_are_counted_by_their_names_where_there_is_no_index(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", model__safetensors=None, **{"model-00001-of-00002__safetensors": safetensors()})
    assert only(folder).missing == "1 of 2 parts: 00002"


def test_the_same_model_in_two_formats_counts_once(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", pytorch_model__bin="x" * 5000, consolidated__safetensors=safetensors({"a": (9, 9)}))
    found = only(folder)
    assert (found.kind, found.bytes) == ("safetensors", len(safetensors()))


def test_pickled_weights_are_told_apart(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", model__safetensors=None, pytorch_model__bin="PK", optimizer__pt="x" * 900)
    found = only(folder)
    assert (found.kind, found.weights, found.bytes) == ("pytorch", "safetensors", 2)


@pytest.mark.parametrize(
    ("config", "kind", "numbers"),
    [
        ({"quantization_config": {"quant_method": "exl3", "bits": 4.0}}, "exl3", "EXL3 4.0"),
        ({"quantization_config": {"quant_method": "exl2", "bits": 3.5}}, "exl2", "EXL2 3.5"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "mlx", "MLX-4BIT"),
        ({"quantization_config": {"quant_method": "fp8"}}, "safetensors", "FP8"),
        ({"torch_dtype": "bfloat16"}, "safetensors", "bf16"),
    ],
)
def test_formats_are_told_by_their_configuration(
    tmp_path: Path, config: dict[str, object], kind: str, numbers: str
) -> None:
    whole = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **config}
    found = only(model(tmp_path / "m", config__json=json.dumps(whole)))
    assert (found.kind, found.numbers, found.architecture) == (kind, numbers, "LlamaForCausalLM")


def test_an_adapter_is_one_and_says_for_which_model(tmp_path: Path) -> None:
    put(tmp_path / "lora" / "adapter_config.json", '{"base_model_name_or_path": "org/base", "r": 16}')
    put(tmp_path / "lora" / "adapter_model.safetensors", safetensors())
    put(tmp_path / "empty" / "adapter_config.json", "{}")
    found = {one.name: one for one in models_below(str(tmp_path))}
    assert {name: (one.kind, one.complete, one.runnable) for name, one in found.items()} == {
        "lora": ("adapter", True, False), "empty": ("adapter", False, False),
    }  # fmt: skip


def test_a_folder_of_a_model_without_weights_is_shown_as_that(tmp_path: Path) -> None:
    model(tmp_path / "m", model__safetensors=None)
    put(tmp_path / "project" / "config.json", '{"name": "no model"}')
    found = only(tmp_path)
    assert (found.name, found.kind, found.complete, found.missing, found.runnable) == (
        "m", "no weights", False, "its weights", False,
    )  # fmt: skip


def test_states_of_a_training_are_not_models_of_their_own(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    model(folder / "checkpoint-500")
    assert only(tmp_path).path == str(folder)


def test_a_linked_folder_is_found_once(tmp_path: Path) -> None:
    folder = model(tmp_path / "a")
    (tmp_path / "b").symlink_to(folder)
    assert [one.name for one in models_below(str(tmp_path))] == ["a"]


def test_one_file_is_the_model_that_was_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "a.gguf", gguf())
    wanted = put(tmp_path / "b.gguf", gguf())
    assert [one.path for one in models_below(str(wanted))] == [str(wanted)]
    assert models_below(str(tmp_path / "nothing")) == []
    assert models_below(os.devnull) == []


def test_a_model_in_mistrals_own_format_is_one(tmp_path: Path) -> None:
    put(tmp_path / "m" / "params.json", '{"dim": 64, "n_layers": 2, "n_heads": 4, "vocab_size": 100}')
    put(tmp_path / "m" / "consolidated.safetensors", safetensors({"a": (64, 64)}))
    found = only(tmp_path)
    assert (found.kind, found.complete, found.parameters) == ("safetensors", True, 4096)
    put(tmp_path / "m" / "consolidated.safetensors", safetensors({"a": (64, 64)}, cut=10))
    assert only(tmp_path).complete is False


def test_nobody_says_whole_of_what_nobody_could_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "read_gguf", lambda _: (_ for _ in ()).throw(TooLarge("has a head of 900 GB")))
    put(tmp_path / "m.gguf", gguf())
    assert (only(tmp_path).complete, only(tmp_path).missing) == (None, "")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (None, "–"),
        (0, "–"),
        (135_000_000, "135M"),
        (8_030_000_000, "8B"),
        (32_760_000_000, "32.8B"),
        (671_000_000_000, "671B"),
    ],
)
def test_parameters_are_said_as_models_are_called(number: int | None, words: str) -> None:
    assert numbers.parameters(number) == words


@pytest.mark.parametrize(("length", "words"), [(None, "–"), (131072, "128k"), (128000, "128000"), (40960, "40k")])
def test_a_context_is_rounded_only_where_it_is_that_exactly(length: int | None, words: str) -> None:
    assert numbers.context_length(length) == words
