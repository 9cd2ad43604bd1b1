"""Headers of models are read once for each state of their files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.weight_files import MODEL, gguf, model, safetensors
from vllm_studio_tui.models.inventory import headers
from vllm_studio_tui.models.inventory.below import in_folders
from vllm_studio_tui.models.inventory.found import Found
from vllm_studio_tui.models.inventory.headers import HeaderStore
from vllm_studio_tui.models.inventory.walking import Budget


def found(folder: Path) -> Found:
    (one,) = in_folders(str(folder), Budget())
    return one


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of models whose headers were really read."""
    read, names = headers.read_headers, []

    def counted(one: Found) -> headers.Headers:
        names.append(one.name)
        return read(one)

    monkeypatch.setattr(headers, "read_headers", counted)
    return names


def test_what_is_known_is_not_read_again_by_the_next_program_either(tmp_path: Path, reads: list[str]) -> None:
    folder = model(tmp_path / "m")
    for _ in range(2):
        store = HeaderStore(tmp_path / "cache" / "models.json")
        for _ in range(3):
            store.begin()
            assert store.of(found(folder)).architecture == "LlamaForCausalLM"
            store.save()
    assert reads == ["m"]


def test_a_file_that_changes_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "m" / "m.gguf"
    path.parent.mkdir()
    path.write_bytes(gguf({**MODEL, "general.file_type": 15}))
    store = HeaderStore(tmp_path / "models.json")
    store.begin()
    assert store.of(found(path.parent)).quantization == "Q4_K_M"
    path.write_bytes(gguf({**MODEL, "general.file_type": 7}))
    os.utime(path, (1, 1))
    assert store.of(found(path.parent)).quantization == "Q8_0"
    assert reads == ["m", "m"]


@pytest.mark.parametrize(
    "text", ["", "[", "[]", '{"form": 1}', '{"form": 2, "headers": 3}', '{"form": 2, "headers": {"a": 1}}']
)
def test_a_broken_store_is_made_anew(tmp_path: Path, text: str) -> None:
    folder = model(tmp_path / "m")
    path = tmp_path / "models.json"
    path.write_text(text)
    store = HeaderStore(path)
    store.begin()
    assert store.of(found(folder)).read
    store.save()
    assert len(json.loads(path.read_text())["headers"]) == 1


def test_values_of_wrong_types_in_the_store_are_not_believed(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    path = tmp_path / "models.json"
    store = HeaderStore(path)
    store.begin()
    right = store.of(found(folder))
    store.save()
    document = json.loads(path.read_text())
    changes: list[dict[str, object]] = [
        {"parameters": "many"}, {"broken": None}, {"about": []}, {"quantization": 4}, {"nothing": 1},
    ]  # fmt: skip
    for wrong in changes:
        (key,) = document["headers"]
        path.write_text(json.dumps({**document, "headers": {key: {**document["headers"][key], **wrong}}}))
        again = HeaderStore(path)
        again.begin()
        assert again.of(found(folder)) == right, wrong


def test_a_store_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    store = HeaderStore(tmp_path / "cache" / "models.json")
    store.begin()
    assert store.of(found(model(tmp_path / "m"))).read
    store.save()


def test_where_there_is_no_time_left_the_name_says_what_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "SECONDS", -1.0)
    (tmp_path / "M-Q4_K_M.gguf").write_bytes(gguf())
    folder = model(tmp_path / "M-AWQ", model__safetensors=safetensors())
    store = HeaderStore(tmp_path / "models.json")
    store.begin()
    (file, whole) = sorted(in_folders(str(tmp_path), Budget()), key=lambda one: one.kind)
    assert whole.path == str(folder)
    assert (store.of(file).quantization, store.of(whole).quantization) == ("Q4_K_M", "awq")
    assert not store.of(whole).read
