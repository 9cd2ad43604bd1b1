"""Results of guidellm: each of its benchmarks is a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.bench import BenchResult


def guidellm_result(data: Mapping[str, Any], bench_id: str) -> BenchResult:
    """Return the result of a file of guidellm."""
    return BenchResult(bench_id, 0.0, source="guidellm")
