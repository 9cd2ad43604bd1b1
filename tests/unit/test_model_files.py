"""What the files of a model, and those beside it, tell before a launch."""

from __future__ import annotations

import json
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.unprivileged import as_nobody, enterable_folder
from tests.unit.weight_files import MODEL, TEMPLATE, gguf, model, safetensors
from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import LaunchContext, Problem
from vllm_studio_tui.backends.checks import check
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.models.inventory.reading import models_below

FOLDERS = ("vllm", "sglang", "transformers", "tabbyapi")
BROKEN = "{% for m in messages %}{{ m['content'] }{% endfor %}"


def checked(backend: str, model: Path | str, **fields: Any) -> list[Problem]:
    """The problems of a recipe, but for the engine itself, which is not installed here."""
    recipe = Recipe.model_validate({"id": "r", "name": "R", "backend": backend, "model_path": str(model), **fields})
    found = check(registry.backend(backend), recipe, LaunchContext(Settings(), "127.0.0.1", 8001, environ={}))
    return [one for one in found if one.field not in ("executable", "python_path")]


def said(found: list[Problem], severity: str = "error") -> str:
    return "\n".join(f"{one.field}: {one.message} | {one.advice}" for one in found if one.severity == severity)


def put(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# --- whole models -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", FOLDERS)
@pytest.mark.parametrize(
    "files",
    [
        {},
        {"chat_template__jinja": "{% generation %}x{% endgeneration %}{% for a in b %}{% break %}{% endfor %}"},
        {"tokenizer_config__json": json.dumps({"chat_template": [{"name": "default", "template": TEMPLATE}]})},
        {"tokenizer__json": None, "tokenizer__model": "x", "tokenizer_config__json": None},
        {"tokenizer__json": None, "tokenizer_config__json": '{"tokenizer_class": "ByT5Tokenizer"}'},
        {"config__json": '{"auto_map": {"AutoConfig": "configuration_x.XConfig"}}'},
        {"model__safetensors": None, "pytorch_model__bin": "PK"},
        {
            "model__safetensors": None,
            "model__safetensors__index__json": '{"weight_map": {"a": "model-1-of-1.safetensors"}}',
            "model-1-of-1__safetensors": safetensors(),
            "consolidated__safetensors": b"not looked at",
        },
        # Indexes that another format of the same model left: what they name was never fetched.
        {"pytorch_model__bin__index__json": '{"weight_map": {"a": "pytorch_model-1.bin"}}'},
        {
            "model__safetensors": None,
            "model__safetensors__index__json": '{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}',
            "output-1__safetensors": safetensors(),
        },
    ],
)
def test_a_whole_model_gives_no_alarm(tmp_path: Path, backend: str, files: dict[str, Any]) -> None:
    assert checked(backend, model(tmp_path / "m", **files)) == []


def test_a_whole_gguf_gives_no_alarm(tmp_path: Path) -> None:
    template = {"tokenizer.chat_template": TEMPLATE}
    assert checked("llamacpp", put(tmp_path / "m.gguf", gguf({**MODEL, **template}))) == []
    assert checked("llamacpp", tmp_path) == []


def test_the_starters_and_the_model_of_the_demo_give_no_alarm_about_files(tmp_path: Path) -> None:
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.studio import Studio

    with Studio.open_sync(Places.under(tmp_path)) as studio:
        for one in studio.recipes.starters():
            fields = {problem.field for problem in studio.launcher.check(one) if problem.severity == "error"}
            # `extra_args`: of llama-server, where only the embedded engine is here.
            assert fields <= {"executable", "python_path", "model_path", "gpus", "command", "extra_args"}, one.id
            told = [p.message for p in studio.launcher.check(one) if (p.field, p.severity) == ("model_path", "error")]
            assert all("does not exist" in each or "is not here yet" in each for each in told), told
    found = os.environ.get("VLLM_STUDIO_TEST_ENGINES")
    if found:  # the real ones, where they are
        assert checked("llamacpp", next(Path(found, "models").glob("*.gguf"))) == []
        assert checked("vllm", Path(found, "models", "smollm2-135m")) == []


# --- models with a fault ----------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no config": ({"config__json": None}, "holds no config.json"),
    "an empty config": ({"config__json": ""}, "config.json is empty"),
    "a config that was cut off": ({"config__json": '{"model_type": "ll'}, "config.json is no JSON"),
    "a config that is a list": ({"config__json": "[]"}, "config.json holds no JSON object"),
    "a config without a type": ({"config__json": '{"architectures": ["X"]}'}, "config.json names no model_type"),
    "no tokenizer": ({"tokenizer__json": None}, "holds no tokenizer"),
    "a tokenizer that was cut off": ({"tokenizer__json": '{"version": "1.0", "mod'}, "tokenizer.json is no JSON"),
    "a long tokenizer that was cut off": (
        {"tokenizer__json": '{"a": "' + "x" * (3 << 20)}, "tokenizer.json is cut off or no JSON"),
    "a tokenizer that is a pointer": (
        {"tokenizer__json": "version https://git-lfs.github.com/spec/v1\n"}, "tokenizer.json is a pointer of Git LFS"),
    "no weights": ({"model__safetensors": None}, "holds no weights"),
    "weights that were cut off": (
        {"model__safetensors": safetensors({"a": (1000,)}, cut=9)}, "model.safetensors is cut off: it holds"),
    "weights that are a page": ({"model__safetensors": "<!DOCTYPE html>" + " " * 2000}, "does not begin like"),
    "weights that are too long": ({"model__safetensors": safetensors() + b"x"}, "model.safetensors is damaged"),
    "empty weights": ({"model__safetensors": b""}, "model.safetensors holds 0 bytes"),
    "a shard that was cut off": (
        {
            "model__safetensors": None,
            "model__safetensors__index__json": '{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}',
            "1__safetensors": safetensors(), "2__safetensors": safetensors(cut=4),
        },
        "2.safetensors is cut off",
    ),
    "a shard that is not there": (
        {
            "model__safetensors": None,
            "model__safetensors__index__json": '{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}',
            "1__safetensors": safetensors(),
        },
        "1 of 2 weight files are missing: 2.safetensors",
    ),
    "an adapter": (
        {"config__json": None, "adapter_config__json": '{"base_model_name_or_path": "org/base"}'},
        "is a LoRA adapter, and no model | Name its base model (org/base)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_model_is_told_before_the_launch(tmp_path: Path, name: str) -> None:
    files, words = FAULTS[name]
    folder = model(tmp_path / "m", **files)
    for backend in ("vllm", "sglang"):
        found = said(checked(backend, folder))
        assert words in found
        assert found.startswith("model_path: ")


def test_a_model_that_is_a_file_is_told(tmp_path: Path) -> None:
    file = model(tmp_path / "m") / "model.safetensors"
    assert "is a file, and vLLM loads a folder" in said(checked("vllm", file))


def test_what_is_told_otherwise_by_a_flag_is_not_missed(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", config__json=None, model__safetensors=None, tokenizer__json=None)
    flags = {"load_format": "dummy", "hf_config_path": "org/x", "skip_tokenizer_init": True}
    assert checked("vllm", folder, extra_args=flags) == []
    assert checked("vllm", folder, extra_args={"raw": ["--load-format=dummy", "--hf-config-path", "o/x"]}) != []
    mistral = model(tmp_path / "n", config__json=None, params__json="{}")
    assert checked("vllm", mistral) == []
    assert "holds no config.json" in said(checked("transformers", mistral))


def test_a_chat_template_that_cannot_be_read_is_a_warning_where_the_engine_starts_with_it(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", chat_template__jinja=BROKEN)
    (found,) = checked("vllm", folder)
    assert (found.severity, found.field) == ("warning", "model_path")
    assert "chat_template.jinja cannot be read" in found.message
    assert "line 1: unexpected '}'" in found.message
    good = put(tmp_path / "good.jinja", TEMPLATE)
    assert checked("vllm", folder, extra_args={"chat_template": str(good)}) == []
    old = model(tmp_path / "old", tokenizer_config__json=json.dumps({"chat_template": BROKEN}))
    assert "tokenizer_config.json cannot be read" in said(checked("sglang", old), "warning")


GGUF_FAULTS: dict[str, tuple[bytes, str]] = {
    "a version to come": (gguf(version=4), "is GGUF version 4, and llama.cpp reads 2 and 3"),
    "a version of old": (gguf(version=1), "is GGUF version 1"),
    "the other byte order": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "other byte order"),
    "no GGUF": (b"<html>" * 99, "does not begin with GGUF"),
    "nothing": (b"", "is cut off in its head"),
    "half a head": (gguf()[:100], "is cut off in its head"),
    "half a tensor": (gguf(cut=8), "is cut off: it holds"),
    "no architecture": (gguf({"tokenizer.ggml.model": "llama"}), "does not say its architecture"),
    "no vocabulary": (gguf({"general.architecture": "llama"}), "lacks its vocabulary (tokenizer.ggml.model)"),
    "no words": (
        gguf({"general.architecture": "llama", "tokenizer.ggml.model": "llama"}), "(tokenizer.ggml.tokens)"),
    "no merges": (gguf({**MODEL, "tokenizer.ggml.model": "gpt2"}), "(tokenizer.ggml.merges)"),
    "an adapter": (gguf({**MODEL, "general.type": "adapter"}), "of the kind adapter, and no model"),
    "a projector": (gguf({"general.architecture": "clip"}), "of the kind mmproj, and no model"),
    "a later part": (gguf({**MODEL, "split.no": 1}), "later part"),
    "a broken template": (
        gguf({**MODEL, "tokenizer.chat_template": BROKEN}), "cannot be read: line 1: unexpected '}'"),
}  # fmt: skip


@pytest.mark.parametrize("name", GGUF_FAULTS)
def test_a_fault_of_a_gguf_is_told_before_the_launch(tmp_path: Path, name: str) -> None:
    data, words = GGUF_FAULTS[name]
    assert words in said(checked("llamacpp", put(tmp_path / "m.gguf", data)))
    if name == "a broken template":
        other = {"chat_template_file": str(put(tmp_path / "t.jinja", TEMPLATE))}
        assert checked("llamacpp", tmp_path / "m.gguf", extra_args=other) == []


def test_every_part_of_a_split_gguf_is_looked_at(tmp_path: Path) -> None:
    first = put(tmp_path / "m-00001-of-00002.gguf", gguf({**MODEL, "split.no": 0}))
    later = {"split.no": 1, "general.architecture": "llama"}
    second = put(tmp_path / "m-00002-of-00002.gguf", gguf(later))
    assert checked("llamacpp", first) == checked("llamacpp", tmp_path) == []
    put(second, gguf(later, cut=3))
    assert "m-00002-of-00002.gguf is cut off" in said(checked("llamacpp", first))
    put(second, "")
    assert "m-00002-of-00002.gguf is cut off in its head" in said(checked("llamacpp", tmp_path))
    assert "is a later part" in said(checked("llamacpp", put(tmp_path / "x.gguf", gguf(later))))


def test_of_a_folder_that_was_not_seen_whole_nothing_is_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model(tmp_path / "m")
    monkeypatch.setattr("vllm_studio_tui.backends.common.file_reading.MOST", 0)
    assert checked("vllm", folder) == []
    monkeypatch.setattr("vllm_studio_tui.backends.common.file_reading.MOST", 5000)
    monkeypatch.setattr("vllm_studio_tui.backends.common.file_reading.SECONDS", -1.0)
    assert checked("vllm", folder) == []


def test_a_file_that_we_may_not_read_is_told_as_that() -> None:
    with enterable_folder() as folder:
        made = model(folder / "m")
        for one in made.iterdir():
            one.chmod(0o644)
        made.chmod(0o755)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (made / name).chmod(0o000)
        lines = as_nobody(lambda: said(checked("vllm", made))).splitlines()
        assert [line.split(" cannot be read by user ")[0] for line in lines] == [
            f"model_path: {made}/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json")
        ]


def test_a_container_may_read_what_we_may_not() -> None:
    with enterable_folder() as folder:
        made = model(folder / "m")
        made.chmod(0o000)
        boxed = {"runtime": "docker", "docker": {"image": "vllm/vllm-openai"}}

        def look() -> str:
            return "\n".join(
                f"{one.severity} {one.field}" for one in checked("vllm", made, **boxed) if one.field == "model_path"
            )

        assert as_nobody(look) == "warning model_path"


# --- what is beside the model -------------------------------------------------------------------------------------


def adapter(folder: Path, rank: int = 8) -> Path:
    folder.mkdir()
    put(folder / "adapter_config.json", json.dumps({"r": rank}))
    put(folder / "adapter_model.safetensors", safetensors())
    return folder


def test_adapters_are_looked_at(tmp_path: Path) -> None:
    base, good = model(tmp_path / "m"), adapter(tmp_path / "good")
    assert checked("vllm", base, lora_modules={"a": str(good), "b": "org/on-the-hub"}) == []
    gone = said(checked("vllm", base, lora_modules={"a": str(tmp_path / "x")}))
    assert gone == f"lora_modules: {tmp_path}/x does not exist | Correct lora_modules."
    large = adapter(tmp_path / "large", 64)
    found = said(checked("vllm", base, lora_modules={"a": str(large)}))
    assert found == ("lora_modules: large has rank 64, and vLLM takes up to 16 | Set extra_args.max_lora_rank: 64.")
    assert checked("vllm", base, lora_modules={"a": str(large)}, extra_args={"max_lora_rank": 64}) == []
    assert checked("sglang", base, lora_modules={"a": str(large)}) == []
    (large / "adapter_config.json").unlink()
    assert "adapter_config.json does not exist" in said(checked("vllm", base, lora_modules={"a": str(large)}))
    (good / "adapter_model.safetensors").unlink()
    assert "holds no adapter_model" in said(checked("sglang", base, lora_modules={"a": str(good)}))


def test_adapters_of_llama_cpp_are_files(tmp_path: Path) -> None:
    base = put(tmp_path / "m.gguf", gguf())
    good = put(tmp_path / "a.gguf", gguf({"general.architecture": "llama", "general.type": "adapter"}))
    assert said(checked("llamacpp", base, lora_modules={"a": str(good)})) == ""
    found = said(checked("llamacpp", base, lora_modules={"a": str(adapter(tmp_path / "folder"))}))
    assert "folder is a folder | llama.cpp takes an adapter as one GGUF file" in found
    assert "of the kind mmproj" in said(
        checked(
            "llamacpp", base, lora_modules={"a": str(put(tmp_path / "b.gguf", gguf({"general.architecture": "clip"})))}
        )
    )
    both = {"lora": f"{good},{tmp_path}/gone.gguf"}
    assert "gone.gguf does not exist" in said(checked("llamacpp", base, extra_args=both))


def test_drafts_and_projectors_are_looked_at(tmp_path: Path) -> None:
    base, file = model(tmp_path / "m"), put(tmp_path / "m.gguf", gguf())
    gone = str(tmp_path / "gone")
    for backend, fields in (
        ("vllm", {"speculative": {"method": "draft_model", "model": gone}}),
        ("sglang", {"speculative": {"algorithm": "EAGLE", "draft_model_path": gone}}),
        ("llamacpp", {"speculative": {"model": gone}}),
    ):
        found = said(checked(backend, file if backend == "llamacpp" else base, **fields))
        assert f"speculative: the draft model: {gone} does not exist" in found, backend
    draft = model(tmp_path / "draft", tokenizer__json=None, model__safetensors=safetensors(cut=3))
    found = said(checked("vllm", base, extra_args={"speculative_config": {"model": str(draft)}}))
    assert "extra_args: model.safetensors is cut off" in found
    assert "extra_args: mmproj: " in said(checked("llamacpp", file, extra_args={"mmproj": gone}))
    typed = put(tmp_path / "typed.gguf", gguf({**MODEL, "general.type": "model"}))
    assert "of the kind model, and no mmproj" in said(checked("llamacpp", file, extra_args={"mm": str(typed)}))
    assert checked("vllm", base, speculative={"method": "ngram", "num_speculative_tokens": 3}) == []


def test_templates_keys_and_certificates_are_looked_at(tmp_path: Path) -> None:
    base = model(tmp_path / "m")
    gone, bad = str(tmp_path / "gone.jinja"), str(put(tmp_path / "bad.jinja", BROKEN))
    assert f"chat_template: {gone} does not exist" in said(checked("vllm", base, extra_args={"chat_template": gone}))
    assert "cannot be read as a template" in said(checked("vllm", base, extra_args={"chat_template": bad}), "warning")
    for name in ("chatml", TEMPLATE, "tool_chat_template_hermes.jinja"):
        assert checked("vllm", base, extra_args={"chat_template": name}) == []
    pem = str(put(tmp_path / "c.pem", "-----BEGIN CERTIFICATE-----\n"))
    flags = {"ssl_certfile": pem, "ssl_keyfile": bad, "ssl-ca-certs": gone}
    found = said(checked("vllm", base, extra_args=flags))
    assert f"ssl_keyfile: {bad} is no PEM file" in found
    assert f"ssl_ca_certs: {gone} does not exist | Correct extra_args.ssl_ca_certs." in found
    assert pem not in found
    file = put(tmp_path / "m.gguf", gguf())
    assert "chat_template_file: " in said(checked("llamacpp", file, extra_args={"chat_template_file": bad}))
    # What a container's image holds cannot be seen from here.
    boxed = {"runtime": "docker", "docker": {"image": "vllm/vllm-openai"}, "extra_args": {"ssl_keyfile": "/in/image"}}
    assert "ssl_keyfile" not in said(checked("vllm", base, **boxed))


def test_relative_paths_begin_where_the_engine_will_run(tmp_path: Path) -> None:
    base = model(tmp_path / "m")
    put(tmp_path / "t.jinja", BROKEN)
    flags = {"chat_template": "./t.jinja"}
    assert f"{tmp_path}/t.jinja cannot be read" in said(
        checked("vllm", base, cwd=str(tmp_path), extra_args=flags), "warning"
    )
    assert "t.jinja does not exist" in said(checked("vllm", base, cwd=str(base), extra_args=flags))


def test_words_of_other_engines_are_told_to_llama_cpp(tmp_path: Path) -> None:
    file = put(tmp_path / "m.gguf", gguf())
    found = said(checked("llamacpp", file, reasoning_parser="qwen3"))
    assert found.startswith("reasoning_parser: llama.cpp has no reader of thoughts called qwen3 | Leave it empty")
    assert checked("llamacpp", file, reasoning_parser="deepseek") == []
    ngram = said(checked("llamacpp", file, speculative={"method": "ngram"}))
    assert ngram == "speculative: llama.cpp has no way to guess ahead called ngram | Write method: ngram-simple."
    assert said(checked("llamacpp", file, speculative={"method": "ngram-simple"})) == ""
    assert "no cache of the type fp8" in said(checked("llamacpp", file, kv_cache_dtype="fp8"), "warning")


def test_an_interpreter_that_is_none_is_told(tmp_path: Path) -> None:
    other = put(tmp_path / "engine", "#!/bin/sh\n")
    other.chmod(0o755)
    one = Recipe.model_validate({"id": "r", "name": "R", "model_path": "org/m", "python_path": str(other)})
    found = check(registry.backend("vllm"), one, LaunchContext(Settings(), "127.0.0.1", 8001, environ={}))
    assert [p.message for p in found if p.field == "python_path"] == [
        f"{other} does not look like a Python interpreter"
    ]
    bare = put(tmp_path / "python3", "#!/bin/sh\n")
    bare.chmod(0o755)
    found = check(
        registry.backend("vllm"),
        one.model_copy(update={"python_path": str(bare)}),
        LaunchContext(Settings(), "127.0.0.1", 8001, environ={}),
    )
    assert "seems to have no vllm" in said(found, "warning")


# --- anything -----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors", "m.gguf",
     "model.safetensors.index.json", "adapter_config.json", "chat_template.json", "params.json"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9) | NAMES, inner, max_size=3),
    max_leaves=9,
)
KEYS = st.sampled_from(["weight_map", "chat_template", "auto_map", "tokenizer_class", "r", "template", "model_type"])
DATA = st.binary(max_size=60) | st.one_of(JSON, st.dictionaries(KEYS, JSON)).map(lambda one: json.dumps(one).encode())


@settings(max_examples=40)
@given(st.dictionaries(NAMES, DATA, max_size=6))
def test_no_folder_is_too_strange(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        for file, data in files.items():
            put(Path(name) / file, data)
        for backend in (*FOLDERS, "llamacpp"):
            assert not [one for one in checked(backend, name, lora_modules={"a": name}) if one.field == "backend"]


@given(st.text(max_size=200))
def test_no_template_is_too_strange(text: str) -> None:
    from vllm_studio_tui.backends.common.templates import template_trouble

    for one in (text, f"{{{{{text}}}}}", f"{{%{text}%}}", "{{" + "(" * 5000, "{% if a %}" * 500):
        assert isinstance(template_trouble(one), str)


def test_a_projector_and_later_parts_are_listed_as_no_models(tmp_path: Path) -> None:
    for name in ("m.gguf", "mmproj-m.gguf", "m-mmproj-f16.gguf", "n-00001-of-00002.gguf", "n-00002-of-00002.gguf"):
        put(tmp_path / name, gguf())
    found = models_below(str(tmp_path))
    assert [(one.name, one.complete) for one in found] == [("m", True), ("n", True)]
