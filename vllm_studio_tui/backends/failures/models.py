"""Causes of failure that another try cannot change: what `failures` holds of models and the files around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Pattern, reason, title, advice, and where one is known the change of the recipe that answers it.
Row = tuple[str, str, str, str] | tuple[str, str, str, str, Mapping[str, Any]]

FETCH = "Download it where there is a network, or unset HF_HUB_OFFLINE."
_TEMPLATE = "Correct it, or name another one: chat_template in extra_args (llama.cpp: chat_template_file)."
_FOLDER = "Correct model_path: it must be a folder with config.json and weights. For a GGUF file use backend llamacpp."

#: Causes that another try cannot change.
FIXED: tuple[Row, ...] = (
    # --- adapters, drafts and projectors: before the model, in whose words their failures end
    (
        r"No adapter found for (\S+)|[Cc]an't find 'adapter_config\.json' at '([^']+)'"
        r"|No such file or directory: '([^']*adapter_config\.json)'",
        "lora_missing",
        "there is no LoRA adapter at the given place {1}{2}{3}",
        "Correct lora_modules in the recipe: name=folder, and the folder must hold adapter_config.json.",
    ),
    (
        r"LoRA rank (\d+) is greater than max_lora_rank (\d+)",
        "lora_rank",
        "the LoRA adapter has rank {1}, and the engine allows {2}",
        "Set max_lora_rank: {1} in extra_args (8, 16, 32, 64, 128, 256, 320 or 512).",
        {"extra_args.max_lora_rank": "{1}"},
    ),
    (
        r"failed to apply lora adapter: (.{1,160})",
        "lora_unreadable",
        "the LoRA adapter cannot be used: {1}",
        "Correct lora_modules in the recipe: a GGUF adapter that was made for this model.",
    ),
    (
        r"failed to load lora adapter,? ?'?([^']{0,200})|failed to allocate buffer for lora adapter",
        "lora_unreadable",
        "the LoRA adapter {1} cannot be loaded",
        "Correct lora_modules in the recipe: a GGUF adapter that was made for this model.",
    ),
    (
        r"failed to load draft model,? ?'([^']+)'",
        "draft_unreadable",
        "the draft model {1} cannot be loaded",
        "Correct speculative in the recipe (model): the path of a small model with the same vocabulary.",
    ),
    (
        r"target and draft vocabs are not compatible|draft model vocab type must match|draft model is not eagle3"
        r"|[Dd]raft model.{0,80}vocab.{0,80}(?:differ|mismatch|must|same)",
        "draft_misfit",
        "the draft model does not fit the model: they have different vocabularies",
        "Correct speculative in the recipe: a draft model of the same family.",
    ),
    (
        r"failed to load multimodal model,? ?'([^']+)'|failed to load CLIP model from (\S+?)\. Does",
        "mmproj_unreadable",
        "the projector for images {1}{2} cannot be loaded",
        "Correct mmproj in extra_args: the mmproj file that belongs to this model.",
    ),
    (
        r"CLIP cannot be used as main model",
        "mmproj_as_model",
        "this GGUF file is no model but a projector for images",
        "Name the model's own GGUF file in model_path, and this one as mmproj in extra_args.",
    ),
    (
        r"quantized V cache (?:was requested, but this )?requires flash|V cache quantization requires flash_attn",
        "invalid_value",
        "a quantized KV cache needs Flash Attention",
        "Set flash_attn: on in extra_args, or kv_cache_dtype: auto.",
        {"kv_cache_dtype": "auto"},
    ),
    (
        r"\b(\w{1,80}) does not support LoRA",
        "lora_unsupported",
        "the engine cannot use LoRA adapters with {1}",
        "Remove lora_modules (and enable_lora in extra_args).",
        {"lora_modules": {}},
    ),
    # --- the chat template
    (
        r"chat template string \(([^)]{1,300})\) appears path-like|chat_template_file.{0,20}(?:not|No)|"
        r"No such file or directory: '([^']+\.jinja2?)'",
        "chat_template",
        "there is no chat template at {1}{2}",
        "Correct chat_template in extra_args.",
    ),
    (
        r"TemplateSyntaxError: (.{1,200})|chat template parsing error: (.{1,200})",
        "chat_template",
        "the chat template has an error: {1}{2}",
        _TEMPLATE,
    ),
    (
        r"supplied chat template is not supported|custom template is not supported, try using --jinja",
        "chat_template",
        "without jinja llama.cpp knows only common chat templates, and not the one that was given",
        "Set jinja: true in extra_args (take out no_jinja), or leave chat_template out.",
    ),
    (
        r"chat template .{0,80}(?:not found|error|is not supported)|TemplateError|jinja2\.exceptions"
        r"|[Ff]ailed to (?:parse|apply|initialize) (?:the )?(?:chat )?template",
        "chat_template",
        "the chat template cannot be used",
        _TEMPLATE,
    ),
    # --- other files that the recipe names
    (
        r"(?:ssl|load_cert_chain|certificate|keyfile|certfile|private key).{0,200}No such file"
        r"|No such file or directory: '([^']+\.(?:pem|crt|key|cert))'|failed to load SSL|couldn't load SSL",
        "ssl_file",
        "the certificate or key {1} cannot be read",
        "Correct ssl_keyfile and ssl_certfile in extra_args (llama.cpp: ssl_key_file, ssl_cert_file).",
    ),
    # --- the model
    (
        r"Model architectures \[(.{1,200}?)\] are not supported",
        "architecture_unsupported",
        "this engine does not know the architecture {1}",
        "Upgrade the engine, try extra_args model_impl: transformers, or another backend.",
    ),
    (
        r"was supported in vLLM until v([\d.]+)",
        "architecture_unsupported",
        "vLLM dropped this architecture after {1}",
        "Use vLLM {1} for it (python_path in the recipe).",
    ),
    (
        r"not supported in-tree anymore.{0,300}plugin at (\S+)",
        "architecture_unsupported",
        "this architecture has moved to a plug-in",
        "Install the plug-in: {1}",
    ),
    (
        r"does not recognize this architecture|model type \S+ but Transformers|Unrecognized configuration class",
        "architecture_unsupported",
        "the engine's transformers is too old for this model",
        "Upgrade transformers in the engine's environment.",
    ),
    (
        r"Unrecognized model in (\S+?)\.? Should have a `model_type` key",
        "model_incomplete",
        "{1} has no config.json that names a model_type",
        "Correct model_path (for a GGUF file use backend llamacpp), or download config.json again.",
    ),
    (
        r"(?:set|pass|passing|argument|option)\b[^.]{0,40}trust_remote_code=True|requires you to execute the"
        r"|contains custom code which must be executed",
        "remote_code_needed",
        "the model brings code of its own that would have to be run",
        "Read that code first. Then set trust_remote_code and pin the revision in extra_args.",
    ),
    (
        r"GatedRepoError|access a gated repo|is a gated repo|401 Client Error|403 Client Error",
        "gated",
        "the hub refuses this model: its licence is not accepted, or there is no token",
        "Accept the licence on the model's page and set HF_TOKEN (env_vars HF_TOKEN: env:HF_TOKEN).",
    ),
    (
        r"HarmonyError: error downloading|failed to download or load vocab file",
        "offline",
        "the vocabulary that gpt-oss needs (o200k_base.tiktoken) is not in the cache and cannot be fetched",
        "Give it a network once, or download that file and set TIKTOKEN_ENCODINGS_BASE in env_vars to its folder.",
    ),
    (
        r"OfflineModeIsEnabled|LocalEntryNotFound|cannot find the requested files in the (?:disk|local) cache",
        "offline",
        "the model is not in the cache and the hub may not be asked",
        FETCH,
    ),
    (
        r"server is built without SSL support",
        "no_https",
        "this build of llama-server was made without TLS and cannot serve https",
        "Remove ssl_key_file and ssl_cert_file from extra_args, or use a build with LLAMA_OPENSSL.",
    ),
    (
        r"HTTPS is not supported|built without (?:CURL|HTTPS)|'https' scheme is not supported"
        r"|no (?:SSL|TLS) support",
        "no_https",
        "this build of llama.cpp cannot download: it was made without TLS",
        "Download the GGUF file by other means and name it in model_path, or use a build with LLAMA_OPENSSL.",
    ),
    (
        r"failed to open GGUF file '([^']{1,300}-(?!00001-)\d{5}-of-0{0,4}(\d{1,5})\.gguf)' \(No such file",
        "model_incomplete",
        "a part of the model is missing: {1}",
        "Download all {2} parts into one folder; model_path names the first.",
    ),
    (
        r"failed to open GGUF file '([^']+)' \((?:No such file|Is a directory)",
        "model_missing",
        "there is no model file {1}",
        "Correct model_path in the recipe.",
    ),
    (
        r"failed to open GGUF file '([^']+)' \(Permission denied",
        "file_denied",
        "the model file {1} may not be read by this user",
        "Give read permission for it and for the folders above it (chmod), or name another copy in model_path.",
    ),
    (
        r"Repo id must be in the form.{0,80}?: '([^']+)'",
        "model_missing",
        "there is no model at {1}: neither a folder of this machine nor a name on the hub",
        "Correct model_path in the recipe.",
    ),
    (
        r"Invalid repository ID or local directory specified: '(/[^']{0,300})'"
        r"|(/\S{1,300}) does not appear to have a file named (?:config|params)\.json"
        r"|[Cc]an't load the configuration of '(/[^']{1,300})'",
        "model_incomplete",
        "the folder {1}{2}{3} has no config.json",
        _FOLDER,
    ),
    (
        r"RepositoryNotFound|Invalid repository ID or local directory"
        r"|is not a local folder and is not a valid model identifier",
        "model_missing",
        "there is no such model, or it is private",
        "Correct model_path in the recipe; for a private model set HF_TOKEN.",
    ),
    (
        r"RevisionNotFoundError|is not a valid git identifier",
        "revision_missing",
        "the model has no such revision on the hub",
        "Correct revision in the recipe, or leave it empty.",
        {"revision": None},
    ),
    (
        r"EntryNotFoundError|does not appear to have a file named (\S+?)\.?(?: |$)",
        "model_incomplete",
        "the model lacks a file that this engine needs: {1}",
        "Look whether model_path is the right one (a GGUF-only repository needs backend llamacpp), and download it "
        "again.",
    ),
    (
        r"(The hidden size \(\d+\) is not a multiple of the number of attention heads \(\d+\))",
        "config_invalid",
        "config.json of the model contradicts itself: {1}",
        "Correct it, or download it again.",
    ),
    (
        r"config file at '([^']+\.gguf)' is not a valid JSON",
        "model_format",
        "this engine cannot read GGUF files",
        "Use backend llamacpp, or install vllm-gguf-plugin in the engine's environment.",
        {"backend": "llamacpp"},
    ),
    (
        r"config file at '([^']+)' is not a valid JSON|(?:Error|trouble) (?:reading|parsing) .{0,40}config\.json",
        "model_corrupt",
        "{1} is not whole: it is no valid JSON",
        "Download it again.",
    ),
    (
        r"Cannot find any model weights|No safetensors (?:weights|files)|IncompleteSnapshot"
        r"|no file named (?:pytorch_model|model)\.(?:bin|safetensors)"
        r"|No such file or directory: \"?'?([^'\"]{0,300}model-\d+-of-\d+\.safetensors)",
        "model_incomplete",
        "the model folder lacks weights that this engine can read {1}",
        "Download it again (model_path must hold all shards), or set load_format in extra_args.",
    ),
    (
        r"SafetensorError|header too large|InvalidHeaderDeserialization|MetadataIncompleteBuffer|InvalidHeaderLength"
        # Of a Git LFS pointer vLLM takes the first bytes for a length, and has no memory for so much.
        r"|f\.read\(length_of_metadata\)|length_of_metadata = struct\.unpack",
        "model_corrupt",
        "a weight file is cut off, or only a Git LFS pointer",
        "Compare its size with the hub's and download it again.",
    ),
    (
        r"There is no module or parameter named '([^']{1,120})' in (\w{1,80})",
        "model_misfit",
        "the weights hold {1}, which this engine's {2} does not know",
        "Upgrade the engine, or use a checkpoint (a quantization) that it reads.",
    ),
    (
        r"No such file or directory: '([^']{0,300}/(?:tekken\.json|tokenizer[\w.]{1,20}|params\.json|config\.json))'",
        "model_incomplete",
        "the model lacks the file {1}",
        "Download it again, and look whether model_path is the right folder.",
    ),
    (
        r"ignore_mismatched_sizes|size mismatch for (\S+): copying a param",
        "model_corrupt",
        "the weights have other shapes than config.json names {1}",
        "config.json and weights are of different models: download both again.",
    ),
    (
        r"The size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)",
        "shape_mismatch",
        "two tensors differ in size, {1} and {2}",
        "Where weights are loaded, config.json and weights are of different models: download both again. Where it "
        "computes already, take away what the recipe adds (speculative, LoRA, quantization), or upgrade the engine.",
    ),
    (
        r"Following weights were not initialized from checkpoint: (.{1,120})",
        "model_incomplete",
        "the weight files lack layers that config.json names: {1}",
        "Compare the files with the hub's and download them again; shards or config.json are of another model.",
    ),
    (
        r"(?:Couldn't instantiate the backend tokenizer|Can't load tokenizer for '([^']+)'"
        r"|Unable to load (?:vocabulary|tokenizer)|tokenizer\.json.{0,80}(?:EOF|expected|invalid)"
        r"|data did not match any variant of untagged enum"
        r"|piece id is out of range|Unrecognized processing class in \S+ Can't instantiate)",
        "tokenizer",
        "the model's tokenizer cannot be loaded",
        "Download its tokenizer files again, name another one in tokenizer, or upgrade the engine's transformers.",
    ),
    (
        r"No common block size for (\d+)",
        "invalid_value",
        "no kernel takes a KV block of {1} tokens",
        "Correct block_size in extra_args (16 or a multiple), or leave it out.",
    ),
    (
        r"unknown model architecture: '([^']+)'",
        "architecture_unsupported",
        "this llama.cpp does not know the architecture {1}",
        "Use a newer llama-server.",
    ),
    (
        r"unknown pre-tokenizer type: '([^']+)'",
        "architecture_unsupported",
        "this llama.cpp does not know the tokenizer {1} of the model",
        "Use a newer llama-server, or a file that was converted for this one.",
    ),
    (
        r"GGUF(?:v| file is version | file version )(\d+) (?:but this software only|is no longer|is extremely)"
        r"|bad GGUF version: (\d+)",
        "gguf_version",
        "the GGUF file is of version {1}{2}, which this llama.cpp does not read",
        "Use a newer llama-server, or a file of an older version.",
    ),
    (
        r"illegal split file idx: \d+ \(file: ([^)]{1,300})\)|must be loaded with the first split",
        "invalid_value",
        "model_path names a later part of a model in several files {1}",
        "Name the first part in model_path: the file whose name ends with -00001-of-….gguf.",
    ),
    (
        r"tensor '([^']{1,120})' has invalid ggml type (\d+)",
        "quantization_unsupported",
        "this llama-server does not know the quantization of the file (ggml type {2}, tensor {1})",
        "Use a newer llama-server or the fork that the file was made for (ik_llama.cpp), or another quantization.",
    ),
    (
        r"exactly one out metadata, path_model, and file must be",
        "model_missing",
        "llama-server has no model file: none was named, and none of the hub is in the cache",
        "Name the GGUF file in model_path; a model of the hub must be fetched once without offline in extra_args.",
    ),
    (
        r"invalid magic|not a GGUF file|gguf_init_from_\w{1,40}: failed to read"
        r"|tensor '[^']{1,200}' data is not within the file bounds|is corrupted or incomplete"
        r"|corrupted model: |invalid split file|failed to load GGUF split|has invalid data$",
        "model_corrupt",
        "this is no whole GGUF file",
        "Check the file of model_path, its size and shards, download it again, or use a newer llama-server.",
    ),
    (
        r"tensor .{0,200} has wrong shape|wrong number of tensors; expected (\d+), got (\d+)|missing tensor '([^']+)'"
        r"|too many tensors created|: tensor '([^']+)' not found",
        "model_corrupt",
        "the tensors in the GGUF file are not those of its architecture {3}{4}",
        "Use a newer llama-server, or download a file that was converted by a newer one.",
    ),
)  # fmt: skip
