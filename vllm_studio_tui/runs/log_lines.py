"""A line of an engine's log taken apart: its time, who wrote it, where in the code, and what it says.

The prefixes are those that vLLM, SGLang, llama.cpp, transformers, uvicorn (TabbyAPI), PyTorch, NCCL and our keeper
print. A line with none of them is all text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from vllm_studio_tui.runs.log_text import NODE, level_of

#: No prefix is longer; only so many characters of a line are searched for one.
LONGEST = 240
_LEVEL = r"(?:DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|TRACE)"
_PROCESS = re.compile(r"\(([A-Za-z][\w.-]{0,60})((?:,? [a-z]{1,8}=[\w.:]{1,60}){1,4})\) ?")
_RANK = re.compile(r"\[(?:rank|RANK)(\d{1,5})\]: ?")
_VLLM = re.compile(
    rf"{_LEVEL} (?:\d{{4}}-)?\d\d-\d\d (\d\d:\d\d:\d\d)(?:[.,]\d{{1,9}})? \[?([\w./<>-]{{1,120}}:\d{{1,7}})\] ?"
)
_SGLANG = re.compile(r"\[\d{4}-\d\d-\d\d (\d\d:\d\d:\d\d)(?:[.,]\d{1,9})?((?: [A-Z]{2,4}\d{1,5}){0,6})\] ?")
_LLAMA = re.compile(
    r"(\d{1,5})\.(\d\d)\.(\d)\d\d\.\d{1,3} [IWEDT] (?:(srv|slot|cmn|que|res|set|mtmd)\s+([^:|]{1,60}): ?)?"
)
_LLAMA_OLD = re.compile(r"(srv|slot|que|res)\s{1,12}([\w ~()<>.-]{1,40}): ?")
_UVICORN = re.compile(rf"{_LEVEL}: {{1,9}}")
_TORCH = re.compile(r"\[?[IWEF]\d{4} (\d\d:\d\d:\d\d)\.\d{1,9} +(?:\d{1,9} +)?([\w./-]{1,80}:\d{1,7})\] ?")
_NCCL = re.compile(r"[\w.-]{1,64}:\d{1,9}:\d{1,9} \[(\d{1,4})\] NCCL ")
_TRANSFORMERS = re.compile(
    rf"\[{_LEVEL}\|([\w./-]{{1,80}}:\d{{1,7}})\] \d{{4}}-\d\d-\d\d (\d\d:\d\d:\d\d)(?:,\d{{1,6}})? >> "
)
_NAMED = re.compile(r"\[transformers\] ")
_LOGGING = re.compile(
    rf"\[?\d{{4}}-\d\d-\d\d[ T](\d\d:\d\d:\d\d)(?:[.,]\d{{1,9}})?\]?"
    rf"(?:,? (?:- )?\[?{_LEVEL}\]?(?: ?[|:-])?(?: \[?([\w./-]{{1,80}}:\d{{1,7}})\]?[:-]?)?)? (?:- )?"
)
_WARNED = re.compile(r"/[\w./@+-]{1,220}/([\w.-]{1,80}:\d{1,7}): (?=[A-Z]\w{0,40}Warning: )")
_KEEPER = "[vllm-studio] "
_NUMBERS = re.compile(r"\d{1,6}")


@dataclass(frozen=True, slots=True)
class Prefix:
    """What stands before the message of a line.

    Attributes:
        size: How many characters it takes.
        time: `14:21:06`; of a clock that begins with the process, `+0:00.4`. Empty for none.
        source: api, core, w0 (worker 0), keeper, or a part of llama.cpp; r1 for rank 1 of a run on several machines,
            r1/w0 for a worker of it. Empty where the line does not say.
        where: The file and line, or the function, that wrote it.
    """

    size: int = 0
    time: str = ""
    source: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class LineParts:
    """A line taken apart; `text` is what it says."""

    prefix: Prefix
    text: str
    level: str


def parse(line: str) -> LineParts:
    """Take a line apart. Never raises; a line of no known form is all text."""
    prefix = prefix_of(line[:LONGEST])
    return LineParts(prefix, line[prefix.size :], level_of(line))


@lru_cache(maxsize=8192)
def prefix_of(begin: str) -> Prefix:
    """Return the prefix of a line, of which `begin` is the beginning."""
    if begin.startswith(_KEEPER):
        return Prefix(len(_KEEPER), source="keeper")
    if begin[:1] == "[" and (node := NODE.match(begin)) is not None:
        inner, rank = prefix_of(begin[node.end() :]), f"r{node[1]}"
        source = f"{rank}/{inner.source}" if inner.source else rank
        return Prefix(node.end() + inner.size, inner.time, source, inner.where)
    at, source, time, where = 0, "", "", ""
    for _ in range(3):  # a worker's line may bear the names of two processes
        if (found := _PROCESS.match(begin, at)) is not None:
            source = _process(found[1], found[2]) or source
        elif (found := _RANK.match(begin, at)) is not None:
            source = f"w{found[1]}"
        else:
            break
        at = found.end()
    if (found := _VLLM.match(begin, at)) is not None:
        time, where, at = found[1], found[2], found.end()
    elif (found := _SGLANG.match(begin, at)) is not None:
        time, at = found[1], found.end()
        source = _worker(found[2]) if found[2] else source
    elif (found := _LLAMA.match(begin, at)) is not None:
        time = f"+{found[1]}:{found[2]}.{found[3]}"
        source, where, at = found[4] or source, (found[5] or "").strip(), found.end()
    elif (found := _TORCH.match(begin, at)) is not None:
        time, where, at = found[1], found[2], found.end()
    elif (found := _TRANSFORMERS.match(begin, at)) is not None:
        time, where, at = found[2], found[1], found.end()
    elif (found := _LOGGING.match(begin, at)) is not None:
        time, where, at = found[1], found[2] or "", found.end()
    elif (found := _NCCL.match(begin, at)) is not None:
        source, at = f"w{found[1]}", found.end()
    elif (found := _NAMED.match(begin, at)) is not None:
        at = found.end()
    elif (found := _WARNED.match(begin, at)) is not None:
        where, at = found[1], found.end()
    elif at == 0 and (found := _LLAMA_OLD.match(begin)) is not None:
        source, where, at = found[1], found[2].strip(), found.end()
    if (found := _UVICORN.match(begin, at)) is not None:
        source, at = source or "api", found.end()
    return Prefix(at, time, source, where)


def is_from(source: str, wanted: str) -> bool:
    """Return whether a line is of a source: of a rank what each of its processes wrote is."""
    return source == wanted or source.startswith(f"{wanted}/")


def sources_of(found: Iterable[str]) -> list[str]:
    """Return sources to choose from, in order: those that were found, and before those of a rank the rank itself."""
    known = {one for one in found if one}
    return sorted(known | {one.partition("/")[0] for one in known if "/" in one})


def _process(name: str, facts: str) -> str:
    """Return the short name of one of vLLM's processes."""
    if name.startswith("APIServer"):
        return _numbered("api", name)
    if name.startswith(("EngineCore", "CoreEngine")):
        return _numbered("core", name.replace("_DP0", ""))
    if "orker" in name:
        return _worker(facts if "rank=" in facts and "_" not in name else name)
    return "main" if name == "MainProcess" else name.lower()[:7]


def _numbered(word: str, name: str) -> str:
    numbers = _NUMBERS.findall(name)
    return f"{word}{numbers[0]}" if numbers else word


def _worker(name: str) -> str:
    """Return the short name of a worker: `w1` for Worker_TP1, `w0.1` where it has two ranks."""
    numbers = _NUMBERS.findall(name.partition(" pid=")[0])
    return f"w{'.'.join(numbers)}" if numbers else "w"


def is_blank(line: str) -> bool:
    """Return whether a line says nothing."""
    return not line[prefix_of(line[:LONGEST]).size :].strip()
