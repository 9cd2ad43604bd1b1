"""Why an engine failed, from its log: the cause in words, from the table or from the engine itself.

Standard library only. The same for the keeper, which knows the exit code, and for `diagnose`, which knows the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vllm_studio_tui.domain.spec import Failure, Fix
from vllm_studio_tui.keeper.causes import Cause, find, informs_only, last_pointer
from vllm_studio_tui.keeper.hints import hint
from vllm_studio_tui.keeper.log_tail import last_words, works_until
from vllm_studio_tui.keeper.own_words import Lead, best_lead, death_lead, message, shortened
from vllm_studio_tui.kit.regex import regex

#: Advice where a part of the engine died and nothing above says why.
NO_LEAD = (
    "Nothing above says why. It may have been killed: by the kernel, for lack of memory (see `dmesg`), or by somebody."
)
#: The advice for an error that no row of the table knows.
UNKNOWN_ERROR = "No rule knows this error: the lines around it in the log are the best lead."
_LONGEST = 240
_NAMES = r"(?<!')\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b(?!')"
#: Configurations of vLLM that are one field of a recipe.
_HOLDS = {
    "SpeculativeConfig": "speculative",
    "LoRAModulePath": "lora_modules",
    "CompilationConfig": "compilation_config",
}
#: Places in the traceback, and what the model that could not be found was wanted for: another field than model_path.
_WANTED = (
    ("speculative", "speculative (model)", "the draft model"),
    ("spec_decode", "speculative (model)", "the draft model"),
    ("lora", "lora_modules", "the LoRA adapter"),
    ("tokenizer", "tokenizer", "the tokenizer"),
)
#: The same in the lines with which llama.cpp goes on after it could not read a file.
_FOLLOWED = (
    ("lora adapter", "lora_modules", "the LoRA adapter"),
    ("draft model", "speculative (model)", "the draft model"),
    ("multimodal model", "mmproj (extra_args)", "the projector for images"),
    ("clip model", "mmproj (extra_args)", "the projector for images"),
)
_FOLLOWING = 12
_TRACEBACK = 120
#: This pointer stands above the traceback that it speaks of.
_BELOW = r"encountered a fatal error"
_COMPILER = r"\berror ?: (.{1,160})"
#: Reasons stand on the lines below.
_REASONS = r"\b[Rr]easons?:$|No solution found when resolving"
#: What could have been named instead stands on the lines below.
_AVAILABLE = r"^Available [\w ]{1,60}:$"
#: The hub refuses a bad token for every model, also for one that is open to all.
_REFUSED = (
    r"(?i)Invalid credentials in Authorization header|Invalid (?:user |username or )?(?:token|password)"
    r"|token .{0,40}expired"
)
_SIGN_IN = (
    "Make a new token on the hub (settings, access tokens) and set HF_TOKEN (env_vars HF_TOKEN: env:HF_TOKEN); or take "
    "the old one away (hf auth logout) where the model is open to all."
)
#: The file is as it should be, and its disk or share is not.
_STORAGE = r"(?i)Input/output error|Stale file handle"
#: C++ names only its function.
_NO_NUMBER = r"is not valid: sto(?:i|l|ll|ul|ull|f|d)$"
#: Files that need what only an extra of their package brings.
_EXTRAS = (
    ("/llama_cpp/server/", "llama-cpp-python[server]"),
    ("/transformers/cli/serv", "transformers[serving]"),
)
_REASONS_MOST = 12
#: What a kernel asserted is printed before the program learns of it.
_ASSERTED = r"\bAssertion (.{1,160}?) failed"
_ABOVE = 400
_SAME_GPU = (
    "Two processes were given one GPU: check gpus in the recipe and CUDA_VISIBLE_DEVICES, and lower "
    "tensor_parallel_size to the number of GPUs there are."
)
#: What NCCL says last, and what to do about it.
_NCCL = (
    (r"^Duplicate GPU", _SAME_GPU),
    (
        r"(?i)no socket interface found|with family \d+ is neither",
        "NCCL_SOCKET_IFNAME names no network interface of this machine: take it out of env_vars (and out of the shell "
        "and nccl.conf), or name one that `ip addr` lists.",
    ),
    (
        r"(?i)no route to host|connection (?:refused|timed out|closed|reset)",
        "The machines do not reach each other: set NCCL_SOCKET_IFNAME and VLLM_HOST_IP in env_vars to the network that "
        "joins them, open its ports, and look whether all processes live.",
    ),
    (
        r"(?i)ibv_\w{1,40} failed",
        "InfiniBand (RoCE) does not work as it is set up: raise the limit of locked memory (ulimit -l unlimited, of a "
        "container --ulimit memlock=-1 and /dev/infiniband), name the card in NCCL_IB_HCA, or do without it: "
        "NCCL_IB_DISABLE=1 in env_vars.",
    ),
    (
        r"shared memory segment|/dev/shm",
        "Shared memory is too small, or not shared: docker.shm in the recipe (--shm-size 16g), or --ipc=host.",
    ),
)
_ASSERTIONS = (
    (
        r"(?i)\b(?:nan|inf)\b",
        "The model computed numbers that are none (NaN, inf): try dtype bfloat16, kv_cache_dtype auto, another "
        "attention_backend or quantization, and a newer engine; a damaged download does that, too.",
    ),
    (
        r"(?i)index|bounds|srcIndex|size",
        "An index lay outside its table: a token that the model does not have (tokenizer, adapter or draft of another "
        "model), or a position beyond its context. Check these, lower max_model_len, or use a newer engine.",
    ),
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a log says.

    Attributes:
        reason: A slug, for programs.
        title: The cause in words.
        words: The engine's own words.
        index: The line that tells, among those that were read.
        retry: Whether another try could help.
        fixes: What answers it, the best first, see `domain.spec.Fix`.
        groups: What the groups of the row's pattern matched.
        row: Whether a row of the table knows it; else the words are all there is.
        pointer: Only that a part of the engine gave up is said.
        explained: False: something failed, and nothing says why.
        line: That line, without what surrounds it.
    """

    reason: str
    title: str
    advice: str
    words: str
    index: int
    retry: bool = True
    fixes: Sequence[Fix] = ()
    groups: tuple[str, ...] = ()
    row: bool = True
    pointer: bool = False
    explained: bool = True
    line: str = ""


def explain(lines: Sequence[str], table: Sequence[Failure], *, served: bool) -> Explanation | None:
    """Return why an engine failed, with the line that says so; None: nothing in the log speaks of a failure.

    Args:
        table: The causes to look for; of one line the first that matches counts.
        served: It had been ready: only its end counts, and no request's trouble.
    """
    found = explain_end(lines, table) if served else explain_start(lines, table)
    return None if found is None else replace(found, line=lines[found.index].strip())


def explain_start(lines: Sequence[str], table: Sequence[Failure]) -> Explanation | None:
    """Return why a start failed; None: nothing in the log speaks of a failure."""
    cause = find(lines, table)
    if cause is None:
        lead = best_lead(lines, table)
        return None if lead is None else _of_lead(lead, lines)
    if not cause.failure.pointer:
        return _detailed(_of_wanted_model(_of_cause(cause), lines), lines)
    return _pointed(cause, lines, table)


def explain_end(lines: Sequence[str], table: Sequence[Failure]) -> Explanation | None:
    """Return why an engine ended that had served.

    Only what stands right before the end may tell, and no request's trouble. Another try may always help: what cannot
    work does not become ready.
    """
    late = [one for one in table if not one.start_only]
    tail = last_words(lines)
    cause = find(tail, [one for one in late if one.pointer])
    if cause is None:
        # No part has died before the rest: what was followed by good answers is no cause.
        works = works_until(tail)
        tail = [""] * (works + 1) + tail[works + 1 :]
    row = find(tail, late)
    if row is None:
        lead = death_lead(tail, late)
        found = None if lead is None else _of_lead(lead, lines)
    else:
        found = _pointed(row, tail, late, lines) if row.failure.pointer else _detailed(_of_cause(row), tail)
    if found is None:
        return None
    return replace(found, retry=True, pointer=cause is not None)


def _of_cause(cause: Cause) -> Explanation:
    row = cause.failure
    return Explanation(
        row.reason, cause.title[:_LONGEST], cause.advice, message(cause.line), cause.index, row.restart, cause.fixes,
        cause.groups,
    )  # fmt: skip


def _detailed(found: Explanation, lines: Sequence[str]) -> Explanation:
    """Add what the lines around the cause say: words of a compiler, a list of reasons, an assertion."""
    below = lines[found.index + 1 : found.index + _TRACEBACK]
    if found.reason == "compile_failed":
        match = next(filter(None, map(regex(_COMPILER).search, below)), None)
        return replace(found, title=f"{found.title}: {match[1].strip()}") if match is not None else found
    if regex(_REASONS).search(found.words):
        reasons = []
        for line in below[:_REASONS_MOST]:
            text = message(line)
            if not text or informs_only(line) or "Traceback (most" in text or text.startswith("Process "):
                break
            reasons.append(text.removeprefix("╰─▶ "))
        return replace(found, title=f"{found.title}: {'; '.join(reasons)}"[:_LONGEST]) if reasons else found
    if found.reason == "missing_module":
        frames = [line for line in lines[max(0, found.index - _REASONS_MOST) : found.index] if 'File "' in line]
        extra = next((name for part, name in _EXTRAS if part in "".join(frames[-1:])), "")
        advice = f"Install the packages of its server there: pip install '{extra}'; or correct python_path."
        return replace(found, advice=advice) if extra else found
    if found.reason == "invalid_value":
        found = replace(found, title=regex(_NO_NUMBER).sub("is no number", found.title))
        at = next((at for at, line in enumerate(below) if regex(_AVAILABLE).match(line)), len(below))
        names = [line.strip() for line in below[at + 1 : at + _REASONS_MOST] if line.startswith(" ")]
        return replace(found, title=f"{found.title} (available: {', '.join(names)})"[:_LONGEST]) if names else found
    if found.reason == "gated" and any(map(regex(_REFUSED).search, below[:_REASONS_MOST])):
        return replace(found, title="the hub refuses the token: it is wrong or has expired", advice=_SIGN_IN)
    if found.reason == "model_unreadable" and regex(_STORAGE).search(found.words):
        return replace(found, advice=hint(found.words))
    if found.reason in ("nccl", "peer_lost", "collective_timeout"):
        return _with_words_of_nccl(found, below)
    if "device-side assert" in found.words:
        asserted = next(
            filter(None, map(regex(_ASSERTED).search, lines[max(0, found.index - _ABOVE) : found.index])), None
        )
        if asserted is not None:
            advice = _advice(_ASSERTIONS, asserted[1]) or found.advice
            return replace(found, title=f"{found.title}: assertion {asserted[1].strip()}"[:_LONGEST], advice=advice)
    return found


def _advice(table: Sequence[tuple[str, str]], text: str) -> str:
    """Return the advice of the first pattern of a table that stands in a text; empty where none does."""
    return next((advice for pattern, advice in table if regex(pattern).search(text)), "")


def _with_words_of_nccl(found: Explanation, below: Sequence[str]) -> Explanation:
    """NCCL says last what happened, on the lines below."""
    for at, line in enumerate(below[:_REASONS_MOST]):
        text = message(line)
        if text.startswith("Last error:"):
            text = text.removeprefix("Last error:").strip() or "".join(map(message, below[at + 1 : at + 2]))
            advice = _advice(_NCCL, text) or found.advice
            return replace(found, title=f"{found.title}: {text}"[:_LONGEST], advice=advice) if text else found
    return found


def _of_lead(lead: Lead, lines: Sequence[str] = ()) -> Explanation:
    if lead.kind == "validation":
        name, colon, _ = lead.text.partition(": ")
        named = [name.split(".")[0]] if colon and " " not in name else regex(_NAMES).findall(lead.text[:_LONGEST])
        holder = _HOLDS.get(lead.about, "")
        what = ", ".join(dict.fromkeys(one for one in named if one != holder)) or "it"
        advice = (
            f"Correct {what}{f' of {holder}' if holder else ''} in the recipe: a field of its own, or in extra_args."
        )
        return Explanation("invalid_value", lead.text[:_LONGEST], advice, lead.text, lead.index, False, row=False)
    advice = hint(lead.text, lines) or UNKNOWN_ERROR
    return Explanation("engine_error", shortened(lead.text)[:_LONGEST], advice, lead.text, lead.index, row=False)


def _of_wanted_model(found: Explanation, lines: Sequence[str]) -> Explanation:
    """Return the model of which a cause speaks may be the draft or an adapter: the traceback around it says so."""
    if "model_path" not in found.advice:
        return found
    around = lines[max(0, found.index - _TRACEBACK) : found.index + _TRACEBACK]
    places = " ".join(line.rpartition("/")[2] for line in around if 'File "' in line)
    following = " ".join(lines[found.index : found.index + _FOLLOWING]).lower()
    for marks, text in ((_WANTED, places), (_FOLLOWED, following)):
        for mark, field_name, what in marks:
            if mark in text:
                advice = found.advice.replace("model_path", field_name)
                return replace(found, title=f"{what}: {found.title}", advice=advice, fixes=())
    return found


def _pointed(cause: Cause, lines: Sequence[str], table: Sequence[Failure], whole: Sequence[str] = ()) -> Explanation:
    """Explain that a part of the engine gave up: by the first error above, if there is one.

    `whole` is the log where `lines` are only its end: what the engine was asked for stands at its top.
    """
    row = cause.failure
    above = lines[: last_pointer(lines, table)]
    lead = best_lead(above, table)
    if lead is None and regex(_BELOW).search(cause.line):
        lead = best_lead(lines[cause.index + 1 :], table)
        lead = lead and replace(lead, index=lead.index + cause.index + 1)
    if lead is None:
        advice = NO_LEAD if row.reason == "engine_died" else cause.advice
        return Explanation(
            row.reason, cause.title, advice, message(cause.line), cause.index, row.restart, cause.fixes,
            cause.groups, pointer=True, explained=row.reason not in ("engine_died", "model_unreadable"),
        )  # fmt: skip
    if lead.kind == "validation":
        return _of_lead(lead)
    title = f"{cause.title}: {shortened(lead.text)[:200]}"
    advice = (row.reason == "engine_died" and hint(lead.text, whole or lines)) or cause.advice
    return Explanation(
        row.reason, title, advice, lead.text, lead.index, row.restart, cause.fixes, cause.groups, pointer=True
    )
