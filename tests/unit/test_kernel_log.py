"""The errors of GPUs in the kernel's log: read without waiting, from text that nobody trusts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.process.house import until
from vllm_studio_tui.domain.gpus import MOST_XIDS, Xid
from vllm_studio_tui.domain.xids import MEANINGS, Blame, serious, words
from vllm_studio_tui.probes.gpu.kernel_log import MOST_WORDS, KernelLog, bus_of, parse

BUS = "00000000:3B:00.0"
LOST = "NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, GPU has fallen off the bus."


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelLog]:
    records: list[bytes | OSError] = []

    def read(_file: int, size: int) -> bytes:
        if not records:
            raise BlockingIOError
        one = records.pop(0)
        if isinstance(one, OSError):
            raise one
        return one[:size]

    path = tmp_path / "kmsg"
    path.touch()
    made = KernelLog(str(path), (), clock=lambda: 10_000.0, monotonic=lambda: 500.0)
    monkeypatch.setattr("vllm_studio_tui.probes.gpu.kernel_log.os.read", read)
    made.records = records  # type: ignore[attr-defined]
    yield made
    made.close()


def put(log: KernelLog, *records: bytes | OSError) -> None:
    log.records.extend(records)  # type: ignore[attr-defined]
    log.look()


@pytest.mark.parametrize(
    ("message", "xid"),
    [
        (LOST, Xid(79, 1.0, "GPU has fallen off the bus.", 1234)),
        (
            "NVRM: Xid (PCI:0000:3b:00): 31, pid=77, name=python3, Ch 00000008, intr 00000000. MMU Fault",
            Xid(31, 1.0, "Ch 00000008, intr 00000000. MMU Fault", 77),
        ),
        ("NVRM: Xid (0000:3b:00): 13, Graphics Exception", Xid(13, 1.0, "Graphics Exception")),
        ("NVRM: Xid (PCI:00000000:3b:00.0): 48, pid='<unknown>', name=<unknown>, DBE", Xid(48, 1.0, "DBE")),
        ("NVRM: Xid (PCI:0000:3b:00): 62", Xid(62, 1.0)),
    ],
)
def test_an_error_is_read_in_each_way_that_drivers_write_it(message: str, xid: Xid) -> None:
    found = parse(message, 1.0)
    assert found is not None
    assert found[0] == bus_of(BUS)
    assert found[1] == xid


@pytest.mark.parametrize(
    "message",
    [
        "",
        "NVRM: Xid",
        "NVRM: Xid (PCI:zz): 1",
        "NVRM: Xid (PCI:0000:3b:00): many",
        "NVRM: loading NVIDIA UNIX x86_64 Kernel Module",
        "NVRM: Xid (PCI:0000:3b:00): 99999, x",
    ],
)
def test_what_is_no_error_is_none(message: str) -> None:
    assert parse(message, 1.0) is None


@given(st.text(max_size=400), st.integers(0, 10**12))
def test_any_words_after_an_error_are_bounded_and_none_fails(text: str, pid: int) -> None:
    found = parse(f"NVRM: Xid (PCI:0000:3b:00): 31, pid={pid}, name={text}", 0.0)
    assert found is not None
    assert len(found[1].words) <= MOST_WORDS
    assert found[1].pid is None or 0 < found[1].pid < 2**31
    parse(text, 0.0)
    bus_of(text)


def test_the_log_is_read_as_it_grows_with_the_times_of_its_records(log: KernelLog) -> None:
    put(log, b"5,1,1000000,-;Linux version", b"3,2,400000000,-;" + LOST.encode() + b"\n SUBSYSTEM=pci\n")
    assert log.of(BUS) == (Xid(79, 9_900.0, "GPU has fallen off the bus.", 1234),)
    assert log.of("00000000:3C:00.0") == log.of(None) == log.of("nonsense") == ()
    put(log, b"3,3,450000000,-;" + LOST.replace("79", "45").encode())
    assert [one.code for one in log.of(BUS)] == [79, 45]


def test_what_a_program_wrote_into_the_log_is_not_the_drivers(log: KernelLog) -> None:
    for facility in (1, 3, 16):
        put(log, f"{facility << 3 | 3},1,0,-;{LOST}".encode())
    put(log, b"3,1;" + LOST.encode(), b"x,y,z,-;" + LOST.encode(), b"3," + b"9" * 40 + b",1,-;" + LOST.encode())
    assert log.of(BUS) == ()


def test_records_that_were_overwritten_and_floods_cost_nothing(log: KernelLog) -> None:
    put(log, BrokenPipeError(), *(f"3,{n},0,-;{LOST.replace('79', str(n))}".encode() for n in range(100)))
    kept = log.of(BUS)
    assert [one.code for one in kept] == list(range(100 - MOST_XIDS, 100))
    put(log, OSError(5, "gone"))  # and from here on it is left alone
    log.look()
    assert log.of(BUS) == kept


def journal(tmp_path: Path, *lines: object, after: str = "") -> KernelLog:
    """A log that may not be read, and what journalctl says of it."""
    script = tmp_path / "journal.py"
    output = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    script.write_text(f"import sys, time\nsys.stdout.write({output!r})\nsys.stdout.flush()\n{after}\n")
    return KernelLog(str(tmp_path / "none"), (sys.executable, str(script)))


def test_journalctl_tells_it_where_the_log_may_not_be_read(tmp_path: Path) -> None:
    at = "1700000000000000"
    log = journal(
        tmp_path,
        {"__REALTIME_TIMESTAMP": at, "MESSAGE": LOST, "SYSLOG_FACILITY": "0"},
        {"__REALTIME_TIMESTAMP": at, "MESSAGE": list(LOST.replace("79", "94").encode()), "SYSLOG_FACILITY": "0"},
        {"__REALTIME_TIMESTAMP": at, "MESSAGE": LOST.replace("79", "13"), "SYSLOG_FACILITY": "1"},  # a program
        {"__REALTIME_TIMESTAMP": "soon", "MESSAGE": LOST},
        {"MESSAGE": {"a": [LOST]}},
        "[" * 5000,
        "no JSON",
        "null",
    )
    log.look_through(20.0)
    assert [one.code for one in log.of(BUS)] == [79, 94]
    assert log.of(BUS)[0].at == 1_700_000_000.0
    log.close()


def test_a_journal_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    log = journal(tmp_path, after="time.sleep(600)")
    log.look()
    child = log._child
    assert child is not None
    log.look()
    assert log._child is child  # nothing was waited for
    log.close()
    until(lambda: child.poll() is not None, "the child has gone")


def test_without_any_log_nothing_is_known(tmp_path: Path) -> None:
    log = KernelLog(str(tmp_path / "none"), ("no-such-program",))
    log.look_through(5.0)
    assert log.of(BUS) == ()


def test_an_error_is_shown_in_words_and_a_programs_is_not_the_gpus() -> None:
    assert words(Xid(79, 0)) == "Xid 79: it has fallen off the bus"
    assert words(Xid(999, 0, "\x1b[31mred")) == "Xid 999"
    program, gpu, other = Xid(31, 100), Xid(94, 200), Xid(999, 300)
    assert MEANINGS[31].blame is Blame.PROGRAM
    assert serious((program, gpu, program), 0) == gpu
    assert serious((gpu, program), 250) is None
    assert serious((gpu, other), 0) == other
