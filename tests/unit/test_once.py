"""What is made once is made once."""

from __future__ import annotations

import threading

import pytest

from vllm_studio_tui.kit.once import once_property


class Maker:
    def __init__(self) -> None:
        self.made = 0
        self.begun = threading.Event()
        self.go = threading.Event()

    @once_property
    def thing(self) -> object:
        self.made += 1
        self.begun.set()
        assert self.go.wait(30)
        return object()

    @once_property
    def failing(self) -> object:
        self.made += 1
        if self.made == 1:
            raise OSError("not now")
        return self.made


def test_threads_that_ask_at_the_same_moment_get_the_same() -> None:
    maker, found = Maker(), []
    threads = [threading.Thread(target=lambda: found.append(maker.thing)) for _ in range(8)]
    for one in threads:
        one.start()
    assert maker.begun.wait(30)
    maker.go.set()
    for one in threads:
        one.join(30)
    assert maker.made == 1
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
    assert maker.__dict__["thing"] is found[0]


def test_what_could_not_be_made_is_tried_again() -> None:
    maker = Maker()
    with pytest.raises(OSError, match="not now"):
        _ = maker.failing
    assert maker.failing == 2
