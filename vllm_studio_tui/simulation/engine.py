"""A simulated inference server: `python -m vllm_studio_tui.simulation.engine --port N --model NAME`.

Real processes, real HTTP, scripted words. With `--pretend` it holds simulated GPUs and serves people, as that model
would. Standard library only.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from vllm_studio_tui.simulation import answers, startup_log
from vllm_studio_tui.simulation.faults import crash, spawn_workers
from vllm_studio_tui.simulation.framing import FRAMINGS
from vllm_studio_tui.simulation.loading_log import VLLM
from vllm_studio_tui.simulation.meeting import Meeting
from vllm_studio_tui.simulation.pretence import Pretence
from vllm_studio_tui.simulation.server import Engine, JsonHandler
from vllm_studio_tui.simulation.stream import Reply


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="simulated-engine", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, required=True)
    add("--model", default="simulated")
    add("--style", choices=("vllm", "llamacpp", "sglang"), default="vllm", help="whose log, metrics and stream")
    add("--load-seconds", type=float, default=0.0, help="how long loading takes; its stages appear in the log")
    add("--hang-load", action="store_true", help="never get ready")
    add("--simulate-failure", choices=startup_log.FAILURES, help="fail while loading, with that engine's words")
    add("--tokens-per-second", type=float, default=200.0, help="0: as fast as possible")
    add("--framing", choices=FRAMINGS, help="how streams lie on the wire; else as the engine of that style does it")
    add("--prefill-seconds", type=float, default=0.0)
    add("--answer", help="poem, markdown, table, code, echo, thinking, tool, long:N; else one that fits the prompt")
    add("--thinking", choices=("off", "field", "tags", "open"), default="field", help="how thinking is sent")
    add("--api-key-env", help="name of the variable with the key that requests must send")
    add("--max-context", type=int, help="the longest request; else 32768, or that of the pretended model")
    add("--pretend", metavar="MODEL", help="load as this model does, hold simulated GPUs and serve people")
    add("--ranks", type=int, default=1, help="GPUs that the pretended model is spread over")
    add("--gpu-share", type=float, default=0.9, help="the part of each GPU that it may take")
    add("--small-cache", action="store_true", help="its KV cache has one byte a value")
    add("--traffic", type=float, default=1.0, help="the part of the usual requests that come; 0: only your own")
    add("--since", type=float, help="seconds since the epoch at which it began; what it did since is caught up with")
    add("--account", type=Path, help="a file that always holds what was spent; {pid} is filled in")
    add("--crash-after", type=float, help="seconds after it got ready")
    add("--crash-at-token", type=int)
    add("--exit-code", type=int, help="instead of a segmentation fault")
    add("--hang-after", type=float, help="seconds after it got ready")
    add("--ignore-term", action="store_true")
    add("--slow-term", type=float, default=0.0, help="seconds that a graceful end takes")
    add("--flood", type=int, default=0, help="lines a second into the log")
    add("--grandchildren", type=int, default=0)
    add("--reparent", action="store_true", help="grandchildren leave session, parent and command line behind")
    add("--break-stream-at", type=int, help="token at which streams break")
    add("--break-style", choices=("cut", "error-object", "bad-json", "no-done", "split-utf8"), default="cut")
    add("--health-generates", action="store_true", help="/health costs a token, as SGLang's does")
    add("--move-port", action="store_true", help="when its port is taken serve on the next one, as TabbyAPI does")
    add("--meet", metavar="HOST:PORT", help="where the ranks of one engine on several hosts meet")
    add("--rank", type=int, default=0, help="of this one among them")
    add("--of", type=int, default=1, help="how many there are")
    add("--headless", action="store_true", help="a rank without a server")
    add("--log-secret", action="store_true", help="print the key into the log, as some engines do")
    return parser.parse_args(argv)


class Handler(JsonHandler):
    """Answers one request."""

    open_paths: ClassVar[set[str]] = {"/health", "/metrics", "/version", "/ping"}

    def do_GET(self) -> None:  # noqa: N802, RUF100
        if self._refused():
            return
        options, counters = self.server.options, self.server.counters
        path = self.path.partition("?")[0]
        if path == "/health":
            if options.health_generates:
                with counters.lock:
                    counters.generation_tokens += 1
            self.send_json(self.server.faults.health or 200, {"status": "ok"})
        elif path == "/v1/models":
            card = {
                "id": options.model,
                "object": "model",
                "owned_by": options.style,
                "max_model_len": options.max_context,
            }
            self.send_json(200, {"object": "list", "data": [card]})
        elif path == "/metrics":
            lines = counters.expose(options.style, options.model) + self.server.faults.metrics + "\n"
            self.send_body(200, lines.encode(), "text/plain; version=0.0.4")
        elif path == "/version" and options.style == "vllm":
            self.send_json(200, {"version": VLLM})
        elif path == "/props" and options.style == "llamacpp":
            self.send_json(200, {"default_generation_settings": {"n_ctx": options.max_context}, "total_slots": 4})
        elif path == "/slots" and options.style == "llamacpp":
            slots = [{"id": n, "n_ctx": options.max_context, "is_processing": n < counters.running} for n in range(4)]
            self.send_body(200, json.dumps(slots).encode(), "application/json")
        else:
            self.send_error_json(404, f"no {path[:100]}", "NotFoundError")

    def do_POST(self) -> None:  # noqa: N802, RUF100
        body = self.read_json()
        if body is None or self._refused():
            return
        path = self.path.partition("?")[0]
        if path == "/simulate":
            unknown = self.server.faults.apply(body)
            self.send_json(400 if unknown else 200, {"unknown": unknown})
        elif path == "/tokenize":
            text = str(body.get("prompt") or body.get("content") or "")
            tokens = list(range(answers.count(text)))
            answer: dict[str, Any] = {"tokens": tokens}
            if self.server.options.style != "llamacpp":
                answer |= {"count": len(tokens), "max_model_len": self.server.options.max_context}
            self.send_json(200, answer)
        elif path in ("/v1/chat/completions", "/v1/completions"):
            Reply(self, body, chat="chat" in path).run()
        else:
            self.send_error_json(404, f"no {path[:100]}", "NotFoundError")

    def _refused(self) -> bool:
        """Return whether the request ends here: hanging, still loading, or without the key."""
        while self.server.faults.hang:
            time.sleep(0.05)
        if not self.server.ready and self.path != "/simulate":
            self.send_error_json(503, "Loading model", "unavailable_error")
            return True
        key = self.server.key
        if key is not None and self.path.partition("?")[0] not in self.open_paths:
            given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), key.encode()):
                self.send_error_json(401, "invalid API key", "AuthenticationError")
                return True
        return False


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    options = arguments(argv)
    pretence = Pretence(options) if options.pretend else None
    options.max_context = pretence.context if pretence else options.max_context or 32768
    if options.log_secret and options.api_key_env:
        startup_log.log(f"server_args={{'api_key': '{os.environ.get(options.api_key_env, '')}'}}")
    if options.simulate_failure:
        until = startup_log.FAILS_AT[options.simulate_failure]
        startup_log.load(options.style, options.model, options.port, options.load_seconds / 2, until)
        return startup_log.fail(options.simulate_failure, options.style, options.model, options.port)
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN if options.ignore_term else lambda *_: ending.set())
    spawn_workers(options.grandchildren, reparent=options.reparent, ignore_term=options.ignore_term)
    engine: Engine | None = None
    meeting = None
    if options.of > 1:
        address, _, port = options.meet.rpartition(":")
        meeting = Meeting(options.rank, options.of, address, int(port))
    if (
        options.style != "vllm" and not options.headless
    ):  # llama.cpp and SGLang answer 503 while they load, vLLM not at all
        engine = _listen(options, pretence)
    threading.Thread(target=_load_and_serve, args=(options, engine, ending, pretence, meeting), daemon=True).start()
    ending.wait()
    if meeting is not None:
        meeting.leave()
    time.sleep(options.slow_term)
    if _ENGINES:
        _ENGINES[0].counters.write()
    if pretence is not None:
        pretence.end()
    return 0


_ENGINES: list[Engine] = []


def _listen(options: argparse.Namespace, pretence: Pretence | None, *, ready: bool = False) -> Engine:
    """Bind the port and answer on it; until it is ready, that it is loading."""
    try:
        engine = Engine(options, Handler, pretence.traffic if pretence else None)
    except OSError as error:
        if options.move_port:
            startup_log.log(f"Port {options.port} is currently in use. Switching to {options.port + 1}.")
            options.port += 1
            return _listen(options, pretence, ready=ready)
        startup_log.fail("port", options.style, options.model, options.port)
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(1)
    if pretence is not None:
        engine.asked = pretence.asked
    engine.ready = ready  # before the first request can come
    _ENGINES.append(engine)
    threading.Thread(target=engine.serve_forever, kwargs={"poll_interval": 0.5}, daemon=True).start()
    return engine


def _load_and_serve(
    options: argparse.Namespace,
    engine: Engine | None,
    ending: threading.Event,
    pretence: Pretence | None,
    meeting: Meeting | None = None,
) -> None:
    if meeting is not None:
        try:
            meeting.join()
        except OSError as error:
            startup_log.log(f"torch.distributed.DistNetworkError: {error}")
            os._exit(1)
    if pretence is None:
        startup_log.load(options.style, options.model, options.port, options.load_seconds)
    else:
        code = pretence.load()
        if code is not None:
            os._exit(code)
        pretence.serve()
    if options.hang_load or options.headless:
        return
    engine = engine or _listen(options, pretence, ready=True)
    engine.ready = True
    engine.counters.write()
    if options.flood:
        engine.faults.start_flood(options.flood)
    if options.crash_after is not None:
        how = "segv" if options.exit_code is None else f"exit:{options.exit_code}"
        threading.Timer(options.crash_after, crash, (how, options.exit_code)).start()
    if options.hang_after is not None:
        threading.Timer(options.hang_after, engine.faults.apply, ({"hang": True},)).start()
    while not ending.wait(1.0):
        engine.counters.write()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads that hang on purpose must not keep it
