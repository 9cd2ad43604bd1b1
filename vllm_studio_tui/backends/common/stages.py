"""Log lines of loading that several engines share, as printed by the libraries that they use."""

from __future__ import annotations

from vllm_studio_tui.domain.spec import Stage

#: huggingface_hub's bars: one file, or all files of a model.
DOWNLOADING = Stage(
    r"^(?:\([^)]*\) ?)?"
    r"(?:Fetching \d+ files|Downloading\b[^:]{0,120}|\S{1,200}\.(?:safetensors|bin|gguf|pt|json)(?:\(\S{0,40}\))?)"
    r":\s+(?P<percent>\d{1,3})%",
    "downloading",
)

#: Shards of a checkpoint, by files and, where the bar has no count yet, by percent.
SHARDS = (
    Stage(r"(?:Loading|loading)\b.{1,60}% Completed \| (?P<n>\d+)/(?P<m>\d+)", "weights"),
    Stage(r"(?:Loading|loading)\b.{1,60}shards:\s+(?P<percent>\d{1,3})%", "weights"),
)
