"""Every screen at every size, as it was when somebody looked at it and found it good.

A change of looks is a change of these files: `poe snapshots` writes them anew and shows the difference, which is read
before it is kept. A screen that differs is written beside what was expected of it, with the difference, into the
directory that `VLLM_STUDIO_TEST_REPORT` names, else into `.pytest_cache/snapshots`.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from tests.functional.benching import while_measuring
from tests.functional.models import with_models
from tests.functional.stage import NOW, Staged, bare, snapshot, staged
from tests.hosts import STAGE as HOSTS
from vllm_studio_tui.config.hosts import save_host
from vllm_studio_tui.domain.chat import Delta, Ended, Timings, TokenUsage
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.screens.registry import BY_NAME

HERE = Path(__file__).parent / "snapshots"
ROOT = Path(__file__).parents[2]
SIZES = ((160, 45), (120, 36), (80, 24), (60, 15), (40, 6), (38, 2))
ANSWER = """Each layer keeps **one** key and one value vector:

```python
def kv_bytes(layers, heads, size):
    return 2 * layers * heads * size * 2
```

| what | bytes |
|---|--:|
| token | 262144 |

- memory grows with the context,
- each step stays cheap.
"""
SCRIPT = (
    Delta(reasoning="Qwen3-32B has 64 layers."),
    Delta(content=ANSWER),
    Ended("stop", TokenUsage(6100, 268), Timings(0.174, 3.1, 4.1, 66.1)),
)


def used(studio: Studio) -> None:
    rows = RequestRows(studio.db)
    for day in range(14):
        for model, tokens in (("qwen3-32b", 90_000 + day * 7_000), ("gemma-3-12b", 20_000)):
            request = CompletedRequest(
                NOW - day * 86_400 - 60,
                "chat",
                "stop",
                id=f"{day}-{model}",
                model=model,
                recipe_id=model,
                prompt_tokens=tokens,
                completion_tokens=tokens // 3,
                ttft=0.182,
                total_seconds=2.0,
                tokens_per_second=64.1,
            )
            rows.record(request)


async def scene(stage: Staged, place: str, *, empty: bool = False) -> None:
    """Wait until a place shows all that it has to show; in the chat a question is asked first."""
    if place == "chat" and not empty:
        stage.app.current.one("#prompt").set_text("How large is it?")
        await stage.press("enter")
        await stage.until(lambda: "268 tok in" in stage.text(), "it answered")
    elif place == "recipes":
        stage.app.current.one("#recipes-table").choose("qwen3-32b")
        await stage.until(lambda: "--max-model-len 32768" in stage.text(), "what would be launched")
    elif place == "usage":
        await stage.until(lambda: "qwen3-32b" in stage.text() and "energy" in stage.text(), "the report")
    elif place == "hosts" and not empty:
        for name, entry in HOSTS.items():
            save_host(stage.studio.places, name, entry)
        stage.app.current.read_again()
        await stage.until(lambda: "sum of 4" in stage.text(), "the hosts")
    elif place == "bench" and not empty:
        while_measuring(stage.studio)
        stage.app.benches.look()
        stage.app.current.read_again()
        await stage.until(lambda: "step 6 of 7" in stage.text(), "the benchmark")
    elif place == "models" and empty:
        with_models(stage.studio, (), ())  # which folders a machine has is another matter
        stage.app.current.read_again()
        await stage.until(lambda: "/srv/models  models_dirs" in stage.text(), "where models were looked for")
    elif place == "models":
        with_models(stage.studio)
        stage.app.current.read_again()
        stage.app.current.one("#models-table").choose("Qwen/Qwen3-32B")
        await stage.until(lambda: "412 MiB/s" in stage.text() and "hermes" in stage.text(), "the models")
    elif place == "dashboard" and not empty:
        await stage.until(lambda: "-> 18416" in stage.text(), "the fix is offered")


async def drawn(stage: Staged, place: str) -> str:
    parts = []
    for width, height in SIZES:
        await stage.pilot.resize_terminal(width, height)
        await stage.settle()
        parts.append(f"== {place} {width}x{height}\n{stage.text()}\n")
    return "\n".join(parts)


def compare(path: Path, text: str) -> None:
    """Compare a drawn screen with the kept one, or keep it where `VLLM_STUDIO_TEST_UPDATE` is set."""
    if os.environ.get("VLLM_STUDIO_TEST_UPDATE"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    expected = path.read_text("utf-8") if path.exists() else ""
    if text != expected:
        folder = Path(os.environ.get("VLLM_STUDIO_TEST_REPORT") or ROOT / ".pytest_cache/snapshots")
        report(folder, path.relative_to(HERE), expected, text)
    assert text == expected


def report(folder: Path, name: Path, expected: str, actual: str) -> None:
    """Write a screen that differs into a folder: as it should be, as it is, and the difference."""
    lines = difflib.unified_diff(expected.splitlines(), actual.splitlines(), "expected", "actual", n=5, lineterm="")
    difference = "".join(f"{line}\n" for line in lines)
    for suffix, content in ((".expected.txt", expected), (".actual.txt", actual), (".diff", difference)):
        written = (folder / name).with_suffix(suffix)
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(content, "utf-8")


@pytest.mark.parametrize("looks", ["unicode", "ascii", "bare"])
@pytest.mark.parametrize("place", sorted(BY_NAME))
async def test_a_screen_looks_as_it_did(tmp_path: Path, place: str, looks: str) -> None:
    shown = bare if looks == "bare" else snapshot
    async with staged(
        tmp_path, place=place, shown=shown, ascii_only=looks == "ascii", script=SCRIPT, prepare=used
    ) as stage:
        await scene(stage, place, empty=looks == "bare")
        text = await drawn(stage, place)
    compare(HERE / f"{place}-{looks}.txt", text)


def test_a_screen_that_differs_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_STUDIO_TEST_REPORT", str(tmp_path))
    monkeypatch.delenv("VLLM_STUDIO_TEST_UPDATE", raising=False)
    kept = HERE / "colours" / "chat-slate.txt"
    changed = kept.read_text("utf-8").replace("== chat 80x24", "== chat 81x24")
    with pytest.raises(AssertionError):
        compare(kept, changed)
    compare(kept, kept.read_text("utf-8"))
    folder = tmp_path / "colours"
    assert {path.name for path in folder.iterdir()} == {
        "chat-slate.actual.txt",
        "chat-slate.diff",
        "chat-slate.expected.txt",
    }
    assert "+== chat 81x24\n" in (folder / "chat-slate.diff").read_text("utf-8")
    assert (folder / "chat-slate.expected.txt").read_text("utf-8") == kept.read_text("utf-8")
