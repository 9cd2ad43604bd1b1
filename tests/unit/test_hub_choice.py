"""What of a repository is downloaded, and what people may call one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.models.hub_client import HubFile
from vllm_studio_tui.models.pulling.choice import choose, quantization_of
from vllm_studio_tui.models.pulling.file_names import usable
from vllm_studio_tui.models.pulling.names import HubName, read_name


def files(*names: str, size: int = 100) -> list[HubFile]:
    return [HubFile(name, size, f"{at:040x}") for at, name in enumerate(names)]


def names_of(chosen: tuple[HubFile, ...]) -> set[str]:
    return {one.name for one in chosen}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Qwen/Qwen3-0.6B", HubName("Qwen/Qwen3-0.6B")),
        ("gpt2", HubName("gpt2")),
        ("bartowski/X-GGUF:Q4_K_M", HubName("bartowski/X-GGUF", "Q4_K_M")),
        ("bartowski/X-GGUF:sub/x-Q8_0.gguf", HubName("bartowski/X-GGUF", "sub/x-Q8_0.gguf")),
        ("https://huggingface.co/Qwen/Qwen3-0.6B", HubName("Qwen/Qwen3-0.6B")),
        ("https://huggingface.co/Qwen/Qwen3-0.6B/tree/refs%2Fpr%2F1", HubName("Qwen/Qwen3-0.6B", "", "refs/pr/1")),
        ("https://huggingface.co/a/b/blob/main/x.gguf?download=true", HubName("a/b", "x.gguf", "main")),
        ("https://huggingface.co/a/b/resolve/v1/d/x.gguf", HubName("a/b", "d/x.gguf", "v1")),
        ("hf.co/a/b:Q8_0", HubName("a/b", "Q8_0")),
        ("hf://a/b@v2", HubName("a/b", "", "v2")),
        ("hf://models/a/b", HubName("a/b")),
        ("https://huggingface.co/gpt2/tree/main", HubName("gpt2", "", "main")),
    ],
)
def test_what_people_paste_is_read_as_a_model(text: str, found: HubName) -> None:
    assert read_name(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "a/b/c", "../etc", "a/..", "/abs", "a b", "a/b.git", "x--y", "https://example.com/a/b",
     "https://huggingface.co/datasets/a/b", "https://[", "hf.co/", "a/b:\x1b[31m", "a/" + "b" * 200, "-a/b"],
)  # fmt: skip
def test_what_is_no_name_of_a_model_is_refused_in_words(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_name(text)
    assert raised.value.title


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_of_names_raise_anything_else(text: str) -> None:
    for start in ("", "https://huggingface.co/", "hf://", "a/b:"):
        try:
            found = read_name(start + text)
        except UsageError:
            continue
        assert ".." not in found.repo
        assert not found.repo.startswith(("/", "-"))


def test_pickles_beside_safetensors_are_left_and_told() -> None:
    chosen = choose(
        files("config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx",
              "original/a.pth", "consolidated.safetensors", "README.md")
    )  # fmt: skip
    assert names_of(chosen.files) == {"config.json", "model.safetensors", "README.md"}
    assert {name for one in chosen.skipped for name in one.names} == {
        "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "original/a.pth", "consolidated.safetensors"
    }  # fmt: skip
    assert any("pickled" in one.why for one in chosen.skipped)
    assert chosen.warnings == ()


def test_where_there_are_pickles_alone_they_come_with_a_warning() -> None:
    chosen = choose(files("config.json", "pytorch_model.bin"))
    assert names_of(chosen.files) == {"config.json", "pytorch_model.bin"}
    assert "pickle" in chosen.warnings[0]


def test_what_is_included_by_name_comes_though_it_would_be_left() -> None:
    chosen = choose(files("model.safetensors", "pytorch_model.bin"), include=["*.bin"])
    assert names_of(chosen.files) == {"pytorch_model.bin"}
    assert chosen.warnings
    with pytest.raises(NotFound):
        choose(files("a.json"), include=["*.bin"])


def test_excluded_files_are_left() -> None:
    chosen = choose(files("model.safetensors", "a/x.json", "a/y.json"), exclude=["a/"])
    assert names_of(chosen.files) == {"model.safetensors"}


GGUF = files(
    "X-Q2_K.gguf", "X-Q4_K_M.gguf", "X-IQ4_XS.gguf", "BF16/X-BF16-00001-of-00002.gguf",
    "BF16/X-BF16-00002-of-00002.gguf", "mmproj-X-F16.gguf", "mmproj-X-F32.gguf", "config.json", "README.md",
    "imatrix.dat",
)  # fmt: skip


def test_of_a_gguf_repository_one_quantization_comes_with_its_projector() -> None:
    chosen = choose(GGUF)
    assert chosen.quantization == "Q4_K_M"
    assert names_of(chosen.files) == {"X-Q4_K_M.gguf", "mmproj-X-F16.gguf", "config.json", "README.md"}
    assert [name for name, _ in chosen.quantizations] == ["Q2_K", "Q4_K_M", "IQ4_XS", "BF16"]
    assert chosen.first == "X-Q4_K_M.gguf"


def test_a_split_quantization_comes_with_all_its_parts_and_begins_with_the_first() -> None:
    chosen = choose(GGUF, part="bf16")
    assert names_of(chosen.files) >= {"BF16/X-BF16-00001-of-00002.gguf", "BF16/X-BF16-00002-of-00002.gguf"}
    assert chosen.first == "BF16/X-BF16-00001-of-00002.gguf"


@pytest.mark.parametrize("part", ["X-IQ4_XS.gguf", "X-IQ4_XS", "iq4_xs"])
def test_a_quantization_is_named_by_its_file_too(part: str) -> None:
    assert choose(GGUF, part=part).quantization == "IQ4_XS"


def test_a_quantization_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(NotFound) as raised:
        choose(GGUF, part="Q5_K_M")
    assert "Q4_K_M" in raised.value.cause
    with pytest.raises(UsageError) as asked:
        choose(files("X-Q2_K.gguf", "X-Q3_K_S.gguf"))
    assert "Q2_K" in asked.value.cause
    assert "Q3_K_S" in asked.value.cause


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Qwen3-0.6B-Q8_0.gguf", "Q8_0"), ("m.IQ2_XXS.gguf", "IQ2_XXS"), ("model-f16.gguf", "F16"),
        ("Llama-3.3-70B-Instruct-UD-Q4_K_XL.gguf", "Q4_K_XL"), ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("Q6_K/m-00001-of-00003.gguf", "Q6_K"), ("ggml-model-q4_0.gguf", "Q4_0"), ("tinyllama.gguf", ""),
        ("Qwen2.5-Coder-Q4_K_M-00001-of-00002.gguf", "Q4_K_M"), ("phi-4-bf16.gguf", "BF16"),
    ],
)  # fmt: skip
def test_the_quantization_is_read_from_the_names_that_people_give(name: str, label: str) -> None:
    assert quantization_of(name) == label


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a//b", "a/./b", "a\\b", "a\0b", "a\nb", "", "x" * 300, "a/..", "\udcff"]
)
def test_names_that_would_leave_their_folder_are_no_names(name: str) -> None:
    assert not usable(name)


@given(st.lists(st.text(min_size=1, max_size=30), max_size=8), st.text(max_size=12))
def test_no_list_of_files_makes_the_choice_raise_anything_but_words(names: list[str], part: str) -> None:
    for ending in ("", ".gguf", ".safetensors"):
        try:
            chosen = choose(files(*(name + ending for name in names)), part=part)
        except StudioError:
            continue
        assert names_of(chosen.files) <= {name + ending for name in names}
