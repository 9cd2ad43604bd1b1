"""The studio itself as tools, read only: a model can be asked about its own run, and a coding agent about all of them.

Nothing here changes anything, and secrets are masked as they are on every face.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.domain.tools import Tool
from vllm_studio_tui.domain.usage import BY, UsageQuery
from vllm_studio_tui.tools.functions import Function, schema, text_of, whole_of
from vllm_studio_tui.tools.results import ToolFault, json_text

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import Gpu
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.protocols import StudioApi

#: Seconds between the two readings of an engine's counters.
BETWEEN = 1.0
#: Most lines of a log.
MOST_LINES = 1000
_RUN = {"type": "string", "description": "A run, recipe or model; without it the run that was started last."}
#: What a model needs to know of a run.
_OF_A_RUN = (
    "run_id", "recipe_id", "name", "backend", "model", "state", "stage", "progress", "time_left", "port", "started_at",
    "ready_at", "restarts", "exit", "reason", "title", "advice", "heard", "waiting_for", "where", "trouble",
    "gpus", "simulated",
)  # fmt: skip


def studio_tools(studio: StudioApi) -> list[Function]:
    """Return the tools. Their work blocks, so it is done in threads."""

    def tool(
        title: str, description: str, work: Callable[[StudioApi, Mapping[str, Any]], Any], parameters: dict[str, Any]
    ) -> Function:
        async def made(arguments: Mapping[str, Any]) -> str:
            found = await asyncio.get_running_loop().run_in_executor(None, work, studio, arguments)
            return found if isinstance(found, str) else json_text(found)

        return Function(
            Tool(f"studio__{title}", "studio", title, description, parameters, asks=False), made, seconds=60.0
        )

    lines = {"type": "integer", "description": f"How many of the last lines: 1 to {MOST_LINES}, 50 without it."}
    days = {"type": "integer", "description": "The last N days in UTC, today too; without it all there is."}
    by = {"type": "string", "enum": list(BY), "description": "What it is divided by; `model` without it."}
    return [
        tool(
            "status",
            "Which model servers run on this machine, in which state, on which GPUs, and how busy the GPUs are.",
            _status,
            schema({}),
        ),
        tool("logs", "The last lines of the log of a run.", _logs, schema({"run": _RUN, "lines": lines})),
        tool(
            "metrics",
            "What the engine of a run measures now: tokens per second, requests, KV cache, latencies. Takes a second.",
            _metrics,
            schema({"run": _RUN}),
        ),
        tool(
            "why",
            "Why a run failed or does not answer: cause, evidence of its log, advice, what changed since it worked.",
            _why,
            schema({"run": _RUN}),
        ),
        tool("usage", "Tokens, requests, latency and energy over time.", _usage, schema({"days": days, "by": by})),
    ]


# --- in a thread ----------------------------------------------------------------------------------------


def _status(studio: StudioApi, _: Mapping[str, Any]) -> Any:
    from vllm_studio_tui.runs.json_documents import status_document

    told = status_document(studio.runs.all())["runs"]
    report = studio.gpu_report(processes=False)
    return {
        "runs": [{key: run[key] for key in _OF_A_RUN if run[key] not in (None, [], "")} for run in told],
        "gpus": [_gpu(one) for one in report.gpus],
        "gpu_error": report.error,
    }


def _gpu(gpu: Gpu) -> dict[str, Any]:
    return {
        "index": gpu.index,
        "name": gpu.name,
        "utilization_percent": gpu.utilization,
        "memory_used_bytes": gpu.memory_used,
        "memory_total_bytes": gpu.memory_total,
        "power_watts": gpu.power_draw,
        "temperature_celsius": gpu.temperature,
    }


def _logs(studio: StudioApi, arguments: Mapping[str, Any]) -> str:
    run = _run(studio, arguments)
    count = whole_of(arguments, "lines", 50, 1, MOST_LINES)
    try:
        lines = studio.runs.log_lines(run, count)
    except OSError:
        raise ToolFault(f"{run.run_id} has written no log") from None
    return f"the last {len(lines)} lines of {run.run_id}, {run.state}:\n" + "\n".join(lines)


def _metrics(studio: StudioApi, arguments: Mapping[str, Any]) -> Any:
    from vllm_studio_tui.runs.json_documents import metrics_document

    run = _run(studio, arguments)
    if run.state not in ANSWERING:
        raise ToolFault(f"{run.run_id} is {run.state}: only an engine that answers can be measured")
    told = metrics_document(run, studio.runs.measure(run, BETWEEN))
    return {key: value for key, value in told.items() if value is not None}


def _why(studio: StudioApi, arguments: Mapping[str, Any]) -> Any:
    from vllm_studio_tui.services.diagnosis import diagnosis_document

    run = _run(studio, arguments)
    found = diagnosis_document(studio.runs.diagnosis(run))
    since = studio.run_history.explain_since(run.run_id) if run.state is State.FAILED else ""
    told = {"run_id": run.run_id, "state": str(run.state), **found, "changed_since_it_worked": since or None}
    if found["reason"] is None:
        told["note"] = "nothing in its log speaks of a failure; see the tool `metrics` for how it does"
    return {key: value for key, value in told.items() if value not in (None, [])}


def _usage(studio: StudioApi, arguments: Mapping[str, Any]) -> Any:
    by = text_of(arguments, "by", "model", most=40)
    if by not in BY:
        raise ToolFault(f"usage cannot be divided by {by}: by is one of {', '.join(BY)}")
    days = whole_of(arguments, "days", 1, 1, 36_500) if arguments.get("days") is not None else None
    return studio.usage.report(UsageQuery(days, by)).to_json()


def _run(studio: StudioApi, arguments: Mapping[str, Any]) -> RunView:
    """Return the run that is meant.

    Raises:
        ToolFault: There is none.
    """
    name = arguments.get("run")
    runs = studio.runs.all()
    if name in (None, ""):
        live = [one for one in runs if one.live] or runs
        if not live:
            raise ToolFault("no model server was started on this machine yet")
        return live[-1]
    wanted = text_of(arguments, "run", most=200)
    try:
        return studio.runs.find(wanted)
    except StudioError as error:
        served = [one for one in runs if one.live and one.model == wanted]
        if served:
            return served[-1]
        names = ", ".join(dict.fromkeys(one.recipe_id or one.run_id for one in reversed(runs[-20:])))
        raise ToolFault(f"{error.title}; there are: {names or 'none'}") from None
