"""Causes in the model itself: its architecture, configuration, tokenizer and weights."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

_FOLDER = "Correct model_path: it must be a folder with config.json and weights. For a GGUF file use backend llamacpp."

MODELS: tuple[Failure, ...] = (
    # --- the model
    start_failure(
        r"Model architectures \[(.{1,200}?)\] are not supported",
        "architecture_unsupported",
        "this engine does not know the architecture {1}",
        "Upgrade the engine, try extra_args model_impl: transformers, or another backend.",
    ),
    start_failure(
        r"was supported in vLLM until v([\d.]+)",
        "architecture_unsupported",
        "vLLM dropped this architecture after {1}",
        "Use vLLM {1} for it (python_path in the recipe).",
    ),
    start_failure(
        r"not supported in-tree anymore.{0,300}plugin at (\S+)",
        "architecture_unsupported",
        "this architecture has moved to a plug-in",
        "Install the plug-in: {1}",
    ),
    start_failure(
        r"does not recognize this architecture|model type \S+ but Transformers|Unrecognized configuration class",
        "architecture_unsupported",
        "the engine's transformers is too old for this model",
        "Upgrade transformers in the engine's environment.",
    ),
    start_failure(
        r"Unrecognized model in (\S+?)\.? Should have a `model_type` key",
        "model_incomplete",
        "{1} has no config.json that names a model_type",
        "Correct model_path (for a GGUF file use backend llamacpp), or download config.json again.",
    ),
    start_failure(
        r"(?:set|pass|passing|argument|option)\b[^.]{0,40}trust_remote_code=True|requires you to execute the"
        r"|contains custom code which must be executed",
        "remote_code_needed",
        "the model brings code of its own that would have to be run",
        "Read that code first. Then set trust_remote_code and pin the revision in extra_args.",
    ),
    start_failure(
        r"failed to open GGUF file '([^']{1,300}-(?!00001-)\d{5}-of-0{0,4}(\d{1,5})\.gguf)' \(No such file",
        "model_incomplete",
        "a part of the model is missing: {1}",
        "Download all {2} parts into one folder; model_path names the first.",
    ),
    start_failure(
        r"failed to open GGUF file '([^']+)' \((?:No such file|Is a directory)",
        "model_missing",
        "there is no model file {1}",
        "Correct model_path in the recipe.",
    ),
    start_failure(
        r"failed to open GGUF file '([^']+)' \(Permission denied",
        "file_denied",
        "the model file {1} may not be read by this user",
        "Give read permission for it and for the folders above it (chmod), or name another copy in model_path.",
    ),
    start_failure(
        r"Repo id must be in the form.{0,80}?: '([^']+)'",
        "model_missing",
        "there is no model at {1}: neither a folder of this machine nor a name on the hub",
        "Correct model_path in the recipe.",
    ),
    start_failure(
        r"Invalid repository ID or local directory specified: '(/[^']{0,300})'"
        r"|(/\S{1,300}) does not appear to have a file named (?:config|params)\.json"
        r"|[Cc]an't load the configuration of '(/[^']{1,300})'",
        "model_incomplete",
        "the folder {1}{2}{3} has no config.json",
        _FOLDER,
    ),
    start_failure(
        r"RepositoryNotFound|Invalid repository ID or local directory"
        r"|is not a local folder and is not a valid model identifier",
        "model_missing",
        "there is no such model, or it is private",
        "Correct model_path in the recipe; for a private model set HF_TOKEN.",
    ),
    start_failure(
        r"EntryNotFoundError|does not appear to have a file named (\S+?)\.?(?: |$)",
        "model_incomplete",
        "the model lacks a file that this engine needs: {1}",
        "Look whether model_path is the right one (a GGUF-only repository needs backend llamacpp), and download it "
        "again.",
    ),
    start_failure(
        r"(The hidden size \(\d+\) is not a multiple of the number of attention heads \(\d+\))",
        "config_invalid",
        "config.json of the model contradicts itself: {1}",
        "Correct it, or download it again.",
    ),
    start_failure(
        r"config file at '([^']+\.gguf)' is not a valid JSON",
        "model_format",
        "this engine cannot read GGUF files",
        "Use backend llamacpp, or install vllm-gguf-plugin in the engine's environment.",
        fixes=({"backend": "llamacpp"},),
    ),
    start_failure(
        r"config file at '([^']+)' is not a valid JSON|(?:Error|trouble) (?:reading|parsing) .{0,40}config\.json",
        "model_corrupt",
        "{1} is not whole: it is no valid JSON",
        "Download it again.",
    ),
    start_failure(
        r"Cannot find any model weights|No safetensors (?:weights|files)|IncompleteSnapshot"
        r"|no file named (?:pytorch_model|model)\.(?:bin|safetensors)"
        r"|No such file or directory: \"?'?([^'\"]{0,300}model-\d+-of-\d+\.safetensors)",
        "model_incomplete",
        "the model folder lacks weights that this engine can read {1}",
        "Download it again (model_path must hold all shards), or set load_format in extra_args.",
    ),
    start_failure(
        r"SafetensorError|header too large|InvalidHeaderDeserialization|MetadataIncompleteBuffer|InvalidHeaderLength"
        # Of a Git LFS pointer vLLM takes the first bytes for a length, and has no memory for so much.
        r"|f\.read\(length_of_metadata\)|length_of_metadata = struct\.unpack",
        "model_corrupt",
        "a weight file is cut off, or only a Git LFS pointer",
        "Compare its size with the hub's and download it again.",
    ),
    start_failure(
        r"There is no module or parameter named '([^']{1,120})' in (\w{1,80})",
        "model_misfit",
        "the weights hold {1}, which this engine's {2} does not know",
        "Upgrade the engine, or use a checkpoint (a quantization) that it reads.",
    ),
    start_failure(
        r"No such file or directory: '([^']{0,300}/(?:tekken\.json|tokenizer[\w.]{1,20}|params\.json|config\.json))'",
        "model_incomplete",
        "the model lacks the file {1}",
        "Download it again, and look whether model_path is the right folder.",
    ),
    start_failure(
        r"ignore_mismatched_sizes|size mismatch for (\S+): copying a param",
        "model_corrupt",
        "the weights have other shapes than config.json names {1}",
        "config.json and weights are of different models: download both again.",
    ),
    start_failure(
        r"The size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)",
        "shape_mismatch",
        "two tensors differ in size, {1} and {2}",
        "Where weights are loaded, config.json and weights are of different models: download both again. Where it "
        "computes already, take away what the recipe adds (speculative, LoRA, quantization), or upgrade the engine.",
    ),
    start_failure(
        r"Following weights were not initialized from checkpoint: (.{1,120})",
        "model_incomplete",
        "the weight files lack layers that config.json names: {1}",
        "Compare the files with the hub's and download them again; shards or config.json are of another model.",
    ),
    start_failure(
        r"(?:Couldn't instantiate the backend tokenizer|Can't load tokenizer for '([^']+)'"
        r"|Unable to load (?:vocabulary|tokenizer)|tokenizer\.json.{0,80}(?:EOF|expected|invalid)"
        r"|data did not match any variant of untagged enum"
        r"|piece id is out of range|Unrecognized processing class in \S+ Can't instantiate)",
        "tokenizer",
        "the model's tokenizer cannot be loaded",
        "Download its tokenizer files again, name another one in tokenizer, or upgrade the engine's transformers.",
    ),
    start_failure(
        r"No common block size for (\d+)",
        "invalid_value",
        "no kernel takes a KV block of {1} tokens",
        "Correct block_size in extra_args (16 or a multiple), or leave it out.",
        fixes=("named_flags",),
    ),
    start_failure(
        r"unknown model architecture: '([^']+)'",
        "architecture_unsupported",
        "this llama.cpp does not know the architecture {1}",
        "Use a newer llama-server.",
    ),
    start_failure(
        r"unknown pre-tokenizer type: '([^']+)'",
        "architecture_unsupported",
        "this llama.cpp does not know the tokenizer {1} of the model",
        "Use a newer llama-server, or a file that was converted for this one.",
    ),
    start_failure(
        r"GGUF(?:v| file is version | file version )(\d+) (?:but this software only|is no longer|is extremely)"
        r"|bad GGUF version: (\d+)",
        "gguf_version",
        "the GGUF file is of version {1}{2}, which this llama.cpp does not read",
        "Use a newer llama-server, or a file of an older version.",
    ),
    start_failure(
        r"illegal split file idx: \d+ \(file: ([^)]{1,300})\)|must be loaded with the first split",
        "invalid_value",
        "model_path names a later part of a model in several files {1}",
        "Name the first part in model_path: the file whose name ends with -00001-of-….gguf.",
        fixes=("named_flags",),
    ),
    start_failure(
        r"tensor '([^']{1,120})' has invalid ggml type (\d+)",
        "quantization_unsupported",
        "this llama-server does not know the quantization of the file (ggml type {2}, tensor {1})",
        "Use a newer llama-server or the fork that the file was made for (ik_llama.cpp), or another quantization.",
    ),
    start_failure(
        r"exactly one out metadata, path_model, and file must be",
        "model_missing",
        "llama-server has no model file: none was named, and none of the hub is in the cache",
        "Name the GGUF file in model_path; a model of the hub must be fetched once without offline in extra_args.",
    ),
    start_failure(
        r"invalid magic|not a GGUF file|gguf_init_from_\w{1,40}: failed to read"
        r"|tensor '[^']{1,200}' data is not within the file bounds|is corrupted or incomplete"
        r"|corrupted model: |invalid split file|failed to load GGUF split|has invalid data$",
        "model_corrupt",
        "this is no whole GGUF file",
        "Check the file of model_path, its size and shards, download it again, or use a newer llama-server.",
    ),
    start_failure(
        r"tensor .{0,200} has wrong shape|wrong number of tensors; expected (\d+), got (\d+)|missing tensor '([^']+)'"
        r"|too many tensors created|: tensor '([^']+)' not found",
        "model_corrupt",
        "the tensors in the GGUF file are not those of its architecture {3}{4}",
        "Use a newer llama-server, or download a file that was converted by a newer one.",
    ),
)
