"""The words in which a program itself says why it fails, for errors that no row of the table knows.

Standard library only, linear in the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vllm_studio_tui.domain.spec import Failure
from vllm_studio_tui.keeper.causes import informs_only, matches
from vllm_studio_tui.kit.regex import regex

#: vLLM's process and log prefix, SGLang's time and rank: what stands before a message.
_PREFIX = (
    r"^(?:\([^)]{1,80}\) ?){0,3}(?:(?:ERROR|CRITICAL|FATAL) +\d\d-\d\d \d\d:\d\d:\d\d\S* \[[^\]]{1,80}\] ?)?"
    r"(?:\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^\]]{0,20}\] ?)?(?:\[?(?:rank|TP|PP|DP)\d{1,4}\]?:? ?){0,4}"
)
#: How llama.cpp begins a line that is an error: the time, then E.
_LLAMA = r"^\d[\d.]* E (.+)"
#: It goes on in further such lines, which are indented.
_LLAMA_BELOW = r"^\d[\d.]* E  +(?=[a-z])"
_LLAMA_PLACE = r"^(?:srv|cmn|slot|que|ggml)? *[\w:~]+(?:\(\))?: (?:\w+\(\)?: )?"
_EXCEPTION = (
    r"((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Failure|Failed|Fault|Interrupt|Exit|Timeout|Expired|NotFound|Denied|Mismatch)(?:_\w+)?)"
    r"(?:: ?(.*))?"
)
#: Exceptions with other names, as `struct.error`: told by their place.
_NAMED = r"([A-Za-z_]\w*(?:\.\w+)+)(?:: ?(.*))?"
#: Exceptions that only say that somebody else gave up.
_FOLLOWS = (
    r"Engine core initialization failed|WorkerProc initialization failed|EngineDeadError|SystemExit|KeyboardInterrupt"
    r"|ChildFailedError|CancelledError|BrokenPipeError|EOFError$|cannot schedule new futures|scheduler is dead"
    r"|RuntimeError: cancelled$"
)
#: Exceptions that say only that a program that was called has failed: its own words are better.
_CALLED = r"CalledProcessError|non-zero exit status|ExitCode|returned exit code|Ninja build failed"
#: Words of programs that are no Python, of Python's own death, of shells and linkers.
_PLAIN = (
    r"^(?:[\w./+()-]{1,200}(?: [\w-]{1,40})?(?::\d+)*: ){0,3}(?:fatal |internal )?error ?:\s*\S"
    r"|^[A-Za-z]\w{1,20} error: \S"
    r"|^(?:ERROR|Error|FATAL|Fatal|CRITICAL|panic|fatal)(?: \w+){0,2}:\s+\S|^Fatal Python error:|^FAILED: |panicked at "
    r"|^Failed: \S|^terminate called |^\s+what\(\):|Assertion .{1,200} failed|\bGGML_ASSERT\(|\bGGML_ABORT\("
    r"|^[\w./ -]{1,200}: (?:line \d+: )?.{0,200}(?:command not found|[Nn]o such file or directory|Permission denied"
    r"|cannot execute|not found|core dumped|Exec format error)|^(?:OMP|libgomp|MKL|nvcc|ptxas|ld|cc1plus)\b.{0,20}: \S"
    r"|^embedded: (?!threads |serving |ended )"
)
#: Words of a program's end.
_DEATH = r"^Fatal Python error:|panicked at |^terminate called |^\s+what\(\):|Assertion .{1,200} failed"
_CHAIN = r"^\s*(?:During handling of the above exception|The above exception was the direct cause)"
_VALIDATION = r"\bvalidation errors? for ([\w.\[\]-]{1,80})"
_VALIDATION_TAIL = r"\[type=\w+, input_value=.*$"
#: An exception that is quoted in the lines below a message that ends with a colon.
_QUOTED = r"\b([A-Z]\w{1,60}(?:Error|Exception))\([\"'](.{1,400})[\"'],?\)$"
_GOES_ON_MOST = 24
#: Values in brackets, which push the reason of a message out of a title.
_BRACKETS = r"(?<=\w)\([^()]{80,1000}\)|(?<=\w)\{[^{}]{300,2000}\}|(?<=\w=)\{[^{}]{40,2000}\}"
#: Long paths in quotes, and addresses of Python's objects.
_PATHS = r"([\"'])([\w./-]{12})[\w./-]{30,400}([\w.-]{12})\1"
_OBJECT = r"<[\w.]{1,200} object at 0x[0-9a-f]{1,16}>"
#: An exception of torch's compiler that only holds the one that its backend raised.
_HOLDS_ANOTHER = r"^(?:\w+\.){0,4}BackendCompilerFailed: backend=.{1,200}? raised: (?=\w)"
_LIST_MOST = 6
#: What begins something else than a list.
_ELSE = r"Traceback |Process |During handling|The above exception|INFO:|Killed"
_LONG = 180
#: A shorter message ("KeyError: 'qwen9'") says less than what was made of it.
_FEW_WORDS = 3


@dataclass(frozen=True, slots=True)
class Lead:
    """The engine's own words for why it failed.

    Attributes:
        index: Their place among the lines.
        text: The words.
        kind: validation: a configuration was refused, and `text` begins with what; plain: no exception; called: only
            that another program failed; exception.
        about: Of a validation: the name of the configuration.
    """

    index: int
    text: str
    kind: str = "exception"
    about: str = ""


def message(line: str) -> str:
    """Return a log line without the process, time and place before it."""
    text = line[regex(_PREFIX).match(line).end() :].strip()  # type: ignore[union-attr]  # it matches the empty string too
    llama = regex(_LLAMA).match(text)
    return regex(_LLAMA_PLACE).sub("", llama[1], count=1).strip() or text if llama else text


def best_lead(lines: Sequence[str], table: Sequence[Failure] = ()) -> Lead | None:
    """Return the best lead: the first exception, else the last error of llama.cpp, else the first plain error.

    Of several processes the one that fails first writes first, and of a chain of exceptions Python prints the root
    first. Lines that `table` only knows as pointers, and exceptions that follow from another process's end, are
    passed over.
    """
    pointers = [row for row in table if row.pointer]
    plain: Lead | None = None
    called: Lead | None = None
    for found in _candidates(lines):
        if any(matches(row, lines[found.index]) for row in pointers):
            continue
        if found.kind in ("exception", "validation"):
            return _last_of_chain(lines, found)
        if found.kind == "called":
            called = called or found
        elif found.kind == "llama":
            plain = found
        else:
            plain = plain or found
    return plain or called


def death_lead(lines: Sequence[str], table: Sequence[Failure] = ()) -> Lead | None:
    """Return the same for an engine that served: what llama.cpp or a logger calls an error was a request's trouble."""
    kept = [line if not regex(_PLAIN).search(message(line)) or regex(_DEATH).search(line) else "" for line in lines]
    return best_lead([line if not regex(_LLAMA).match(line) else "" for line in kept], table)


def ends_with_error(lines: Sequence[str], count: int) -> bool:
    """Return whether an error stands among so many last lines, so that it ended the program rather than one request."""
    last: list[str] = []
    for line in reversed(lines):
        if line.strip():
            last.append(line)
            if len(last) == count:
                break
    last.reverse()
    return any(True for _ in _candidates(last)) and not any("shutdown complete" in line.lower() for line in last)


def _candidates(lines: Sequence[str]) -> Iterator[Lead]:
    for index, line in enumerate(lines):
        if not line or line.startswith("  File ") or regex(_LLAMA_BELOW).match(line) or informs_only(line):
            continue
        text = message(line)
        match = regex(_EXCEPTION).fullmatch(text)
        if match is None and _below_frame(lines, index):
            match = regex(_NAMED).fullmatch(text)
        if match is not None:
            if regex(_FOLLOWS).search(text):
                continue
            yield _exception(lines, index, match)
        elif regex(_LLAMA).match(line):
            yield Lead(index, text, "llama")
        elif regex(_PLAIN).search(text) and not regex(_FOLLOWS).search(text):
            if "validation error" in text and (refused := _refused(lines, index, text)) is not None:
                yield refused
                continue
            below = message(lines[index + 1]) if index + 1 < len(lines) else ""
            if text.startswith("terminate called ") and below.startswith("what():"):
                text = below.removeprefix("what():").strip()
            yield Lead(index, text, "called" if regex(_CALLED).search(text) else "plain")


def _below_frame(lines: Sequence[str], index: int) -> bool:
    """Whether a line ends a traceback: it stands right below the last frame, and not as far right as its source."""
    line = lines[index]
    if not any('File "' in lines[at] for at in range(max(0, index - 3), index)):
        return False
    return not line[regex(_PREFIX).match(line).end() :].startswith((" ", "\t"))  # type: ignore[union-attr]


def _exception(lines: Sequence[str], index: int, match: re.Match[str]) -> Lead:
    """Return an exception, with what stands on the lines behind it where its own line has no message."""
    name, text = match[1], (match[2] or "").strip()
    if "validation error" in text:
        found = _refused(lines, index, text)
        if found is not None:
            return found
    if regex(_CALLED).search(match[0]):
        return Lead(index, match[0].strip(), "called")
    if not text:
        following = _next(lines, index)
        if name.endswith("AssertionError"):
            asserted = next((line.strip() for line in _before(lines, index) if "assert " in line), "")
            text = asserted.partition("assert ")[2] and "assert " + asserted.partition("assert ")[2]
        elif following is not None and not regex(_CHAIN).match(message(lines[following])):
            text = message(lines[following])
    if text.endswith(":"):
        text = _quoted(lines, index) or text
        below = _next(lines, index)
        if below is not None and regex(_EXCEPTION).fullmatch(message(lines[below])):
            text = f"{text} {message(lines[below])}"
        elif text.endswith(":"):
            text = " ".join((text, *_listed(lines, index)))
    return Lead(index, f"{name}: {text}" if text else name)


def _quoted(lines: Sequence[str], index: int) -> str:
    """Return what a compiler's exception quotes below its own line: the exception that it met."""
    for line in lines[index + 1 : index + _GOES_ON_MOST]:
        text = message(line)
        if "Traceback (most" in text:
            break
        match = regex(_QUOTED).search(text)
        if match is not None:
            return match[2]
    return ""


def _listed(lines: Sequence[str], index: int) -> Iterator[str]:
    """Yield what is listed below a message that ends with a colon, up to an empty line or something else."""
    before = regex(_PREFIX).match(lines[index])[0]  # type: ignore[index]  # it matches the empty string too
    for line in lines[index + 1 : index + 1 + _LIST_MOST]:
        text = message(line)
        prefix = regex(_PREFIX).match(line)[0]  # type: ignore[index]
        if not text or prefix.rstrip() != before.rstrip() or informs_only(line) or regex(_ELSE).match(text):
            return
        yield text


def shortened(text: str) -> str:
    """Return a long message without the values in its brackets, so that a title holds its reason."""
    text = regex(_OBJECT).sub("…", regex(_HOLDS_ANOTHER).sub("", text))
    if len(text) <= _LONG:
        return text
    return regex(_PATHS).sub(r"\1\2…\3\1", regex(_BRACKETS).sub(lambda match: match[0][0] + "…" + match[0][-1], text))


def _refused(lines: Sequence[str], index: int, text: str) -> Lead | None:
    """Pydantic names the field, if any, on the next line, and what is wrong with it one further."""
    match = regex(_VALIDATION).search(text)
    about = match[1] if match else ""
    at = _next(lines, index)
    if at is None or message(lines[at]).startswith("For further information"):
        return None
    first = message(lines[at])
    below = None if " " in first else _next(lines, at)
    if below is not None:
        return Lead(below, f"{first}: {_refusal(lines[below])}", "validation", about)
    return Lead(at, _refusal(lines[at]) or about, "validation", about)


def _refusal(line: str) -> str:
    text = regex(_VALIDATION_TAIL).sub("", message(line)).strip()
    return text.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _last_of_chain(lines: Sequence[str], found: Lead) -> Lead:
    """Return what was made of an exception that says little by itself: the next of its chain that says more."""
    best = found
    for _ in range(8):
        if len(best.text.split(":", 1)[-1].split()) >= _FEW_WORDS or best.kind == "validation":
            return best
        chained = None
        for index in range(best.index + 1, min(best.index + 6, len(lines))):
            if regex(_CHAIN).match(message(lines[index])):
                chained = index
                break
        if chained is None:
            return best
        following = next((one for one in _candidates(lines[chained : chained + 400])), None)
        if following is None or following.kind not in ("exception", "validation"):
            return best
        best = Lead(chained + following.index, following.text, following.kind)
    return best


def _next(lines: Sequence[str], index: int) -> int | None:
    """Return the next line that is not empty, of the next few."""
    return next((at for at in range(index + 1, min(index + 4, len(lines))) if message(lines[at])), None)


def _before(lines: Sequence[str], index: int) -> Iterable[str]:
    return (lines[at] for at in range(index - 1, max(index - 5, -1), -1))
