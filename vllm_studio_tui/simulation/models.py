"""The models that the simulation pretends to run: their size, what a token costs, and how they share out a GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from vllm_studio_tui.simulation.kinds import GIB, kind_here


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a model, and of the people who use it.

    Attributes:
        weights: GiB of all its weights.
        token_bytes: What one token takes in the KV cache, over all GPUs.
        peak: Tokens a second that are asked for in a busy hour.
        running: Requests at once in that hour.
        prompt, output: Tokens of a mean prompt and of a mean answer.
        ttft: Seconds until the first token, in the middle.
        files: Files of its weights.
        disk: GiB of its weights that are read in a second.
        compile, graphs: Seconds that these stages of a start take.
    """

    id: str
    weights: float
    token_bytes: int
    peak: float
    running: float
    prompt: int
    output: int
    ttft: float
    files: int
    layers: int = 64
    context: int = 40_960
    activations: float = 2.3
    graph_memory: float = 1.1
    disk: float = 1.49
    compile: float = 24.0
    graphs: float = 19.0
    architecture: str = "Qwen3ForCausalLM"


_MODELS = (
    Model("Qwen/Qwen3-32B", 61.0, 262_144, 1842.0, 36.0, 3650, 3200, 0.105, 17),
    Model("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", 131.4, 327_680, 138.0, 3.1, 1450, 2600, 0.180, 30, layers=80,
          context=131_072, activations=2.1, graph_memory=1.0, disk=0.72, architecture="LlamaForCausalLM"),
    Model("meta-llama/Llama-3.3-70B-Instruct", 131.4, 327_680, 160.0, 3.0, 2900, 800, 0.190, 30, layers=80,
          context=131_072, activations=2.1, graph_memory=1.0, architecture="LlamaForCausalLM"),
    Model("openai/gpt-oss-120b", 60.8, 73_728, 2400.0, 24.0, 2600, 1400, 0.090, 15, layers=36, context=131_072,
          architecture="GptOssForCausalLM"),
    Model("google/gemma-3-12b-it", 22.7, 196_608, 1320.0, 18.0, 2100, 620, 0.070, 5, layers=48, context=131_072,
          compile=16.0, graphs=11.0, architecture="Gemma3ForConditionalGeneration"),
    Model("mistralai/Mistral-Small-24B-Instruct-2501", 43.9, 163_840, 980.0, 16.0, 1900, 540, 0.085, 10, layers=40,
          context=32_768, compile=18.0, graphs=12.0, architecture="MistralForCausalLM"),
    Model("Qwen/Qwen2.5-VL-7B-Instruct", 15.4, 57_344, 1500.0, 14.0, 1700, 380, 0.110, 5, layers=28, context=128_000,
          compile=12.0, graphs=8.0, architecture="Qwen2_5_VLForConditionalGeneration"),
    Model("microsoft/phi-4", 27.3, 204_800, 1250.0, 16.0, 1500, 520, 0.075, 6, layers=40, context=16_384,
          compile=14.0, graphs=9.0, architecture="Phi3ForCausalLM"),
    Model("HuggingFaceTB/SmolLM2-135M-Instruct", 0.25, 23_040, 2600.0, 6.0, 160, 120, 0.012, 1, layers=30,
          context=8192, activations=0.4, graph_memory=0.2, compile=2.0, graphs=1.5, architecture="LlamaForCausalLM"),
    Model("house/judge-8b", 15.0, 131_072, 1100.0, 9.0, 2200, 90, 0.060, 4, layers=32, context=8192, compile=9.0,
          graphs=6.0, architecture="LlamaForCausalLM"),
)  # fmt: skip
_BILLIONS = re.compile(r"(?<![\d.a-z])(\d{1,4}(?:\.\d{1,2})?)b(?![a-z\d])", re.IGNORECASE)


def model_of(name: str) -> Model:
    """Return the model of this name or path; one that is not known is guessed from the number in its name."""
    plain = name.rstrip("/").rsplit("/", 1)[-1].lower()
    for model in _MODELS:
        if name == model.id or plain == model.id.rsplit("/", 1)[-1].lower():
            return model
    found = _BILLIONS.search(plain)
    billions = float(found[1]) if found else 8.0
    return replace(
        _MODELS[0],
        id=name,
        weights=round(billions * 1.87, 2),
        token_bytes=int(131_072 * max(0.1, min(3.0, billions / 8)) ** 0.5),
        peak=min(2600.0, 12_000 / (4 + billions)),
        running=12.0,
        prompt=1400,
        output=450,
        ttft=0.02 + billions * 0.0022,
        files=max(1, round(billions / 2.3)),
    )


def pace_of(began: float) -> float:
    """Return how a start of this moment compares with the usual one: no two take the same time."""
    return 0.95 + int(began) * 7919 % 13 / 100


@dataclass(frozen=True, slots=True)
class Layout:
    """How an engine shares out the memory of each of its GPUs, in GiB, and how long it takes to fill it.

    Attributes:
        share: The part of each GPU that it may take.
        cache_bytes: What a value in the KV cache takes, in parts of what it takes by default.
        pace: The time that a start takes, in parts of the usual time.
    """

    model: Model
    ranks: int = 1
    share: float = 0.9
    cache_bytes: float = 1.0
    pace: float = 1.0

    @property
    def limit(self) -> float:
        return kind_here().memory / GIB * self.share

    @property
    def weights(self) -> float:
        return self.model.weights / self.ranks

    @property
    def other(self) -> float:
        """Return what activations and graphs take."""
        return self.model.activations + self.model.graph_memory

    @property
    def cache(self) -> float:
        """Return what is left for the KV cache; below zero where the weights do not fit."""
        return self.limit - self.weights - self.other

    @property
    def tokens(self) -> int:
        """Return the tokens that the KV cache holds, in blocks of 16."""
        whole = self.cache * self.ranks * GIB / (self.model.token_bytes * self.cache_bytes)
        return max(0, int(whole) // 16 * 16)

    def needed(self, context: int) -> float:
        """Return the GiB on each GPU that one request of this length needs."""
        return context * self.model.token_bytes * self.cache_bytes / self.ranks / GIB

    def loading_seconds(self) -> dict[str, float]:
        """Return the stages of a start with the seconds that each takes."""
        usual = {
            "process": 0.4,
            "config": 3.1,
            "weights": max(1.0, self.model.weights / self.model.disk),
            "compile": self.model.compile,
            "kv": 2.2,
            "graphs": self.model.graphs,
            "warmup": max(0.6, self.model.layers / 8),
        }
        return {name: self.pace * seconds for name, seconds in usual.items()}

    def held(self, done: float) -> float:
        """Return the GiB that a GPU holds when this share of a start's seconds has passed."""
        spans = self.loading_seconds()
        at = done * sum(spans.values())
        before = spans["process"] + spans["config"]
        if done >= 1.0:
            return self.limit - 0.4
        if at <= before:
            return 0.5 if at > spans["process"] else 0.0
        loaded = min(1.0, (at - before) / spans["weights"]) * self.weights
        after = at - before - spans["weights"] - spans["compile"]
        return 0.6 + loaded + (max(0.0, self.cache) if after > 0 else 0.0)
