"""The grammar of keys: what a key means, on every screen.

A letter is one verb. While somebody types, the verb is ctrl and the letter, or a function key. A capital is the wider
or rarer form of its letter. A test holds every action to it, and docs/keys.md is made from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vllm_studio_tui.tui.keys.action import Action


@dataclass(frozen=True, slots=True)
class Rule:
    """What keys mean.

    Attributes:
        keys: As Textual names them.
        verb: What they do.
        names: The names of the actions, without their scope, that do this.
        things: What it is done with.
        typing: The keys that do it while somebody types. Those that type nothing work at any time.
    """

    keys: tuple[str, ...]
    verb: str
    names: frozenset[str]
    things: str = ""
    typing: tuple[str, ...] = ()


def _rule(keys: str, verb: str, names: str, things: str = "", typing: str = "") -> Rule:
    return Rule(tuple(keys.split()), verb, frozenset(names.split()), things, tuple(typing.split()))


RULES: tuple[Rule, ...] = (
    _rule("up k", "move up", "up", "rows, fields, messages, what is offered", "up"),
    _rule("down j", "move down", "down", "rows, fields, messages, what is offered", "down"),
    _rule("left h", "to the left", "left earlier previous", "other fix, other answer, earlier, stage, fold", "left"),
    _rule("right l", "to the right", "right later next", "other fix, other answer, later, stage, unfold", "right"),
    _rule("pageup", "a page up", "page-up", typing="pageup"),
    _rule("pagedown", "a page down", "page-down", typing="pagedown"),
    _rule("home g", "to the first", "first begin"),
    _rule("end G", "to the end, and follow it", "last follow now", "lists, log, transcript, time (now)"),
    _rule("enter", "open it; yes to what is shown", "open take fold run launch send", "row, diff, question", "enter"),
    _rule("escape", "one step back", "back leave", "sheet, filter, marks, page, question (no)", "escape"),
    _rule("tab", "the next part of the screen", "next-part transcript",
          "parts; sections of a form; what is offered is taken", "tab"),
    _rule("shift+tab", "the part before", "previous-part", typing="shift+tab"),
    _rule("space", "mark", "mark hold", "row, result, moment (holds the picture), a choice"),
    _rule("slash", "filter or find; then `[` and `]` go from hit to hit", "find filter", "lists, log, transcript",
          "ctrl+f"),
    _rule("left_square_bracket", "to the stop before", "previous-stop", "hit, error, event, question, day"),
    _rule("right_square_bracket", "to the next stop", "next-stop", "hit, error, event, question, day"),
    _rule("o", "order by the next column", "order", "every table"),
    _rule("O", "order the other way", "reverse", "every table"),
    _rule("v", "the next view of this", "view level tree",
          "charts, processes or panels; level of a log; by model, day, chat; branches of a chat"),
    _rule("V", "the next view of the rarer kind", "source", "whose lines of a log"),
    _rule("i", "more about it, beside it or as a sheet", "info settings whole",
          "row, whole line, whole call, settings of a chat", "f3"),
    _rule("z", "fold or unfold all", "fold fold-all thinking", "log, transcript", "ctrl+t"),
    _rule("plus equals_sign", "shorter time", "zoom-in", "time axis"),
    _rule("minus", "longer time", "zoom-out", "time axis"),
    _rule("r", "run it (again)", "run launch again regenerate retry",
          "recipe, starter, failed run, benchmark, answer, host", "ctrl+r"),
    _rule("s", "stop it", "stop", "run, benchmark, answer", "escape"),
    _rule("c", "chat with it; let a cut answer go on", "chat continue", "run, recipe, answer"),
    _rule("L", "its log", "log", "run, recipe"),
    _rule("f", "show the fix, as a diff", "fix", "failed run"),
    _rule("w", "why, in sentences with numbers", "why", "failed, slow or waiting run, host"),
    _rule("e", "edit it", "edit rename edit-arguments limit", "recipe, question, host, call, key", "f9"),
    _rule("E", "edit it in $EDITOR", "yaml editor", "recipe, log, message, what is typed", "f9"),
    _rule("n", "new", "new", "run, recipe, chat, host, set-up", "ctrl+n"),
    _rule("d delete", "take it away; says what that costs, `u` brings it back", "delete dismiss deny",
          "recipe, chat, message, failed run, host; a call that waits", "ctrl+d"),
    _rule("D", "duplicate", "duplicate", "recipe, set-up"),
    _rule("u", "undo the last change", "undo", "recipe, fix"),
    _rule("R", "bring a revision back, as a diff", "revisions", "recipe, run, benchmark"),
    _rule("y", "copy", "copy copy-command copy-url", "address, command, lines, message"),
    _rule("Y", "copy as …", "copy-as copy-code", "env lines, curl, code block"),
    _rule("x", "export to a file; asks where", "export", "recipes, usage, log, result"),
    _rule("a", "allow it once", "allow", "a call of a tool that waits"),
    _rule("A", "allow it for longer", "allow-longer", "a call of a tool that waits"),
    _rule("p", "pin: it stands before the others, or is found again", "pin", "recipe, chat, message"),
    _rule("T", "keep it open in a tab, or no longer", "tab", "chat", "f11"),
    _rule("number_sign", "tags", "tags", "chat"),
    _rule("I", "import: a paste, a file, what runs", "import", "recipes, results"),
    _rule("t", "test it: its parsers by one tool call and one thought; its request", "probe request", "run, answer"),
    _rule("B", "benchmark it", "bench", "run, recipe"),
    _rule("F", "fork the chat here", "fork", "message"),
    _rule("f2", "save; put it aside", "save stash", "forms, draft of a question", "f2"),
    _rule("ctrl+r", "save and run", "launch save-and-run", "forms", "ctrl+r"),
    _rule("f4", "choose a value", "choose model", "field, model of the chat", "f4"),
    _rule("ctrl+pageup", "the section or tab before", "previous-section previous-tab", "forms, chats", "ctrl+pageup"),
    _rule("ctrl+pagedown", "the next section or tab", "next-section next-tab", "forms, chats", "ctrl+pagedown"),
    _rule("ctrl+j", "a new line", "newline", "prompt", "ctrl+j"),
    _rule("insert", "the library: texts that are kept by name, to insert one", "library", "chat", "insert"),
    _rule("ctrl+g", "presets: parameters that are kept by name", "preset", "chat", "ctrl+g"),
    _rule("ctrl+o", "open another one", "chats runs", "chat, log of a run", "ctrl+o"),
    _rule("ctrl+l", "links in it", "links", "chat", "ctrl+l"),
    _rule("colon ctrl+p", "everything, by name", "palette", typing="ctrl+p"),
    _rule("question_mark f1", "the keys that work here", "help", typing="f1"),
    _rule("f5", "read again now", "reload", "what other programs may have changed", "f5"),
    _rule("f6", "side by side: several answer", "compare", "question", "f6"),
    _rule("f7", "doctor: what is wrong on this machine", "doctor", typing="f7"),
    _rule("f8", "settings of the studio", "settings", typing="f8"),
    _rule("f12", "tools that a model may call", "tools", "chat", "f12"),
    _rule("f10", "mouse off and on, to select text", "mouse", typing="f10"),
    _rule("q", "leave; engines go on", "quit-studio"),
    _rule("ctrl+c", "copy a selection; else cancel; twice: leave", "interrupt", typing="ctrl+c"),
    _rule("ctrl+z", "back to the shell", "suspend-process", typing="ctrl+z"),
)  # fmt: skip


def broken_by(action: Action) -> list[str]:
    """Return what an action's keys break, in words."""
    found = []
    for key in (key for key in action.keys.split(",") if key):
        if key.removeprefix("alt+").isdigit():
            continue  # a screen's number
        rules = [rule for rule in RULES if key in rule.keys or key in rule.typing]
        if not rules:
            found.append(f"{action.id}: {key} is no key of the grammar")
        elif not any(action.name in rule.names for rule in rules):
            means = " or ".join(dict.fromkeys(rule.verb for rule in rules))
            found.append(f"{action.id}: {key} means {means!r}; names for that: {sorted(rules[0].names)}")
    return found


def rules_of(actions: Iterable[Action]) -> list[Rule]:
    """Return the rules that these actions use, in the order of the table."""
    used = {(key, action.name) for action in actions for key in action.keys.split(",")}
    return [
        rule for rule in RULES if any((key, name) in used for key in (*rule.keys, *rule.typing) for name in rule.names)
    ]
