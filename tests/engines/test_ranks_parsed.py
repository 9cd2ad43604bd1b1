"""vLLM's own parser and configuration take the command of each rank, and find the place that was meant."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import ROOT, SAFETENSORS
from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import LaunchContext
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.ranks import RankPlace
from vllm_studio_tui.domain.recipe import Recipe

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
PROGRAM = ROOT / "vllm" / "bin" / "vllm"
#: Run by vLLM's interpreter: reads command lines, and prints what its configuration makes of each.
ASK = """
import json, sys
from vllm import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

told = []
for argv in json.load(sys.stdin):
    parser = make_arg_parser(FlexibleArgumentParser())
    args = parser.parse_args(argv)
    args.model = args.model_tag  # as `vllm serve` does
    validate_parsed_serve_args(args)
    row = {"headless": args.headless, "port": args.port, "host": args.host}
    transfer = args.kv_transfer_config
    if transfer is None:
        config = AsyncEngineArgs.from_cli_args(args).create_engine_config(headless=args.headless)
        parallel = config.parallel_config
        row |= {
            "nodes": parallel.nnodes, "node": parallel.node_rank, "master": parallel.master_addr,
            "master_port": parallel.master_port, "within_dp": parallel.node_rank_within_dp,
            "tp": parallel.tensor_parallel_size, "pp": parallel.pipeline_parallel_size,
            "dp": parallel.data_parallel_size, "dp_here": parallel.data_parallel_size_local,
            "dp_rank": parallel.data_parallel_rank, "dp_address": parallel.data_parallel_master_ip,
            "dp_port": parallel.data_parallel_rpc_port,
        }
    else:
        row |= {"connector": transfer.kv_connector, "role": transfer.kv_role}
    told.append(row)
print("TOLD " + json.dumps(told))
"""


def commands(**fields: Any) -> list[list[str]]:
    """Return the arguments of each part but the router, after `vllm serve`."""
    made = Recipe(
        id="r", name="r", backend="vllm", model_path=str(SAFETENSORS), executable=str(PROGRAM), max_model_len=512,
        nodes=("a", "b"), extra_args={"enforce_eager": True}, **fields,
    )  # fmt: skip
    engine = registry.backend("vllm")
    parts = engine.ranks(made)
    found = []
    for one in parts:
        if one.role == "router":
            continue
        place = RankPlace(one.index, len(parts), one.node, ("127.0.0.1", "127.0.0.2"), 29700, "lo", one.role)
        command = engine.command(made, LaunchContext(Settings(), "127.0.0.1", 8600, rank=place))
        found.append(list(command.argv[2:]))
    return found


def test_each_rank_finds_its_place() -> None:
    if not Path(PROGRAM).exists():
        pytest.skip("vLLM is not set up")
    pipeline = commands(strategy="tp_pp", pipeline_parallel_size=2)
    copies = commands(strategy="dp", data_parallel_size=4)
    apart = commands(strategy="pd")
    done = subprocess.run(
        [str(PROGRAM.parent / "python"), "-c", ASK],
        input=json.dumps([*pipeline, *copies, *apart]), capture_output=True, text=True, timeout=600, check=False,
        env={"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "PATH": "/usr/bin:/bin", "HOME": "/tmp"},
    )  # fmt: skip
    line = next((one for one in done.stdout.splitlines() if one.startswith("TOLD ")), None)
    assert line is not None, done.stderr[-4000:]
    told = json.loads(line.removeprefix("TOLD "))
    for rank, one in enumerate(told[:2]):
        assert (one["nodes"], one["node"], one["within_dp"]) == (2, rank, rank)
        assert (one["master"], one["master_port"]) == ("127.0.0.1", 29700)
        assert (one["pp"], one["headless"]) == (2, rank > 0)
    for rank, one in enumerate(told[2:4]):
        assert (one["dp"], one["dp_here"], one["dp_rank"], one["within_dp"]) == (4, 2, 2 * rank, 0)
        assert (one["dp_address"], one["dp_port"], one["headless"]) == ("127.0.0.1", 29701, rank > 0)
    for one, role, host in zip(told[4:], ("kv_producer", "kv_consumer"), ("127.0.0.1", "127.0.0.2"), strict=True):
        assert (one["connector"], one["role"]) == ("NixlConnector", role)
        assert (one["host"], one["port"], one["headless"]) == (host, 29702, False)
