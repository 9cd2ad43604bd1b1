"""Causes in how the model is split over GPUs, and in the formats that it computes in."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

_FEWER = "Set tensor_parallel_size to a smaller number that fits, or use expert_parallel, or another quantization."

PARALLELISM: tuple[Failure, ...] = (
    # --- parallelism and quantization
    start_failure(
        r"attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)",
        "tensor_parallel_indivisible",
        "{1} attention heads cannot be split over {2} GPUs",
        "Set tensor_parallel_size to a divisor of {1}.",
        fixes=("dividing_gpus",),
    ),
    start_failure(
        r"\w{1,60} = (\d{1,12}) is not divisible by "
        r"(?:weight quantization block_[nk]|min_thread_\w+|tile_\w+) ?= ?(\d+)",
        "tensor_parallel_indivisible",
        "split over so many GPUs, the quantized weights ({1}) are no multiple of their blocks ({2})",
        _FEWER,
    ),
    start_failure(
        r"(?:input|output) size is not aligned with the quantized weight shape"
        r"|is not divisible by (?:the )?group_?size",
        "tensor_parallel_indivisible",
        "the groups of the quantized weights cannot be split over so many GPUs",
        _FEWER,
    ),
    start_failure(
        r"\b(\d{1,12}) is not divisible by (\d{1,6})$",
        "tensor_parallel_indivisible",
        "{1} of the model cannot be split into {2} parts",
        "Set tensor_parallel_size (or pipeline_parallel_size, expert_parallel) to a number that divides {1}.",
    ),
    start_failure(
        r"World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)",
        "too_few_gpus",
        "{1} GPUs are asked for and {2} can be seen",
        "Lower tensor_parallel_size and pipeline_parallel_size, or check `gpus` and CUDA_VISIBLE_DEVICES.",
        fixes=({"tensor_parallel_size": "{2}", "pipeline_parallel_size": 1},),
    ),
    start_failure(
        r"doesn't support torch\.bfloat16|Bfloat16 is only supported",
        "dtype_unsupported",
        "this GPU has no bfloat16",
        "Set dtype to float16.",
        fixes=({"dtype": "float16"},),
    ),
    start_failure(
        r"cannot be instantiated under `dtype=(\S+?)`|[Uu]nknown dtype:? ?(\S+)",
        "dtype_unsupported",
        "{1}{2} is no dtype that this engine computes in",
        "Set dtype to auto, bfloat16, float16 or float32.",
        fixes=({"dtype": None},),
    ),
    start_failure(
        r"Expected one of cpu, cuda.{1,200} device string: (\S+)",
        "invalid_value",
        "there is no kind of device {1}",
        "Correct device in extra_args: cpu, cuda, cuda:0 or auto.",
        fixes=("named_flags",),
    ),
    start_failure(
        r"torch\.\w+ is not supported for quantization method (\w+)",
        "dtype_unsupported",
        "the quantization {1} cannot compute in this dtype",
        "Set dtype to float16 (or auto).",
        fixes=({"dtype": "float16"},),
    ),
    start_failure(
        r"[Qq]uantization method specified in the model config \(([^)]{1,200})\) does not match the quantization "
        r"(?:method specified in the )?(?:`?quantization`? )?argument \(([^)]{1,200})\)",
        "quantization_mismatch",
        "the model is quantized as {1}, and the recipe says {2}",
        "Leave quantization empty: the model's own is found.",
        fixes=({"quantization": None},),
    ),
    start_failure(
        r"Cannot find the config file for (\w+)",
        "quantization_mismatch",
        "the model is not quantized as {1}: it brings no such configuration",
        "Leave quantization empty, or use a model that was quantized so.",
        fixes=({"quantization": None},),
    ),
    start_failure(
        r"Unknown quantization method: ([\w-]+)",
        "quantization_unsupported",
        "this engine does not know the quantization {1}",
        "Leave quantization empty or correct it; upgrade the engine, or use another quantization of the model.",
    ),
    start_failure(
        r"Failed to find a kernel that can implement the (\w+) linear layer",
        "quantization_unsupported",
        "this engine or GPU does not support the quantization ({1})",
        "Use another quantization of the model (as a rule of group size 128), or dtype float16; where a size is not "
        "divisible, lower tensor_parallel_size.",
    ),
    start_failure(
        r"quantization method .{0,80} is not supported|minimum capability"
        r"|quantization is (?:currently )?not supported|not supported (?:on|for) (?:the current|this) (?:GPU|platform)"
        r"|(?:requires?|needs|at least|minimum).{0,60}compute capability",
        "quantization_unsupported",
        "this engine or GPU does not support the quantization",
        "Use another quantization; for GGUF the llamacpp backend.",
    ),
    start_failure(
        r"allow-deprecated-quantization",
        "quantization_unsupported",
        "this quantization is deprecated and must be allowed",
        "Set allow_deprecated_quantization: true in extra_args.",
        fixes=({"extra_args.allow_deprecated_quantization": True},),
    ),
)
