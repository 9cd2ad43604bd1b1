"""A small model that two ranks of vLLM for the CPU can share, and what a recipe says so that they do."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import OFFLINE, ROOT, SAFETENSORS

PROGRAM = ROOT / "vllm" / "bin" / "vllm"
#: SmolLM2 has nine heads, which two ranks cannot share: the same with four, and weights at random.
MAKE = """
import sys
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
source, target = sys.argv[1:]
config = AutoConfig.from_pretrained(source)
config.hidden_size, config.num_attention_heads, config.num_key_value_heads, config.head_dim = 256, 4, 2, 64
config.intermediate_size, config.num_hidden_layers = 512, 4
AutoModelForCausalLM.from_config(config).save_pretrained(target)
AutoTokenizer.from_pretrained(source).save_pretrained(target)
"""


def make(folder: Path) -> Path:
    """Write the model into a folder; without vLLM the test is skipped."""
    if not PROGRAM.exists() or not SAFETENSORS.exists():
        pytest.skip("vllm is not set up; see install.py")
    python = str(PROGRAM.parent / "python")
    subprocess.run([python, "-c", MAKE, str(SAFETENSORS), str(folder)], check=True, timeout=300, capture_output=True)
    return folder


def recipe(model: Path, **more: Any) -> dict[str, Any]:
    """Return the fields of a recipe for two ranks on CPUs."""
    return {
        "backend": "vllm", "model_path": str(model), "executable": str(PROGRAM), "max_model_len": 512,
        "strategy": "tp", "tensor_parallel_size": 2, "extra_args": {"enforce_eager": True, "dtype": "float32"},
        "env_vars": {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", **OFFLINE}, **more,
    }  # fmt: skip
