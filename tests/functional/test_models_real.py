"""The models screen on real models: one comes from a hub on this machine, is paused, goes on, and is deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.functional.acting import cursor, fill_in, shows, told
from tests.functional.stage import Staged, staged
from tests.hub_server import running_hub
from vllm_studio_tui.domain.download import DownloadState

HEAD = json.dumps({"w": {"dtype": "BF16", "shape": [1500, 1000], "data_offsets": [0, 3_000_000]}}).encode()
WEIGHTS = len(HEAD).to_bytes(8, "little") + HEAD + bytes(3_000_000)
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8192, "vocab_size": 100,
}  # fmt: skip


async def until_seen(stage: Staged, state: DownloadState) -> None:
    """Wait until the screen knows that the download has this state."""

    def seen() -> bool:
        stage.app.pulls.look()
        return any(one.state is state for one in stage.app.pulls.all or ())

    await stage.until(seen, f"it is {state}")


async def test_a_model_comes_goes_on_and_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"config.json": json.dumps(CONFIG).encode(), "tokenizer.json": b"{}", "model.safetensors": WEIGHTS}
    with running_hub() as hub:
        hub.add("acme/tiny", files)
        hub.speed = 400_000
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        async with staged(tmp_path / "home", place="models") as stage:
            await shows(stage, "No models on this machine.")
            await stage.press("n")
            await fill_in(stage, "acme/tiny")
            await stage.press("enter")
            await shows(stage, "Get acme/tiny?")
            assert "3 files, 3 MiB" in stage.text() and "licence apache-2.0" in stage.text()
            await stage.press("d")
            await told(stage, "tiny is coming")
            await until_seen(stage, DownloadState.RUNNING)
            await cursor(stage, "#models-table", "acme/tiny")
            await stage.press("s")
            await told(stage, "tiny is paused")
            await until_seen(stage, DownloadState.PAUSED)
            await shows(stage, "paused")
            hub.speed = None
            await stage.press("r")
            await told(stage, "tiny goes on")
            await until_seen(stage, DownloadState.DONE)
            await told(stage, "tiny is whole")
            await stage.until(lambda: "whole" in stage.text() and "8k" in stage.text(), "the model")
            await cursor(stage, "#models-table", "acme/tiny")
            await stage.press("d")
            await shows(stage, "Delete acme/tiny?")
            assert "3 MiB come free" in stage.text()
            await stage.press("d")
            await told(stage, "3 MiB came free")
            await shows(stage, "No models on this machine.")
            assert not list((tmp_path / "hub").rglob("*.safetensors"))
            for one in stage.studio.downloads.list():
                stage.studio.downloads.forget(one.id)
