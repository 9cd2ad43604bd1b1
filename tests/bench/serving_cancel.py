"""How long a client's slot of the engine is kept after it has left: the small real model in the embedded engine."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.figure import Figure
from tests.bench.serving import head, start_serve
from tests.ports import free_port
from tests.process.house import House
from vllm_studio_tui.kit.prometheus import parse
from vllm_studio_tui.runs import control

#: The model does not end by itself.
LONG = {
    "model": "bench-cancel",
    "messages": [{"role": "user", "content": "Count from one to one thousand in words."}],
    "max_tokens": 1500,
    "stream": True,
    "ignore_eos": True,
}


def cancelled(home: House, quick: bool, model: Path | None) -> list[Figure]:
    """Leave in the middle of a stream, and ask the engine itself until nothing is answered there any more."""
    from vllm_studio_tui.domain.recipe_reading import parse_recipe
    from vllm_studio_tui.services import demo
    from vllm_studio_tui.studio import Studio

    with Studio.open_sync(home.places) as studio:
        path = demo.fetch(home.places, model, lambda _: None)
        fields = {"id": LONG["model"], "name": LONG["model"], "backend": "llamacpp", "model_path": str(path)}
        run = home.ready(studio.launcher.launch(studio.recipes.create(parse_recipe(fields)[0])))
    engine = urlsplit(run.base_url or "").netloc
    port = free_port()
    serve = start_serve(home, port)
    times = 5 if quick else 20
    try:
        taken = {"": [0.0], "engine": [0.0]}
        for _ in range(times):  # in turn: others of this machine take their share of both
            for name, where in (("", f"127.0.0.1:{port}"), ("engine", engine)):
                taken[name].append(asyncio.run(_leave(where, engine)))
    finally:
        serve.terminate()
        serve.wait(timeout=30)
        control.stop(run)
    served, direct = (sorted(some)[1:] for some in taken.values())
    return [
        Figure("serve: a client leaves, its slot is free, p50", statistics.median(served), "s", None, 0.1),
        Figure(f"the same, the longest of {times}", served[-1], "s", None, 0.1),
        Figure("the same without serve, p50", statistics.median(direct), "s", None, 0.1),
        Figure(f"the same without serve, the longest of {times}", direct[-1], "s", None, 0.1),
    ]


async def _leave(where: str, engine: str) -> float:
    """Return the seconds from the end of a client's connection until the engine works on nothing."""
    host, port = where.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head(json.dumps(LONG, separators=(",", ":")).encode()))
    for _ in range(5):
        await reader.readuntil(b"data: {")
    assert await _busy(engine) == 1
    begin = time.perf_counter()
    writer.close()
    while await _busy(engine):
        assert time.perf_counter() - begin < 30
    return time.perf_counter() - begin


async def _busy(engine: str) -> float:
    """Return how many requests the engine works on."""
    host, port = engine.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    return sum(value for _, value in parse(text)["llamacpp:requests_processing"])
