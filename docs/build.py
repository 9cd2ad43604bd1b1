"""Writes the parts of the documentation that are made from the code: `python docs/build.py` (`--check` only compares).

A page has such a part between `<!-- made: NAME -->` and `<!-- /made -->`; the text around it is written by hand.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import re
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
FIXTURES = DOCS.parent / "tests" / "fixtures"
PACKAGE, PLUG_INS = FIXTURES / "example_package", FIXTURES / "example_plug_ins"
PART = re.compile(r"(<!-- made: ([a-z-]+) -->\n).*?(<!-- /made -->)", re.DOTALL)


def settings() -> str:
    """Every setting with its variables and default, and every other variable."""
    from vllm_studio_tui.config import settings_reference as settings_page

    return settings_page.markdown()


def keys() -> str:
    """Every action with its keys, by the place where they work."""
    from vllm_studio_tui.tui.keys import actions

    return actions.markdown_table()


def key_grammar() -> str:
    """What a key means, on every screen: the rules that some action uses."""
    from vllm_studio_tui.tui.keys import actions, grammar

    lines = ["| key | means | while typing | for what |", "|---|---|---|---|"]
    for rule in grammar.rules_of(actions.ACTIONS):
        keys, typing = (" ".join(f"`{actions.key_text(key)}`" for key in found) for found in (rule.keys, rule.typing))
        lines.append(f"| {keys} | {rule.verb} | {typing} | {rule.things} |")
    return "\n".join(lines) + "\n"


def causes() -> str:
    """Every cause of a failure that the studio knows, with what to do."""
    from vllm_studio_tui.backends.failures import reference

    return reference.markdown_table()


def engine_fields() -> str:
    """Fields of a recipe that become flags, and the engines that have one for them."""
    from vllm_studio_tui.backends import registry

    return registry.markdown_table()


def engines() -> str:
    """Every engine of ours with its page, and the rows of the page that help to choose one."""
    return _engine_table({"what is run", "good for", "what was tried"}, backend=True)


def engine_names() -> str:
    """How a recipe and the settings name each engine of ours."""
    return _engine_table({"named in a recipe by", "named in the settings by"}, backend=False)


#: The rows of the table at the head of a page docs/engines/NAME.md.
ENGINE_ROWS = ("what is run", "good for", "what was tried", "named in a recipe by", "named in the settings by")


def _engine_table(rows: Collection[str], *, backend: bool) -> str:
    from vllm_studio_tui.backends import CLASSES

    shown = [row for row in ENGINE_ROWS if row in rows]
    head = ["page", "`backend`", *shown] if backend else ["engine", *shown]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in CLASSES:
        title, facts = engine_page(name)
        first = [f"[{title}]({name}.md)", f"`{name}`"] if backend else [title]
        lines.append(f"| {' | '.join([*first, *(facts[row] for row in shown)])} |")
    return "\n".join(lines) + "\n"


def engine_page(name: str) -> tuple[str, dict[str, str]]:
    """Title and facts of the page of an engine: its heading, and the table at its head.

    Raises:
        SystemExit: There is no such page, or something is missing on it.
    """
    page = DOCS / "engines" / f"{name}.md"
    where = page.relative_to(DOCS.parent)
    if not page.exists():
        raise SystemExit(f"{where} is missing: write a page like the others in its folder, on the engine {name!r}")
    text = page.read_text("utf-8")
    title = re.match(r"# (.+)\n", text)
    facts = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", text.partition("\n## ")[0], re.MULTILINE))
    missing = ", ".join(row for row in ENGINE_ROWS if row not in facts)
    if title is None or missing:
        rows = ", ".join(ENGINE_ROWS)
        raise SystemExit(
            f"{where}: put a heading and a table with the rows {rows} first (missing: {missing or 'heading'})"
        )
    return title[1], facts


def recipe_fields() -> str:
    """Every field of a recipe, in the sections of the form."""
    from vllm_studio_tui.services.recipes.form_fields import form_fields

    lines: list[str] = []
    section = ""
    for field in form_fields():
        if field.section != section:
            section = field.section
            lines += [
                "",
                f"## {section}",
                "",
                "| field | type | default | what it does | engines |",
                "|---|---|---|---|---|",
            ]
        default = f"`{field.default}`" if field.default else "required" if _required(field.name) else "none"
        kind = _kind(field.kind, field.choices)
        words = _sentence(_description(field.name) or field.help, field.unit)
        lines.append(f"| `{field.name}` | {kind} | {default} | {_cell(words)} | {_engines(field.name)} |")
    return "\n".join(lines[1:]) + "\n"


def _description(name: str) -> str:
    from vllm_studio_tui.domain.recipe import Recipe

    return (Recipe.model_fields[name].description or "") if name in Recipe.model_fields else ""


def _required(name: str) -> bool:
    from vllm_studio_tui.domain.recipe import Recipe

    return name in Recipe.model_fields and Recipe.model_fields[name].is_required()


def _kind(kind: str, choices: tuple[str, ...]) -> str:
    """The type of a field, as it is written in YAML."""
    if set(choices) == {"", "yes", "no"} or kind == "switch":
        return "yes or no"
    names = {"map": "names to values", "json": "object", "flags": "names to values", "list": "list"}
    text = names.get(kind, "text" if kind == "choice" else kind)
    shown = ", ".join(f"`{one}`" for one in choices if one)
    if not shown:
        return text
    return f"one of {shown}" if kind == "choice" else f"{text}, such as {shown}"


def _sentence(words: str, unit: str) -> str:
    text = words[:1].upper() + words[1:]
    if not text.endswith((".", "}", "-")):
        text += "."
    # Braces hold JSON or the names of what is filled in.
    text = re.sub(r"\{[^{}]*\}", r"`\g<0>`", text)
    return f"{text} In seconds." if unit == "s" and "econds" not in text else text


def _engines(name: str) -> str:
    """The engines that a field changes something for, by the names that recipes use."""
    from vllm_studio_tui.backends import registry
    from vllm_studio_tui.backends.base import ENGINE_FIELDS

    every = list(registry.OURS.values())
    if name in ENGINE_FIELDS:
        found = [one.name for one in every if name in one.uses]
    elif name in ("executable", "python_path", "command"):
        found = [one.name for one in every if one.needs_launch and name in one.program_fields]
    elif name in ("base_url", "metrics_style"):
        found = ["external"] if name == "base_url" else ["custom"]
    elif name in _FOR_ALL:
        return "all"
    else:
        found = [one.name for one in every if one.needs_launch]
    launched = {one.name for one in every if one.needs_launch}
    if set(found) == {one.name for one in every}:
        return "all"
    return "all that are launched" if set(found) == launched else ", ".join(found)


#: Fields that do not belong to a launch: a server that somebody else runs has them too.
_FOR_ALL = frozenset({"id", "name", "backend", "description", "tags", "api_key", "health_path", "vision"})


def commands() -> str:
    """Every command of the command line with its arguments and options."""
    from typer.main import get_command

    from vllm_studio_tui.cli.app import build

    lines: list[str] = []
    root: Any = get_command(build())
    for name, command in sorted(root.commands.items()):
        if not hasattr(command, "commands"):
            lines += _command(f"vllm-studio {name}", command, "##")
            continue
        own = command.invoke_without_command  # then its help is about what it does by itself
        lines += [f"## vllm-studio {name}", "", *([] if own else [command.help or "", ""])]
        lines += _command(f"vllm-studio {name}", command, "###") if own else []
        for inner, one in command.commands.items():
            lines += _command(f"vllm-studio {name} {inner}", one, "###")
    return "\n".join(lines)


def _command(path: str, command: Any, level: str) -> list[str]:
    options = [one for one in command.params if one.opts[0].startswith("-") and not one.hidden]
    arguments = [one for one in command.params if not one.opts[0].startswith("-")]
    usage = " ".join([path, *(["[OPTIONS]"] if options else []), *(_argument(one) for one in arguments)])
    lines = [f"{level} {path}", "", " ".join((command.help or "").split()), "", f"    {usage}", ""]
    rows = [(f"`{_argument(one)}`", one) for one in arguments if one.help]
    rows += [(_option(one), one) for one in options]
    if rows:
        lines += ["| option | what it does |", "|---|---|"]
        lines += [f"| {left} | {_cell(_option_words(one))} |" for left, one in rows]
        lines.append("")
    return lines


def _argument(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper()).strip("[]{}")
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> str:
    names = " ".join(f"`{one}`" for one in sorted([*option.opts, *option.secondary_opts], key=lambda one: -len(one)))
    return names if option.is_flag else f"{names} {option.metavar or option.name.upper()}"


def _option_words(option: Any) -> str:
    words = option.help or ""
    default = getattr(option, "default", None)
    if default in (None, False, "", [], ()) or option.required or not option.opts[0].startswith("-"):
        return words
    return f"{words} Default: `{default}`.".strip()


def backend_facts() -> str:
    """Every attribute and method of a backend, as its class explains it."""
    import inspect

    from vllm_studio_tui.backends.base import Backend

    lines = ["| attribute | what it says | default |", "|---|---|---|"]
    text = inspect.cleandoc(Backend.__doc__ or "")
    for name, words in re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", text, re.MULTILINE):
        value = getattr(Backend, name, None)
        plain = value is None or isinstance(value, bool | int | str | tuple | dict)
        default = "required" if not hasattr(Backend, name) else f"`{value!r}`" if plain and value != "" else ""
        lines.append(f"| `{name}` | {_cell(words)} | {default} |")
    lines += ["", "Methods:", "", "| method | what it does | required |", "|---|---|---|"]
    for name, method in vars(Backend).items():
        if name.startswith("_") or not (callable(method) or isinstance(method, property)):
            continue
        words = inspect.getdoc(method) or ""
        required = "yes" if getattr(method, "__isabstractmethod__", False) else ""
        lines.append(f"| `{name}` | {_cell(words.partition(chr(10) * 2)[0])} | {required} |")
    return "\n".join(lines) + "\n"


def metric_keys() -> str:
    """The keys of a metric that is added, with what each says."""
    import inspect

    from vllm_studio_tui.domain.custom_metric import CustomMetric

    doc = inspect.cleandoc(CustomMetric.__doc__ or "").partition("Attributes:")[2].partition("Raises:")[0]
    rows = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", doc, re.MULTILINE)
    lines = [f"| `{name}` | {_cell(_KNOWN.sub(_known_words, words))} |" for name, words in rows]
    return "\n".join(["| key | what |", "|---|---|", *lines]) + "\n"


_KNOWN = re.compile(r"One of `(UNITS|KINDS)`")


def _known_words(found: re.Match[str]) -> str:
    from vllm_studio_tui.domain import custom_metric

    return " ".join(["One of", ", ".join(f"`{one}`" if one else "nothing" for one in getattr(custom_metric, found[1]))])


def request_record() -> str:
    """What callbacks and the webhook are told of a request."""
    from vllm_studio_tui.services.serving import request_record

    return request_record.markdown_table()


def _file(name: str, language: str, package: Path = PACKAGE) -> str:
    """A file of an example package, as the tests install it."""
    return f"```{language}\n{(package / name).read_text('utf-8').rstrip()}\n```\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def http_paths() -> str:
    """Every path of the server, under its heading."""
    from vllm_studio_tui.http.openapi import plain_path
    from vllm_studio_tui.http.routes import all_routes

    routes = all_routes()
    lines: list[str] = []
    for tag in dict.fromkeys(route.tag for route in routes):
        lines += [f"## {tag}", "", "| method and path | scope | what it does |", "|---|---|---|"]
        for route in (one for one in routes if one.tag == tag):
            words = route.summary.rstrip(".") + "."
            words += "".join(f" `{name}`: {about}" for name, about in route.query.items())
            lines.append(f"| {route.method} `{plain_path(route)}` | {route.scope or 'open'} | {_cell(words)} |")
        lines.append("")
    return "\n".join(lines)


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "keys": keys,
    "key-grammar": key_grammar,
    "causes": causes,
    "commands": commands,
    "recipe-fields": recipe_fields,
    "http-paths": http_paths,
    "engines": engines,
    "engine-names": engine_names,
    "engine-fields": engine_fields,
    "backend-facts": backend_facts,
    "request-record": request_record,
    "plug-ins-pyproject": functools.partial(_file, "pyproject.toml", "toml", PLUG_INS),
    "metric-keys": metric_keys,
    "example-metrics": functools.partial(_file, "example_metrics.py", "python", PLUG_INS),
    "example-panel": functools.partial(_file, "example_panel.py", "python", PLUG_INS),
    "example-callback": functools.partial(_file, "example_callback.py", "python", PLUG_INS),
    "example-pyproject": functools.partial(_file, "pyproject.toml", "toml"),
    "example-backend": functools.partial(_file, "example_engine.py", "python"),
    "example-server": functools.partial(_file, "example_server.py", "python"),
    "example-parser": functools.partial(_file, "example_parser.py", "python"),
}


@functools.cache
def part(name: str) -> str:
    """One part, made anew; it begins and ends with a blank line, so that it can stand between two comments."""
    return f"\n{PARTS[name]().strip(chr(10))}\n\n"


def renewed(text: str) -> str:
    """The text of a page with its parts made anew."""
    return PART.sub(lambda found: f"{found[1]}{part(found[2])}{found[3]}", text)


def pages() -> list[Path]:
    """The pages that have such parts."""
    return [page for page in sorted(DOCS.rglob("*.md")) if PART.search(page.read_text("utf-8"))]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="Change nothing; say what differs, and exit with 1 then.")
    check = parser.parse_args(argv).check
    differs = False
    for page in pages():
        old = page.read_text("utf-8")
        new = renewed(old)
        if new == old:
            continue
        differs = True
        name = str(page.relative_to(DOCS.parent))
        if check:
            sys.stdout.writelines(
                difflib.unified_diff(old.splitlines(True), new.splitlines(True), name, "as the code is")
            )
        else:
            page.write_text(new, "utf-8")
            sys.stdout.write(f"{name}\n")
    return int(check and differs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
