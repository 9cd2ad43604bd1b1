"""Trees that nobody made for us: the inventory ends soon, says what it could not read, and never raises."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.unprivileged import as_nobody, enterable_folder
from tests.unit.weight_files import gguf, model, safetensors
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.model import ModelPlace, Source
from vllm_studio_tui.models.inventory import walking
from vllm_studio_tui.models.inventory.headers import HeaderStore
from vllm_studio_tui.models.inventory.looking import Look, look_at
from vllm_studio_tui.models.inventory.places import Place, places_of
from vllm_studio_tui.models.inventory.reading import model_of
from vllm_studio_tui.models.inventory.removal import carry_out, plan_removal
from vllm_studio_tui.models.inventory.sharing import shared_files


def look(path: Path, source: Source = Source.FOLDER) -> tuple[Look, ModelPlace]:
    found = look_at([Place(str(path), source, "here")])
    return found, found.places[0]


def test_loops_of_links_end(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    (folder.parent / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").symlink_to(tmp_path / "a")
    found, place = look(tmp_path)
    assert [one.name for one in found.models] == ["m"]
    assert place.troubles == ()


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", config__json=None)
    os.mkfifo(folder / "config.json")
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "zero.gguf").symlink_to("/dev/zero")
    model(tmp_path / "n", model__safetensors__index__json=None)
    os.mkfifo(tmp_path / "n" / "model.safetensors.index.json")
    found, _ = look(tmp_path)
    assert [one.name for one in found.models] == ["n"]


def test_a_hundred_thousand_entries_take_seconds_and_are_told_of(tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(walking.IN_ONE + 500):
        os.close(os.open(many / f"{number}.txt", os.O_CREAT | os.O_WRONLY))
    for number in range(3000):
        (tmp_path / "deep" / str(number)).mkdir(parents=True)
    model(tmp_path / "a")
    began = time.monotonic()
    found, place = look(tmp_path)
    assert time.monotonic() - began < 5
    assert [one.name for one in found.models] == ["a"]
    assert any("more than 20000 entries" in one for one in place.troubles)


def test_time_is_bounded_too(tmp_path: Path) -> None:
    for number in range(50):
        model(tmp_path / f"m{number}")
    budget = walking.Budget(seconds=0.0)
    assert list(walking.walk(str(tmp_path), budget)) == []
    assert "too large to look through" in budget.troubles[0]


def test_what_lies_too_deep_is_told_of(tmp_path: Path) -> None:
    model_folder = tmp_path.joinpath(*"abcdefgh")
    model_folder.mkdir(parents=True)
    model(model_folder / "m")
    found, place = look(tmp_path)
    assert found.models == ()
    assert "6 folders deep" in place.troubles[0]


def test_a_folder_that_may_not_be_read_is_told_of_and_the_rest_is_found() -> None:
    with enterable_folder() as folder:
        model(folder / "open").chmod(0o755)
        (folder / "shut").mkdir()
        (folder / "shut").chmod(0)
        said = as_nobody(lambda: json.dumps([[one.name for one in look(folder)[0].models], *look(folder)[1].troubles]))
        (folder / "shut").chmod(0o755)
    assert json.loads(said) == [["open"], f"{folder}/shut cannot be read: permission denied"]


def test_a_place_that_may_not_be_entered_is_told_of_and_not_taken_for_missing() -> None:
    with enterable_folder() as folder:
        (folder / "service" / "models").mkdir(parents=True)
        (folder / "service").chmod(0o700)
        said = as_nobody(lambda: json.dumps(look(folder / "service" / "models", Source.OLLAMA)[1].to_json()))
    place = json.loads(said)
    if os.getuid() == 0:
        assert place["there"] and "may not enter" in place["troubles"][0], place


def test_names_in_another_encoding_are_passed_over_and_escapes_stay_as_they_are(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/\xff\xfe")
    name = "evil\x1b]0;x\x07\n.gguf"
    (tmp_path / name).write_bytes(gguf())
    found, place = look(tmp_path)
    assert [one.path for one in found.models] == [f"{tmp_path}/{name}"]
    assert "no UTF-8" in place.troubles[0]


def test_a_manifest_or_index_cannot_lead_out_of_its_store(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    store = tmp_path / "store"
    (store / "blobs").mkdir(parents=True)
    path = store / "manifests" / "h" / "n" / "m" / "latest"
    path.parent.mkdir(parents=True)
    layers = [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../secret", "size": 1}]
    path.write_text(json.dumps({"layers": layers}))
    (one,) = look(store, Source.OLLAMA)[0].models
    assert one.files == ()
    index = json.dumps({"weight_map": {"a": "../../secret", "b": "model.safetensors"}})
    model(tmp_path / "m", model__safetensors__index__json=index)
    (one,) = look(tmp_path / "m")[0].models
    assert all(file.path.startswith(f"{tmp_path}/m/") for file in one.files)
    assert one.missing == "1 file: ../../secret"


NAMES = st.sampled_from([
    "config.json", "model.safetensors", "model.safetensors.index.json", "a-00001-of-00002.gguf", "mmproj.gguf",
    "x.gguf",
    "adapter_config.json", "adapter_model.safetensors", "pytorch_model.bin", "params.json", "model_index.json",
    "models--a--b", "models--", "manifests", "blobs", "snapshots", "refs", "main", "sha256-0", "library",
    "settings.json",
    "a-99999-of-99999.gguf", ".lmstudio-home-pointer", "tokenizer.json", "x\x1b[31m.gguf",
])  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["weight_map", "layers", "config", "digest", "mediaType", "size", "quantization_config",
                         "quant_method", "quantization", "bits", "group_size", "architectures", "model_type",
                         "downloadsFolder", "text_config", "num_hidden_layers", "hidden_size"]), inner, max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip
DATA = (
    st.binary(max_size=40)
    | JSON.map(lambda one: json.dumps(one).encode())
    | st.sampled_from([gguf(), gguf(cut=30), safetensors(), safetensors(cut=9), b"GGUF" + b"\xff" * 60, b"\xff" * 8])
)
TREES = st.recursive(
    st.dictionaries(NAMES, DATA, max_size=4),
    lambda inner: st.dictionaries(NAMES, inner | DATA, max_size=4),
    max_leaves=12,
)


def plant(folder: Path, tree: dict[str, object]) -> None:
    folder.mkdir(exist_ok=True)
    for name, inside in tree.items():
        if isinstance(inside, dict):
            plant(folder / name, inside)
        elif isinstance(inside, bytes):
            (folder / name).write_bytes(inside)


@settings(max_examples=100, deadline=None)
@given(TREES, st.sampled_from(list(Source)))
def test_deleting_what_was_found_in_any_tree_touches_nothing_else(tree: dict[str, object], source: Source) -> None:
    with tempfile.TemporaryDirectory() as name:
        plant(Path(name) / "t", tree)
        (Path(name) / "outside").write_text("mine")
        models = look(Path(name) / "t", source)[0].models
        for one in models[:3]:
            others = [other for other in models if other is not one]
            needed = {file.path for other in others for file in other.files} - {file.path for file in one.files}
            there = {path for path in needed if os.path.lexists(path)}
            assert shared_files(one, others) <= {file.path for file in one.files}
            try:
                removal = plan_removal(one, others)
            except StudioError:
                continue
            assert all(path.startswith(f"{name}/t/") for path in removal.paths)
            if source is Source.FOLDER and one.source == Source.FOLDER:
                carry_out(removal)
                assert all(os.path.lexists(path) for path in there)
                break
        assert (Path(name) / "outside").read_text() == "mine"


@settings(max_examples=150, deadline=None)
@given(TREES, st.sampled_from(list(Source)))
def test_no_tree_is_too_strange(tree: dict[str, object], source: Source) -> None:
    with tempfile.TemporaryDirectory() as name:
        plant(Path(name) / "t", tree)
        found, place = look(Path(name) / "t", source)
        assert place.models == len(found.models)
        store = HeaderStore(Path(name) / "headers.json")
        store.begin()
        models = [model_of(one, store.of(one)) for one in found.models]
        store.save()
        again = HeaderStore(Path(name) / "headers.json")
        again.begin()
        assert [model_of(one, again.of(one)) for one in found.models] == models
        for one in models:
            assert one is None or json.dumps(one.to_json())
        assert places_of({"HOME": f"{name}/t"})
