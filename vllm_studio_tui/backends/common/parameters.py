"""Which parameters of sampling, and which forms of an answer, an engine takes: tables that backends name."""

from __future__ import annotations

from collections.abc import Mapping


def same(*names: str, **others: str) -> Mapping[str, str]:
    """Return a table: parameters that the engine calls as we do, and those that it calls otherwise."""
    return {**{name: name for name in names}, **others}


#: What OpenAI's API has.
OPENAI = same(
    "temperature", "top_p", "max_tokens", "seed", "stop", "presence_penalty", "frequency_penalty", "logit_bias",
    "logprobs", "tool_choice",
)  # fmt: skip
VLLM = same(
    *OPENAI, "top_k", "min_p", "min_tokens", "repetition_penalty", "ignore_eos",
)  # fmt: skip
SGLANG = VLLM
LLAMACPP = same(
    *OPENAI, "top_k", "min_p", "typical_p", "top_n_sigma", "dry_multiplier", "dry_base", "dry_allowed_length",
    "xtc_probability", "xtc_threshold", "mirostat", "mirostat_tau", "mirostat_eta", "dynatemp_range",
    "dynatemp_exponent", "ignore_eos",
    repetition_penalty="repeat_penalty", penalty_range="repeat_last_n", dry_range="dry_penalty_last_n",
)  # fmt: skip
#: Its samplers are ExLlamaV3's: it accepts fields for more, and looks at none of them.
TABBY = same(
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "stop", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "penalty_range", "logprobs", "tool_choice",
)  # fmt: skip
#: Of the rest it refuses some and drops others; its frequency penalty acts as a repetition penalty.
TRANSFORMERS = same("temperature", "top_p", "max_tokens", "seed", "stop", "frequency_penalty", "logit_bias")

#: As OpenAI's API is asked for JSON.
JSON = {"json_object": "response_format", "json_schema": "response_format"}
VLLM_FORMS = {
    **JSON,
    "regex": "structured_outputs.regex",
    "choice": "structured_outputs.choice",
    "grammar": "structured_outputs.grammar",
}
SGLANG_FORMS = {**JSON, "regex": "regex", "grammar": "ebnf"}
LLAMACPP_FORMS = {**JSON, "grammar": "grammar"}
TABBY_FORMS = {"json_schema": "json_schema"}
