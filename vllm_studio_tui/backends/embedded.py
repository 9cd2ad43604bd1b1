"""The embedded engine: llama.cpp's own server out of the wheel of xllamacpp, as a program.

    python -m vllm_studio_tui.backends.embedded --model FILE.gguf --port 8000

It takes those of llama-server's flags that a recipe's fields make, and the key from LLAMA_API_KEY; `complaint` says
beforehand what it would refuse. Its log lines are llama-server's. Standard library and xllamacpp only, so that a
small model is ready in about a second.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
#: Names of llama-server's, which are the ends of the names of the package's enumerations.
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
#: As of llama-server: 3 says how requests go; 4 what it takes of memory, and, with each look at it, that it is idle.
VERBOSITY = "LLAMA_ARG_LOG_VERBOSITY"
LOADING_VERBOSITY, SERVING_VERBOSITY = 4, 3
#: `common_log_set_verbosity_thold(int)` of llama.cpp's `common/log.h`, as C++ compilers name it.
_SET_VERBOSITY = "_Z30common_log_set_verbosity_tholdi"
REASONING_FORMATS = ("none", "auto", "deepseek", "deepseek-legacy")
SPECULATIVE_TYPES = (
    "none", "draft-simple", "draft-eagle3", "draft-mtp", "ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod",
    "ngram-cache",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        1 when it cannot serve. Wrong arguments exit with 2, a signal with 0; while the model loads a signal kills.
    """
    options = _options(arguments)
    loaded = threading.Event()
    # Blocked before any thread exists, so that only the one that waits for signals gets them: the server's own
    # shut-down waits for open streams, for 30 s.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_end_on_signal, args=(loaded,), daemon=True).start()
    trouble = _trouble(options)
    if trouble:
        _say(trouble)
        return 1
    try:
        xllamacpp: Any = import_module("xllamacpp")
    except ImportError as error:
        _say(f"the embedded engine is not installed ({error}): pip install 'vllm-studio-tui[demo]'")
        return 1
    threads = options.threads or free_cores()
    try:
        parameters = _parameters(xllamacpp, options, threads)
    except (AttributeError, OSError, UnicodeDecodeError) as error:
        _say(f"xllamacpp {getattr(xllamacpp, '__version__', '')} cannot do what was asked for: {error}")
        return 1
    _say(f"threads {threads}")
    try:
        server = xllamacpp.Server(parameters)
    except (RuntimeError, ValueError, OSError) as error:
        _say(f"the server did not start: {error}")
        return 1
    if _verbosity() is None:
        _say_less(SERVING_VERBOSITY)
    loaded.set()
    _say(f"serving at {server.listening_address}")
    while True:
        signal.pause()  # the server's threads do the work; signals end the process in `_end_on_signal`


def _parameters(xllamacpp: Any, options: argparse.Namespace, threads: int) -> Any:
    """Return the options as parameters of the package; an option that it does not have is an error."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    parameters.model_alias = {options.alias or Path(options.model).stem}
    parameters.hostnames = [options.host]
    parameters.port = options.port
    parameters.endpoint_metrics = True
    parameters.use_jinja = True
    parameters.ui = False
    parameters.verbosity = _verbosity() or LOADING_VERBOSITY
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = options.threads_batch or threads
    parameters.cache_prompt = options.cache_prompt
    key = os.environ.get("LLAMA_API_KEY")
    if key:
        parameters.api_keys = [key]
    for name, value in (
        ("n_ctx", options.ctx_size),
        ("n_parallel", options.parallel),
        ("n_batch", options.batch_size),
        ("n_ubatch", options.ubatch_size),
    ):
        if value:
            setattr(parameters, name, value)
    for name, text in (("cache_type_k", options.cache_type_k), ("cache_type_v", options.cache_type_v)):
        if text:
            setattr(parameters, name, _named(xllamacpp.ggml_type, "GGML_TYPE", text))
    if options.lora:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path) for path in options.lora]
    if options.mmproj:
        parameters.mmproj.path = options.mmproj
    if options.chat_template_file:
        parameters.chat_template = Path(options.chat_template_file).read_text(encoding="utf-8")
    if options.chat_template_kwargs:
        # The server keeps each value as the JSON that it was written in.
        parameters.default_template_kwargs = {
            name: json.dumps(value) for name, value in options.chat_template_kwargs.items()
        }
    if options.reasoning_format:
        kind = xllamacpp.common_reasoning_format
        parameters.reasoning_format = _named(kind, "COMMON_REASONING_FORMAT", options.reasoning_format)
    if options.reasoning_budget is not None:
        parameters.sampling.reasoning_budget_tokens = options.reasoning_budget
    draft = parameters.speculative.draft
    if options.spec_draft_model:
        draft.mparams.path = options.spec_draft_model
    if options.spec_type or options.spec_draft_model:
        kind = xllamacpp.common_speculative_type
        chosen = _named(kind, "COMMON_SPECULATIVE_TYPE", options.spec_type or "draft-simple")
        parameters.speculative.types = [chosen]
    for name, number in (
        ("n_max", options.spec_draft_n_max),
        ("n_min", options.spec_draft_n_min),
        ("p_min", options.spec_draft_p_min),
    ):
        if number is not None:
            setattr(draft, name, number)
    return parameters


def _verbosity() -> int | None:
    """Return how much the environment wants it to say; None: it does not say."""
    named = os.environ.get(VERBOSITY, "")
    return min(int(named[:3]), 99) if named.isascii() and named.isdecimal() else None


def _say_less(verbosity: int) -> None:
    """Set how much is said from now on, where the package's library lets that be set."""
    with contextlib.suppress(AttributeError, OSError, ImportError):
        library = ctypes.CDLL(import_module("xllamacpp.xllamacpp").__file__ or "")
        library[_SET_VERBOSITY](verbosity)


def _named(kind: Any, prefix: str, name: str) -> Any:
    """Return a value of one of the package's enumerations."""
    return getattr(kind, f"{prefix}_{name.upper().replace('-', '_')}")


def free_cores() -> int:
    """Return how many physical cores are not busy, at least one.

    With more threads than free cores llama.cpp's threads wait for each other, and a busy host is fifty times slower.
    """
    allowed = os.sched_getaffinity(0)
    cores = min(_physical(allowed), _quota() or len(allowed))
    return max(1, cores - round(os.getloadavg()[0]))


def _physical(allowed: set[int]) -> int:
    """Return how many physical cores these logical processors have."""
    seen = set()
    for number in allowed:
        folder = Path(f"/sys/devices/system/cpu/cpu{number}/topology")
        try:
            package = (folder / "physical_package_id").read_text(encoding="ascii").strip()
            core = (folder / "core_id").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return len(allowed)
        seen.add((package, core))
    return len(seen) or 1


def _quota(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """Return how many processors a container may use (cgroup v2, `quota period`); None where nothing limits it."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError, IndexError):
        quota, period = path.read_text(encoding="ascii").split()[:2]
        if quota != "max":
            return max(1, int(quota) // int(period))
    return None


class _Refused(Exception):
    """Wrong arguments."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Refused(message)


def complaint(arguments: Sequence[str]) -> str | None:
    """Return what is wrong with these arguments, in the engine's words; None: nothing."""
    try:
        _parser().parse_args(arguments)
    except _Refused as refused:
        return str(refused)
    return None


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    try:
        return parser.parse_args(arguments)
    except _Refused as refused:
        parser.print_usage(sys.stderr)
        sys.stderr.write(f"{parser.prog}: error: {refused}\n")
        raise SystemExit(2) from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="vllm_studio_tui.backends.embedded", allow_abbrev=False)
    parser.add_argument("-m", "--model", required=True, help="a GGUF file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=8080)
    parser.add_argument("-a", "--alias", help="the model's name in requests")
    parser.add_argument("-c", "--ctx-size", type=_count, default=0, help="tokens; 0: the model's own")
    parser.add_argument("-t", "--threads", type=_count, default=0, help="0: the physical cores that are free")
    parser.add_argument("-tb", "--threads-batch", type=_count, default=0, help="for prompts; 0: as --threads")
    parser.add_argument("-np", "--parallel", type=_count, default=0, help="requests at once; 0: one")
    parser.add_argument("-b", "--batch-size", type=_count, default=0, help="tokens of one step of a prompt")
    parser.add_argument("-ub", "--ubatch-size", type=_count, default=0)
    parser.add_argument("-ctk", "--cache-type-k", choices=CACHE_TYPES)
    parser.add_argument("-ctv", "--cache-type-v", choices=CACHE_TYPES)
    parser.add_argument("--cache-prompt", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--lora", action="append", default=[], help="a LoRA adapter, for all requests")
    parser.add_argument("-mm", "--mmproj", help="the projector of a model that sees")
    parser.add_argument("--chat-template-file")
    parser.add_argument("--chat-template-kwargs", type=_object, help="JSON")
    parser.add_argument("--reasoning-format", choices=REASONING_FORMATS)
    parser.add_argument("--reasoning-budget", type=int, help="tokens; -1: any number")
    parser.add_argument("--spec-type", choices=SPECULATIVE_TYPES)
    parser.add_argument("--spec-draft-model")
    parser.add_argument("--spec-draft-n-max", type=_count)
    parser.add_argument("--spec-draft-n-min", type=_count)
    parser.add_argument("--spec-draft-p-min", type=float)
    parser.add_argument("--metrics", action="store_true", help="always on")
    parser.add_argument("--jinja", action="store_true", help="always on")
    return parser


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("is no JSON object")
    return found


def _port(text: str) -> int:
    number = _count(text)
    if not 0 < number <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return number


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return int(text)


def _trouble(options: argparse.Namespace) -> str | None:
    """Return why it cannot serve, before anything is loaded; in llama-server's words where it has some."""
    try:
        with Path(options.model).open("rb") as stream:
            magic = stream.read(4)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return f"failed to open GGUF file '{options.model}' ({why})"
    if magic != b"GGUF":
        return f"not a GGUF file: '{options.model}'"
    try:
        family = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((options.host, options.port))
    except OSError as error:
        text = "couldn't bind HTTP server socket"
        return f"{text}, hostname: {options.host}, port: {options.port} ({error.strerror or error})"
    return None


def _end_on_signal(loaded: threading.Event) -> None:
    # Loading holds the interpreter's lock, for minutes with a large model, and no Python code could answer a signal.
    # So until then this thread lets the kernel end the process; after that it ends it itself, with exit code 0.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    loaded.wait()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    number = signal.sigwait(SIGNALS)
    _say(f"ended by {signal.Signals(number).name}")
    # Not sys.exit: the server's threads would first finish what they stream.
    os._exit(0)


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"embedded: {text}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
