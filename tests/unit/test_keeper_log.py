"""Stages and causes read from an engine's log, and keeping the log within its size."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.backends.failures.table import FAILURES as KNOWN
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Failure, Restart, Stage
from vllm_studio_tui.keeper import causes, log_watch
from vllm_studio_tui.keeper.log_watch import HEAD, LINES, LogWatch, meaningful, trim
from vllm_studio_tui.keeper.restart import CrashBudget
from vllm_studio_tui.keeper.verdict import Verdict, describe_exit, explain_exit
from vllm_studio_tui.runs.logs import last_lines

STAGES = (
    Stage(r"Starting to load model", "weights"),
    Stage(r"shards:\s+(?P<percent>\d+)% Completed \| (?P<n>\d+)/(?P<m>\d+)", "weights"),
    Stage(r"torch\.compile", "compiling"),
)
FAILURES = (
    Failure(r"Engine core initialization failed", "engine_core", "the engine core failed", pointer=True),
    Failure(r"CUDA out of memory.*allocate ([\d.]+ \w+)", "vram_oom", "no memory for {1}", "less", restart=False),
    Failure(r"too many open files", "nofile", "too many open files"),
)


def watch_of(path: Path) -> LogWatch:
    path.touch()
    return LogWatch(path, STAGES, FAILURES)


def test_a_stage_and_its_progress_come_from_the_log_through_colours_and_carriage_returns(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    watch = watch_of(log)
    log.write_bytes(b"\x1b[32mStarting to load model\x1b[0m\n")
    assert watch.follow()
    assert watch.stage == "weights"
    assert watch.progress is None
    with log.open("ab") as stream:
        stream.write(b"shards:  50% Completed | 1/2 [..]\rshards: 100% Comp")
    watch.follow()
    assert watch.progress == 0.5
    with log.open("ab") as stream:
        stream.write(b"leted | 2/2\rtorch.compile takes\n")
    watch.follow()
    stage, progress = watch.stage, watch.progress
    assert (stage, progress) == ("compiling", None)


def test_a_flood_is_skipped_over_and_its_last_stage_is_seen(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    watch = watch_of(log)
    log.write_bytes(b"noise\n" * 500_000 + b"torch.compile\n")
    watch.follow()
    assert watch.stage == "compiling"


def test_a_log_that_was_cut_is_read_from_its_new_beginning(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(b"x" * 1000)
    watch = LogWatch(log, STAGES, FAILURES)
    log.write_bytes(b"torch.compile\n")
    watch.follow()
    assert watch.stage == "compiling"


def test_the_first_cause_wins_over_pointers_and_warnings(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    watch = watch_of(log)
    log.write_text(
        "WARNING too many open files may follow\n"
        "Engine core initialization failed. See root cause above\n"
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.5 GiB\n"
    )
    found = explain_exit(watch, 1, None, was_ready=False)
    assert (found.reason, found.title, found.retry) == ("vram_oom", "no memory for 2.5 GiB", False)
    assert "allocate" in found.evidence[0], "what explains it stands first"


def test_a_pointer_counts_when_nothing_else_tells(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    watch = watch_of(log)
    log.write_text("Engine core initialization failed\n")
    assert explain_exit(watch, 1, None, was_ready=False).reason == "engine_core"


def test_what_stands_below_the_death_of_a_part_is_no_cause_of_it(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    watch = watch_of(log)
    log.write_text(
        "WARNING slow\nEngine core initialization failed\nfoo.CompileError: its compiler was killed with it\n"
    )
    found = explain_exit(watch, 1, None, was_ready=False)
    assert "CompileError" not in found.title
    log.write_text("foo.CompileError: no compiler\nEngine core initialization failed\nBarError: the rest\n")
    assert explain_exit(watch, 1, None, was_ready=False).title.endswith("foo.CompileError: no compiler")


def test_an_engine_that_served_and_left_in_order_has_no_cause(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    watch = watch_of(log)
    log.write_text("CUDA out of memory. Tried to allocate 1 GiB\nand the request failed, the engine went on\nbye\n")
    assert explain_exit(watch, 0, None, was_ready=True).reason == "process_exited"
    with log.open("a") as stream:
        stream.write("Engine core initialization failed\n")
    assert explain_exit(watch, 0, None, was_ready=True).reason == "vram_oom"


def test_the_cause_of_an_earlier_attempt_is_not_this_ones(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("CUDA out of memory. Tried to allocate 1 GiB\n")
    watch = LogWatch(log, STAGES, FAILURES)
    with log.open("a") as stream:
        stream.write("bye\n")
    assert explain_exit(watch, 3, None, was_ready=True).reason == "process_exited"


@pytest.mark.parametrize(
    ("code", "number", "reason", "words"),
    [
        (None, int(signal.SIGKILL), "killed", "SIGKILL"),
        (None, int(signal.SIGSEGV), "native_crash", "segmentation"),
        (None, 99, "native_crash", "99"),
        (127, None, "process_exited", "not found"),
        (42, None, "process_exited", "42"),
        (None, None, "exit_unknown", "no keeper"),
    ],
)
def test_codes_and_signals_are_put_in_words(code: int | None, number: int | None, reason: str, words: str) -> None:
    slug, title, _ = describe_exit(code, number)
    assert slug == reason
    assert words in title


def test_meaningful_lines_leave_out_source_excerpts_and_repeats() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "a.py", line 1',
        "    boom()",
        "    ^^^^",
        "E: x",
        "E: x",
        "",
    ]
    assert meaningful(lines) == ["E: x"]


def test_trimming_keeps_head_and_tail_and_frees_the_middle(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    block = b"m" * 1023 + b"\n"
    log.write_bytes(b"the first line\n" + block * 12 * 1024 + b"the last line\n")
    size = log.stat().st_size
    if not trim(log, 8 * 1024 * 1024):
        pytest.fail("12 MiB were not more than 8")
    data = log.read_bytes()
    if len(data) == size:  # holes are possible here
        assert data.startswith(b"the first line\n" + block)
        assert data[HEAD : HEAD + 4096].strip(b"\0") == b""
        assert log.stat().st_blocks * 512 < 8 * 1024 * 1024
        assert last_lines(log, 1) == ["the last line"]
        assert last_lines(log, 100_000)[0] == "the first line"
    else:
        assert log.with_name("engine.log.head").read_bytes().startswith(b"the first line\n")
    assert not trim(log, 8 * 1024 * 1024)


def test_space_set_aside_behind_the_end_of_a_log_is_no_reason_to_cut_it(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(b"m" * (5 * 1024 * 1024))
    with log.open("r+b") as stream:
        call = ctypes.CDLL(None).fallocate
        call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
        if call(stream.fileno(), 1, 0, 40 * 1024 * 1024):  # FALLOC_FL_KEEP_SIZE
            pytest.skip("this file system sets nothing aside")
    assert not trim(log, 16 * 1024 * 1024)
    assert log.stat().st_size == 5 * 1024 * 1024


@pytest.mark.parametrize(("code", "size"), [(errno.EIO, 12), (errno.EOPNOTSUPP, 0)])
def test_a_log_is_cut_only_where_no_hole_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, size: int
) -> None:
    monkeypatch.setattr(log_watch, "_punch", lambda *_: code)
    log = tmp_path / "engine.log"
    log.write_bytes(b"m" * (12 * 1024 * 1024))
    assert trim(log, 8 * 1024 * 1024) is (size == 0)
    assert log.stat().st_size == size * 1024 * 1024


def test_the_crash_budget_backs_off_then_gives_up() -> None:
    budget = CrashBudget(Restart("on-failure", delay=1.0, budget=3, window=600.0))
    crash = Verdict("killed", "killed")
    first, second, third = (budget.after(crash, at, by_itself=False) for at in (0.0, 10.0, 20.0))
    assert (first.state, second.state, third.state) == (State.BACKOFF, State.BACKOFF, State.FAILED)
    assert 0.8 <= first.delay <= 1.2
    assert 1.6 <= second.delay <= 2.4
    assert "3 failures" in third.note


def test_failures_long_ago_do_not_count() -> None:
    budget = CrashBudget(Restart("on-failure", budget=2, window=60.0))
    crash = Verdict("killed", "killed")
    assert budget.after(crash, 0.0, by_itself=False).state is State.BACKOFF
    assert budget.after(crash, 100.0, by_itself=False).state is State.BACKOFF


def test_what_would_fail_again_and_what_ended_by_itself_is_not_restarted() -> None:
    budget = CrashBudget(Restart("on-failure"))
    assert budget.after(Verdict("bad_path", "x", retry=False), 0.0, by_itself=False).state is State.FAILED
    assert budget.after(Verdict("process_exited", "x"), 0.0, by_itself=True).state is State.EXITED
    assert (
        CrashBudget(Restart("always")).after(Verdict("process_exited", "x"), 0.0, by_itself=True).state is State.BACKOFF
    )
    assert CrashBudget(Restart("never")).after(Verdict("killed", "x"), 0.0, by_itself=False).state is State.FAILED


def test_a_log_opens_at_its_end_whatever_its_size(tmp_path: Path) -> None:
    log = tmp_path / "big.log"
    with log.open("wb") as stream:
        os.truncate(stream.fileno(), 1 << 30)
        stream.seek(0, os.SEEK_END)
        stream.write(b"\nlast but one\nlast\n")
    assert last_lines(log, 2) == ["last but one", "last"]
    assert len(last_lines(log, 50)) <= 50


def test_of_a_line_or_of_blanks_that_came_a_million_times_one_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []
    monkeypatch.setattr(causes, "matches", lambda row, line: searched.append(line))
    log = tmp_path / "log"
    log.write_bytes(b"\n" * 1_000_000 + b"the same\n" * 100_000 + b" \t\n")
    watch = LogWatch(log, (), ())
    watch.begin_at(0)
    assert causes.find(watch.attempt_lines(), [Failure("same", "same", "the same")]) is None
    assert searched == ["the same"]


def test_of_a_flood_between_two_looks_its_last_lines_are_looked_at(tmp_path: Path) -> None:
    noted: list[str] = []
    log = tmp_path / "log"
    watch = LogWatch(log, STAGES, FAILURES)
    watch._note = noted.append  # type: ignore[method-assign, assignment]
    log.write_text("".join(f"{n}\n" for n in range(40_000)))
    watch.follow()
    assert len(noted) <= LINES
    assert noted[-1] == "39999"


@given(st.text("0123456789.eE+-", min_size=1, max_size=5000), st.sampled_from(["{}/1", "1/{}", "{}%", "{}/{}"]))
def test_no_number_in_a_stage_is_too_large_for_it(number: str, form: str) -> None:
    stages = (Stage(r"(?P<n>\S+)/(?P<m>\S+)", "a"), Stage(r"(?P<percent>\S+)%", "b"), Stage(r".*(?P<m>\d)", "c"))
    watch = LogWatch(Path("/nonexistent"), stages, ())
    watch._note(form.format(number, number))
    assert watch.progress is None or 0.0 <= watch.progress <= 1.0


SERVED = "INFO:     Application startup complete.\n"
WORKS = 'INFO:     127.0.0.1:5 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'
REFUSED = """\
INFO:     127.0.0.1:5 - "POST /v1/chat/completions HTTP/1.1" 500 Internal Server Error
ERROR:    Exception in ASGI application
Traceback (most recent call last):
  File "/opt/transformers/lib/python3.11/site-packages/jinja2/environment.py", line 1295, in render
    self.environment.handle_exception()
  File "<template>", line 1, in top-level template code
jinja2.exceptions.TemplateError: Conversation roles must alternate user/assistant
"""


def ended(log: Path, text: str, code: int | None, number: int | None, *, was_ready: bool) -> Verdict:
    log.write_text(text)
    watch = LogWatch(log, (), KNOWN)
    watch.begin_at(0)
    return explain_exit(watch, code, number, was_ready=was_ready)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_refused_request_explains_no_signal_and_never_makes_an_end_final(tmp_path: Path, number: int) -> None:
    found = ended(tmp_path / "log", SERVED + REFUSED, None, int(number), was_ready=True)
    assert found.reason == describe_exit(None, int(number))[0]
    assert "template" not in found.title + found.advice
    assert found.retry


def test_a_refused_request_explains_no_exit_code(tmp_path: Path) -> None:
    found = ended(tmp_path / "log", SERVED + REFUSED, 1, None, was_ready=True)
    assert (found.reason, found.title, found.retry) == ("process_exited", "exit code 1", True)


@pytest.mark.parametrize("failure", [one for one in KNOWN if not one.restart], ids=lambda one: one.reason)
def test_no_line_of_the_log_makes_a_run_final_that_was_ready(tmp_path: Path, failure: Failure) -> None:
    words = re.sub(r"\\.|[^\w ]", " ", failure.pattern)
    found = ended(tmp_path / "log", f"{SERVED}{words}\nOSError: [Errno 28] No space left on device\n", 1, None,
                  was_ready=True)  # fmt: skip
    assert found.retry


def test_what_stands_right_before_the_end_explains_it(tmp_path: Path) -> None:
    crash = "/src/ggml-cuda.cu:83: GGML_ASSERT(n > 0) failed\n"
    found = ended(tmp_path / "log", SERVED + WORKS + crash, None, int(signal.SIGABRT), was_ready=True)
    assert found.title == "aborted itself (SIGABRT): llama.cpp found a fault of its own: GGML_ASSERT(n > 0)"
    assert "llama-server" in found.advice
    # What was followed by good answers did not end it.
    found = ended(tmp_path / "log", SERVED + crash + WORKS, None, int(signal.SIGABRT), was_ready=True)
    assert found.title == "aborted itself (SIGABRT)"


def test_only_the_last_minute_explains_the_end_of_an_engine_that_served(tmp_path: Path) -> None:
    old = "[2026-11-23 08:00:00] CUDA out of memory. Tried to allocate 2.00 GiB\n"
    found = ended(tmp_path / "log", f"{SERVED}{old}[2026-11-23 09:00:00] still here\n", 1, None, was_ready=True)
    assert found.reason == "process_exited"
    found = ended(tmp_path / "log", f"{SERVED}{old}[2026-11-23 08:00:09] last words\n", 1, None, was_ready=True)
    assert found.reason == "out_of_memory"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("usage: x [-h]\nx serve: error: unrecognized arguments: --bogus\n", 2),
        ("usage: x [-h]\nx serve: error: the following arguments are required: model\n", 2),
        (
            "Traceback:\nValidationError: 1 validation error for CacheConfig\nblock\n  Input should be 8 [type=enum]\n",
            1,
        ),
        ("nothing that is known\n", 2),
        ("", 126),
        ("", 127),
        ('error while handling argument "--ctx-size": stoi\n', 1),
    ],
)
def test_a_command_line_that_was_refused_is_not_tried_again(tmp_path: Path, text: str, code: int) -> None:
    found = ended(tmp_path / "log", text, code, None, was_ready=False)
    assert not found.retry
    assert CrashBudget(Restart("on-failure")).after(found, 0.0, by_itself=False).state is State.FAILED
    assert ended(tmp_path / "log", SERVED + text, code, None, was_ready=True).retry


def test_a_program_that_ends_without_a_word_is_told_to_be_another_one_than_was_meant(tmp_path: Path) -> None:
    found = ended(tmp_path / "log", "", 0, None, was_ready=False)
    assert found.title == "ended by itself with exit code 0 before it was ready"
    assert "python_path" in found.advice


def test_an_engine_that_kills_itself_is_explained_by_its_log(tmp_path: Path) -> None:
    text = (
        "Scheduler hit an exception: Traceback\nKeyError: 'w2'\n\nReceived sigquit from a child process. It failed.\n"
    )
    for was_ready in (False, True):
        found = ended(tmp_path / "log", SERVED * was_ready + text, None, int(signal.SIGKILL), was_ready=was_ready)
        assert (found.reason, found.title) == ("engine_died", "the engine's core process died: KeyError: 'w2'")
