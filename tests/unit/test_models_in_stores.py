"""Models in the stores of other programs, laid out as these programs lay them out."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import hf_hub_download, scan_cache_dir

from tests.ports import free_port
from tests.unit.weight_files import MODEL, gguf, safetensors
from vllm_studio_tui.domain.model import Source
from vllm_studio_tui.models.inventory.found import Found
from vllm_studio_tui.models.inventory.looking import look_at
from vllm_studio_tui.models.inventory.places import Place, places_of
from vllm_studio_tui.models.inventory.removal import carry_out, plan_removal
from vllm_studio_tui.models.inventory.sharing import shared_files

CONFIG = b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 2048}'
SHARD = "model-0000{}-of-00002.safetensors"
INDEX = json.dumps({"weight_map": {"a": SHARD.format(1), "b": SHARD.format(2)}}).encode()


@pytest.fixture
def hub() -> Iterator[Any]:
    """A hub on this machine whose files huggingface_hub itself downloads; the cache is what it makes."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            name, _, rest = self.path.lstrip("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            data = files.get(f"{name}@{revision}/{file}")
            self.send_response(200 if data is not None else 404)
            if data is not None:
                commit = hashlib.sha1(f"{name}@{revision}".encode()).hexdigest()  # noqa: S324
                self.send_header("X-Repo-Commit", commit)
                self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            if body and data:
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def download(cache: Path, repo: str, contents: dict[str, bytes], revision: str = "main") -> Path:
        for name, data in contents.items():
            files[f"{repo}@{revision}/{name}"] = data
            path = hf_hub_download(
                repo, name, revision=revision, cache_dir=cache, endpoint=f"http://127.0.0.1:{server.server_port}"
            )
        return Path(path)

    yield download
    server.shutdown()
    server.server_close()


def found(path: Path, source: Source = Source.HUB) -> dict[str, Found]:
    return {one.name: one for one in look_at([Place(str(path), source, "here")]).models}


def test_a_model_of_the_hubs_cache_is_named_as_on_the_hub(tmp_path: Path, hub: Any) -> None:
    hub(tmp_path, "org/Whole", {"config.json": CONFIG, "model.safetensors": safetensors()})
    one = found(tmp_path)["org/Whole"]
    assert (one.path, one.source, one.kind, one.complete) == ("org/Whole", "hub", "safetensors", True)
    assert one.bytes == len(safetensors())
    assert len(one.revision) == 40


def test_a_snapshot_that_lacks_a_file_of_its_index_is_not_whole(tmp_path: Path, hub: Any) -> None:
    hub(
        tmp_path,
        "org/Part",
        {"config.json": CONFIG, "model.safetensors.index.json": INDEX, SHARD.format(1): safetensors()},
    )
    one = found(tmp_path)["org/Part"]
    assert (one.complete, one.missing) == (False, f"1 file: {SHARD.format(2)}")
    (Path(one.repo) / "blobs" / "abc.incomplete").write_bytes(b"half")
    assert found(tmp_path)["org/Part"].missing == f"1 file: {SHARD.format(2)} (a download was not finished)"


def test_a_download_that_brought_no_file_yet_is_shown(tmp_path: Path) -> None:
    blobs = tmp_path / "models--org--Begun" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "0123.incomplete").write_bytes(b"x" * 100)
    one = found(tmp_path)["org/Begun"]
    assert (one.kind, one.bytes, one.missing) == ("no weights", 100, "the download was not finished")


def test_the_branch_main_is_what_a_name_means(tmp_path: Path, hub: Any) -> None:
    hub(tmp_path, "org/M", {"config.json": CONFIG, "model.safetensors": safetensors({"a": (9, 9)})})
    hub(tmp_path, "org/M", {"config.json": CONFIG, "model.safetensors": safetensors()}, revision="v2")
    assert found(tmp_path)["org/M"].bytes == len(safetensors({"a": (9, 9)}))


def test_each_quantization_of_a_repository_is_a_model_with_the_path_of_its_file(tmp_path: Path, hub: Any) -> None:
    hub(tmp_path, "org/M-GGUF", {
        "M-Q4_K_M.gguf": gguf(), "mmproj-F16.gguf": gguf(), "README.md": b"hello",
        "BF16/M-BF16-00001-of-00002.gguf": gguf(), "BF16/M-BF16-00002-of-00002.gguf": gguf(numbers=65),
    })  # fmt: skip
    models = found(tmp_path)
    assert set(models) == {"M-Q4_K_M", "M-BF16"}
    assert models["M-Q4_K_M"].path.endswith("M-Q4_K_M.gguf")
    assert Path(models["M-Q4_K_M"].path).is_file()
    assert models["M-BF16"].complete is True


def test_a_cache_in_a_folder_of_models_is_known_by_its_snapshots(tmp_path: Path, hub: Any) -> None:
    hub(tmp_path / "disk" / "hub", "org/M", {"config.json": CONFIG, "model.safetensors": safetensors()})
    one = found(tmp_path, Source.FOLDER)["org/M"]
    assert one.source == "hub"
    assert (Path(one.path) / "config.json").is_file()


def test_deleting_from_the_hubs_cache_leaves_one_that_huggingface_hub_reads(tmp_path: Path, hub: Any) -> None:
    shared = safetensors({"a": (50, 50)})
    hub(tmp_path, "org/M", {"config.json": CONFIG, "model.safetensors": shared, "note.txt": b"old"})
    hub(tmp_path, "org/M", {"config.json": CONFIG, "model.safetensors": shared, "note.txt": b"newer"}, revision="v2")
    hub(tmp_path, "org/Other", {"config.json": CONFIG, "model.safetensors": shared})
    models = found(tmp_path)
    assert {Path(one).name for one in shared_files(models["org/M"], ())} == {"config.json", "model.safetensors"}
    assert shared_files(models["org/Other"], ()) == set()
    one = plan_removal(models["org/M"], models.values(), "v2")
    assert (one.frees, one.keeps) == (len(b"newer"), len(shared) + len(CONFIG))
    carry_out(one)
    cache = scan_cache_dir(tmp_path)
    assert not cache.warnings
    assert {repo.repo_id: len(repo.revisions) for repo in cache.repos} == {"org/M": 1, "org/Other": 1}
    whole = plan_removal(found(tmp_path)["org/M"], ())
    assert whole.frees == len(shared) + len(CONFIG) + len(b"old")
    carry_out(whole)
    assert [repo.repo_id for repo in scan_cache_dir(tmp_path).repos] == ["org/Other"]
    assert list(found(tmp_path)) == ["org/Other"]


def test_one_quantization_is_deleted_and_the_others_stay(tmp_path: Path, hub: Any) -> None:
    hub(tmp_path, "org/M-GGUF", {"M-Q4_K_M.gguf": gguf(), "M-Q8_0.gguf": gguf(numbers=640)})
    models = found(tmp_path)
    removal = plan_removal(models["M-Q8_0"], ())
    assert removal.frees == len(gguf(numbers=640))
    carry_out(removal)
    assert not scan_cache_dir(tmp_path).warnings
    assert list(found(tmp_path)) == ["M-Q4_K_M"]
    carry_out(plan_removal(found(tmp_path)["M-Q4_K_M"], ()))
    assert not list(tmp_path.glob("models--*"))


# --- Ollama -------------------------------------------------------------------------------------------------


def blob(store: Path, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    path = store / "blobs" / f"sha256-{digest}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def manifest(store: Path, name: str, layers: dict[str, bytes]) -> Path:
    """A manifest as Ollama writes it, at `HOST/NAMESPACE/MODEL/TAG`."""
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json", **blob(store, b'{"model_format":"gguf"}'),
        },
        "layers": [
            {"mediaType": f"application/vnd.ollama.image.{kind}", **blob(store, data)} for kind, data in layers.items()
        ],
    }  # fmt: skip
    path = store / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def test_models_of_ollama_have_its_names_and_the_path_of_their_gguf(tmp_path: Path) -> None:
    weights = gguf({**MODEL, "general.file_type": 15})
    manifest(
        tmp_path,
        "registry.ollama.ai/library/llama3.2/1b",
        {"model": weights, "template": b"{{ .Prompt }}", "params": b"{}"},
    )
    manifest(tmp_path, "registry.ollama.ai/someone/mine/latest", {"model": weights + b"x", "projector": gguf()})
    manifest(tmp_path, "hf.co/org/M-GGUF/Q4_K_M", {"model": weights + b"xy"})
    models = found(tmp_path, Source.OLLAMA)
    assert set(models) == {"llama3.2:1b", "someone/mine:latest", "hf.co/org/M-GGUF:Q4_K_M"}
    one = models["llama3.2:1b"]
    assert Path(one.path).read_bytes() == weights
    assert (one.kind, one.bytes, one.complete) == ("gguf", len(weights), True)
    assert {file.role for file in one.files} == {"weights", "template", "parameters", "config"}
    assert Path(models["someone/mine:latest"].projector).read_bytes() == gguf()


def test_a_model_of_ollama_whose_layer_is_missing_or_short_is_not_whole(tmp_path: Path) -> None:
    manifest(tmp_path, "registry.ollama.ai/library/a/latest", {"model": gguf()})
    one = found(tmp_path, Source.OLLAMA)["a:latest"]
    Path(one.path).write_bytes(gguf()[:-50])
    assert "has" in found(tmp_path, Source.OLLAMA)["a:latest"].missing
    Path(one.path).rename(f"{one.path}-partial")
    assert found(tmp_path, Source.OLLAMA)["a:latest"].complete is False


def test_layers_that_another_model_of_ollama_has_are_not_freed(tmp_path: Path) -> None:
    weights = gguf(numbers=4000)
    manifest(tmp_path, "registry.ollama.ai/library/a/latest", {"model": weights, "system": b"be a cat"})
    manifest(tmp_path, "registry.ollama.ai/library/a/copy", {"model": weights})
    (one,) = found(tmp_path, Source.OLLAMA).values()
    assert {one.name, one.about["also_called"]} == {"a:latest", "a:copy"}
    assert one.path in shared_files(one, ())
    removal = plan_removal(one, ())
    assert removal.keeps >= len(weights)
    carry_out(removal)
    (left,) = found(tmp_path, Source.OLLAMA).values()
    assert (left.complete, Path(left.path).read_bytes()) == (True, weights)


# --- LM Studio, llama.cpp, and where all of them are ----------------------------------------------------------


def test_lm_studio_says_itself_where_its_models_are(tmp_path: Path) -> None:
    home, disk = tmp_path / "home", tmp_path / "disk"
    (home / ".lmstudio").mkdir(parents=True)
    (home / ".lmstudio" / "settings.json").write_text(json.dumps({"downloadsFolder": str(disk)}))
    folder = disk / "lmstudio-community" / "M-GGUF"
    folder.mkdir(parents=True)
    (folder / "M-Q4_K_M.gguf").write_bytes(gguf())
    places = places_of({"HOME": str(home)})
    (one,) = look_at(places).models
    assert (one.name, one.source, one.origin) == ("M-Q4_K_M", "lmstudio", str(disk))
    assert one.about == {"published_as": "lmstudio-community/M-GGUF"}


def test_files_beside_those_of_llama_cpp_go_with_them(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("org_M-GGUF_M-Q4_K_M.gguf", "org_M-GGUF_M-Q4_K_M.gguf.etag", "org_M-GGUF_M-Q4_K_M.gguf.json"):
        (cache / name).write_bytes(gguf())
    (cache / "manifest=org=M-GGUF=latest.json").write_text("{}")
    (cache / "org_N.gguf.downloadInProgress").write_bytes(gguf())
    places = places_of({"HOME": str(tmp_path), "LLAMA_CACHE": str(cache)})
    (one,) = look_at(places).models
    assert (one.source, one.name) == ("llama.cpp", "org_M-GGUF_M-Q4_K_M")
    removal = plan_removal(one, ())
    carry_out(removal)
    assert sorted(path.name for path in cache.iterdir()) == [
        "manifest=org=M-GGUF=latest.json", "org_N.gguf.downloadInProgress",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "path", "why"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a", "HF_HUB_CACHE"),
        ({"HF_HOME": "/b"}, "/b/hub", "HF_HOME"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub", "XDG_CACHE_HOME"),
        ({"OLLAMA_MODELS": "/d"}, "/d", "OLLAMA_MODELS"),
        ({}, "/usr/share/ollama/.ollama/models", "the place of Ollama's service"),
        ({"LLAMA_CACHE": "/e"}, "/e", "LLAMA_CACHE"),
    ],
)
def test_variables_say_where_stores_are(environ: dict[str, str], path: str, why: str) -> None:
    places = places_of({"HOME": "/nobody", **environ})
    assert (path, why) in [(one.path, one.why) for one in places]
    assert len({one.path for one in places}) == len(places)


def test_no_place_is_searched_twice(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "models")
    places = places_of(
        {"HOME": str(tmp_path)}, folders=[tmp_path / "link"], beside=[f"{tmp_path}/models/x", "org/name"]
    )
    assert [one.why for one in places if os.path.realpath(one.path) == str(tmp_path / "models")] == [
        "models_dirs of the settings"
    ]
