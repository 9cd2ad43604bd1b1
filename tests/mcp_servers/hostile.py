"""MCP servers as nobody wants them: `python hostile.py WHAT`. It speaks the protocol by hand, to break it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

WHAT = sys.argv[1]
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil"
TOOL = {"name": "go", "description": f"Go. {ESCAPES}", "inputSchema": {"type": "object"}}


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def forever() -> None:
    while True:
        time.sleep(1)


def begin() -> None:
    if WHAT == "hangs":
        forever()
    if WHAT == "exits":
        sys.stderr.write(f"no licence {ESCAPES}\n")
        sys.exit(3)
    if WHAT == "prints":
        while True:
            print("Welcome to the server!", flush=True)
    if WHAT == "endless-line":
        while True:
            sys.stdout.write("x" * 65536)
    if WHAT == "errors-flood":
        while True:
            sys.stderr.write("error " * 10000)
    if WHAT == "stays":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
            ],
            start_new_session=True,
        )
        sys.stderr.write(f"child {child.pid}\n")
        sys.stderr.flush()


def tools() -> list[Any]:
    if WHAT == "many-tools":
        return [{**TOOL, "name": f"tool-{number}"} for number in range(2000)]
    if WHAT == "odd-tools":
        return [
            {**TOOL, "name": "x" * 5000},
            {**TOOL, "name": ESCAPES},
            {**TOOL, "name": "big", "inputSchema": {"type": "object", "description": "y" * 100_000}},
            TOOL,
            TOOL,
        ]
    if WHAT == "wrong-tools":
        return ["not a tool", {"name": 7}]
    return [TOOL]


def call(number: Any) -> None:
    if WHAT == "slow":
        forever()
    if WHAT == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if WHAT == "huge":
        say({"id": number, "result": {"content": [{"type": "text", "text": "z" * 3_000_000}]}})
    elif WHAT == "too-huge":
        say({"id": number, "result": {"content": [{"type": "text", "text": "z" * 20_000_000}]}})
    elif WHAT == "floods":
        while True:
            say({"method": "notifications/message", "params": {"level": "info", "data": "noise"}})
    elif WHAT == "asks-flood":
        count = 0
        while True:
            count += 1
            say({"id": f"q{count}", "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}})
    elif WHAT == "wrong-result":
        say({"id": number, "result": {"content": "not a list"}})
    elif WHAT == "wrong-id":
        say({"id": 999999, "result": {"content": []}})
        forever()
    elif WHAT == "bad-image":
        parts = [
            {"type": "image", "data": "!!!not base64", "mimeType": "image/png"},
            {"type": "image", "data": "aGk=", "mimeType": "text/html"},
            {"type": "audio", "data": "aGk=", "mimeType": "audio/wav"},
            *[{"type": "image", "data": "aGk=", "mimeType": "image/png"}] * 20,
        ]
        say({"id": number, "result": {"content": parts}})
    elif WHAT == "error":
        say({"id": number, "error": {"code": -32000, "message": f"no {ESCAPES}" + "w" * 100_000}})
    elif WHAT == "schema":
        say({"id": number, "result": {"content": [], "structuredContent": {"text": "a" * 40 + "!"}}})
    else:
        say({"id": number, "result": {"content": [{"type": "text", "text": ESCAPES}]}})


def main() -> None:
    if WHAT == "schema":
        slow = {"type": "object", "properties": {"text": {"type": "string", "pattern": "^(a+)+$"}}}
        TOOL["outputSchema"] = slow
    begin()
    for line in sys.stdin:
        try:
            asked = json.loads(line)
        except ValueError:
            continue
        method, number = asked.get("method"), asked.get("id")
        if number is None:
            continue
        if method == "initialize":
            version = "1999-01-01" if WHAT == "old" else asked["params"]["protocolVersion"]
            info = {"name": f"hostile {ESCAPES}", "version": "0"}
            say(
                {
                    "id": number,
                    "result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info},
                }
            )
        elif method == "tools/list":
            more = {"nextCursor": "again"} if WHAT == "endless-pages" else {}
            say({"id": number, "result": {"tools": tools(), **more}})
        elif method == "tools/call":
            call(number)
        else:
            say({"id": number, "error": {"code": -32601, "message": "no such method"}})
    if WHAT == "stays":
        forever()


if __name__ == "__main__":
    main()
