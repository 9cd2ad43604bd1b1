"""How what is typed is waited for."""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from vllm_studio_tui.tui.terminal import late_answers, quiet_input
from vllm_studio_tui.tui.terminal.quiet_input import PatientSelector, WakingEvent


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A selector of this thread on a pipe, to which nothing has come for long, and the event that wakes it."""
    driver = SimpleNamespace(exit_event=threading.Event())
    quiet_input.prepare(driver)
    quiet_input.begin(driver)
    reader, writer = os.pipe()
    monkeypatch.setattr(late_answers, "CLIPBOARD_EXPECTED", -60.0)
    monkeypatch.setattr(late_answers, "PATIENCE", -60.0)
    selector = PatientSelector()
    selector.register(reader, selectors.EVENT_READ)
    yield SimpleNamespace(selector=selector, event=driver.exit_event, reader=reader, writer=writer)
    selector.close()
    driver.exit_event.close()
    os.close(reader)
    os.close(writer)
    quiet_input.begin(SimpleNamespace())


def test_where_nothing_comes_it_waits_past_the_time_and_a_key_ends_the_wait(waiting: SimpleNamespace) -> None:
    key = threading.Timer(0.3, os.write, (waiting.writer, b"x"))
    began = time.monotonic()
    key.start()
    found = waiting.selector.select(0.01)
    assert [one.fd for one, _ in found] == [waiting.reader]
    assert time.monotonic() - began >= 0.3


def test_the_end_of_the_app_ends_the_wait(waiting: SimpleNamespace) -> None:
    end = threading.Timer(0.1, waiting.event.set)
    end.start()
    assert waiting.selector.select(0.01) == []
    assert waiting.event.is_set()
    waiting.selector.unregister(waiting.reader)
    assert waiting.selector.select(0.1) == []  # as Textual looks a last time


def test_after_something_came_it_looks_as_often_as_textual(
    waiting: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_answers, "PATIENCE", 3600.0)
    assert waiting.selector.select(0.01) == []  # it comes back, and Textual tells an Escape from a sequence


def test_an_event_that_was_set_often_and_cleared_wakes_nobody() -> None:
    event = WakingEvent()
    for _ in range(70_000):  # more than a pipe holds
        event.set()
    event.clear()
    with selectors.SelectSelector() as selector:
        selector.register(event.told, selectors.EVENT_READ)
        assert selector.select(0) == []
    event.close()


def test_a_closed_terminal_is_told_from_one_in_which_nothing_is_typed() -> None:
    ours, theirs = os.openpty()
    assert not quiet_input.is_gone(theirs)
    os.write(ours, b"a")
    assert not quiet_input.is_gone(theirs)
    os.close(ours)
    assert quiet_input.is_gone(theirs)
    os.close(theirs)
    begin, end = os.pipe()
    os.close(end)
    assert not quiet_input.is_gone(begin), "a pipe that is at its end"
    os.close(begin)
