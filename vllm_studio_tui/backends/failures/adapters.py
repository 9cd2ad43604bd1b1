"""Causes in what stands beside a model: adapters, drafts, projectors, chat templates and certificates."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

_TEMPLATE = "Correct it, or name another one: chat_template in extra_args (llama.cpp: chat_template_file)."

ADAPTERS: tuple[Failure, ...] = (
    # --- adapters, drafts and projectors: before the model, in whose words their failures end
    start_failure(
        r"No adapter found for (\S+)|[Cc]an't find 'adapter_config\.json' at '([^']+)'"
        r"|No such file or directory: '([^']*adapter_config\.json)'",
        "lora_missing",
        "there is no LoRA adapter at the given place {1}{2}{3}",
        "Correct lora_modules in the recipe: name=folder, and the folder must hold adapter_config.json.",
    ),
    start_failure(
        r"LoRA rank (\d+) is greater than max_lora_rank (\d+)",
        "lora_rank",
        "the LoRA adapter has rank {1}, and the engine allows {2}",
        "Set max_lora_rank: {1} in extra_args (8, 16, 32, 64, 128, 256, 320 or 512).",
        fixes=({"extra_args.max_lora_rank": "{1}"},),
    ),
    start_failure(
        r"failed to apply lora adapter: (.{1,160})",
        "lora_unreadable",
        "the LoRA adapter cannot be used: {1}",
        "Correct lora_modules in the recipe: a GGUF adapter that was made for this model.",
    ),
    start_failure(
        r"failed to load lora adapter,? ?'?([^']{0,200})|failed to allocate buffer for lora adapter",
        "lora_unreadable",
        "the LoRA adapter {1} cannot be loaded",
        "Correct lora_modules in the recipe: a GGUF adapter that was made for this model.",
    ),
    start_failure(
        r"failed to load draft model,? ?'([^']+)'",
        "draft_unreadable",
        "the draft model {1} cannot be loaded",
        "Correct speculative in the recipe (model): the path of a small model with the same vocabulary.",
    ),
    start_failure(
        r"target and draft vocabs are not compatible|draft model vocab type must match|draft model is not eagle3"
        r"|[Dd]raft model.{0,80}vocab.{0,80}(?:differ|mismatch|must|same)",
        "draft_misfit",
        "the draft model does not fit the model: they have different vocabularies",
        "Correct speculative in the recipe: a draft model of the same family.",
    ),
    start_failure(
        r"failed to load multimodal model,? ?'([^']+)'|failed to load CLIP model from (\S+?)\. Does",
        "mmproj_unreadable",
        "the projector for images {1}{2} cannot be loaded",
        "Correct mmproj in extra_args: the mmproj file that belongs to this model.",
    ),
    start_failure(
        r"CLIP cannot be used as main model",
        "mmproj_as_model",
        "this GGUF file is no model but a projector for images",
        "Name the model's own GGUF file in model_path, and this one as mmproj in extra_args.",
    ),
    start_failure(
        r"quantized V cache (?:was requested, but this )?requires flash|V cache quantization requires flash_attn",
        "invalid_value",
        "a quantized KV cache needs Flash Attention",
        "Set flash_attn: on in extra_args, or kv_cache_dtype: auto.",
        fixes=(
            {"kv_cache_dtype": "auto"},
            "named_flags",
        ),
    ),
    start_failure(
        r"\b(\w{1,80}) does not support LoRA",
        "lora_unsupported",
        "the engine cannot use LoRA adapters with {1}",
        "Remove lora_modules (and enable_lora in extra_args).",
        fixes=({"lora_modules": {}},),
    ),
    # --- the chat template
    start_failure(
        r"chat template string \(([^)]{1,300})\) appears path-like|chat_template_file.{0,20}(?:not|No)|"
        r"No such file or directory: '([^']+\.jinja2?)'",
        "chat_template",
        "there is no chat template at {1}{2}",
        "Correct chat_template in extra_args.",
    ),
    start_failure(
        r"TemplateSyntaxError: (.{1,200})|chat template parsing error: (.{1,200})",
        "chat_template",
        "the chat template has an error: {1}{2}",
        _TEMPLATE,
    ),
    start_failure(
        r"supplied chat template is not supported|custom template is not supported, try using --jinja",
        "chat_template",
        "without jinja llama.cpp knows only common chat templates, and not the one that was given",
        "Set jinja: true in extra_args (take out no_jinja), or leave chat_template out.",
    ),
    start_failure(
        r"chat template .{0,80}(?:not found|error|is not supported)|TemplateError|jinja2\.exceptions"
        r"|[Ff]ailed to (?:parse|apply|initialize) (?:the )?(?:chat )?template",
        "chat_template",
        "the chat template cannot be used",
        _TEMPLATE,
    ),
    # --- other files that the recipe names
    start_failure(
        r"(?:ssl|load_cert_chain|certificate|keyfile|certfile|private key).{0,200}No such file"
        r"|No such file or directory: '([^']+\.(?:pem|crt|key|cert))'|failed to load SSL|couldn't load SSL",
        "ssl_file",
        "the certificate or key {1} cannot be read",
        "Correct ssl_keyfile and ssl_certfile in extra_args (llama.cpp: ssl_key_file, ssl_cert_file).",
    ),
)
