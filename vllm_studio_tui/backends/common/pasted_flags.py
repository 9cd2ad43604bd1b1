"""The arguments of a command that a person pasted, as fields of a recipe: its own by the engine's table, others as
extra_args. What it cannot know for certain, whether a word is the value of a flag, is told by names of switches."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from vllm_studio_tui.domain.recipe import FieldNote, Recipe

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Backend

#: Flags of which the engines' own lists say that they take no value, by how they begin or by name.
_SWITCH = re.compile(r"(?:no|enable|disable|skip|is|show|use|uses|trust|allow)-")
_SWITCHES = frozenset(re.findall(r"[\w-]+", """
    aggregate-engine-logging async-scheduling cohere-is-reasoning-model cudagraph-metrics data-parallel-external-lb
    data-parallel-hybrid-lb dcp-q-replicate enforce-eager exclude-tools-when-tool-choice-none
    fail-on-environ-validation fully-sharded-loras grpc headless interleave-mm-strings kv-cache-metrics
    kv-sharing-fast-prefill language-model-only log-error-stack mm-encoder-only numa-bind ray-workers-use-nsight
    return-tokens-as-token-ids scheduler-reserve-full-isl tokens-only
    cache-idle-slots cache-prompt check-tensors cmoe context-shift cont-batching cpu-moe embedding embeddings
    ignore-eos jinja kv-offload kv-unified kvo kvu list-devices log-disable log-prefix log-timestamps metrics
    mlock mmap mmproj-auto mmproj-offload nkvo offline op-offload perf props repack rerank reranking slots spm-infill
    swa-full verbose version warmup webui cb nocb
    delete-ckpt-after-loading log-requests sleep-on-idle weight-loader-disable-mmap continuous-batching force-model-off
"""))  # fmt: skip
_ON, _OFF = frozenset({"true", "on", "yes"}), frozenset({"false", "off", "no"})
_NUMBER = re.compile(r"-?\d[\d._]*(?:[eE]-?\d+)?[kKmMgG]?")


@dataclass(slots=True)
class Arguments:
    """Arguments as fields of a recipe, and what was changed of them."""

    fields: dict[str, Any] = field(default_factory=dict)
    notes: list[FieldNote] = field(default_factory=list)


def read_arguments(backend: Backend, words: Sequence[str]) -> Arguments:
    """Return the arguments of an engine's command as fields of a recipe."""
    return _Reader(backend, words).read()


class _Reader:
    def __init__(self, backend: Backend, words: Sequence[str]) -> None:
        self._backend = backend
        self._words = list(words)
        self._at = 0
        self._fields: dict[str, Any] = {}
        self._extra: dict[str, Any] = {}
        self._raw: list[str] = []
        self._notes: list[FieldNote] = []

    def read(self) -> Arguments:
        while self._at < len(self._words):
            word = self._words[self._at]
            self._at += 1
            if word == "--":
                continue
            if _is_flag(word):
                self._flag(word)
            elif "model_path" not in self._fields:
                self._fields["model_path"] = word
            elif word.strip():
                self._note(word, "dropped", "a word that belongs to no flag")
        if self._raw:
            self._extra["raw"] = self._raw
        if self._extra:
            self._fields["extra_args"] = self._extra
            self._tell_unknown()
        return Arguments(self._fields, self._notes)

    def _note(self, name: str, action: str, why: str) -> None:
        if len(self._notes) < 200:
            self._notes.append(FieldNote(name[:80], action, why))

    def _flag(self, word: str) -> None:
        flag, equals, value = word.partition("=")
        spelled = flag.replace("_", "-") if flag.startswith("--") else flag
        name = self._backend.pasted_flags.get(spelled)
        if name is not None and self._own(name, flag, value if equals else None):
            return
        positive = self._backend.pasted_flags.get(f"--{spelled[5:]}") if spelled.startswith("--no-") else None
        if positive is not None and not equals and _kind(positive) is bool:
            self._fields[positive] = False
            return
        self._further(flag, value if equals else None)

    def _own(self, name: str, flag: str, value: str | None) -> bool:
        """Put a flag into the field that it has; return False where this value must be an extra argument."""
        start = self._at
        kind = _kind(name)
        if kind is bool:
            text = value if value is not None else self._next_switch()
            self._fields[name] = (text or "true").lower() not in _OFF | {"0"}
            return True
        if name in ("served_model_name", "lora_modules") and "served-model-name" in self._backend.flag_style.several:
            values = [value] if value is not None else self._several()
            taken = self._names(values) if name == "served_model_name" else self._adapters(values)
        else:
            given = value if value is not None else self._value()
            taken = given is not None and self._one(name, kind, flag, given)
        if not taken:
            self._at = start
        return taken

    def _one(self, name: str, kind: type | None, flag: str, value: str) -> bool:
        if kind is dict:
            made = _json(value)
            if made is None:
                return False
            self._fields[name] = made
            return True
        if name in self._fields and name != "model_path":
            self._note(flag, "changed", "it is given twice: the last counts")
        elif name == "model_path" and self._fields.get(name, value) != value:
            return False
        if name in ("max_thinking_tokens", "max_num_seqs", "max_num_batched_tokens") and value.startswith("-"):
            return False
        self._fields[name] = value
        return True

    def _names(self, values: list[str]) -> bool:
        if not values:
            return False
        self._fields["served_model_name"] = values[0]
        if len(values) > 1:
            self._fields["aliases"] = values[1:]
        return True

    def _adapters(self, values: list[str]) -> bool:
        found: dict[str, str] = {}
        for one in values:
            name, equals, path = one.partition("=")
            made = _json(one) if one.startswith("{") else None
            if made is not None and set(made) == {"name", "path"}:
                found[str(made["name"])] = str(made["path"])
            elif equals and name and not one.startswith("{"):
                found[name] = path
            else:
                return False
        if found:
            self._fields["lora_modules"] = {**self._fields.get("lora_modules", {}), **found}
        return bool(found)

    def _further(self, flag: str, value: str | None) -> None:
        """Put a flag that is no field into extra_args; a short one that is not known goes to the end as it stands."""
        style = self._backend.flag_style
        bare = flag.lstrip("-")
        head = bare.split(".", 1)[0]
        short = not flag.startswith("--")
        known = bare if not short else style.aliases.get(head) if head in style.aliases else None
        given: Any
        if value is not None:
            given = value
        elif style.canonical(flag) in style.several:
            several = self._several()
            given = several if len(several) > 1 else several[0] if several else True
        else:
            given = True if (word := self._word(known or bare)) is None else word
        if known is None or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,127}", known) or known in ("raw", "_raw"):
            self._raw += [f"{flag}={value}"] if value is not None else [flag] if given is True else [flag, str(given)]
            return
        if short and "." in bare:
            known = f"{known}.{bare.split('.', 1)[1]}"
        if style.underscores:
            known = known.replace("-", "_")
        before = self._extra.get(known)
        if before is None:
            self._extra[known] = given
        elif style.repeat_lists:
            self._extra[known] = [*(before if isinstance(before, list) else [before]), given]
        else:
            self._extra[known] = given
            self._note(flag, "changed", "it is given twice: the last counts")

    # --- words after a flag -------------------------------------------------------------------------------

    def _value(self) -> str | None:
        """Return the next word as a value, and go on behind it; None where it is another flag or there is none."""
        if self._at >= len(self._words):
            return None
        word = self._words[self._at]
        if _is_flag(word):
            return None
        self._at += 1
        return word

    def _word(self, bare: str) -> str | None:
        name = bare.replace("_", "-")
        if _SWITCH.match(name) or name in _SWITCHES:
            return self._next_switch()
        return self._value()

    def _next_switch(self) -> str | None:
        """Return `true` or `false` where that follows a switch."""
        if self._at < len(self._words) and self._words[self._at].lower() in (_ON | _OFF) - {"on", "off", "yes", "no"}:
            return self._value()
        return None

    def _several(self) -> list[str]:
        found = []
        while (one := self._value()) is not None:
            found.append(one)
        return found

    def _tell_unknown(self) -> None:
        known = self._backend.known()
        if "config" in self._extra and "config" in self._backend.file_flags:
            why = (
                "the engine reads that file itself: its flags are not in the recipe; import the file to have them there"
            )
            self._note("extra_args.config", "taken", why)
        if known is None:
            return
        style = self._backend.flag_style
        for key in self._extra:
            name = style.canonical(key).split(".", 1)[0]
            if key == "raw":
                self._note("extra_args.raw", "taken", f"no flags that are known: {' '.join(self._raw)[:100]}")
            elif name in known.gone:
                better = f": {known.gone[name]} took its place" if known.gone[name] else ""
                self._note(
                    f"extra_args.{key}", "taken", f"{self._backend.title} {known.version} has it no more{better}"
                )
            elif name not in known.flags and name.removeprefix("no-") not in known.flags:
                self._note(
                    f"extra_args.{key}", "taken", f"no flag of {self._backend.title} {known.version}; it is kept"
                )


def _is_flag(word: str) -> bool:
    return len(word) > 1 and word.startswith("-") and _NUMBER.fullmatch(word) is None


def _kind(name: str) -> type | None:
    """Return bool or dict for a field of these; else None."""
    annotation = Recipe.model_fields[name].annotation
    if annotation is bool or set(get_args(annotation)) == {bool, type(None)}:
        return bool
    return dict if getattr(annotation, "__origin__", None) is dict else None


def _json(text: str) -> dict[str, Any] | None:
    try:
        made = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return made if isinstance(made, dict) else None
