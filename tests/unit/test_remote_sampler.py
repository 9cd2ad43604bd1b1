"""Samples of a studio elsewhere: one that cannot be understood, and connections that break again and again."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.functional.stage import snapshot
from tests.hosts import speaking
from vllm_studio_tui.domain.series import RunSeries
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.remote import sampler as remote_sampler
from vllm_studio_tui.remote.address import read_address
from vllm_studio_tui.remote.client import Client
from vllm_studio_tui.remote.sampler import RemoteSampler
from vllm_studio_tui.remote.samples import SampleWriter
from vllm_studio_tui.services.watching.snapshot import Snapshot


def line(value: Any) -> bytes:
    return json.dumps({"value": value}).encode() + b"\n"


@contextmanager
def sampling(talk: Callable[[socket.socket], None]) -> Iterator[tuple[RemoteSampler, list[Snapshot], threading.Event]]:
    """Sample what a server says that is told how to treat each connection; what came, and that something came."""
    seen: list[Snapshot] = []
    came = threading.Event()

    def take(one: Snapshot) -> None:
        if one.stale is None:
            seen.append(one)
            came.set()

    def answer(one: socket.socket) -> None:
        one.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        talk(one)

    with speaking(answer) as url:
        client, bus = Client(read_address(url, {})), Bus()
        bus.subscribe(Snapshot, take)
        found = RemoteSampler(client, bus, lambda: None)
        found.start()
        try:
            yield found, seen, came
        finally:
            found.close()
            client.close()


SAMPLES: tuple[Any, ...] = (
    5,
    {},
    {"specs": [], "runs": {}},
    {"specs": {}, "runs": [], "every": ["never told"], "shown": []},
)


def test_a_sample_that_cannot_be_understood_is_a_loss_in_words_and_the_next_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_sampler, "TRIES", (0.01,))
    whole = SampleWriter().document(snapshot(tmp_path))
    lost: list[str | None] = []
    sent = iter([*SAMPLES, whole])

    def talk(one: socket.socket) -> None:
        lost.append(sampler.lost)
        one.sendall(line(next(sent)))
        one.recv(1)  # until it has enough

    ready = threading.Event()

    def when_ready(one: socket.socket) -> None:
        assert ready.wait(10)
        talk(one)

    with sampling(when_ready) as (sampler, seen, came):
        ready.set()
        assert came.wait(20), f"nothing after {lost}"
        assert sampler.lost is None
        assert sampler.latest is seen[0]
    words = "the answer of 127.0.0.1 cannot be understood. Install the same version on both."
    assert lost == [None, *[words] * len(SAMPLES)]


def test_a_connection_that_breaks_after_each_sample_is_made_again_at_once_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_sampler, "TRIES", (0.01, 0.01, 100.0))
    whole = line(SampleWriter().document(snapshot(tmp_path)))
    with sampling(lambda one: one.sendall(whole)) as (_, seen, came):
        for count in range(1, 7):
            while len(seen) < count:
                came.clear()
                assert len(seen) >= count or came.wait(20), "it waits as if it had never been there"


def test_an_engine_there_that_does_not_answer_is_not_drawn_at_its_last_speed(tmp_path: Path) -> None:
    one, writer = snapshot(tmp_path), SampleWriter()
    (run_id,) = one.tick.engines
    sent = b"".join(
        line(writer.document(replace(one, tick=replace(one.tick, at=1000.0 + second), ages=ages)))
        for second, ages in enumerate([{}] * 10 + [{run_id: 3.5}] * 10)
    )

    def talk(one: socket.socket) -> None:
        one.sendall(sent)
        one.recv(1)

    with sampling(talk) as (sampler, seen, came):
        while len(seen) < 20:
            came.clear()
            assert len(seen) >= 20 or came.wait(20), f"{len(seen)} of 20 came"
        assert sampler.history.over(RunSeries.OUTPUT.of(run_id), 2, 20.0, 1019.0) == [1842.0, None]
