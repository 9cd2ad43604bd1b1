"""Causes in the command line and the parsers that it names."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

_FLAGS = "This version of the engine does not know it: remove it from extra_args or correct its name."

ARGUMENTS: tuple[Failure, ...] = (
    start_failure(
        r"unrecognized arguments?: (.+)",
        "unknown_flag",
        "unknown flag: {1}",
        _FLAGS,
        fixes=("named_flags",),
    ),
    start_failure(
        r"error: invalid argument: (-\S+)",
        "unknown_flag",
        "unknown flag: {1}",
        _FLAGS,
        fixes=("named_flags",),
    ),
    start_failure(
        r"No such option:? '?(-[\w-]+)",
        "unknown_flag",
        "unknown flag: {1}",
        _FLAGS,
        fixes=("named_flags",),
    ),
    start_failure(
        r"argument (-\S+): invalid choice: '(.{1,200}?)'",
        "invalid_value",
        "{2} is not one of the values of {1}",
        "Correct it in the recipe; the log line lists the values.",
        fixes=("named_flags",),
    ),
    start_failure(
        r"invalid choice: '(.{1,200}?)'",
        "invalid_value",
        "{1} is not one of the values this flag takes",
        "Correct it in the recipe; the log line lists the values.",
        fixes=("named_flags",),
    ),
    start_failure(
        r"error: argument (-[^\s:]+): (?!\d+ validation error)(.{1,160})",
        "invalid_value",
        "the value of {1} is not valid: {2}",
        "Correct it in the recipe: the field of that name, or extra_args.",
        fixes=("named_flags",),
    ),
    start_failure(
        r"error while handling argument \"?(-[\w-]+)\"?: (?:error: )?(.{1,160})",
        "invalid_value",
        "the value of {1} is not valid: {2}",
        "Correct it in the recipe: the field of that name, or extra_args.",
        fixes=("named_flags",),
    ),
    start_failure(
        r"Invalid value for '?(-[^':]{1,200})'?: (.{1,160})",
        "invalid_value",
        "the value of {1} is not valid: {2}",
        "Correct it in the recipe: the field of that name, or extra_args.",
        fixes=("named_flags",),
    ),
    start_failure(
        r"Unknown attention backend: '(\S+?)'|Invalid attention backend:? '?(\w+)",
        "invalid_value",
        "there is no attention backend {1}{2}",
        "Correct attention_backend in extra_args, or leave it out; the log line lists them.",
        fixes=("named_flags",),
    ),
    start_failure(
        r"Unsupported attention implementation: '(\S+?)'",
        "invalid_value",
        "there is no attention implementation {1}",
        "Correct attn_implementation in extra_args (sdpa, eager), or leave it out.",
        fixes=("named_flags",),
    ),
    start_failure(
        r"No \w+ registered for (\w+)='?([^'.]{1,60})",
        "invalid_value",
        "{2} is not one of the values of {1}",
        "Correct {1} in the recipe, mostly in extra_args, or leave it out.",
        fixes=("named_flags",),
    ),
    start_failure(
        r"yaml\.\w+\.\w+Error: (.{1,120})",
        "config_file",
        "a YAML file that the engine was given cannot be read: {1}",
        "Correct the file that config in extra_args names.",
    ),
    start_failure(
        r"enable-auto-tool-choice requires --tool-call-parser",
        "tool_parser_needed",
        "enable_auto_tool_choice needs a tool_call_parser",
        "Set tool_call_parser in the recipe to the one of the model's family, or enable_auto_tool_choice: false.",
        fixes=({"enable_auto_tool_choice": False},),
    ),
    start_failure(
        r"[Rr]easoning parser '?([^'\s]+)'? not found|invalid reasoning parser: (\S+)",
        "unknown_parser",
        "this version has no reasoning parser {1}{2}",
        "Choose another reasoning_parser: the log line lists them. Or upgrade the engine.",
        fixes=(
            {"reasoning_parser": None},
            "no_parsers",
        ),
    ),
    start_failure(
        r"invalid tool call parser: (\S+)|tool parser '?([^'\s]+)'? not found",
        "unknown_parser",
        "this version has no tool parser {1}{2}",
        "Choose another tool_call_parser: the log line lists them. Or upgrade the engine.",
        fixes=(
            {"tool_call_parser": None},
            "no_parsers",
        ),
    ),
    start_failure(
        r"(?:reasoning|tool) parser .{0,80}not found|KeyError: .{0,80}parser",
        "unknown_parser",
        "this version has no parser of that name",
        "Choose another tool_call_parser or reasoning_parser, or upgrade the engine.",
        fixes=("no_parsers",),
    ),
    start_failure(
        r"could not locate think start/end tokens|think_\w{1,20}_token .{0,60}must encode to exactly one token",
        "unknown_parser",
        "the reasoning parser does not fit the model: its tokenizer has no think tokens",
        "Remove reasoning_parser or choose the one of this model's family.",
        fixes=(
            {"reasoning_parser": None},
            "no_parsers",
        ),
    ),
)
