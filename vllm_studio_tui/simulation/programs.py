"""Programs that take the place of installed engines: `vllm serve MODEL ..` and `python -m sglang.launch_server ..`.

They understand the flags that matter and pretend to run the model, so that recipes, checks, changes and failures are
those of the real engines.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vllm_studio_tui.kit.paths import private_dir
from vllm_studio_tui.simulation.loading_log import SGLANG, VLLM
from vllm_studio_tui.simulation.marks import PROGRAMS

#: When an engine began that is started to go on as if it had never stopped; in seconds since the epoch.
SINCE = "VLLM_STUDIO_SIMULATED_SINCE"
_SCRIPT = """#!{python}
import sys
from {module} import main
sys.exit(main("{style}", sys.argv[1:]))
"""


def install(folder: Path) -> dict[str, Path]:
    """Put the programs into a folder, each in an environment of its own; return them by engine."""
    made = {}
    for style, name, version in (("vllm", "vllm", VLLM), ("sglang", "python", SGLANG)):
        home = folder / style
        private_dir(home / "bin")
        private_dir(home / f"lib/python3/site-packages/{style}-{version}.dist-info")
        program = home / "bin" / name
        program.write_text(_SCRIPT.format(python=sys.executable, module=PROGRAMS, style=style))
        program.chmod(0o700)
        made[style] = program
    return made


def main(style: str, argv: Sequence[str]) -> int:
    """Run as that engine does; returns the exit code."""
    from vllm_studio_tui.simulation import engine

    rest = list(argv)
    if style == "sglang":
        if rest[:1] == ["-c"]:
            rest = rest[2:]
        if rest[:2] == ["-m", "sglang.launch_server"]:
            rest = rest[2:]
    elif rest[:1] == ["serve"]:
        rest = rest[1:]
    options = _arguments(style).parse_known_args(rest)[0]
    if not options.model and not options.model_path:
        sys.stderr.write("error: the following arguments are required: --model-path\n")
        return 2
    return engine.main(_translated(style, options))


def _arguments(style: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=style, add_help=False, allow_abbrev=False)
    add = parser.add_argument
    if style == "vllm":
        add("model", nargs="?")
    else:
        parser.set_defaults(model=None)
    add("--model-path", "--model")
    add("--served-model-name", nargs="+")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8000)
    add("--tensor-parallel-size", "--tp-size", dest="ranks", type=int, default=1)
    add("--max-model-len", "--context-length", dest="context", type=int)
    add("--gpu-memory-utilization", "--mem-fraction-static", dest="share", type=float, default=0.9)
    add("--kv-cache-dtype", default="auto")
    add("--pipeline-parallel-size", "--pp-size", dest="stages", type=int, default=1)
    add("--nnodes", type=int, default=1)
    add("--node-rank", type=int, default=0)
    add("--master-addr", default="127.0.0.1")
    add("--master-port", type=int, default=29501)
    add("--dist-init-addr", "--nccl-init-addr")
    add("--headless", action="store_true")
    return parser


def _translated(style: str, options: argparse.Namespace) -> list[str]:
    """Return the arguments of the simulated engine."""
    model = str(options.model_path or options.model)
    made = ["--style", style, "--pretend", model, "--model", (options.served_model_name or [model])[0]]
    made += ["--host", options.host, "--port", str(options.port)]
    made += ["--ranks", str(max(1, options.ranks * options.stages // options.nnodes))]
    if options.nnodes > 1:
        meet = options.dist_init_addr or f"{options.master_addr}:{options.master_port}"
        made += ["--meet", meet, "--rank", str(options.node_rank), "--of", str(options.nnodes)]
        # Of SGLang's ranks all but the first serve nothing that anybody would ask, without a flag.
        if options.headless or (style == "sglang" and options.node_rank):
            made.append("--headless")
    made += ["--gpu-share", str(options.share)]
    if options.context:
        made += ["--max-context", str(options.context)]
    if options.kv_cache_dtype.startswith("fp8"):
        made.append("--small-cache")
    if since := os.environ.get(SINCE):
        made += ["--since", since]
    for key in ("VLLM_API_KEY", "VLLM_STUDIO_SGLANG_KEY"):
        if os.environ.get(key):
            made += ["--api-key-env", key]
    return made
