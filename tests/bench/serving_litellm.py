"""LiteLLM's proxy beside `serve`, in front of the same engine. It needs an environment in which it is installed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.bench.figure import Figure
from tests.bench.serving import KEY, Passing, measure, rss, servers, wait_for
from tests.ports import free_port
from tests.process.house import House
from vllm_studio_tui.services.gateway import inside_start
from vllm_studio_tui.services.render.litellm import MASTER


def litellm(home: House, quick: bool, environment: Path) -> list[Figure]:
    """What both add to a request, and what they take.

    Args:
        environment: A virtual environment of the gateway's lock file.
    """
    python = environment / "bin" / "python"
    if not python.exists():
        print(f"(LiteLLM is not measured: there is no {python})")
        return []
    port = free_port()
    with servers(home) as (engine, passing):
        config = home.root / "litellm.yaml"
        config.write_text(json.dumps(_configuration(engine)))  # YAML has JSON in it
        argv = [python, inside_start.__file__, "--config", config, "--host", "127.0.0.1", "--port", str(port)]
        log = home.root / "litellm.log"
        with log.open("wb") as out:
            started = subprocess.Popen(
                [*map(str, argv), "--num_workers", "1", "--telemetry", "False"],
                env={"HOME": str(home.root), "PATH": os.environ["PATH"], "GATEWAY_KEEP": MASTER, MASTER: KEY},
                stdout=out, stderr=out, cwd=home.root,
            )  # fmt: skip
        try:
            wait_for(port, started, 300)
            both = {"serve": passing["serve"], "litellm": Passing(f"127.0.0.1:{port}", started.pid)}
            costs, direct = measure(engine, both, quick)
            memory = {name: rss(one.pid) for name, one in both.items()}
        finally:
            started.terminate()
            started.wait(timeout=60)
    serve, theirs = costs["serve"], costs["litellm"]
    return [
        Figure(
            "serve beside LiteLLM: added at p50", (serve.p50 - direct.p50) * 1000, "ms",
            (theirs.p50 - direct.p50) * 1000, 1,
        ),
        Figure(
            "serve beside LiteLLM: added at p95", (serve.p95 - direct.p95) * 1000, "ms",
            (theirs.p95 - direct.p95) * 1000, 1,
        ),
        Figure("serve beside LiteLLM: CPU of a request", serve.request, "ms", theirs.request, 1),
        Figure("serve beside LiteLLM: CPU of a chunk", serve.chunk, "ms", theirs.chunk, 1),
        Figure("serve beside LiteLLM: RSS", memory["serve"], "MB", memory["litellm"], 1),
    ]  # fmt: skip


def _configuration(engine: str) -> dict[str, object]:
    """Return what the gateway writes, with the engine itself behind it, and nothing that it need not do."""
    parameters = {"model": "hosted_vllm/m", "api_base": f"http://{engine}/v1", "api_key": "none"}
    return {
        "model_list": [{"model_name": "m", "litellm_params": parameters}],
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "litellm_settings": {"num_retries": 0, "telemetry": False},
    }
