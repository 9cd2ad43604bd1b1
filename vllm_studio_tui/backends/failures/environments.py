"""Causes in the engine's Python environment: packages, their versions, and how it was installed."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

_AFRESH = "Install the engine afresh in an environment of its own."

ENVIRONMENTS: tuple[Failure, ...] = (
    # --- environments and services
    start_failure(
        r"No solution found when resolving",
        "no_solution",
        "uv finds no versions of the packages that fit together",
        "As a rule another Python is needed (uv venv --python 3.12), or another version of what the line names.",
    ),
    start_failure(
        r"Cannot install (.{1,200}) because these package versions have conflicting|ResolutionImpossible",
        "no_solution",
        "pip finds no versions of the packages that fit together: {1}",
        "The lines below say which ask for what: leave out or change the version of one of them.",
    ),
    start_failure(
        r"externally-managed-environment",
        "no_python",
        "pip may not install into the system's own Python",
        "Make an environment (python3 -m venv ~/engine; ~/engine/bin/pip install ...) and name its bin/python in "
        "python_path.",
    ),
    start_failure(
        r"No matching distribution found for ([^\s'\"]{1,120})",
        "no_solution",
        "pip finds no version of {1} for this Python and this machine",
        "Use a Python that it supports (its page on PyPI lists them), another version, or the index that holds it "
        "(--extra-index-url).",
    ),
    start_failure(
        r"Not a conda environment: (\S{1,300})|Could not find conda environment: (\S{1,300})",
        "no_python",
        "there is no conda environment {1}{2}",
        "Correct python_path or command in the recipe: `conda env list` shows the environments.",
    ),
    start_failure(
        r"Run 'conda init' before 'conda activate'",
        "no_python",
        "the conda environment was not activated: conda is not set up in the shell that starts the engine",
        "Name python_path (the environment's bin/python) in the recipe; in a script run "
        '`source "$(conda info --base)/etc/profile.d/conda.sh"` first.',
    ),
    start_failure(
        r"Failed to spawn: [`']([^`']{1,200})",
        "program_missing",
        "the environment that uv runs has no program {1}",
        "Install it there (uv pip install), or name executable or python_path in the recipe.",
    ),
    # --- its environment
    start_failure(
        r"ModuleNotFoundError: No module named '(?!common_ops)([^']{1,200})'",
        "missing_module",
        "the Python module {1} is missing in the engine's environment",
        "Install it there, or correct python_path in the recipe.",
    ),
    start_failure(
        r"PackageNotFoundError: (?:No package metadata was found for )?(?:The '([^']+)'|(\S+))",
        "broken_install",
        "the engine's environment does not hold the package {1}{2} under that name",
        _AFRESH,
    ),
    start_failure(
        r"FlashAttention\d? has been toggled on, but it cannot be used|package for FlashAttention\d? doesn't seem",
        "missing_module",
        "the Python package flash-attn is missing in the engine's environment",
        "Install it there, or leave attn_implementation (or attention_backend) in extra_args to the engine.",
    ),
    start_failure(
        r"ImportError: .{1,200}pip install (?:-U |--upgrade )?['\"`]?([\w-]{1,60}\[[\w,-]{1,80}\])",
        "missing_module",
        "the engine's environment lacks packages that {1} brings",
        "Install them there: pip install '{1}'.",
    ),
    start_failure(
        r"ImportError: .{1,200}pip install (?:-U |--upgrade )?['\"`]?([\w-]+)",
        "missing_module",
        "the Python package {1} is missing in the engine's environment",
        "Install it there, or leave away what needs it (quantization, extra_args).",
    ),
    start_failure(
        r"Failed to import Ray: No module named",
        "missing_module",
        "Ray is not installed in the engine's environment",
        "Install it there (pip install ray), or remove distributed_executor_backend from extra_args.",
        fixes=({"extra_args.distributed_executor_backend": "mp"},),
    ),
    start_failure(
        r"No module named (vllm|sglang)\b",
        "missing_module",
        "{1} is not installed there",
        "Correct python_path.",
    ),
    start_failure(
        r"cannot import name '(\w+)' from '(transformers|huggingface_hub|tokenizers)[\w.]*'"
        r"|module '(?:transformers|huggingface_hub|tokenizers)[\w.]*' has no attribute '(\w+)'"
        r"|has no attribute '?(all_special_tokens_extended|max_model_input_sizes)",
        "transformers_version",
        "the transformers package there is of another version than this engine was written for ({1}{3}{4} is missing)",
        "Install the version of transformers that the engine asks for (pip install 'transformers<5', or as its "
        "requirements say), in an environment of its own.",
    ),
    start_failure(
        r"(?:transformers|huggingface-hub|tokenizers|numpy)\S{0,40} is required for a normal functioning"
        r"|requires? transformers ?[<>=]",
        "transformers_version",
        "packages of the engine's environment do not fit each other",
        "Install the versions that the line names, or the engine afresh in an environment of its own.",
    ),
    start_failure(
        r"'(\w{1,80}Config)' object has no attribute '(\w{1,80})'",
        "transformers_version",
        "engine and transformers there do not fit each other: {1} has no {2}",
        "Install the version of transformers that the engine asks for, or upgrade the engine.",
    ),
    start_failure(
        r"numpy\.core\.multiarray failed to import|compiled using NumPy 1\.x cannot be run|numpy\.dtype size changed",
        "broken_install",
        "numpy there is of another version than a package was compiled for",
        "Install numpy<2 (or the version that the engine asks for) in its environment.",
    ),
    start_failure(
        r"can't open file '([^']+)': \[Errno 2\]|: (?:-m|-c|-u): invalid option|invalid option -- 'm'"
        r"|unrecognized option '-m'|Unknown option: -?[mu]\b",
        "no_python",
        "what python_path names is no Python that has this engine",
        "Correct python_path (or executable) in the recipe: the interpreter of the engine's own environment.",
    ),
    start_failure(
        r"bad interpreter: .{0,40}No such file|env: .?python[\d.]*.?: No such file",
        "no_python",
        "the interpreter that the program names in its first line is gone",
        "The environment was moved or its Python removed: install it afresh, or name python_path in the recipe.",
    ),
    start_failure(
        r"FLASHINFER_DISABLE_VERSION_CHECK|flashinfer\S{0,80} version .{0,80}does not match",
        "broken_install",
        "the packages of flashinfer there are of different versions",
        "Install flashinfer-python, flashinfer-cubin and flashinfer-jit-cache of one version, or set "
        "FLASHINFER_DISABLE_VERSION_CHECK=1 in env_vars.",
        fixes=({"env_vars.FLASHINFER_DISABLE_VERSION_CHECK": "1"},),
    ),
)
