"""Notes of requests on their way from the event loop to the log: nobody waits for a disk, and a kill loses none."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_request_log import eventually
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.serving import few_refusals, journal, request_notes
from vllm_studio_tui.services.serving.few_refusals import FewRefusals
from vllm_studio_tui.services.serving.journal import JournalFile, memory_folder, read_journal
from vllm_studio_tui.services.serving.request_notes import RequestNotes


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "shm"
    made.mkdir()
    monkeypatch.setattr(journal, "MEMORY", made)
    return made


@pytest.fixture
def folder(tmp_path: Path, memory: Path) -> Path:
    made = memory_folder(Places.under(tmp_path / "home"), make=True)
    assert made is not None
    return made


class Told:
    """Everybody who is told; `gate` keeps them waiting, as a disk that hangs."""

    def __init__(self, folder: Path | None) -> None:
        self.begun: list[CompletedRequest] = []
        self.counted: list[CompletedRequest] = []
        self.kept: list[CompletedRequest] = []
        self.gate = threading.Event()
        self.gate.set()
        self.forgotten: list[str] = []
        self.notes = RequestNotes(folder, self._begin, self.forgotten.append, self.counted.append, [self._keep])

    def _begin(self, request: CompletedRequest) -> None:
        self.gate.wait()
        self.begun.append(request)

    def _keep(self, request: CompletedRequest) -> None:
        self.gate.wait()
        self.kept.append(request)


@pytest.fixture
def told(folder: Path) -> Iterator[Told]:
    made = Told(folder)
    yield made
    made.gate.set()
    made.notes.close()


def known(name: str, finish: str = "stop", **values: Any) -> dict[str, Any]:
    return {"id": name, "at": 1.0, "source": "proxy", "finish": finish, **values}


def ids(requests: list[CompletedRequest]) -> list[str]:
    return [one.id for one in requests]


def on_file(folder: Path) -> set[tuple[str, str]]:
    """Return what a kill at this moment would leave."""
    stories = [read_journal(path) for path in folder.iterdir()]
    return {(one.id, one.finish) for story in stories for one in (*story.ended, *story.open.values())}


async def test_each_is_told_once_in_its_order_and_the_file_is_empty_then(told: Told, folder: Path) -> None:
    told.notes.note(known("a", "streaming"))
    told.notes.note(known("b", "streaming", completion_tokens=3))
    told.notes.note(known("a", completion_tokens=7))
    assert on_file(folder) == {("a", "stop"), ("b", "streaming")}
    assert await told.notes.told()
    # That the first one was under way is no news any more.
    assert told.begun == [CompletedRequest(1.0, "proxy", "streaming", id="b", completion_tokens=3)]
    assert told.kept == told.counted == [CompletedRequest(1.0, "proxy", "stop", id="a", completion_tokens=7)]
    assert on_file(folder) == set()
    told.notes.note(known("b", "cancelled"))
    assert told.notes.drain(10)
    assert ids(told.kept) == ["a", "b"]


async def test_while_a_disk_hangs_nobody_waits_and_what_came_is_on_file(
    told: Told, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_notes, "MOST_WAITING", 5)
    told.gate.clear()
    told.notes.note(known("first"))
    eventually(lambda: ids(told.counted) == ["first"])  # the thread is with it
    took: list[float] = []
    for number in range(8):
        begun = time.perf_counter()
        told.notes.note(known(f"r{number}"))
        took.append(time.perf_counter() - begun)
    # Not each of them: the machine may be busy with something else for a while.
    assert max(sorted(took[:5])[2], sorted(took[5:])[1]) < 0.05
    assert not await told.notes.told(patience=0.05)
    assert told.notes.lost == 3
    assert on_file(folder) == {("first", "stop"), *((f"r{number}", "stop") for number in range(5))}
    told.gate.set()
    assert await told.notes.told()
    assert ids(told.kept) == ["first", "r0", "r1", "r2", "r3", "r4"]


def test_one_who_breaks_keeps_nobody_from_being_told(folder: Path) -> None:
    def broken(_: CompletedRequest) -> None:
        raise RuntimeError("boom")

    kept: list[CompletedRequest] = []
    notes = RequestNotes(folder, broken, lambda _: None, lambda _: None, [kept.append])
    notes.note(known("a", "streaming"))
    assert notes.drain(10)
    notes.note(known("a"))
    notes.close()
    assert ids(kept) == ["a"]
    assert not folder.exists()


async def test_strange_values_are_told_as_far_as_they_can_be(told: Told) -> None:
    told.notes.note(known("a", client="half \ud800 a pair", error=object(), tokens_per_second=float("inf")))
    told.notes.note(known("b", model="m" * 200_000))
    assert await told.notes.told()
    assert ids(told.kept) == ["a", "b"]
    assert told.kept[0].client == "half \ud800 a pair"


async def test_without_a_place_in_memory_all_is_told_the_same(tmp_path: Path) -> None:
    told = Told(None)
    told.notes.note(known("a", "streaming"))
    told.notes.note(known("a"))
    told.notes.close()
    assert ids(told.kept) == ["a"]


def test_files_that_went_with_a_log_out_are_made_anew(told: Told, folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.unlink()
    folder.rmdir()
    for name in "ab":  # each of the two files takes its turn
        told.notes.note(known(name))
        assert told.notes.drain(10)
    told.notes.note(known("c", "streaming"))
    assert on_file(folder) == {("c", "streaming")}


@pytest.mark.parametrize("trick", ["a link", "open to others", "a file", "nothing there"])
def test_a_place_that_is_not_ours_alone_is_not_used(tmp_path: Path, memory: Path, trick: str) -> None:
    places = Places.under(tmp_path / "home")
    base = memory / f"vllm-studio-{os.getuid()}"
    if trick == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        base.symlink_to(tmp_path / "elsewhere")
    elif trick == "open to others":
        base.mkdir()
        base.chmod(0o777)
    elif trick == "a file":
        base.write_text("")
    assert memory_folder(places, make=trick != "nothing there") is None
    if trick == "nothing there":
        assert not base.exists()


def test_of_the_dead_only_what_tells_nothing_is_removed(tmp_path: Path, memory: Path) -> None:
    folders = [memory_folder(Places.under(tmp_path / name), make=True) for name in ("dead", "told", "alive")]
    files = [JournalFile.make(folder) for folder in folders if folder is not None]
    files[1].append(b"{}\n")
    for file in files[:2]:
        file.close(remove=False)
    journal.tidy_memory()
    assert [file.path.exists() for file in files] == [False, True, True]
    assert [folder.exists() for folder in folders if folder is not None] == [False, True, True]
    files[2].close(remove=True)


# --- refusals -------------------------------------------------------------------------------------------


def refused(key: str, status: int, **values: Any) -> CompletedRequest:
    return replace(CompletedRequest(1.0, "proxy", "refused", key_id=key, status=status, error="no"), **values)


def test_of_a_key_over_its_limit_one_refusal_a_minute_is_a_row_that_says_how_many_there_were() -> None:
    now = 0.0
    few = FewRefusals(lambda: now)
    asked = refused("k", 429)
    assert few.row(asked) == asked
    assert [few.row(asked) for _ in range(999)] == [None] * 999
    assert few.row(refused("other", 429)) is not None
    answered = CompletedRequest(1.0, "proxy", "stop", key_id="k", status=200)
    assert few.row(answered) == answered
    assert (few.next_due(), few.due()) == (60.0, [])
    now = 61.0
    assert few.next_due() == 0.0
    assert [one.error for one in few.due()] == ["stands for 999 refused with 429 within a minute: no"]
    assert (few.next_due(), few.due()) == (None, [])
    # The next minute may begin before anybody asks; and the end of all is no reason to forget.
    assert [few.row(asked) for _ in range(3)] == [asked, None, None]
    now = 122.0
    assert [few.row(asked) for _ in range(2)] == [asked, None]
    said = [one.error for one in few.due(end=True)]
    assert said == [f"stands for {count} refused with 429 within a minute: no" for count in (2, 1)]


def test_how_many_a_row_stands_for_is_told_when_the_minute_is_over_though_nobody_asks_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(few_refusals, "MINUTE", 0.05)
    now = 1000.0
    monkeypatch.setattr(request_notes, "FewRefusals", lambda: FewRefusals(lambda: now))
    rows: list[CompletedRequest] = []
    forgotten: list[str] = []
    notes = RequestNotes(None, rows.append, forgotten.append, lambda _: None, [rows.append])
    for number in range(5):
        notes.note(
            {"at": 1.0, "source": "proxy", "finish": "refused", "id": f"r{number}", "key_id": "k", "status": 429}
        )
    eventually(lambda: len(forgotten) == 4)
    assert len(rows) == 1, "the minute is not over"
    now += 1
    eventually(lambda: len(rows) == 2)
    assert [one.error for one in rows] == [None, "stands for 4 refused with 429 within a minute"]
    assert forgotten == ["r1", "r2", "r3", "r4"]
    notes.close()


def test_refusals_of_other_kinds_are_rows_until_they_come_in_crowds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_refusals, "MOST", 3)
    few = FewRefusals(lambda: 0.0)
    rows = [few.row(refused("k", 404)) for _ in range(200)]
    assert sum(one is not None for one in rows) == few_refusals.OTHERS
    for number in range(10):  # keys that come and go take no more room
        assert few.row(refused(f"k{number}", 404)) is not None
    assert len(few._minutes) == 3
