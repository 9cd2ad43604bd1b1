"""What is written to a terminal that has gone."""

from __future__ import annotations

import io
import threading

from textual.drivers._writer_thread import WriterThread

from vllm_studio_tui.tui.terminal.textual_patches import gone_terminals


class _Gone(io.StringIO):
    """A terminal that takes two writes and then is not there any more."""

    def write(self, text: str) -> int:
        if len(self.getvalue()) >= 2:
            raise OSError(5, "Input/output error")
        return super().write(text)


def test_writing_to_a_terminal_that_has_gone_never_waits() -> None:
    gone_terminals()
    file = _Gone()
    writer = WriterThread(file)
    writer.start()

    def say_goodbye() -> None:
        for _ in range(200):  # many more than its queue holds
            writer.write("x")
        writer.stop()

    leaving = threading.Thread(target=say_goodbye, daemon=True)
    leaving.start()
    leaving.join(20)
    assert not leaving.is_alive(), "it waits for a writer that has died"
    assert file.getvalue() == "xx"


def test_writing_to_a_terminal_writes_all_in_order() -> None:
    gone_terminals()
    file = io.StringIO()
    writer = WriterThread(file)
    writer.start()
    for number in range(100):
        writer.write(f"{number},")
    writer.stop()
    assert file.getvalue() == "".join(f"{number}," for number in range(100))
