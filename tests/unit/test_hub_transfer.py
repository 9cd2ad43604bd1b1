"""One file of a repository on its way into the cache."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import Hub, blob_id, running_hub
from vllm_studio_tui.domain.download import PlannedFile
from vllm_studio_tui.models.hub_client import HubAccess, HubClient
from vllm_studio_tui.models.hub_errors import HubError
from vllm_studio_tui.models.pulling.cache import RepoCache
from vllm_studio_tui.models.pulling.transfer import Stopped, Transfer

WEIGHTS = os.urandom(1_000_000)
FILES = {"model.safetensors": WEIGHTS, "config.json": b'{"a": 1}', "empty.json": b"", "none.safetensors": b""}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        hub.add("acme/tiny", dict(FILES))
        yield hub


@pytest.fixture
def transfer(hub: Hub, tmp_path: Path) -> Iterator[Transfer]:
    with HubClient(HubAccess.of({"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path)})) as client:
        yield Transfer(
            client, RepoCache(tmp_path / "hub", "acme/tiny"), hub.repos["acme/tiny"].commit, threading.Event(),
            lambda *_: None, lambda _: None, pauses=(0.01, 0.01),
        )  # fmt: skip


def planned(name: str, body: bytes) -> PlannedFile:
    digest = hashlib.sha256(body).hexdigest() if name.endswith(".safetensors") else blob_id(body)
    return PlannedFile(name, len(body), digest)


@pytest.mark.parametrize("name", FILES)
def test_each_kind_of_file_arrives_under_its_digest(transfer: Transfer, name: str) -> None:
    file = planned(name, FILES[name])
    transfer.fetch(file)
    assert transfer.cache.blob(file.digest).read_bytes() == FILES[name]
    assert not transfer.cache.partial(file.digest).exists()


def test_a_very_large_file_is_asked_for_in_slices(hub: Hub, transfer: Transfer) -> None:
    transfer.slice = 300_000
    hub.cuts.extend([300_000, 100_000])
    file = planned("model.safetensors", WEIGHTS)
    transfer.fetch(file)
    assert transfer.cache.blob(file.digest).read_bytes() == WEIGHTS
    assert [one.range for one in hub.asked if one.host == "storage"] == [
        "bytes=0-299999", "bytes=300000-599999", "bytes=400000-699999", "bytes=700000-",
    ]  # fmt: skip
    assert hub.bytes_sent() == len(WEIGHTS)
    hub.ignore_ranges = True
    transfer.cache.blob(file.digest).unlink()
    transfer.fetch(file)
    assert transfer.cache.blob(file.digest).read_bytes() == WEIGHTS


def test_what_does_not_end_is_given_up_with_the_last_reason(hub: Hub, transfer: Transfer) -> None:
    hub.cuts.extend([100_000, 0, 0, 0, 0])
    with pytest.raises(HubError) as raised:
        transfer.fetch(planned("model.safetensors", WEIGHTS))
    assert raised.value.passing
    assert transfer.cache.partial(planned("model.safetensors", WEIGHTS).digest).stat().st_size == 100_000


def test_a_part_that_is_longer_than_the_file_is_thrown_away(transfer: Transfer) -> None:
    file = planned("model.safetensors", WEIGHTS)
    part = transfer.cache.partial(file.digest)
    part.parent.mkdir(parents=True)
    part.write_bytes(WEIGHTS + b"more")
    transfer.fetch(file)
    assert transfer.cache.blob(file.digest).read_bytes() == WEIGHTS


def test_a_part_that_is_whole_is_not_fetched_again(hub: Hub, transfer: Transfer) -> None:
    file = planned("model.safetensors", WEIGHTS)
    part = transfer.cache.partial(file.digest)
    part.parent.mkdir(parents=True)
    part.write_bytes(WEIGHTS)
    transfer.fetch(file)
    assert hub.asked == []
    assert transfer.cache.blob(file.digest).read_bytes() == WEIGHTS


def test_a_stop_is_heard_while_it_waits_and_while_bytes_come(hub: Hub, transfer: Transfer) -> None:
    hub.speed = 200_000
    threading.Timer(0.5, transfer.stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        transfer.fetch(planned("model.safetensors", WEIGHTS))
    assert time.monotonic() - began < 4
    transfer.stop.clear()
    transfer.pauses = (60.0,)
    hub.troubles.extend([(503, {})] * 3)
    threading.Timer(0.3, transfer.stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        transfer.fetch(planned("model.safetensors", WEIGHTS))
    assert time.monotonic() - began < 20


def test_a_redirect_to_plain_text_from_tls_or_to_another_scheme_is_not_followed(hub: Hub, transfer: Transfer) -> None:
    hub.redirect = "gopher://example/x"
    with pytest.raises(HubError) as raised:
        transfer.fetch(planned("model.safetensors", WEIGHTS))
    assert raised.value.kind == "wrong"
