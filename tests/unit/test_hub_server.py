"""The test hub, held against huggingface_hub itself: the library reads its answers as it reads the real hub's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_server import Hub, blob_id, running_hub

WEIGHTS = os.urandom(200_000)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        hub.add("acme/tiny", {"config.json": b"{}", "a/b.json": b"[]", "model.safetensors": WEIGHTS, "README.md": b"x"})
        yield hub


def test_the_library_downloads_a_snapshot_of_it(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    found = Path(snapshot_download("acme/tiny", cache_dir=tmp_path, endpoint=hub.endpoint, token=False))
    assert found.name == hub.repos["acme/tiny"].commit
    assert (found / "model.safetensors").read_bytes() == WEIGHTS
    assert (found / "a/b.json").read_bytes() == b"[]"
    assert (found / "config.json").readlink().name == blob_id(b"{}")


def test_the_library_reads_heads_trees_and_facts(hub: Hub) -> None:
    api = HfApi(endpoint=hub.endpoint, token=False)
    about = api.model_info("acme/tiny")
    assert (about.sha, about.gated, about.card_data.license if about.card_data else "") == (
        hub.repos["acme/tiny"].commit, False, "apache-2.0"
    )  # fmt: skip
    tree: dict[str, Any] = {one.path: one for one in api.list_repo_tree("acme/tiny", recursive=True)}
    assert set(tree) == {"a", "a/b.json", "config.json", "model.safetensors", "README.md"}
    head = get_hf_file_metadata(
        hf_hub_url("acme/tiny", "model.safetensors", endpoint=hub.endpoint), token=False, endpoint=hub.endpoint
    )
    assert head.size == len(WEIGHTS)
    assert head.etag == tree["model.safetensors"].lfs.sha256
    assert head.location.startswith(hub.storage)
    assert head.xet_file_data is not None
    assert head.xet_file_data.file_hash == tree["model.safetensors"].xet_hash
    assert [one.path for one in api.get_paths_info("acme/tiny", ["config.json", "none"])] == ["config.json"]


def test_the_library_knows_its_errors(hub: Hub, tmp_path: Path) -> None:
    hub.tokens |= {"hf_new", "hf_in"}
    hub.add("acme/gated", {"config.json": b"{}"}, gated="manual", granted={"hf_in"})
    api = HfApi(endpoint=hub.endpoint, token=False)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/none")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("acme/tiny", revision="v9")
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download("acme/tiny", "none.json", cache_dir=tmp_path)
    for token in (False, "hf_new"):
        with pytest.raises(GatedRepoError):
            api.auth_check("acme/gated", token=token)
    api.auth_check("acme/gated", token="hf_in")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        api.model_info("acme/tiny", token="hf_unknown")
