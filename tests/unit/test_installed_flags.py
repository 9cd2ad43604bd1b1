"""The installed engine's own flags: read once in the background, and used by the check."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.process.house import until
from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import LaunchContext
from vllm_studio_tui.backends.checks import check
from vllm_studio_tui.backends.common.model_files import incomplete
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import HopelessLaunch, LaunchRefused
from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, GpuReport
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import installed_flags
from vllm_studio_tui.runs.make_spec import revision
from vllm_studio_tui.services.launching.gpu_choice import free_gpus, holders
from vllm_studio_tui.services.launching.launcher import Launcher

HELP = """usage: vllm serve [model_tag] [options]

  --tensor-parallel-size, -tp INT   see --pipeline-parallel-size.
  --enable-prefix-caching, --no-enable-prefix-caching
  --[no-]compile            with --max_model_len
  --swap-space SIZE (e.g. --swap-space=4)  one-two--three
"""
FLAGS = ("host", "port", "max-model-len", "max-num-seqs", "dtype", "seed", "swap-space", "enforce-eager", "revision",
         "tokenizer", "quantization")  # fmt: skip


def test_flags_are_read_from_a_help_text() -> None:
    assert installed_flags.flags_of(HELP) == {
        "tensor-parallel-size", "pipeline-parallel-size", "enable-prefix-caching", "no-enable-prefix-caching",
        "compile", "no-compile", "max-model-len", "swap-space",
    }  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    program = tmp_path / "vllm"
    lines = "\\n".join(f"  --{flag} X" for flag in FLAGS)
    program.write_text(f"#!/bin/sh\nprintf '{lines}\\n'\n")
    program.chmod(0o700)
    return program


def test_it_is_read_once_in_the_background_and_kept(tmp_path: Path, engine: Path) -> None:
    cache, argv = tmp_path / "cache", (str(engine), "serve", "--help=all")
    assert installed_flags.known_flags(cache, argv, "1.0") is None
    assert installed_flags.read_later(cache, argv, "1.0")
    assert not installed_flags.read_later(cache, argv, "1.0")
    until(lambda: installed_flags.known_flags(cache, argv, "1.0") is not None, "the flags are kept")
    found = installed_flags.known_flags(cache, argv, "1.0")
    assert found is not None
    assert found.flags == set(FLAGS)
    # Another version is another engine.
    assert installed_flags.known_flags(cache, argv, "1.1") is None
    engine.write_text("#!/bin/sh\nexit 3\n")
    assert installed_flags.known_flags(cache, argv, "1.0") is None


def test_a_program_that_prints_no_help_is_asked_again_another_time(
    tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.nice", lambda _: 0)  # else all tests after this one would give way
    engine.write_text("#!/bin/sh\nexit 3\n")
    target = installed_flags.place(tmp_path, (str(engine),), None)
    target.parent.mkdir()
    target.touch()
    assert installed_flags.main([str(target), str(engine)]) == 1
    assert not target.exists()


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({"id": "a", "name": "A", "model_path": "org/a", **fields})


def problems(backend: str, known: tuple[str, ...] | None, **fields: Any) -> list[tuple[str, str, str]]:
    one = recipe(backend=backend, executable=sys.executable, **fields)
    context = LaunchContext(Settings(), "127.0.0.1", 8000, installed=frozenset(known) if known else None)
    found = check(registry.backend(backend), one, context)
    return [(p.severity, p.message, p.advice) for p in found if p.field == "extra_args"]


def test_a_flag_that_the_installed_engine_does_not_know_is_an_error_and_the_nearest_is_offered() -> None:
    found = problems("vllm", FLAGS, extra_args={"max_num_seq": 4, "enforce_eager": True, "-tp": 1})
    assert ("error", "max_num_seq is not known to the vLLM installed here", "Did you mean max_num_seqs?") in found
    # The table of the newest version says that this one is gone; the one that is installed still has it.
    assert problems("vllm", FLAGS, extra_args={"swap_space": 4}) == []
    assert problems("vllm", None, extra_args={"swap_space": 4})[0][0] == "warning"
    # Where the installed one has not been asked, the version is only that of the table, and is said to be.
    assert "whose flags this program has a list of" in problems("vllm", None, extra_args={"max_num_seq": 4})[0][1]
    assert problems("llamacpp", FLAGS, extra_args={"bogus": 4})[0][0] == "error"


def test_a_hopeless_launch_is_refused_before_anything_is_started(tmp_path: Path, engine: Path) -> None:
    launcher = Launcher(Places.under(tmp_path / "home"), Settings(), lambda: None)  # type: ignore[arg-type, return-value]
    gone = recipe(executable=str(engine), model_path="/no/such/model")
    with pytest.raises(HopelessLaunch, match="would not start") as caught:
        launcher.launch(gone)
    assert "/no/such/model does not exist" in caught.value.cause
    assert not caught.value.certain  # a person may know better
    with pytest.raises(HopelessLaunch, match="would not start") as caught:
        launcher.launch(recipe(executable="/no/such/vllm", model_path="org/model"))
    assert caught.value.certain  # there is nothing to start
    assert "Install it" in caught.value.advice or "executable" in caught.value.advice
    assert not (tmp_path / "home" / "state" / "runs").exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": b"{}", "model.safetensors": b"x" * 5000}, ""),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}',
             "m-1.safetensors": b"x" * 5000},
            "1 of 2 weight files are missing: m-2.safetensors",
        ),
        ({"model.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"}, "pointer of Git LFS"),
        ({"model.safetensors.index.json": b"not json", "m.safetensors": b"x" * 5000}, ""),
    ],
)  # fmt: skip
def test_a_model_that_is_not_whole_is_seen(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert words in incomplete(tmp_path)
    assert bool(incomplete(tmp_path)) == bool(words)


def test_missing_parts_of_a_gguf_are_named(tmp_path: Path) -> None:
    first = tmp_path / "m-00001-of-00003.gguf"
    for name in (first.name, "m-00003-of-00003.gguf"):
        (tmp_path / name).write_bytes(b"GGUF" * 1000)
    assert incomplete(first) == "1 of 3 weight files are missing: m-00002-of-00003.gguf"


def gpu(index: int, used: int = 0, *processes: GpuProcess) -> Gpu:
    return Gpu(index, f"GPU-{index}", "H100", 80 << 30, used << 30, processes=processes)


def test_free_gpus_are_chosen_and_holders_are_named() -> None:
    report = GpuReport(
        0.0,
        (gpu(0, 40, GpuProcess(7, "bob", "python", 40 << 30)), gpu(1), gpu(2, 70), gpu(3, 1)),
    )
    assert free_gpus(report, (), 2) == ("1", "3")
    assert free_gpus(report, (), 1) == ("1",)
    with pytest.raises(LaunchRefused, match="3 free GPUs are needed and 2 are free") as caught:
        free_gpus(report, (), 3)
    assert "GPU 0: 40.0 GiB by python (pid 7, bob)" in caught.value.cause
    assert "GPU 2: 70.0 GiB are used by what cannot be seen" in caught.value.cause
    assert holders(report, ("0", "1")) == [("0", "40.0 GiB by python (pid 7, bob)")]
    with pytest.raises(LaunchRefused, match="cannot be chosen"):
        free_gpus(GpuReport(0.0, error="No NVIDIA driver"), (), 1)


def test_a_revision_is_of_what_is_launched() -> None:
    assert revision(recipe()) == revision(recipe(name="Other", description="x", tags=("y",)))
    assert revision(recipe()) != revision(recipe(max_model_len=4096))
