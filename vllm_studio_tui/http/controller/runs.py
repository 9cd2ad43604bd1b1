"""Launch, switch, stop and wait for runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http.answers import document, flag, seconds, whole_number
from vllm_studio_tui.http.controller.status import COMING
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.runs.elsewhere import told_why
from vllm_studio_tui.runs.find import pick_run
from vllm_studio_tui.runs.json_documents import launch_document, run_document, status_document
from vllm_studio_tui.runs.not_ready import waiting_for

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.protocols import RunsApi

#: Seconds between two looks at a run that is waited for.
LOOK = 0.2
#: Seconds that one may wait for a run.
MOST_WAIT = 24 * 3600.0


def _launched(call: Call, run: RunView) -> web.Response:
    """Return the answer to a launch: what the original said, and the run."""
    failed = run.state is State.FAILED
    told = launch_document(run)
    message = run.status.title or str(run.state) if failed else f"{run.name} is {run.state}"
    answer = {"success": not failed, "message": message, "log_file": str(run.log), "recipe_id": run.recipe_id, **told}
    asked = call.request.headers.get("Prefer", "")
    if run.state in COMING and any(one.strip().lower() == "respond-async" for one in asked.split(",")):
        headers = {"Preference-Applied": "respond-async", "Location": f"/runs/{run.run_id}"}
        return document(answer, 202, headers)
    return document(answer)


def _port(call: Call) -> int | None:
    return whole_number(call, "port", 0, 1, 65535) if "port" in call.request.query else None


async def _launch(call: Call) -> web.StreamResponse:
    context, studio = call.context, call.context.studio
    recipe = await context.read(studio.recipes.get, call.request.match_info["id"])
    port, force = _port(call), flag(call, "force")
    share, unchecked = flag(call, "share_gpus"), flag(call, "unchecked")
    query = call.request.query
    if any(name in query for name in _PLACE):
        from vllm_studio_tui.domain.recipe_places import place_recipe

        recipe = place_recipe(recipe, on=query.get("on"), nodes=query.get("nodes"), strategy=query.get("strategy", ""))
    return _launched(
        call,
        await context.launch(
            lambda: studio.launcher.launch(recipe, port=port, force=force, share_gpus=share, unchecked=unchecked)
        ),
    )


async def _switch(call: Call) -> web.StreamResponse:
    context, studio = call.context, call.context.studio
    recipe = await context.read(studio.recipes.get, call.request.match_info["id"])
    port = _port(call)
    return _launched(call, await context.launch(lambda: studio.launcher.switch(recipe, port=port)))


async def _cancel(call: Call) -> web.StreamResponse:
    """End a launch that is not ready yet; a model that serves already stays."""
    name = call.request.match_info["id"]
    found = pick_run(await call.context.read(call.context.studio.runs.live), name)
    if found is None:
        raise NotFound(f"{name[:80]} is not being launched", advice="See /status.")
    if found.state not in COMING:
        raise Refusal(409, "not_loading", f"{found.recipe_id} is {found.state}", advice="Stop it: /runs/{run}/stop.")
    ended = await _stopped(call, found, force=False)
    return document({"success": ended.status.final, "message": f"{found.recipe_id} cancelled", **_ids(ended)})


async def _evict(call: Call) -> web.StreamResponse:
    """Stop every run, or the one that is named."""
    context = call.context
    name, force = call.request.query.get("run"), flag(call, "force")
    live = await context.read(context.studio.runs.live)
    if name is not None:
        found = pick_run(live, name)
        if found is None:
            raise NotFound(f"no live run called {name[:80]}", advice="See /status.")
        live = [found]
    pids = [one.status.pid for one in live if one.status.pid is not None]
    ended = [await _stopped(call, one, force=force) for one in live]
    return document(
        {
            "success": all(one.status.final for one in ended),
            "evicted_pid": pids[-1] if pids else None,
            "evicted": [_ids(one) for one in ended],
        }
    )


async def _stop(call: Call) -> web.StreamResponse:
    context = call.context
    force = flag(call, "force")
    run = await context.read(context.studio.runs.find, call.request.match_info["run"])
    ended = await _stopped(call, run, force=force)
    return document({"success": ended.status.final, "run": run_document(ended)})


async def _stopped(call: Call, run: RunView, *, force: bool) -> RunView:
    # Not a thread of those that launch: a stop must not wait for a launch that waits for others.
    stop = asyncio.to_thread(lambda: call.context.studio.launcher.stop(run, force=force))
    return await asyncio.shield(stop)


def _ids(run: RunView) -> dict[str, Any]:
    return {"run_id": run.run_id, "recipe_id": run.recipe_id, "state": str(run.state)}


async def _runs(call: Call) -> web.StreamResponse:
    every = flag(call, "all")

    def told() -> dict[str, Any]:
        return status_document(call.context.studio.runs.all(), every=every)

    return document(await call.context.read(told))


async def _run(call: Call) -> web.StreamResponse:
    run = await call.context.read(call.context.studio.runs.find, call.request.match_info["run"])
    return document(run_document(run))


async def _wait_ready(call: Call) -> web.StreamResponse:
    """Wait until a run serves or has failed; without a name the one that was launched last."""
    context, runs = call.context, call.context.studio.runs
    name = call.request.query.get("recipe")
    timeout = seconds(call, "timeout", 300.0, MOST_WAIT)
    clock = context.loop.time
    until = clock() + timeout
    since = call.started
    while True:
        every = await context.runs_since(since)
        run = pick_run(every, name) if name is not None else next(iter(every[::-1]), None)
        if run is not None and run.live and not run.keeper_alive:
            await context.read(_look_after, runs, run)
        error = _ended(run, name)
        ready = error is None and run is not None and run.state in ANSWERING
        over = clock() >= until
        if ready or error is not None or over or context.draining:
            words = error if error is not None or ready else _not_yet(run, timeout)
            answer: dict[str, Any] = {"ready": ready, "elapsed": round(clock() - call.started, 3)}
            if words is not None:
                answer["error"] = words
            return document({**answer, **(launch_document(run) if run is not None else {})})
        await asyncio.sleep(min(LOOK, max(0.0, until - clock())))
        since = clock() - LOOK / 2


def _look_after(runs: RunsApi, run: RunView) -> None:
    """Give a run that lost its keeper a new one."""
    if run.lost:
        runs.settle()


def _ended(run: RunView | None, name: str | None) -> str | None:
    """Return why a run will not be ready; None where it may."""
    if run is None:
        return f"no run called {name[:80]}" if name is not None else "nothing was launched"
    if run.status.final:
        return run.status.title or str(run.state)
    return None


def _not_yet(run: RunView | None, timeout: float) -> str:
    words = f"not ready within {timeout:g} s"
    why = (waiting_for(run) or (clean_line(run.status.stage or "") if told_why(run) else "")) if run is not None else ""
    return f"{words}: {why}" if why else words


_PORT = {"port": "Exactly this port instead of the recipe's."}
_PLACE = {
    "on": "What runs it, this once: here, slurm, ray-serve, kubernetes, skypilot.",
    "nodes": "Hosts that it runs on over ssh, this once, with commas between.",
    "strategy": "How several machines share it, this once: tp, tp_pp, dp or pd.",
}
_LAUNCH = {
    "force": "Stop the runs that hold its port or GPUs first.",
    **_PORT,
    "share_gpus": "Agree to GPUs that another run claims.",
    "unchecked": "Launch although it would fail, as far as is known.",
    **_PLACE,
}
_FORCE = {"force": "Kill without grace."}
ROUTES = (
    Route("POST", "/launch/{id}", _launch, Scope.MANAGE, "Launch a recipe", "Runs", query=_LAUNCH),
    Route("POST", "/launch/{id}/cancel", _cancel, Scope.MANAGE, "End a launch that is not ready yet", "Runs"),
    Route(
        "POST", "/switch/{id}", _switch, Scope.MANAGE,
        "Stop what holds a recipe's port or GPUs, then launch it there", "Runs", query=_PORT,
    ),
    Route(
        "POST", "/evict", _evict, Scope.MANAGE, "Stop every run", "Runs",
        query={**_FORCE, "run": "Only this run, or the run of this recipe."},
    ),
    Route("GET", "/runs", _runs, Scope.READ, "The runs", "Runs", query={"all": "Earlier runs too."}),
    Route("GET", "/runs/{run}", _run, Scope.READ, "One run", "Runs"),
    Route("POST", "/runs/{run}/stop", _stop, Scope.MANAGE, "Stop a run; dismiss a failed one", "Runs", query=_FORCE),
    Route(
        "GET", "/wait-ready", _wait_ready, Scope.READ, "Wait until a run serves or has failed", "Runs",
        query={"timeout": "Seconds to wait at most (300).", "recipe": "A recipe or run; without it the latest."},
    ),
)  # fmt: skip
