"""What a model on the hub is, told by the heads of its files: the same as of the files themselves, and cheaper."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hub_server import Hub, running_hub
from tests.unit import weight_files
from vllm_studio_tui.domain.architecture import ModelFacts
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.models import hub as hub_facts
from vllm_studio_tui.models.facts import UnknownModel, read_facts
from vllm_studio_tui.models.hub_errors import HubError

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 512, "torch_dtype": "float32",
}  # fmt: skip


@pytest.fixture(autouse=True)
def asked_anew() -> None:
    hub_facts._ASKED.clear()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


def ask(hub: Hub, tmp_path: Path, name: str = "acme/m", **more: str) -> ModelFacts:
    environ = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "VLLM_STUDIO_HOME": str(tmp_path / "home")}
    return hub_facts.read_hub_facts(name, environ={**environ, **more})


def sharded(layers: int = 40) -> dict[str, bytes]:
    """A model of two files with a head that is longer than the first read."""
    names = [f"model.layers.{at}.{'x' * 1500}.q_proj.weight" for at in range(layers)]
    first = weight_files.safetensors({"model.embed_tokens.weight": (100, 64), **dict.fromkeys(names, (64, 64))})
    second = weight_files.safetensors({"lm_head.weight": (100, 64), **{f"{one}2": (64, 64) for one in names}})
    files = {"model-00001-of-00002.safetensors": first, "model-00002-of-00002.safetensors": second}
    index = {"weight_map": {name: file for file in files for name in [file]}}
    return {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        **files,
    }


def on_disk(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, body in files.items():
        (folder / name).write_bytes(body)
    return folder


def test_heads_tell_what_the_whole_files_tell(hub: Hub, tmp_path: Path) -> None:
    files = sharded(80)
    hub.add("acme/m", files)
    facts = ask(hub, tmp_path)
    assert facts == dataclasses.replace(read_facts(on_disk(tmp_path / "m", files)), about={"license": "apache-2.0"})
    assert facts.exact
    assert facts.bytes == 4 * (2 * 100 * 64 + 160 * 64 * 64)
    heads = sum(int.from_bytes(body[:8], "little") + 8 for name, body in files.items() if name.endswith(".safetensors"))
    assert heads > 2 * hub_facts.FIRST_READ
    # The heads, and no more than what was on its way when they were whole.
    assert hub.bytes_sent() < heads + 3 * hub_facts.FIRST_READ < sum(len(body) for body in files.values())


def test_a_gguf_file_is_told_by_its_head(hub: Hub, tmp_path: Path) -> None:
    words = [f"word{at}" for at in range(150_000)]
    values = {
        **weight_files.MODEL, "llama.embedding_length": 64, "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2, "llama.context_length": 512, "tokenizer.ggml.tokens": words,
    }  # fmt: skip
    body = weight_files.gguf(values, numbers=3_000_000)
    assert body.index(b"blk.0.w") > hub_facts.FIRST_GGUF  # its head is longer than the first read
    hub.add("acme/m-GGUF", {"m-Q4_K_M.gguf": body, "m-Q8_0.gguf": body + bytes(32)})
    (tmp_path / "m.gguf").write_bytes(body)
    facts = ask(hub, tmp_path, "acme/m-GGUF:Q4_K_M")
    assert facts == dataclasses.replace(
        read_facts(tmp_path / "m.gguf"), about={**read_facts(tmp_path / "m.gguf").about, "license": "apache-2.0"}
    )
    assert hub.bytes_sent() < len(body) / 2


def test_what_was_found_out_is_kept_for_the_commit_and_serves_offline(hub: Hub, tmp_path: Path) -> None:
    hub.add("acme/m", sharded())
    facts = ask(hub, tmp_path)
    sent = hub.bytes_sent()
    hub_facts._ASKED.clear()
    assert ask(hub, tmp_path) == facts
    assert hub.bytes_sent() == sent  # only the commit was asked for
    hub_facts._ASKED.clear()
    assert ask(hub, tmp_path, HF_HUB_OFFLINE="1") == facts
    hub_facts._ASKED.clear()
    files = sharded()
    files["config.json"] = json.dumps({**CONFIG, "max_position_embeddings": 1024}).encode()
    hub.add("acme/m", files)
    assert ask(hub, tmp_path).architecture.context == 1024
    asked = len(hub.asked)
    assert ask(hub, tmp_path).architecture.context == 1024  # within minutes, without asking
    assert len(hub.asked) == asked
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "home/cache/hub").iterdir())


def test_a_kept_file_that_was_damaged_is_found_out_anew(hub: Hub, tmp_path: Path) -> None:
    hub.add("acme/m", sharded())
    facts = ask(hub, tmp_path)
    (kept,) = (tmp_path / "home/cache/hub").iterdir()
    for damage in (
        b"",
        b"[]",
        b'{"commit": "x", "facts": {"architecture": {"caches": [{"kind": "none"}]}}}',
        os.urandom(99),
    ):
        kept.write_bytes(damage)
        hub_facts._ASKED.clear()
        assert ask(hub, tmp_path) == facts


def test_offline_without_anything_kept_says_so(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError) as raised:
        ask(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert raised.value.kind == "offline"
    hub.add("acme/m", {"README.md": b"nothing"})
    with pytest.raises(UnknownModel) as unknown:
        ask(hub, tmp_path)
    assert "acme/m" in unknown.value.title
    assert str(tmp_path) not in str(unknown.value)
    assert "/tmp" not in str(unknown.value)


def test_pickles_alone_are_reckoned_from_their_sizes(hub: Hub, tmp_path: Path) -> None:
    hub.add("acme/m", {"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": bytes(50_000)})
    facts = ask(hub, tmp_path)
    assert (facts.exact, facts.bytes) == (False, 50_000)
    assert hub.bytes_sent() == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.binary(max_size=200), st.sampled_from(["model.safetensors", "m-Q4_0.gguf"]))
def test_no_content_of_a_repository_makes_its_reader_raise_anything_but_words(
    hub: Hub, tmp_path: Path, weights: bytes, config: bytes, name: str
) -> None:
    hub_facts._ASKED.clear()
    start = b"GGUF\3\0\0\0" if name.endswith("gguf") and len(weights) % 2 else b""
    hub.add("acme/m", {"config.json": config, name: start + weights})
    try:
        ask(hub, tmp_path)
    except StudioError as error:
        assert error.title


def test_whether_a_name_of_the_hub_fits_is_told_by_its_heads(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.studio import Studio

    hub.add("acme/m", sharded())
    for name, value in {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "VLLM_STUDIO_HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        assert studio.fit.facts("acme/m").exact
        with pytest.raises(StudioError):
            studio.fit.facts("acme/none")
