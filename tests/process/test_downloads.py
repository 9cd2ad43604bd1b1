"""Downloads in processes of their own: paused, killed, resumed, cancelled; from a hub that is slow, cuts and lies."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.disks import fill, small_disk
from tests.hub_server import Hub, running_hub
from vllm_studio_tui.domain.download import Download, DownloadState
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.models.pulling.directory import is_held, read_state
from vllm_studio_tui.services.downloads import Downloads

WEIGHTS = random.Random(13).randbytes(3_000_000)
SMALL = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b'{"a": 1}' * 100}
PATIENCE = 40.0


@dataclass
class Ground:
    """A hub, a home, and the downloads of it."""

    hub: Hub
    home: Path
    cache: Path
    downloads: Downloads

    def until(self, name: str, there: Callable[[Download], bool], patience: float = PATIENCE) -> Download:
        end = time.monotonic() + patience
        while True:
            one = self.downloads.get(name)
            if there(one):
                return one
            assert time.monotonic() < end, f"not in time: {one}\n{self.log(one)}"
            time.sleep(0.02)

    def ended(self, name: str, patience: float = PATIENCE) -> Download:
        return self.until(name, lambda one: not one.state.live, patience)

    def done(self, name: str, patience: float = PATIENCE) -> Download:
        one = self.ended(name, patience)
        assert one.state is DownloadState.DONE, f"{one}\n{self.log(one)}"
        return one

    def log(self, one: Download) -> str:
        return (self.folder(one.id) / "download.log").read_text()

    def folder(self, name: str) -> Path:
        return Places.under(self.home).downloads / name

    def kill(self, name: str) -> None:
        state = read_state(self.folder(name))
        if state.pid is not None:
            process.send(state.pid, state.start, signal.SIGKILL)
            process.wait_gone(state.pid, state.start, 10.0)

    def snapshot(self, repo: str = "acme/tiny") -> Path:
        return self.cache / f"models--{repo.replace('/', '--')}" / "snapshots" / self.hub.repos[repo].commit

    def assert_whole(self, repo: str = "acme/tiny", *names: str) -> None:
        files = self.hub.repos[repo].files
        for name in names or files:
            found = (self.snapshot(repo) / name).read_bytes()
            assert hashlib.sha256(found).digest() == hashlib.sha256(files[name]).digest(), name

    def partials(self) -> list[Path]:
        return list(self.cache.rglob("*.incomplete"))


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    with running_hub() as hub:
        hub.add("acme/tiny", {**SMALL, "model.safetensors": WEIGHTS})
        cache = tmp_path / "hf" / "hub"
        for name, value in {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "HOME": str(tmp_path),
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "HF_HUB_DOWNLOAD_TIMEOUT"):
            monkeypatch.delenv(name, raising=False)
        here = Ground(hub, tmp_path / "home", cache, Downloads(Places.under(tmp_path / "home")))
        yield here
        for one in here.downloads.list():
            here.downloads.cancel(one.id)


def test_a_download_ends_in_a_snapshot_that_the_library_finds_offline(ground: Ground) -> None:
    one = ground.done(ground.downloads.start("acme/tiny").id)
    assert one.bytes_done == one.bytes_total == sum(len(body) for body in ground.hub.repos["acme/tiny"].files.values())
    assert (one.files_done, one.path, one.error) == (3, "acme/tiny", "")
    ground.assert_whole()
    from huggingface_hub import snapshot_download

    found = snapshot_download("acme/tiny", cache_dir=str(ground.cache), local_files_only=True)
    assert Path(found) == ground.snapshot()
    # Large files came once, and from the other host without a token or a second time through the library.
    assert ground.hub.bytes_sent() == len(WEIGHTS)
    assert ground.partials() == []
    state = ground.folder(one.id)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (state, *state.iterdir()))


def test_a_paused_download_goes_on_where_it_was_and_fetches_no_byte_twice(ground: Ground) -> None:
    ground.hub.speed = 1_000_000
    one = ground.downloads.start("acme/tiny")
    ground.until(one.id, lambda now: now.bytes_done > 700_000)
    paused = ground.downloads.pause(one.id)
    assert (paused.state, paused.error) == (DownloadState.PAUSED, "")
    assert not is_held(ground.folder(one.id))
    part = ground.partials()[0].stat().st_size
    assert part >= 700_000
    ground.hub.speed = None
    assert ground.downloads.resume(one.id).state.live
    ground.done(one.id)
    ground.assert_whole()
    again = [asked for asked in ground.hub.asked if asked.host == "storage" and asked.range is not None]
    assert [asked.range for asked in again] == [f"bytes={part}-"]
    assert sum(asked.sent for asked in again) == len(WEIGHTS) - part


def test_killed_at_twenty_places_it_comes_out_the_same(ground: Ground) -> None:
    ground.hub.speed = 2_500_000
    chance = random.Random(20)
    one = ground.downloads.start("acme/tiny")
    kills = seen = 0
    while kills < 20:
        time.sleep(chance.uniform(0.0, 0.9))
        now = ground.downloads.get(one.id)
        if now.state is DownloadState.DONE:
            # It got through: from the start again, with what is there taken away.
            ground.downloads.forget(one.id)
            for path in ground.cache.rglob("*"):
                if path.is_file() or path.is_symlink():
                    path.unlink()
            one = ground.downloads.start("acme/tiny")
            continue
        ground.kill(one.id)
        kills += 1
        told = ground.downloads.get(one.id)
        if told.state is not DownloadState.DONE:
            assert told.state is DownloadState.PAUSED
            assert told.error.startswith("interrupted")
            seen += 1
            ground.downloads.resume(one.id)
    assert seen >= 15
    ground.hub.speed = None
    ground.done(one.id)
    ground.assert_whole()
    assert ground.partials() == []


def test_what_a_power_cut_damaged_is_fetched_anew(ground: Ground) -> None:
    ground.hub.speed = 2_000_000
    one = ground.downloads.start("acme/tiny")
    ground.until(one.id, lambda now: now.bytes_done > 500_000)
    ground.kill(one.id)
    part = ground.partials()[0]
    with part.open("r+b") as file:
        file.seek(1000)
        file.write(bytes(5000))
    ground.hub.speed = None
    ground.downloads.resume(one.id)
    ground.done(one.id)
    ground.assert_whole()


def test_a_cancelled_download_leaves_nothing_and_says_what_came_free(ground: Ground) -> None:
    ground.hub.speed = 1_000_000
    one = ground.downloads.start("acme/tiny")
    ground.until(one.id, lambda now: now.bytes_done > 500_000)
    ended = ground.downloads.cancel(one.id)
    assert ended.freed >= 500_000
    assert ended.download.repo == "acme/tiny"
    assert ground.downloads.list() == []
    assert not (ground.cache / "models--acme--tiny").exists()


def test_cancelling_leaves_what_was_there_before(ground: Ground) -> None:
    ground.done(ground.downloads.start("acme/tiny").id)
    more = dict(ground.hub.repos["acme/tiny"].files) | {"model-2.safetensors": WEIGHTS[::-1]}
    ground.hub.add("acme/tiny", more)
    ground.hub.speed = 500_000
    one = ground.downloads.start("acme/tiny")
    assert ground.downloads.plan("acme/tiny").here >= len(WEIGHTS)
    ground.until(one.id, lambda now: now.bytes_done > len(WEIGHTS) + 100_000)
    ground.downloads.cancel(one.id)
    blobs = [path.stat().st_size for path in (ground.cache / "models--acme--tiny/blobs").iterdir()]
    assert sorted(blobs) == sorted(len(body) for name, body in more.items() if name != "model-2.safetensors")


def test_cancelling_in_a_copy_of_the_home_takes_nothing_from_the_one_that_runs(ground: Ground, tmp_path: Path) -> None:
    ground.hub.speed = 1_000_000
    one = ground.downloads.start("acme/tiny")
    ground.until(one.id, lambda now: now.bytes_done > 300_000)
    shutil.copytree(ground.home, tmp_path / "copy")
    copy = Downloads(Places.under(tmp_path / "copy"))
    assert copy.get(one.id).error.startswith("interrupted")
    assert copy.cancel(one.id).freed < 100_000  # small files that were whole, and that nobody has linked yet
    assert copy.list() == []
    ground.hub.speed = None
    ground.done(one.id)
    ground.assert_whole()


def test_one_runs_and_the_others_wait_in_their_order(ground: Ground) -> None:
    for name in ("acme/b", "acme/c"):
        ground.hub.add(name, {"config.json": name.encode(), "model.safetensors": WEIGHTS[:400_000]})
    ground.hub.speed = 1_500_000
    ids = [ground.downloads.start(name).id for name in ("acme/tiny", "acme/b", "acme/c")]
    ground.until(ids[0], lambda now: now.state is DownloadState.RUNNING)
    assert [ground.downloads.get(one).state for one in ids[1:]] == [DownloadState.QUEUED] * 2
    # One that waits can be paused, and ends at once.
    assert ground.downloads.pause(ids[1]).state is DownloadState.PAUSED
    ground.downloads.resume(ids[1])  # and is the last one then
    ends: list[str] = []
    while len(ends) < 3:
        states = [ground.downloads.get(one).state for one in ids]
        assert states.count(DownloadState.RUNNING) <= 1
        ends += [one for one, state in zip(ids, states, strict=True) if state is DownloadState.DONE and one not in ends]
        assert DownloadState.FAILED not in states
        time.sleep(0.02)
    assert ends == [ids[0], ids[2], ids[1]]


def test_the_same_files_are_downloaded_once(ground: Ground) -> None:
    ground.hub.speed = 1_000_000
    one = ground.downloads.start("acme/tiny")
    assert ground.downloads.start("acme/tiny").id == one.id
    ground.downloads.pause(one.id)
    again = ground.downloads.start("https://huggingface.co/acme/tiny")
    assert again.id == one.id
    assert again.state.live
    assert len(ground.downloads.list()) == 1


def test_cuts_stalls_and_trouble_are_waited_out(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    ground.hub.cuts.extend([300_000, 0, 500_000])
    one = ground.downloads.start("acme/tiny")
    ground.done(one.id)
    ground.assert_whole()
    assert ground.hub.bytes_sent() == len(WEIGHTS)
    ground.hub.add("acme/b", {"model.safetensors": WEIGHTS[::-1]})
    ground.hub.stalls.append(400_000)
    two = ground.downloads.start("acme/b")
    ground.until(two.id, lambda now: "stopped answering" in now.error or now.state is DownloadState.DONE)
    ground.done(two.id)
    ground.assert_whole("acme/b")


def test_a_hub_that_asks_to_wait_is_given_that_time_and_it_is_said(ground: Ground) -> None:
    plan = ground.downloads.plan("acme/tiny")
    ground.hub.troubles.extend([(429, {"Retry_After": "2"})] * 3 + [(503, {})])
    began = time.monotonic()
    one = ground.downloads.start_planned(plan)
    ground.until(one.id, lambda now: "asks to wait" in now.error)
    ground.done(one.id)
    assert time.monotonic() - began >= 2.0
    ground.assert_whole()


def test_a_server_without_ranges_is_taken_from_the_start(ground: Ground) -> None:
    ground.hub.ignore_ranges = True
    ground.hub.cuts.extend([1_000_000, 1_500_000])
    ground.done(ground.downloads.start("acme/tiny").id)
    ground.assert_whole()


def test_another_content_and_another_size_than_promised_are_refused_and_deleted(ground: Ground) -> None:
    ground.hub.change = lambda body: body[:-1] + bytes([body[-1] ^ 1])
    one = ground.ended(ground.downloads.start("acme/tiny").id)
    assert one.state is DownloadState.FAILED
    assert "not what the hub says" in one.error
    assert ground.partials() == []
    assert not ground.snapshot().exists()
    ground.hub.change = lambda body: body + b"more"
    ground.downloads.resume(one.id)
    one = ground.ended(one.id)
    assert "another size" in one.error
    ground.hub.change = None
    ground.hub.linked_etag = "0" * 64
    ground.downloads.resume(one.id)
    assert "another model.safetensors than it listed" in ground.ended(one.id).error
    ground.hub.linked_etag = None
    ground.downloads.resume(one.id)
    ground.done(one.id)
    ground.assert_whole()


def test_a_full_disk_pauses_it_with_the_reason_and_leaves_room_for_others(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "small", 8) as disk:
        monkeypatch.setenv("HF_HUB_CACHE", str(disk / "hub"))
        with pytest.raises(StudioError, match="no room"):
            ground.hub.add("acme/big", {"model.safetensors": bytes(20_000_000)})
            ground.downloads.start("acme/big")
        ground.hub.speed = 1_000_000
        one = ground.downloads.start("acme/tiny")
        ground.until(one.id, lambda now: now.bytes_done > 200_000)
        filler = fill(disk)
        full = ground.ended(one.id)
        assert full.state is DownloadState.PAUSED
        assert "the disk is full" in full.error
        assert "resume" in full.advice
        # It is not begun again without room, and says so at once.
        ground.downloads.resume(one.id)
        assert "the disk is full" in ground.ended(one.id).error
        filler.unlink()
        ground.hub.speed = None
        ground.downloads.resume(one.id)
        ground.done(one.id)
        ground.downloads.forget(one.id)


def test_a_gguf_repository_gives_one_quantization_and_its_path(ground: Ground) -> None:
    ground.hub.add(
        "acme/x-GGUF", {"x-Q4_K_M.gguf": WEIGHTS[:100_000], "x-Q8_0.gguf": WEIGHTS[:200_000], "README.md": b"hi"}
    )
    one = ground.done(ground.downloads.start("acme/x-GGUF:Q8_0").id)
    assert (one.quantization, one.name) == ("Q8_0", "acme/x-GGUF:Q8_0")
    assert Path(one.path).read_bytes() == WEIGHTS[:200_000]
    assert not (ground.snapshot("acme/x-GGUF") / "x-Q4_K_M.gguf").exists()


def test_a_revision_is_kept_by_its_name(ground: Ground) -> None:
    ground.hub.repos["acme/tiny"].branches["v1.0"] = "x"
    one = ground.done(ground.downloads.start("acme/tiny", revision="v1.0").id)
    assert one.path == str(ground.snapshot())
    assert (ground.cache / "models--acme--tiny/refs/v1.0").read_text() == ground.hub.repos["acme/tiny"].commit


def test_a_gated_model_that_was_granted_comes_and_its_token_is_written_nowhere(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.hub.tokens.add("hf_verysecret")
    ground.hub.repos["acme/tiny"].gated = "auto"
    ground.hub.repos["acme/tiny"].granted.add("hf_verysecret")
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    one = ground.done(ground.downloads.start("acme/tiny").id)
    assert all(asked.authorization is None for asked in ground.hub.asked if asked.host == "storage")
    for path in ground.home.rglob("*"):
        assert not path.is_file() or b"hf_verysecret" not in path.read_bytes()
    assert one.error == ""


def test_two_programs_that_fetch_one_file_do_not_write_into_each_other(ground: Ground) -> None:
    """The library, called by somebody else, holds the lock of the file: we wait for it and say so."""
    from filelock import FileLock

    digest = hashlib.sha256(WEIGHTS).hexdigest()
    lock = ground.cache / ".locks/models--acme--tiny" / f"{digest}.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(str(lock)):
        one = ground.downloads.start("acme/tiny")
        ground.until(one.id, lambda now: "another program fetches" in now.error)
        assert ground.hub.bytes_sent() == 0
    ground.done(one.id)
    ground.assert_whole()


def test_a_torn_directory_is_no_download_and_hides_no_other(ground: Ground) -> None:
    one = ground.done(ground.downloads.start("acme/tiny").id)
    while is_held(ground.folder(one.id)):  # its last milliseconds
        time.sleep(0.01)
    root = ground.folder(one.id).parent
    (root / "torn").mkdir()
    (root / "torn/spec.json").write_bytes(b'{"id": "torn", "files": [["../x", 1, "zz"]]}')
    (ground.folder(one.id) / "state.json").write_bytes(os.urandom(200))
    (found,) = ground.downloads.list()
    assert (found.id, found.state) == (one.id, DownloadState.PAUSED)
    ground.downloads.resume(one.id)
    ground.done(one.id)


@pytest.mark.parametrize("works", [True, False])
def test_a_download_may_be_put_into_a_scope_of_systemd(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    """A stand-in for systemd-run that becomes the program, as with --scope; or that refuses."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    rest = 'while [ "$1" != "--" ]; do shift; done; shift; exec "$@"' if works else "exit 1"
    (folder / "systemd-run").write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{rest}\n')
    (folder / "systemd-run").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    ground.downloads = Downloads(Places.under(ground.home), scope=lambda: True)
    one = ground.done(ground.downloads.start("acme/tiny").id)
    assert f"--user --scope --quiet --collect --unit=vllm-studio-{one.id} --" in calls.read_text()
    ground.assert_whole()
