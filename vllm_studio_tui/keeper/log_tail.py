"""What of the log of an engine that served may explain its end: what stands right before it, without requests' trouble.

Standard library only, linear in the log.
"""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.kit.regex import regex

#: An engine that prints one of these takes requests.
_READY = (
    r"Application startup complete|Uvicorn running on|fired up and ready to roll|server is listening on"
    r"|\blistening on http|starting the main loop|^embedded: serving at"
)
_READY_WORDS = ("startup complete", "uvicorn running on", "ready to roll", "listening on", "main loop", "serving at")
#: A request that was answered well, or figures of the work: what stands above did not end the engine.
_WORKS = (
    r'HTTP/\d(?:\.\d)?" 2\d\d|Avg prompt throughput|Decode batch|Prefill batch|all slots are idle'
    r"|done request: .{0,200} 2\d\d|print_timing|\| processing task|\[Request received\]"
)
#: The head of a request's own trouble: its traceback may be as terrible as that of a dying engine. Of vLLM's processes
#: only the core and its workers can end the engine, and what its front says of their end only follows.
_REQUEST = (
    r"Exception in ASGI application|^\(APIServer[^)]{0,40}\) ERROR |^ERROR .{0,30}\[(?:serving\w*|protocol|hf"
    r"|chat_utils|api_server|preprocess|\w*tool_parser|\w*reasoning_parser|engine_serving)\.py:\d+\]"
    r"|\bError in (?:preprocessing|generating|chat completion|applying|request)|\bsrv +\S+: (?:got exception|task id)"
    r'|HTTP/\d(?:\.\d)?" [45]\d\d'
)
#: The head of another line of the log, behind which the request's traceback is over.
_HEAD = r"^(?:\(\w+[^)]{0,60}\) )?(?:INFO|WARNING|ERROR|CRITICAL|DEBUG)\b|^\[\d{4}-|^\d[\d.]* [A-Z] |^\[W\d"
_CLOCK = r"\b([01]\d|2[0-3]):([0-5]\d):([0-5]\d)\b"
_LLAMA_CLOCK = r"^(\d{1,6})\.(\d\d)\.(\d{3})\.\d{3} "
_DAY = 86_400
#: So many seconds before its last line, an engine's end may announce itself; so many lines where no times are written.
SECONDS = 60
LINES = 400


def ready_at(lines: Sequence[str]) -> int | None:
    """Return the line with which the engine says that it serves; None: it did not come so far."""
    text = "\n".join(lines).lower()
    if not any(word in text for word in _READY_WORDS):
        return None
    return next((at for at, line in enumerate(lines) if regex(_READY).search(line) and not _refused(lines, at)), None)


def _refused(lines: Sequence[str], at: int) -> bool:
    """Return whether the system refused the port right behind: uvicorn says that it is up before it listens."""
    return any("[errno " in line.lower() for line in lines[at + 1 : at + 4])


def last_words(lines: Sequence[str]) -> list[str]:
    """Return the lines, with those made empty that cannot tell of the end of an engine that served.

    These are: all that is older than a minute, and the troubles of single requests.
    """
    begin = _begin(lines)
    kept = [""] * begin
    kept += lines[begin:]
    inside = False
    for at in range(begin, len(lines)):
        line = lines[at]
        head = regex(_HEAD).match(line)
        if regex(_REQUEST).search(line):
            inside = True
            kept[at] = ""
        elif inside and head is None:
            kept[at] = ""
        else:
            inside = False
    return kept


def works_until(lines: Sequence[str]) -> int:
    """Return the last line that shows it at work, -1 where there is none."""
    return next((at for at in range(len(lines) - 1, -1, -1) if lines[at] and regex(_WORKS).search(lines[at])), -1)


def _begin(lines: Sequence[str]) -> int:
    """Return where the last minute begins."""
    last: int | None = None
    untimed = 0
    for at in range(len(lines) - 1, -1, -1):
        line = lines[at]
        if not line:
            continue
        seconds = _seconds(line)
        if seconds is None:
            untimed += 1
            if last is None and untimed > LINES:
                return at + 1
            continue
        if last is None:
            last = seconds
        elif (last - seconds) % _DAY > SECONDS:
            return at + 1
    return 0


def _seconds(line: str) -> int | None:
    """Return the time that a line bears, in seconds of some day."""
    match = regex(_CLOCK).search(line, 0, 80)
    if match is not None:
        return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
    match = regex(_LLAMA_CLOCK).match(line)
    if match is not None:
        return (int(match[1]) * 60 + int(match[2])) % _DAY
    return None
