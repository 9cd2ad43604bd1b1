"""Explaining whole logs: pointers, unknown errors, attempts, places, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import RunState
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper.causes import first_changes
from vllm_studio_tui.keeper.log_watch import HEAD
from vllm_studio_tui.runs.diagnose import diagnose_bytes, diagnose_file
from vllm_studio_tui.services.launching.fixes import fix_without_recipe, fixes

LOGS = Path(__file__).parents[1] / "fixtures" / "logs"
POINTED = """\
(APIServer pid=1) INFO 11-23 08:00:00 [api.py:1] starting
(Worker_TP1 pid=3) ERROR 11-23 08:00:09 [multiproc_executor.py:7] WorkerProc failed to start.
(Worker_TP1 pid=3) ERROR 11-23 08:00:09 [multiproc_executor.py:7] Traceback (most recent call last):
(Worker_TP1 pid=3) ERROR 11-23 08:00:09 [multiproc_executor.py:7]   File "x.py", line 3, in load
(Worker_TP1 pid=3) ERROR 11-23 08:00:09 [multiproc_executor.py:7] KeyError: 'layers.0.mlp.down_proj.weight'
(EngineCore pid=2) ERROR 11-23 08:00:10 [core.py:8] RuntimeError: WorkerProc initialization failed, see root cause above
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""


def test_a_pointer_leads_to_the_first_error_of_the_process_that_failed_first() -> None:
    found = diagnose_bytes(POINTED.encode(), FAILURES)
    assert found.reason == "engine_died"
    assert found.line_number == 5
    assert found.cause == "KeyError: 'layers.0.mlp.down_proj.weight'"
    assert found.title is not None
    assert "layers.0.mlp.down_proj.weight" in found.title


def test_an_error_that_no_row_knows_is_told_when_it_ended_the_program() -> None:
    text = 'INFO ok\nTraceback (most recent call last):\n  File "x.py", line 1\nfoo.BarError: all is lost\n'
    found = diagnose_bytes(text.encode(), FAILURES)
    assert (found.reason, found.cause, found.line_number) == ("engine_error", "foo.BarError: all is lost", 4)
    served = text + "".join(f"INFO request {at} 200 OK served from 10.0.0.{at}\n" for at in range(40))
    quiet = served + "Application startup complete.\nINFO: Application shutdown complete.\n"
    assert diagnose_bytes(quiet.encode(), FAILURES).reason is None


@pytest.mark.parametrize("log", sorted(LOGS.glob("*.txt")), ids=lambda path: path.name)
def test_captured_logs_are_explained_when_they_failed_and_only_then(log: Path) -> None:
    found = diagnose_file(log, FAILURES)
    assert (found.reason is not None) == ("fail" in log.name)
    if found.line_number is not None:
        assert found.line is not None
        assert found.line in log.read_text().split("\n")[found.line_number - 1].replace("\r", "\n")


def test_of_several_attempts_the_last_counts() -> None:
    text = "ValueError: No available memory for the cache blocks\n[vllm-studio] attempt 2 at x\nINFO fine\n"
    assert diagnose_bytes(text.encode(), FAILURES).reason is None
    assert diagnose_bytes((text + "[Errno 98] Address already in use\n").encode(), FAILURES).line_number == 4


def test_the_tail_of_a_large_log_is_read_and_its_lines_are_numbered_right(tmp_path: Path) -> None:
    log = tmp_path / "large.log"
    filler = b"INFO nothing happens here at all\n" * (3 * HEAD // 33)
    log.write_bytes(filler + b"RuntimeError: Found no NVIDIA driver on your system.\n")
    found = diagnose_file(log, FAILURES)
    assert (found.reason, found.line_number) == ("no_gpu", filler.count(b"\n") + 1)
    assert diagnose_bytes(log.read_bytes(), FAILURES).line_number == found.line_number


def test_any_bytes_are_survived() -> None:
    assert diagnose_bytes(b"\xff\x00\x1b]0;x\x07\r\r\n" * 50, FAILURES).reason is None
    assert diagnose_bytes(b"", FAILURES).reason is None


def recipe(**fields: object) -> Recipe:
    return Recipe.model_validate({"id": "a", "name": "A", "model_path": "org/a", **fields})


def failed(text: str) -> RunState:
    found = diagnose_bytes(text.encode(), FAILURES)
    return RunState(
        "r", reason=found.reason, title=found.title, evidence=[found.line or ""], fixes=list(found.fixes),
        groups=list(found.groups),
    )  # fmt: skip


def kept_by_an_earlier_version(status: RunState) -> RunState:
    """The same in a state.json of a keeper that knew one change for each cause, and did not keep the groups."""
    data = status.to_json()
    del data["fixes"], data["groups"]
    return RunState.from_json({**data, "fix": first_changes(status.known_fixes)})


@pytest.mark.parametrize(
    ("line", "given", "changes"),
    [
        (
            "the estimated maximum model length is 18416",
            {"max_model_len": 131072},
            {"max_model_len": 18416},
        ),
        (
            "attention heads (28) must be divisible by tensor parallel size (8)",
            {"tensor_parallel_size": 8},
            {"tensor_parallel_size": 7},
        ),
        (
            "Free memory on device cuda:0 (40.0/80.0 GiB) on startup is less than desired GPU memory utilization (0.9",
            {},
            {"gpu_memory_utilization": 0.46},
        ),
        (
            "vllm: error: unrecognized arguments: --task embed",
            {"extra_args": {"task": "embed", "seed": 1}},
            {"extra_args": {"seed": 1, "runner": "embed"}},
        ),
        (
            "vllm: error: unrecognized arguments: --bogus",
            {"extra_args": {"bogus": True, "seed": 1}},
            {"extra_args": {"seed": 1}},
        ),
        (
            "use --allow-deprecated-quantization",
            {"extra_args": {"seed": 1}},
            {"extra_args": {"seed": 1, "allow_deprecated_quantization": True}},
        ),
        (
            "Available memory on node 0 (11.09/13.96 GiB) on kv cache allocation is less than requested memory for kv"
            " (64.0 GiB)",
            {"env_vars": {"VLLM_CPU_KVCACHE_SPACE": "64"}},
            {"env_vars": {"VLLM_CPU_KVCACHE_SPACE": "5"}},
        ),
        ("[Errno 98] Address already in use", {"port": 8000}, {"port": None}),
        ("config file at '/m/x.gguf' is not a valid JSON file.", {}, {"backend": "llamacpp"}),
        (
            "config file at '/m/x.gguf' is not a valid JSON file.",
            {"executable": "/v/bin/vllm", "extra_args": {"enforce_eager": True}},
            {"backend": "llamacpp", "executable": None, "extra_args": {}},
        ),
    ],
)
def test_a_fix_edits_the_recipe_and_it_stays_valid(
    line: str, given: dict[str, object], changes: dict[str, object]
) -> None:
    before = recipe(**given)
    first = fixes(failed(line), before)[0]
    assert dict(first.changes) == changes
    assert first.label
    Recipe.model_validate(before.model_copy(update=dict(first.changes)).model_dump())
    assert fixes(kept_by_an_earlier_version(failed(line)), before) == fixes(failed(line), before)


def test_a_fix_that_changes_nothing_is_not_offered() -> None:
    assert fixes(failed("[Errno 98] Address already in use"), recipe()) == []


def test_the_log_alone_suggests_a_change() -> None:
    text = "attention heads (32) must be divisible by tensor parallel size (6)"
    assert fix_without_recipe(diagnose_bytes(text.encode(), FAILURES)) == {"tensor_parallel_size": 4}


def test_nobody_reads_the_words_of_a_cause_again() -> None:
    # The title and the evidence may say what they will: only what the pattern's groups matched counts.
    status = failed("attention heads (28) must be divisible by tensor parallel size (8)")
    status.title, status.advice, status.evidence = "16 heads", "estimated maximum model length is 4096", ["no"]
    found = fixes(RunState.from_json(status.to_json()), recipe(tensor_parallel_size=8))
    assert [dict(one.changes) for one in found] == [{"tensor_parallel_size": 7}]


def test_a_spec_of_an_earlier_version_names_one_change_for_each_row() -> None:
    row = {"pattern": "x", "reason": "y", "title": "z", "fix": {"port": None}}
    spec = RunSpec("r", "a", "a", "vllm", "m", ("x",), "h", 1, "u", 1.0).to_json()
    spec["failures"] = [row, {**row, "fix": {}, "fixes": ["no", 3]}]
    assert [one.fixes for one in RunSpec.from_json(spec).failures] == [({"port": None},), ()]


def command(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "vllm_studio_tui", "diagnose", *arguments], input=stdin, capture_output=True, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_command_explains_a_file_and_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    code, out, _ = command(str(LOGS / "vllm-fail-maxlen.txt"), "--json")
    document = json.loads(out)
    assert code == 0
    assert {"reason", "title", "cause", "advice", "line", "line_number", "fix"} <= document.keys()
    assert (document["reason"], document["fix"]) == ("context_too_long", {"max_model_len": 8192})
    code, out, _ = command("-", "--json", "--backend", "llamacpp", stdin=b"INFO all is well\n")
    document = json.loads(out)
    assert (code, document["reason"], document["fix"]) == (0, None, None)
    code, out, _ = command("-", stdin=b"OSError: [Errno 98] Address already in use\nkey sk-abcdefghijklmnop1234\n")
    assert code == 0
    assert "[port_in_use]" in out
    assert "sk-abcdef" not in out


def test_the_exit_code_says_whether_a_failure_was_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    lost = b"RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
    code, out, _ = command("-", "--json", stdin=lost)
    assert (code, json.loads(out)["reason"], json.loads(out)["explained"]) == (3, "engine_died", False)
    code, out, _ = command("-", "--json", stdin=b"torch.OutOfMemoryError: CUDA out of memory\n" + lost)
    assert (code, json.loads(out)["explained"]) == (0, True)


def test_a_log_that_is_not_there_and_a_backend_that_is_not_known_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    code, out, err = command("nothing-here")
    assert (code, out) == (1, "")
    assert "neither a file nor" in err
    code, _, err = command("-", "--backend", "vlm")
    assert code == 1
    assert "Did you mean vllm?" in err
