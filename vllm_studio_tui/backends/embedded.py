"""The embedded engine: llama.cpp's own server out of the wheel of xllamacpp, as a program.

    python -m vllm_studio_tui.backends.embedded --model FILE.gguf --port 8000

It takes the part of llama-server's flags that it needs, and the key from LLAMA_API_KEY. Its log lines are
llama-server's. Standard library and xllamacpp only, so that a small model is ready in about a second.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


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
    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    parameters.model_alias = {options.alias or Path(options.model).stem}
    parameters.hostnames = [options.host]
    parameters.port = options.port
    parameters.endpoint_metrics = True
    parameters.use_jinja = True
    parameters.ui = False
    if options.ctx_size:
        parameters.n_ctx = options.ctx_size
    if options.parallel:
        parameters.n_parallel = options.parallel
    threads = options.threads or free_cores()
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    key = os.environ.get("LLAMA_API_KEY")
    if key:
        parameters.api_keys = [key]
    _say(f"threads {threads}")
    try:
        server = xllamacpp.Server(parameters)
    except (RuntimeError, ValueError, OSError) as error:
        _say(f"the server did not start: {error}")
        return 1
    loaded.set()
    _say(f"serving at {server.listening_address}")
    while True:
        signal.pause()  # the server's threads do the work; signals end the process in `_end_on_signal`


def free_cores() -> int:
    """Physical cores that are not busy, at least one.

    With more threads than free cores llama.cpp's threads wait for each other, and a busy host is fifty times slower.
    """
    allowed = os.sched_getaffinity(0)
    cores = min(_physical(allowed), _quota() or len(allowed))
    return max(1, cores - round(os.getloadavg()[0]))


def _physical(allowed: set[int]) -> int:
    """Physical cores behind these logical processors."""
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
    """Processors that a container may use (cgroup v2, `quota period`); None where nothing limits it."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError, IndexError):
        quota, period = path.read_text(encoding="ascii").split()[:2]
        if quota != "max":
            return max(1, int(quota) // int(period))
    return None


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vllm_studio_tui.backends.embedded", allow_abbrev=False)
    parser.add_argument("-m", "--model", required=True, help="a GGUF file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=8080)
    parser.add_argument("-a", "--alias", help="the model's name in requests")
    parser.add_argument("-c", "--ctx-size", type=_count, default=0, help="tokens; 0: the model's own")
    parser.add_argument("-t", "--threads", type=_count, default=0, help="0: the physical cores that are free")
    parser.add_argument("-np", "--parallel", type=_count, default=0, help="requests at once; 0: one")
    parser.add_argument("--metrics", action="store_true", help="always on")
    parser.add_argument("--jinja", action="store_true", help="always on")
    return parser.parse_args(arguments)


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
    """Why it cannot work, in llama-server's words where it has some, before anything is loaded."""
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
