"""How the weights of a model are stored: by its configuration, else by its tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.kit.gguf import Gguf
from vllm_studio_tui.kit.tensors import Tensor
from vllm_studio_tui.models.config_values import Config

#: Bits of methods that have only one form.
_BITS = {
    "fp8": 8.0, "fbgemm_fp8": 8.0, "mxfp8": 8.0, "w8a8": 8.0, "int8": 8.0, "mxfp4": 4.25, "nvfp4": 4.5, "awq": 4.0,
    "awq_marlin": 4.0,
}  # fmt: skip
#: `general.file_type` of GGUF files, as `enum llama_ftype` numbers them.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantization:
    """Attributes: the name of the method, empty where there is none; bits of each weight, where known."""

    name: str = ""
    bits: float | None = None


def quantization_of(
    config: Mapping[str, Any], other: Mapping[str, Any] | None = None, tensors: Sequence[Tensor] = ()
) -> Quantization:
    """Return how the weights are stored, by `quantization_config` of config.json or by hf_quant_config.json."""
    for part in (config, config.get("text_config")):
        given = part.get("quantization_config") or part.get("compression_config") if isinstance(part, Mapping) else None
        if isinstance(given, Mapping):
            return _configured(given)
    inner = other.get("quantization") if other else None
    if isinstance(inner, Mapping) and isinstance(inner.get("quant_algo"), str):
        name = inner["quant_algo"].lower()[:40]
        return Quantization(name, _BITS.get(name) or (8.0 if "fp8" in name else 4.5 if "fp4" in name else None))
    if any(one.dtype.startswith("F8_E4M3") for one in tensors):
        return Quantization("fp8", 8.0)
    mlx = config.get("quantization")
    if isinstance(mlx, Mapping) and (bits := Config(mlx).integer("bits")):
        return Quantization(f"mlx-{bits}bit", float(bits))
    return Quantization()


def _configured(given: Mapping[str, Any]) -> Quantization:
    values = Config(given)
    name = (values.text("quant_method") or values.text("quant_algo") or "unknown").lower()[:40]
    if name == "bitsandbytes":
        return Quantization("bitsandbytes", 4.0 if given.get("load_in_4bit") is True else 8.0)
    bits = values.integer("bits", "w_bit", "weight_bits", "num_bits") or values.number("bits")
    groups = given.get("config_groups")
    if not bits and isinstance(groups, Mapping):
        for group in groups.values():
            weights = group.get("weights") if isinstance(group, Mapping) else None
            if isinstance(weights, Mapping):
                bits = Config(weights).integer("num_bits")
                kind = Config(weights).text("type")
                if bits and name == "compressed-tensors":
                    name = f"{'fp' if kind == 'float' else 'w'}{bits}"
                break
    algorithm = values.text("quant_algo").lower()
    if algorithm and name in ("modelopt", "modelopt_fp4"):
        name = algorithm[:40]
    return Quantization(name, float(bits) if bits else _BITS.get(name))


def gguf_quantization(header: Gguf, tensors: Sequence[Tensor]) -> Quantization:
    """Return the name that llama.cpp gives to a file's mixture of types, and its mean number of bits."""
    number = header.values.get("general.file_type")
    name = _FILE_TYPES.get(number) if type(number) is int else None
    sizes: Counter[str] = Counter()
    for one in tensors:
        sizes[one.dtype] += one.size or 0
    name = name or (sizes.most_common(1)[0][0] if sizes else "")
    count = sum(one.count for one in tensors)
    return Quantization(name, round(8 * sum(sizes.values()) / count, 2) if count else None)
